//! Config values and expressions over them.

use std::cmp::Ordering;
use std::fmt;

use crate::ast::BinaryOp;
use crate::mapping::{AxisId, FieldId, RankId};
use crate::source::Span;

/// A config value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing: JSON `null`, Python `None`.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Value>),
}

impl Value {
    /// False for null, false, zero, and what is empty.
    #[must_use]
    pub fn is_true(&self) -> bool {
        match self {
            Value::Null => false,
            Value::Bool(b) => *b,
            Value::Int(n) => *n != 0,
            Value::Float(x) => *x != 0.0,
            Value::Text(text) => !text.is_empty(),
            Value::List(items) => !items.is_empty(),
        }
    }

    /// The number it is, integers widened.
    #[must_use]
    pub fn as_number(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "config numbers are small")]
            Value::Int(n) => Some(*n as f64),
            Value::Float(x) => Some(*x),
            _ => None,
        }
    }

    /// The integer it is; `3.0` counts.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Value::Int(n) => Some(*n),
            #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
            Value::Float(x) if x.fract() == 0.0 && x.abs() < 9e15 => Some(*x as i64),
            _ => None,
        }
    }

    /// Equality as config means it: `2` and `2.0` are the same.
    #[must_use]
    pub fn same(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.same(y)),
            _ => match (self.as_number(), other.as_number()) {
                (Some(a), Some(b)) => a == b,
                _ => self == other,
            },
        }
    }

    /// The literal that a text given by the user stands for: a number, a truth value, a flat list in brackets, else the
    /// text itself.
    #[must_use]
    pub fn parse(text: &str) -> Value {
        match text {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" => Value::Null,
            _ => {
                if let Some(items) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
                    let items = items.split(',').map(str::trim).filter(|item| !item.is_empty());
                    let item = |text: &str| match text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
                        Some(text) => Value::Text(text.to_owned()),
                        None => Value::parse(text),
                    };
                    return Value::List(items.map(item).collect());
                }
                if let Ok(n) = text.parse() {
                    return Value::Int(n);
                }
                match text.parse::<f64>() {
                    Ok(x) if x.is_finite() => Value::Float(x),
                    _ => Value::Text(text.to_owned()),
                }
            }
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(b) => write!(f, "{b}"),
            Value::Int(n) => write!(f, "{n}"),
            Value::Float(x) => write!(f, "{x:?}"),
            Value::Text(text) => write!(f, "{text:?}"),
            Value::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
        }
    }
}

/// A checked expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it computes.
    pub kind: ExprKind,
    /// Where it is written.
    pub span: Span,
}

/// The forms of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// A literal.
    Literal(Value),
    /// A list of expressions.
    List(Vec<Expr>),
    /// A config value.
    Field(FieldId),
    /// Whether a config value is known and not null.
    Known(FieldId),
    /// The coordinate of an index.
    Index(AxisId),
    /// How many ranks there are along a rank axis.
    Ranks(RankId),
    /// How an index lies over a rank axis where its ranks hold uneven blocks of it; null where they are even.
    Blocks(RankId, BlocksWord),
    /// `output.dtype`: the dtype that most parameters of the target are written in.
    OutputDtype,
    /// What a document of the side that is read holds at this path; null where there is nothing.
    Place(String),
    /// Whether that place holds anything but null.
    Present(String),
    /// Negation.
    Not(std::boxed::Box<Expr>),
    /// An operation.
    Binary(Operator, std::boxed::Box<Expr>, std::boxed::Box<Expr>),
    /// The value of the first arm whose pattern fits.
    Match(std::boxed::Box<Expr>, Vec<(Pattern, Expr)>),
}

/// What `pp.first` and the like ask of the blocks of an index that ranks hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlocksWord {
    /// `first`: how many the first rank holds, where only the first and the last differ from the others.
    First,
    /// `last`: how many the last rank holds, where only the first and the last differ from the others.
    Last,
    /// `layout`: all blocks, where `first` and `last` do not say it: `Ett|t|ttL`, as Megatron-Core's option
    /// `--pipeline-model-parallel-layout` has them.
    Layout,
}

impl BlocksWord {
    /// All words, in the order the reference lists them.
    pub const ALL: [BlocksWord; 3] = [BlocksWord::First, BlocksWord::Last, BlocksWord::Layout];

    /// The word in mappings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            BlocksWord::First => "first",
            BlocksWord::Last => "last",
            BlocksWord::Layout => "layout",
        }
    }
}

/// What stands between two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operator(pub(crate) BinaryOp);

/// Alternatives of which one must fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    /// The alternatives.
    pub choices: Vec<PatternChoice>,
    /// Where it is written.
    pub span: Span,
}

/// One alternative of a pattern.
#[derive(Clone, Debug, PartialEq)]
pub enum PatternChoice {
    /// `_`.
    Any,
    /// This value.
    Is(Value),
    /// Numbers from the first (included) to the second (excluded).
    Range(Option<f64>, Option<f64>),
}

impl Pattern {
    /// A pattern for truth.
    #[must_use]
    pub fn truth(span: Span) -> Pattern {
        Pattern { choices: vec![PatternChoice::Is(Value::Bool(true))], span }
    }

    /// A pattern for everything.
    #[must_use]
    pub fn any(span: Span) -> Pattern {
        Pattern { choices: vec![PatternChoice::Any], span }
    }

    /// Whether `value` fits. Against `true` and `false` anything fits that counts as such.
    #[must_use]
    pub fn fits(&self, value: &Value) -> bool {
        self.choices.iter().any(|choice| match choice {
            PatternChoice::Any => true,
            PatternChoice::Is(Value::Bool(b)) => value.is_true() == *b,
            PatternChoice::Is(expected) => expected.same(value),
            PatternChoice::Range(from, to) => value
                .as_number()
                .is_some_and(|x| from.is_none_or(|from| x >= from) && to.is_none_or(|to| x < to)),
        })
    }

    /// Whether everything fits.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.choices.contains(&PatternChoice::Any)
    }
}

/// Where expressions find values.
pub trait Environment {
    /// A config value; `None` where it is not known.
    fn field(&self, field: FieldId) -> Option<Value>;
    /// What a document holds at a path; `None` where there is nothing.
    fn place(&self, path: &str) -> Option<Value>;
    /// The coordinate of an index; `None` where no single one is meant.
    fn index(&self, axis: AxisId) -> Option<u64>;
    /// The dtype that most parameters of the target are written in, as a document has it; `None` while it is read.
    fn output_dtype(&self) -> Option<Value> {
        None
    }
    /// How many ranks there are along a rank axis; one by default.
    fn ranks(&self, _rank: RankId) -> u64 {
        1
    }
    /// What a word says of the blocks that the ranks of an axis hold; null where they are even.
    fn blocks(&self, _rank: RankId, _word: BlocksWord) -> Value {
        Value::Null
    }
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq)]
pub enum EvalError {
    /// A config value that is not known.
    Unknown(FieldId),
    /// An index that has no single coordinate here.
    NoIndex(AxisId),
    /// The operation does not work on these values.
    Type(Span, String),
    /// No arm of a match fits the value.
    NoArm(Span, Value),
}

impl Expr {
    /// The value in an environment.
    ///
    /// # Errors
    /// Where a config value in it is not known, an operation does not fit its operands, or no arm fits.
    pub fn evaluate(&self, env: &dyn Environment) -> Result<Value, EvalError> {
        match &self.kind {
            ExprKind::Literal(value) => Ok(value.clone()),
            ExprKind::List(items) => {
                items.iter().map(|i| i.evaluate(env)).collect::<Result<_, _>>().map(Value::List)
            }
            ExprKind::Field(field) => env.field(*field).ok_or(EvalError::Unknown(*field)),
            ExprKind::Known(field) => Ok(Value::Bool(env.field(*field).is_some_and(|v| v != Value::Null))),
            ExprKind::Index(axis) => {
                let coordinate = env.index(*axis).ok_or(EvalError::NoIndex(*axis))?;
                Ok(Value::Int(i64::try_from(coordinate).unwrap_or(i64::MAX)))
            }
            ExprKind::OutputDtype => Ok(env.output_dtype().unwrap_or(Value::Null)),
            ExprKind::Ranks(rank) => Ok(Value::Int(i64::try_from(env.ranks(*rank)).unwrap_or(i64::MAX))),
            ExprKind::Blocks(rank, word) => Ok(env.blocks(*rank, *word)),
            ExprKind::Place(path) => Ok(env.place(path).unwrap_or(Value::Null)),
            ExprKind::Present(path) => Ok(Value::Bool(env.place(path).is_some_and(|v| v != Value::Null))),
            ExprKind::Not(inner) => Ok(Value::Bool(!inner.evaluate(env)?.is_true())),
            ExprKind::Binary(op, a, b) => self.evaluate_binary(*op, a, b, env),
            ExprKind::Match(scrutinee, arms) => {
                let value = scrutinee.evaluate(env)?;
                match arms.iter().find(|(pattern, _)| pattern.fits(&value)) {
                    Some((_, arm)) => arm.evaluate(env),
                    None => Err(EvalError::NoArm(self.span, value)),
                }
            }
        }
    }

    fn evaluate_binary(
        &self,
        op: Operator,
        a: &Expr,
        b: &Expr,
        env: &dyn Environment,
    ) -> Result<Value, EvalError> {
        let left = a.evaluate(env)?;
        match op.0 {
            BinaryOp::And if !left.is_true() => return Ok(Value::Bool(false)),
            BinaryOp::Or if left.is_true() => return Ok(Value::Bool(true)),
            BinaryOp::And | BinaryOp::Or => return Ok(Value::Bool(b.evaluate(env)?.is_true())),
            _ => {}
        }
        let right = b.evaluate(env)?;
        let wrong = || {
            let symbol = op.0.symbol();
            EvalError::Type(self.span, format!("`{symbol}` does not work on {left} and {right}"))
        };
        match op.0 {
            BinaryOp::Equal => Ok(Value::Bool(left.same(&right))),
            BinaryOp::NotEqual => Ok(Value::Bool(!left.same(&right))),
            BinaryOp::Less | BinaryOp::LessEqual | BinaryOp::Greater | BinaryOp::GreaterEqual => {
                let (x, y) = (left.as_number().ok_or_else(wrong)?, right.as_number().ok_or_else(wrong)?);
                let order = x.partial_cmp(&y).ok_or_else(wrong)?;
                Ok(Value::Bool(match op.0 {
                    BinaryOp::Less => order == Ordering::Less,
                    BinaryOp::LessEqual => order != Ordering::Greater,
                    BinaryOp::Greater => order == Ordering::Greater,
                    _ => order != Ordering::Less,
                }))
            }
            _ => arithmetic(op.0, &left, &right).ok_or_else(wrong),
        }
    }

    /// The config values it needs.
    #[must_use]
    pub fn fields(&self) -> Vec<FieldId> {
        let mut all = Vec::new();
        self.visit(&mut |e| {
            if let ExprKind::Field(field) | ExprKind::Known(field) = e.kind {
                all.push(field);
            }
        });
        all
    }

    /// Whether it depends on an index.
    #[must_use]
    pub fn has_index(&self) -> bool {
        !self.indices().is_empty()
    }

    /// The indices it depends on.
    #[must_use]
    pub fn indices(&self) -> Vec<AxisId> {
        let mut all = Vec::new();
        self.visit(&mut |e| {
            if let ExprKind::Index(axis) = e.kind {
                all.push(axis);
            }
        });
        all
    }

    /// The first place in a document that it looks at.
    #[must_use]
    pub fn first_place(&self) -> Option<(String, Span)> {
        let mut first = None;
        self.visit(&mut |e| {
            if let (ExprKind::Place(path) | ExprKind::Present(path), None) = (&e.kind, &first) {
                first = Some((path.clone(), e.span));
            }
        });
        first
    }

    /// Whether it asks what the output is of.
    #[must_use]
    pub fn asks_output(&self) -> bool {
        let mut asks = false;
        self.visit(&mut |e| asks |= matches!(e.kind, ExprKind::OutputDtype));
        asks
    }

    /// Whether a new split over ranks changes it: it asks for numbers of ranks or for their blocks.
    #[must_use]
    pub fn has_ranks(&self) -> bool {
        let mut any = false;
        self.visit(&mut |e| any |= matches!(e.kind, ExprKind::Ranks(_) | ExprKind::Blocks(..)));
        any
    }

    /// Calls `change` with every rank axis that it asks for.
    pub(crate) fn each_rank(&mut self, change: &dyn Fn(&mut RankId)) {
        match &mut self.kind {
            ExprKind::Ranks(rank) | ExprKind::Blocks(rank, _) => change(rank),
            ExprKind::List(items) => items.iter_mut().for_each(|i| i.each_rank(change)),
            ExprKind::Not(inner) => inner.each_rank(change),
            ExprKind::Binary(_, a, b) => {
                a.each_rank(change);
                b.each_rank(change);
            }
            ExprKind::Match(scrutinee, arms) => {
                scrutinee.each_rank(change);
                arms.iter_mut().for_each(|(_, arm)| arm.each_rank(change));
            }
            ExprKind::Literal(_)
            | ExprKind::Field(_)
            | ExprKind::Known(_)
            | ExprKind::Index(_)
            | ExprKind::OutputDtype
            | ExprKind::Place(_)
            | ExprKind::Present(_) => {}
        }
    }

    /// The blocks it asks for.
    #[must_use]
    pub fn blocks(&self) -> Vec<RankId> {
        let mut all = Vec::new();
        self.visit(&mut |e| {
            if let ExprKind::Blocks(rank, _) = e.kind {
                all.push(rank);
            }
        });
        all
    }

    pub(crate) fn visit(&self, f: &mut dyn FnMut(&Expr)) {
        f(self);
        match &self.kind {
            ExprKind::List(items) => items.iter().for_each(|i| i.visit(f)),
            ExprKind::Not(inner) => inner.visit(f),
            ExprKind::Binary(_, a, b) => {
                a.visit(f);
                b.visit(f);
            }
            ExprKind::Match(scrutinee, arms) => {
                scrutinee.visit(f);
                arms.iter().for_each(|(_, arm)| arm.visit(f));
            }
            ExprKind::Literal(_)
            | ExprKind::Field(_)
            | ExprKind::Known(_)
            | ExprKind::Index(_)
            | ExprKind::Ranks(_)
            | ExprKind::Blocks(..)
            | ExprKind::OutputDtype
            | ExprKind::Place(_)
            | ExprKind::Present(_) => {}
        }
    }
}

/// Integers stay integers where the result is one; division must come out even on integers.
fn arithmetic(op: BinaryOp, left: &Value, right: &Value) -> Option<Value> {
    if let (Value::Int(a), Value::Int(b)) = (left, right) {
        return match op {
            BinaryOp::Add => a.checked_add(*b),
            BinaryOp::Subtract => a.checked_sub(*b),
            BinaryOp::Multiply => a.checked_mul(*b),
            BinaryOp::Divide => a.checked_rem(*b).filter(|r| *r == 0).and_then(|_| a.checked_div(*b)),
            _ => a.checked_rem(*b),
        }
        .map(Value::Int);
    }
    let (a, b) = (left.as_number()?, right.as_number()?);
    Some(Value::Float(match op {
        BinaryOp::Add => a + b,
        BinaryOp::Subtract => a - b,
        BinaryOp::Multiply => a * b,
        BinaryOp::Divide => a / b,
        _ => a % b,
    }))
}
