//! Values: what an expression computes, and the type it has.

use super::Forward;
use super::catalogue::Target;
use super::shape::{extents, numbers};
use super::word::Found;
use crate::ast::{BinaryOp, Ident, ModelExpr, ModelExprKind};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::mapping::{AxisId, FieldId};
use crate::model::{Dim, Element, Part, Scalar, ScalarOp, Value, ValueKind};
use crate::source::Span;
use crate::value::{Environment, Value as ConfigValue};

/// Values inside one another, those of unfolded functions among them, that no model has; later passes are recursive.
const MAX_VALUES: usize = 512;

impl<'a> Forward<'_, 'a> {
    pub(super) fn value(&mut self, expr: &'a ModelExpr) -> Option<Value> {
        if self.depth >= MAX_VALUES {
            self.too_many_calls(expr.span);
            return None;
        }
        self.depth += 1;
        let value = self.value_of(expr);
        self.depth -= 1;
        value
    }

    fn value_of(&mut self, expr: &'a ModelExpr) -> Option<Value> {
        match &expr.kind {
            ModelExprKind::Number(text) => self.number(text, expr.span),
            ModelExprKind::Text(_) => {
                self.wrong_operand(expr.span, "a text is no value", "a value is needed here", "name a value");
                None
            }
            ModelExprKind::Place(text) => self.word(text, expr.span),
            ModelExprKind::Tuple(inner) => match inner.as_slice() {
                [one] => self.value(one),
                _ => {
                    self.wrong_operand(
                        expr.span,
                        "several values stand where one is needed",
                        "a list of values",
                        "put them into one value as labelled parts: `(gate: a | up: b)`",
                    );
                    None
                }
            },
            ModelExprKind::Call(base, operands) => self.call(base, operands, expr.span),
            ModelExprKind::Index(base, indices) => self.gather(base, indices, expr.span),
            ModelExprKind::Binary(op, left, right) => self.binary(*op, left, right, expr.span),
            ModelExprKind::If(choice) => {
                let (condition, then, otherwise) = &**choice;
                self.choose_if(condition, then, otherwise, expr.span)
            }
            ModelExprKind::Match(choice) => self.choose_match(&choice.0, &choice.1, expr.span),
            ModelExprKind::Sum(sum) => self.routed(sum, expr.span),
            ModelExprKind::Join(parts) => self.join(parts, expr.span),
        }
    }

    fn number(&mut self, text: &str, span: Span) -> Option<Value> {
        let number: f64 = text.parse().expect("bug: a number of the grammar is none of Rust's");
        if !number.is_finite() {
            let message = format!("`{text}` is too large a number");
            self.wrong_operand(span, &message, "not finite in 64 bits", "write a smaller one");
            return None;
        }
        let kind = ValueKind::Scalar(Scalar::Number(number));
        Some(Value { kind, ty: numbers(Vec::new()), span })
    }

    pub(super) fn wrong_operand(&mut self, span: Span, message: &str, label: &str, help: &str) {
        self.error(Diagnostic::error(Code::WrongOperand, span, message, label).help(help));
    }

    /// A value whose elements are numbers, and not coordinates.
    pub(super) fn numeric(&mut self, expr: &'a ModelExpr) -> Option<Value> {
        let value = self.value(expr)?;
        self.check_numeric(&value)?;
        Some(value)
    }

    pub(super) fn check_numeric(&mut self, value: &Value) -> Option<()> {
        let of = match value.ty.element {
            Element::Number => return Some(()),
            Element::Position => "positions".to_owned(),
            Element::Index(axis) => format!("coordinates of `{}`", self.resolver.mapping.axis(axis).name),
        };
        self.wrong_operand(
            value.span,
            &format!("these are {of}, and no numbers to compute with"),
            &of,
            "look up their rows in a table: `table[x]`",
        );
        None
    }

    /// A value with axes.
    pub(super) fn tensor(&mut self, expr: &'a ModelExpr) -> Option<Value> {
        let value = self.numeric(expr)?;
        if value.ty.dims.is_empty() {
            self.wrong_operand(
                value.span,
                "a single number stands where a value with axes is needed",
                "a number",
                "give it a value that has axes",
            );
            return None;
        }
        Some(value)
    }

    /// A number that config decides.
    pub(super) fn scalar(&mut self, expr: &'a ModelExpr) -> Option<Scalar> {
        let value = self.value(expr)?;
        if let ValueKind::Scalar(scalar) = value.kind {
            return Some(scalar);
        }
        let shown = self.show_type(&value.ty);
        self.wrong_operand(
            value.span,
            &format!("a number is needed here, and this is {shown}"),
            "not a number that config decides",
            "write a number, a config value, or arithmetic over these",
        );
        None
    }

    /// A row of a table for each index.
    fn gather(&mut self, base: &'a ModelExpr, indices: &'a [ModelExpr], span: Span) -> Option<Value> {
        let ModelExprKind::Place(text) = &base.kind else {
            self.wrong_operand(
                base.span,
                "only a parameter has rows",
                "this is a value",
                "name a parameter before `[…]`",
            );
            return None;
        };
        let [index] = indices else {
            self.wrong_operand(span, "a table has one index", "several are given", "write `table[x]`");
            return None;
        };
        let (place, module) = match self.find(text) {
            Found::Target(Target::Parameter(place)) => (place, None),
            Found::Target(Target::Module(module)) => {
                let id = self.module(module, base.span)?;
                let declaration = self.catalogue.modules[module].declaration;
                let kind = declaration.kind.as_ref().map(|k| k.text.as_str()).unwrap_or_default();
                if kind != "embedding" {
                    self.wrong_operand(
                        base.span,
                        &format!("`{text}` is a `{kind}`, which has no rows to look up"),
                        "not a table",
                        &format!("give it a value: `{text}(x)`; a table has the kind `embedding`"),
                    );
                    return None;
                }
                (*self.catalogue.modules[module].parameters.first()?, Some(id))
            }
            Found::Lost => return None,
            Found::Variable(_) | Found::Number(_) | Found::Target(Target::Scope(_)) => {
                self.wrong_operand(
                    base.span,
                    &format!("`{text}` has no rows to look up"),
                    "no parameter",
                    "name a parameter before `[…]`",
                );
                return None;
            }
            Found::Nothing => {
                self.unknown_name(text, base.span);
                return None;
            }
        };
        let index = self.value(index)?;
        self.check_given(place, base.span)?;
        let (table, operands) = self.parameter(place, base.span)?;
        let (rows, rest) = operands.split_first()?;
        self.check_rows(&rows.dims, &index, text, base.span)?;
        let dims = index.ty.dims.iter().chain(rest.iter().flat_map(|o| &o.dims)).cloned().collect();
        let kind = ValueKind::Gather { table, module, index: Box::new(index) };
        Some(Value { kind, ty: numbers(dims), span })
    }

    fn check_rows(&mut self, rows: &[Dim], index: &Value, table: &str, at: Span) -> Option<()> {
        let shown = self.show(rows);
        let of = match (index.ty.element, rows) {
            (Element::Position, [Dim::Axis(_, None)]) => return Some(()),
            (Element::Index(axis), [Dim::Axis(rows, None)]) if axis == *rows => return Some(()),
            (Element::Position, _) => "these are positions".to_owned(),
            (Element::Index(axis), _) => {
                format!("these are coordinates of `{}`", self.resolver.mapping.axis(axis).name)
            }
            (Element::Number, _) => "these are numbers, and no coordinates".to_owned(),
        };
        let axis = shown.trim_matches(['[', ']']).to_owned();
        let help = match index.ty.element {
            Element::Number => {
                format!("an argument with coordinates is declared like `ids [batch seq] in {axis}`")
            }
            _ => "look up a table that has rows for these coordinates".to_owned(),
        };
        self.error(
            Diagnostic::error(
                Code::WrongTable,
                index.span,
                format!("the rows of `{table}` are over `{axis}`, and {of}"),
                of,
            )
            .with(at, format!("rows over `{axis}`"))
            .help(help),
        );
        None
    }

    fn binary(
        &mut self,
        op: BinaryOp,
        left: &'a ModelExpr,
        right: &'a ModelExpr,
        span: Span,
    ) -> Option<Value> {
        let scalar_op = match op {
            BinaryOp::Add => ScalarOp::Add,
            BinaryOp::Subtract => ScalarOp::Subtract,
            BinaryOp::Multiply => ScalarOp::Multiply,
            BinaryOp::Divide => ScalarOp::Divide,
            _ => {
                self.wrong_operand(
                    span,
                    &format!("a model does not compute `{}`", op.symbol()),
                    "not an operation of values",
                    "values are combined by `+`, `-`, `*` and `/`",
                );
                return None;
            }
        };
        let (left, right) = (self.numeric(left), self.numeric(right));
        let (left, right) = (left?, right?);
        if let (ValueKind::Scalar(a), ValueKind::Scalar(b)) = (&left.kind, &right.kind) {
            let scalar = Scalar::Binary(scalar_op, Box::new(a.clone()), Box::new(b.clone()));
            return self.computed(scalar, span);
        }
        let (large, small) =
            if left.ty.dims.len() >= right.ty.dims.len() { (&left, &right) } else { (&right, &left) };
        if !is_within(&small.ty.dims, &large.ty.dims) {
            self.unlike_sum(op, &left, &right);
            return None;
        }
        let ty = large.ty.clone();
        let kind = ValueKind::Binary { op: scalar_op, left: Box::new(left), right: Box::new(right) };
        Some(Value { kind, ty, span })
    }

    /// A number that is computed, in a bounded number of steps; finite, as far as that shows without a config.
    pub(super) fn computed(&mut self, scalar: Scalar, span: Span) -> Option<Value> {
        if steps(&scalar) > MAX_STEPS {
            self.wrong_operand(
                span,
                &format!("this number takes more than {MAX_STEPS} steps of arithmetic"),
                "too long",
                "compute it in `config`",
            );
            return None;
        }
        if scalar.evaluate(&Nothing).is_some_and(|number| !number.is_finite()) {
            self.wrong_operand(
                span,
                "this number is not finite",
                "divided by zero, the root of a negative number, or too large",
                "write one that is",
            );
            return None;
        }
        Some(Value { kind: ValueKind::Scalar(scalar), ty: numbers(Vec::new()), span })
    }

    fn unlike_sum(&mut self, op: BinaryOp, left: &Value, right: &Value) {
        let (a, b) = (self.show(&left.ty.dims), self.show(&right.ty.dims));
        let same = left.ty.dims.len() == right.ty.dims.len()
            && left.ty.dims.iter().all(|d| right.ty.dims.contains(d));
        let why = if same {
            "their axes are in another order".to_owned()
        } else {
            self.meets(&left.ty.dims, &right.ty.dims)
        };
        let (does, help) = match op {
            BinaryOp::Add | BinaryOp::Subtract => ("added", "only values over the same axes are added"),
            _ => ("multiplied", "element by element, only values over the same axes are multiplied"),
        };
        self.error(
            Diagnostic::error(
                Code::AxesDiffer,
                right.span,
                format!("values over unlike axes cannot be {does}: {why}"),
                format!("this is {b}"),
            )
            .with(left.span, format!("this is {a}"))
            .help(format!("{help}; one may lack some of the other's, in which it is repeated")),
        );
    }

    /// `(gate: a | up: b)`.
    fn join(&mut self, parts: &'a [(Ident, ModelExpr)], span: Span) -> Option<Value> {
        let labels: Vec<&Ident> = parts.iter().map(|(label, _)| label).collect();
        let distinct = self.resolver.label_set(&labels).is_some();
        let values: Vec<Option<Value>> = parts.iter().map(|(_, value)| self.numeric(value)).collect();
        let values: Vec<Value> = values.into_iter().collect::<Option<_>>()?;
        let first = values.first()?;
        let shared = first.ty.dims[..extents(&first.ty.dims)].to_vec();
        for other in &values[1..] {
            let own = &other.ty.dims[..extents(&other.ty.dims)];
            if own != shared {
                let (a, b) = (self.show(&shared), self.show(own));
                self.error(
                    Diagnostic::error(
                        Code::AxesDiffer,
                        other.span,
                        "parts of one value are over unlike axes of the input",
                        format!("this is over {b}"),
                    )
                    .with(first.span, format!("this is over {a}"))
                    .help("parts lie side by side for each coordinate of the input"),
                );
                return None;
            }
        }
        let part = |(label, value): (&Ident, &Value)| Part {
            label: label.text.clone(),
            dims: value.ty.dims[shared.len()..].to_vec(),
        };
        let size: usize = values.iter().map(|v| parts_in(&v.ty.dims)).sum();
        if size > MAX_PARTS {
            self.error(
                Diagnostic::error(
                    Code::LayoutTooWide,
                    span,
                    format!("this value has more than {MAX_PARTS} parts"),
                    "its parts multiply",
                )
                .help("join values that are over fewer parts"),
            );
            return None;
        }
        let sum = Dim::Sum(labels.iter().copied().zip(&values).map(part).collect());
        let dims = shared.iter().cloned().chain([sum]).collect();
        let kind = ValueKind::Join { parts: values };
        distinct.then_some(Value { kind, ty: numbers(dims), span })
    }
}

/// What is known without a checkpoint.
struct Nothing;

impl Environment for Nothing {
    fn field(&self, _: FieldId) -> Option<ConfigValue> {
        None
    }

    fn place(&self, _: &str) -> Option<ConfigValue> {
        None
    }

    fn index(&self, _: AxisId) -> Option<u64> {
        None
    }
}

/// More arithmetic than any number of a model needs.
const MAX_STEPS: usize = 1024;

/// More parts than any value of a model has.
const MAX_PARTS: usize = 4096;

/// How many operations a number takes.
fn steps(scalar: &Scalar) -> usize {
    match scalar {
        Scalar::Number(_) | Scalar::Config(_) | Scalar::Index(_) => 0,
        Scalar::Sqrt(inner) => 1 + steps(inner),
        Scalar::Binary(_, a, b) => 1 + steps(a) + steps(b),
    }
}

/// How many axes and labels there are.
fn parts_in(dims: &[Dim]) -> usize {
    let inside = |dim: &Dim| match dim {
        Dim::Extent(_) | Dim::Axis(..) => 1,
        Dim::Sum(parts) => parts.iter().map(|p| 1 + parts_in(&p.dims)).sum(),
    };
    dims.iter().map(inside).sum()
}

/// Whether some of these dimensions, in this order, are the others.
fn is_within(some: &[Dim], all: &[Dim]) -> bool {
    let mut rest = all.iter();
    some.iter().all(|dim| rest.any(|other| other == dim))
}
