//! Choices over config: each branch is a block, and all have one type.

use super::Forward;
use super::shape::numbers;
use crate::ast;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::mapping::{Guard, Type};
use crate::model::{Block, Value, ValueKind};
use crate::source::Span;
use crate::value::{Expr, ExprKind, Pattern, PatternChoice, Value as ConfigValue};

impl<'a> Forward<'_, 'a> {
    pub(super) fn choose_if(
        &mut self,
        condition: &'a ast::Expr,
        then: &'a ast::Block,
        otherwise: &'a ast::Block,
        span: Span,
    ) -> Option<Value> {
        let on = self.decision(condition, true);
        let at = condition.span;
        let patterns = vec![Pattern::truth(at), Pattern::any(at)];
        self.choose(on, patterns, &[then, otherwise], span)
    }

    pub(super) fn choose_match(
        &mut self,
        on: &'a ast::Expr,
        arms: &'a [(ast::Pattern, ast::Block)],
        span: Span,
    ) -> Option<Value> {
        let on = self.decision(on, false);
        let written: Vec<&ast::Pattern> = arms.iter().map(|(pattern, _)| pattern).collect();
        let patterns = self.resolver.resolve_patterns(&written);
        if !exhaustive(&patterns) {
            self.error(
                Diagnostic::error(
                    Code::MissingArm,
                    span,
                    "this choice does not say what happens otherwise",
                    "a value that no arm takes has no model",
                )
                .help("end it with an arm `_ => { … }`"),
            );
            return None;
        }
        let blocks: Vec<&ast::Block> = arms.iter().map(|(_, block)| block).collect();
        self.choose(on, patterns, &blocks, span)
    }

    /// What is decided on: config alone, so that it is decided when the model is loaded.
    fn decision(&mut self, written: &'a ast::Expr, condition: bool) -> Option<Expr> {
        let on = self.resolver.resolve_expr(written, None)?;
        let mut indexed = false;
        on.visit(&mut |e| {
            indexed |= matches!(e.kind, ExprKind::Index(_) | ExprKind::Ranks(_) | ExprKind::OutputDtype);
        });
        if indexed {
            self.error(
                Diagnostic::error(
                    Code::WrongCondition,
                    written.span,
                    "a model cannot decide by an index, a number of ranks or a dtype of output",
                    "only config values can be asked here",
                )
                .help("decide by config values; parameters that differ by layer need rules of one form"),
            );
            return None;
        }
        if condition && let ExprKind::Field(field) = on.kind {
            let ty = self.resolver.mapping.field(field).ty;
            if matches!(ty, Type::Text | Type::List | Type::Float) {
                let name = self.resolver.mapping.field(field).name.clone();
                let help = match ty {
                    Type::Text => format!("compare it: `{name} == \"…\"`"),
                    _ => format!("compare it, or ask whether it is known: `present({name})`"),
                };
                self.wrong_config(
                    field,
                    "is used as a condition",
                    "a condition is needed here",
                    written.span,
                    help,
                );
                return None;
            }
        }
        if condition
            && let ExprKind::Literal(value) = &on.kind
            && !matches!(value, ConfigValue::Bool(_))
        {
            self.error(
                Diagnostic::error(
                    Code::WrongCondition,
                    written.span,
                    "this condition is a constant",
                    "always decided alike",
                )
                .help("decide by a config value"),
            );
            return None;
        }
        Some(on)
    }

    fn choose(
        &mut self,
        on: Option<Expr>,
        mut patterns: Vec<Pattern>,
        blocks: &[&'a ast::Block],
        span: Span,
    ) -> Option<Value> {
        let choice = on.as_ref().and_then(|on| self.resolver.known_choice(on, &patterns));
        let around = self.context.clone();
        let mut lowered: Vec<Option<Block>> = Vec::new();
        for (branch, block) in blocks.iter().enumerate() {
            if let Some(inside) = choice.map(|choice| around.and(&Guard(vec![(choice, branch)]))) {
                // A branch that the choices around rule out is still typed, as if it could be taken.
                self.context = inside.unwrap_or_else(|| around.clone());
            }
            lowered.push(self.block(block, span));
            self.context = around.clone();
        }
        let lowered: Vec<Block> = lowered.into_iter().collect::<Option<_>>()?;
        let on = on?;
        let first = lowered.first()?;
        for other in &lowered[1..] {
            if other.result.ty != first.result.ty {
                let (a, b) = (self.show_type(&first.result.ty), self.show_type(&other.result.ty));
                self.error(
                    Diagnostic::error(
                        Code::BranchType,
                        other.result.span,
                        format!("the branches of this choice differ: {a} and {b}"),
                        format!("this is {b}"),
                    )
                    .with(first.result.span, format!("this is {a}"))
                    .help("all branches lead to values over the same axes"),
                );
                return None;
            }
        }
        if let Some(last) = patterns.last_mut() {
            *last = Pattern::any(last.span);
        }
        let ty = if first.result.ty.dims.is_empty() { numbers(Vec::new()) } else { first.result.ty.clone() };
        let arms = patterns.into_iter().zip(lowered).collect();
        Some(Value { kind: ValueKind::Choose { on, arms }, ty, span })
    }
}

/// Whether every value fits one of these.
fn exhaustive(patterns: &[Pattern]) -> bool {
    let truth = |b| patterns.iter().any(|p| p.choices.contains(&PatternChoice::Is(ConfigValue::Bool(b))));
    patterns.iter().any(Pattern::is_any) || (truth(true) && truth(false))
}
