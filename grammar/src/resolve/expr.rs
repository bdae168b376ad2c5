//! Expressions: words become config values, indices or places.

use super::{Resolver, Space};
use crate::ast::{self, BinaryOp, Ident};
use crate::code::Code;
use crate::diagnostic::{Diagnostic, nearest};
use crate::mapping::{Choice, ChoiceId, RankId, SideId};
use crate::size::{Size, Symbol};
use crate::source::Span;
use crate::value::{BlocksWord, Expr, ExprKind, Operator, Pattern, PatternChoice, Value};

impl<'a> Resolver<'a> {
    /// Resolves an expression whose places are those of `side`; without one, places are errors.
    pub(super) fn resolve_expr(&mut self, expr: &ast::Expr, side: Option<SideId>) -> Option<Expr> {
        let kind = match &expr.kind {
            ast::ExprKind::Number(text) => ExprKind::Literal(number(text)),
            ast::ExprKind::Text(text) => ExprKind::Literal(Value::Text(text.clone())),
            ast::ExprKind::List(items) => {
                ExprKind::List(items.iter().map(|i| self.resolve_expr(i, side)).collect::<Option<_>>()?)
            }
            ast::ExprKind::Place(text) => self.resolve_word(text, expr.span, side)?,
            ast::ExprKind::Present(place) => match self.resolve_word(&place.text, place.span, side)? {
                ExprKind::Place(path) => ExprKind::Present(path),
                ExprKind::Field(field) => ExprKind::Known(field),
                _ => ExprKind::Literal(Value::Bool(true)),
            },
            ast::ExprKind::Not(inner) => ExprKind::Not(Box::new(self.resolve_expr(inner, side)?)),
            ast::ExprKind::Paren(inner) => return self.resolve_expr(inner, side),
            ast::ExprKind::Binary(op, a, b) => {
                let (a, b) = (self.resolve_expr(a, side), self.resolve_expr(b, side));
                ExprKind::Binary(Operator(*op), Box::new(a?), Box::new(b?))
            }
            ast::ExprKind::If(choice) => {
                let condition = self.resolve_expr(&choice.condition, side);
                let then = self.resolve_expr(&choice.then, side);
                let otherwise = self.resolve_expr(&choice.otherwise, side);
                let at = choice.condition.span;
                let arms = vec![(Pattern::truth(at), then?), (Pattern::any(at), otherwise?)];
                ExprKind::Match(Box::new(condition?), arms)
            }
            ast::ExprKind::Match(choice) => {
                let scrutinee = self.resolve_expr(&choice.scrutinee, side);
                let patterns: Vec<&ast::Pattern> = choice.arms.iter().map(|(p, _)| p).collect();
                let patterns = self.resolve_patterns(&patterns);
                let values: Vec<Option<Expr>> =
                    choice.arms.iter().map(|(_, v)| self.resolve_expr(v, side)).collect();
                let values: Option<Vec<Expr>> = values.into_iter().collect();
                ExprKind::Match(Box::new(scrutinee?), patterns.into_iter().zip(values?).collect())
            }
        };
        Some(Expr { kind, span: expr.span })
    }

    fn resolve_word(&mut self, text: &str, span: Span, side: Option<SideId>) -> Option<ExprKind> {
        match text {
            "true" => return Some(ExprKind::Literal(Value::Bool(true))),
            "false" => return Some(ExprKind::Literal(Value::Bool(false))),
            "null" => return Some(ExprKind::Literal(Value::Null)),
            "output.dtype" => return Some(ExprKind::OutputDtype),
            _ => {}
        }
        let word = Ident { text: text.to_owned(), span };
        if let Some(field) = self.field_named(text) {
            self.mark_used(Space::Config, &word);
            return Some(ExprKind::Field(field));
        }
        if let Some(axis) = self.axes_by_name.get(text) {
            return Some(ExprKind::Index(*axis));
        }
        if let Some(rank) = self.rank_named(text, side) {
            return Some(ExprKind::Ranks(rank));
        }
        if let Some((rank, word)) = text.split_once('.')
            && let Some(rank) = self.rank_named(rank, side)
        {
            return self.blocks_word(rank, word, span);
        }
        let Some(side) = side else {
            // `layer`, where `layers` is a config value and no name has had the index yet.
            if self.field_named(&format!("{text}s")).is_some() {
                return self.axis(&word).map(ExprKind::Index);
            }
            self.not_config(&word);
            return None;
        };
        self.check_place(&word, side);
        Some(ExprKind::Place(text.to_owned()))
    }

    /// What a word asks of the blocks along a rank axis.
    fn blocks_word(&mut self, rank: RankId, word: &str, span: Span) -> Option<ExprKind> {
        if let Some(known) = BlocksWord::ALL.into_iter().find(|w| w.name() == word) {
            return Some(ExprKind::Blocks(rank, known));
        }
        let name = self.mapping.ranks[rank.index()].name.clone();
        let words = BlocksWord::ALL.map(BlocksWord::name);
        let diagnostic = Diagnostic::error(
            Code::UnknownConfig,
            span,
            format!("`{name}.{word}` is no config value"),
            format!("`{name}` is a rank axis"),
        )
        .note(format!("of its blocks can be asked {}", words.map(|w| format!("`{name}.{w}`")).join(", ")));
        self.error(match nearest(word, words) {
            Some(near) => diagnostic.help(format!("did you mean `{name}.{near}`?")),
            None => diagnostic.help(format!("write `{name}` alone for the number of ranks")),
        });
        None
    }

    /// The rank axis of this name: of two sides that have one, of `side`.
    fn rank_named(&self, text: &str, side: Option<SideId>) -> Option<RankId> {
        let ranks = &self.mapping.ranks;
        let own = ranks.iter().position(|r| r.name == text && Some(r.side) == side);
        own.or_else(|| ranks.iter().position(|r| r.name == text)).map(RankId::from_index)
    }

    /// Choices over layouts and rules must come out the same whichever side is read.
    fn not_config(&mut self, word: &Ident) {
        if self.diagnostics.is_full() {
            return;
        }
        let fields: Vec<String> = self.mapping.config.fields.iter().map(|f| f.name.clone()).collect();
        let mut diagnostic = Diagnostic::error(
            Code::UnknownConfig,
            word.span,
            format!("`{}` is no config value", word.text),
            "only config values and indices can be asked here",
        );
        diagnostic = match nearest(&word.text, fields.iter().map(String::as_str)) {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => diagnostic
                .note("a layout or rule must be decided alike from either side")
                .help(format!("give it a name in `config`, such as `value = {}`, and use that", word.text)),
        };
        self.error(diagnostic);
    }

    /// A word in a size.
    fn not_declared(&mut self, word: &Ident) {
        if self.diagnostics.is_full() {
            return;
        }
        let fields: Vec<String> = self.mapping.config.fields.iter().map(|f| f.name.clone()).collect();
        let diagnostic = Diagnostic::error(
            Code::UnknownConfig,
            word.span,
            format!("`{}` is no config value", word.text),
            "a size is made of config values",
        );
        self.error(match nearest(&word.text, fields.iter().map(String::as_str)) {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => diagnostic.help(format!(
                "declare it in `config`: `{0}` alone where names and shapes tell it, `{0} = PLACE` where a document does",
                word.text
            )),
        });
    }

    pub(super) fn resolve_patterns(&mut self, patterns: &[&ast::Pattern]) -> Vec<Pattern> {
        let mut seen: Vec<Pattern> = Vec::new();
        for pattern in patterns {
            let choices = pattern.choices.iter().map(pattern_choice).collect();
            let resolved = Pattern { choices, span: pattern.span };
            let taken =
                |p: &&Pattern| resolved.choices.iter().all(|c| p.choices.iter().any(|p| covers(p, c)));
            let earlier = seen.iter().find(taken);
            if let Some(earlier) = earlier {
                let by = earlier.span;
                self.error(
                    Diagnostic::error(
                        Code::UnreachableArm,
                        pattern.span,
                        "this arm is never taken",
                        "never reached",
                    )
                    .with(by, "this arm stands before it and takes all of it")
                    .help("remove it, or put it before the more general one"),
                );
            }
            seen.push(resolved);
        }
        seen
    }

    /// A decision that layouts or rules depend on. Two with the same text are the same decision.
    pub(super) fn choice(&mut self, on: Expr, patterns: Vec<Pattern>, span: Span) -> ChoiceId {
        let key = self.choice_key(&on, &patterns);
        if let Some(known) = self.choices_by_text.get(&key) {
            return *known;
        }
        let id = ChoiceId::from_index(self.mapping.choices.len());
        self.mapping.choices.push(Choice { on, patterns, span });
        self.choices_by_text.insert(key, id);
        id
    }

    /// The decision that is written just so in a layout or over rules, if there is one.
    pub(super) fn known_choice(&self, on: &Expr, patterns: &[Pattern]) -> Option<ChoiceId> {
        self.choices_by_text.get(&self.choice_key(on, patterns)).copied()
    }

    fn choice_key(&self, on: &Expr, patterns: &[Pattern]) -> String {
        let mut key = self.source.slice(on.span).to_owned();
        for pattern in patterns {
            key.push('\n');
            key.push_str(&format!("{:?}", pattern.choices));
        }
        key
    }

    /// An expression as a size: sums, differences and products of config values and whole numbers.
    pub(super) fn size(&mut self, expr: &ast::Expr) -> Option<Size> {
        match &expr.kind {
            ast::ExprKind::Number(text) => {
                if let Ok(n) = text.parse() {
                    return Some(Size::constant(n));
                }
                self.not_a_size(expr.span);
                None
            }
            ast::ExprKind::Place(text) => {
                let word = Ident { text: text.clone(), span: expr.span };
                let Some(field) = self.field_named(text) else {
                    self.not_declared(&word);
                    return None;
                };
                self.mark_used(Space::Config, &word);
                Some(Size::symbol(Symbol::Field(field)))
            }
            ast::ExprKind::Paren(inner) => self.size(inner),
            ast::ExprKind::Binary(op, a, b) => {
                let (left, right) = (self.size(a), self.size(b));
                match op {
                    BinaryOp::Add => Some(left?.plus(&right?)),
                    BinaryOp::Subtract => Some(left?.minus(&right?)),
                    BinaryOp::Multiply => {
                        let (left, right) = (left?, right?);
                        // Sums that are multiplied out grow with each factor, and so do their terms.
                        let terms = left.terms().count().saturating_mul(right.terms().count());
                        self.charge(terms.saturating_mul(terms), expr.span)?;
                        Some(left.times(&right))
                    }
                    _ => {
                        self.not_a_size(expr.span);
                        None
                    }
                }
            }
            _ => {
                self.not_a_size(expr.span);
                None
            }
        }
    }

    fn not_a_size(&mut self, span: Span) {
        self.error(
            Diagnostic::error(
                Code::NotASize,
                span,
                "this is no size",
                "a size is made of config values and whole numbers by `+`, `-` and `*`",
            )
            .help("for a quotient, write the equation the other way round: `hidden = heads * head_dim`"),
        );
    }
}

/// Whether everything that fits `narrow` fits `wide`.
fn covers(wide: &PatternChoice, narrow: &PatternChoice) -> bool {
    match (wide, narrow) {
        (PatternChoice::Any, _) => true,
        (PatternChoice::Range(from, to), PatternChoice::Is(value)) => {
            value.as_number().is_some_and(|x| from.is_none_or(|from| x >= from) && to.is_none_or(|to| x < to))
        }
        (PatternChoice::Range(from, to), PatternChoice::Range(f, t)) => {
            from.is_none_or(|from| f.is_some_and(|f| f >= from))
                && to.is_none_or(|to| t.is_some_and(|t| t <= to))
        }
        _ => wide == narrow,
    }
}

fn number(text: &str) -> Value {
    text.parse().map(Value::Int).or_else(|_| text.parse().map(Value::Float)).unwrap_or(Value::Null)
}

fn pattern_choice(choice: &ast::PatternChoice) -> PatternChoice {
    match choice {
        ast::PatternChoice::Any => PatternChoice::Any,
        ast::PatternChoice::Number(text) => PatternChoice::Is(number(text)),
        ast::PatternChoice::Range(from, to) => {
            // The grammar's numbers are all numbers to Rust.
            let end = |text: &Option<String>| text.as_ref().and_then(|t| t.parse().ok());
            PatternChoice::Range(end(from), end(to))
        }
        ast::PatternChoice::Text(text) => PatternChoice::Is(Value::Text(text.clone())),
        ast::PatternChoice::Word(word) => PatternChoice::Is(Value::parse(&word.text)),
    }
}
