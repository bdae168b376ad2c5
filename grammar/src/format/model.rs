//! `model`, `fn` and `repr`.

use std::ops::Range;

use super::columns::{Kind, Printed, braces};
use super::declarations::in_braces;
use super::doc::{Doc, INDENT};
use super::name::{formals, layout};
use super::{Printer, quoted};
use crate::ast::{
    BinaryOp, Block, Expr, Ident, ModelArgument, ModelDecl, ModelExpr, ModelExprKind, Operand, Pattern,
    ReprDecl, Statement,
};
use crate::source::Span;

/// What stands in a block.
enum Part<'a> {
    Statement(&'a Statement),
    Result(&'a ModelExpr),
}

impl Printer<'_> {
    pub(super) fn model(self, model: &ModelDecl, indent: usize) -> Printed {
        let keyword = if model.function { "fn" } else { "model" };
        let arguments = model.arguments.iter().map(|a| Doc::Text(argument(a))).collect();
        let over = model.over.as_ref().map_or(String::new(), |side| format!(" over {} ", side.text));
        Printed::doc(Doc::Cat(vec![
            Doc::list(&format!("{keyword} {}{over}(", model.name.text), arguments, ")"),
            Doc::text(format!(" -> {} ", argument(&model.result))),
            self.block(&model.block, indent),
        ]))
    }

    fn block(self, block: &Block, indent: usize) -> Doc {
        let inside = self.trivia.braces_at_end(block.span);
        let statements = block.statements.iter().map(|s| (statement_span(s), Part::Statement(s)));
        let result = block.result.iter().map(|r| (r.span, Part::Result(r)));
        let parts = self.trivia.sequence(statements.chain(result), inside, |part| match part {
            Part::Statement(statement) => self.statement(statement, indent + INDENT),
            Part::Result(value) => Printed::doc(self.model_expr(value, indent + INDENT)),
        });
        braces(parts, indent)
    }

    fn statement(self, statement: &Statement, indent: usize) -> Printed {
        match statement {
            Statement::Let { names, value, .. } => {
                let bound = |(label, name): &(Option<Ident>, Ident)| match label {
                    Some(label) => format!("{}: {}", label.text, name.text),
                    None => name.text.clone(),
                };
                let names = match names.as_slice() {
                    [one] => bound(one),
                    several => format!("({})", several.iter().map(bound).collect::<Vec<_>>().join(", ")),
                };
                let value = self.model_expr(value, indent);
                let text = Doc::Cat(vec![Doc::text(format!("let {names} = ")), value]);
                Printed::row(Kind::Other, &[(0, &text)], text.clone())
            }
            Statement::Unused { name, reason, .. } => Printed::doc(Doc::text(format!(
                "unused {} because {}",
                self.name(name),
                quoted(&reason.text)
            ))),
            Statement::For { name, over, block, .. } => Printed::doc(Doc::Cat(vec![
                Doc::text(format!("for {} in {} ", name.text, over.text)),
                self.block(block, indent),
            ])),
        }
    }

    pub(super) fn repr(self, repr: &ReprDecl, indent: usize) -> Printed {
        let formals = if repr.formals.is_empty() { String::new() } else { formals(&repr.formals) };
        let head = format!("repr {}{formals}", repr.name.text);
        let inside: Range<usize> = self.trivia.braces_after(repr.name.span.end);
        let params = repr
            .params
            .iter()
            .map(|(name, dtype, layout)| (name.span.to(layout.span), (name, dtype, layout)));
        let params = self.trivia.sequence(params, inside, |(name, dtype, of)| {
            let name = Doc::Text(self.name(name));
            let dtype = Doc::text(&dtype.text);
            let layout = Doc::Text(layout(of));
            let broken = [name.clone(), Doc::text(" "), dtype.clone(), Doc::text(" "), layout.clone()];
            Printed::row(Kind::Parameter, &[(0, &name), (1, &dtype), (1, &layout)], Doc::Cat(broken.into()))
        });
        let printed = in_braces(&head, params, indent);
        match &repr.value {
            None => printed,
            Some(value) => Printed::doc(Doc::Cat(vec![
                printed.into_doc(super::doc::WIDTH.saturating_sub(indent)),
                Doc::text(" = "),
                self.model_expr(value, indent),
            ])),
        }
    }

    fn model_expr(self, expr: &ModelExpr, indent: usize) -> Doc {
        let list = |values: &[ModelExpr]| -> Vec<Doc> {
            values.iter().map(|value| self.model_expr(value, indent)).collect()
        };
        match &expr.kind {
            ModelExprKind::Number(text) | ModelExprKind::Place(text) => Doc::text(text),
            ModelExprKind::Text(text) => Doc::Text(quoted(text)),
            ModelExprKind::Tuple(values) => Doc::list("(", list(values), ")"),
            ModelExprKind::Call(callee, operands) => {
                let operand = |operand: &Operand| match &operand.name {
                    Some(name) => named(name, self.model_expr(&operand.value, indent)),
                    None => self.model_expr(&operand.value, indent),
                };
                let operands = operands.iter().map(operand).collect();
                Doc::Cat(vec![self.model_expr(callee, indent), Doc::list("(", operands, ")")])
            }
            ModelExprKind::Index(of, indices) => {
                Doc::Cat(vec![self.model_expr(of, indent), Doc::list("[", list(indices), "]")])
            }
            ModelExprKind::Binary(op, left, right) => self.model_chain(*op, left, right, indent),
            ModelExprKind::If(choice) => self.model_if(choice, indent),
            ModelExprKind::Match(choice) => self.model_match(choice, expr.span, indent),
            ModelExprKind::Sum(sum) => Doc::Cat(vec![
                Doc::text(format!("sum {} in {}[", sum.name.text, sum.over.text)),
                self.model_expr(&sum.indices, indent),
                Doc::text("] weighted "),
                self.model_expr(&sum.weights, indent),
                Doc::text(" "),
                self.block(&sum.block, indent),
            ]),
            ModelExprKind::Join(parts) => {
                let mut docs = vec![Doc::text("(")];
                for (i, (label, value)) in parts.iter().enumerate() {
                    docs.push(Doc::text(if i > 0 { " | " } else { "" }));
                    docs.push(named(label, self.model_expr(value, indent)));
                }
                docs.push(Doc::text(")"));
                Doc::Cat(docs)
            }
        }
    }

    fn model_if(self, (condition, then, otherwise): &(Expr, Block, Block), indent: usize) -> Doc {
        // What follows `else` is in braces unless it is another `if`.
        let otherwise = match (otherwise.statements.as_slice(), &otherwise.result) {
            ([], Some(inner)) if inner.span == otherwise.span => self.model_expr(inner, indent),
            _ => self.block(otherwise, indent),
        };
        Doc::Cat(vec![
            Doc::text(format!("if {} ", self.inline(condition))),
            self.block(then, indent),
            Doc::text(" else "),
            otherwise,
        ])
    }

    fn model_match(self, (on, arms): &(Expr, Vec<(Pattern, Block)>), span: Span, indent: usize) -> Doc {
        let head = Doc::text(format!("match {} ", self.inline(on)));
        let inside = self.trivia.braces_at_end(span);
        let arms = arms.iter().map(|arm| (arm.0.span.to(arm.1.span), arm));
        let arms = self.trivia.sequence(arms, inside, |(pattern, block)| {
            Printed::doc(Doc::Cat(vec![
                Doc::text(format!("{} => ", self.pattern(pattern))),
                self.block(block, indent + INDENT),
            ]))
        });
        Doc::Cat(vec![head, braces(arms, indent)])
    }

    /// Sums or products, left to right, broken before each operator.
    fn model_chain(self, op: BinaryOp, left: &ModelExpr, right: &ModelExpr, indent: usize) -> Doc {
        let is_sum = |op: BinaryOp| matches!(op, BinaryOp::Add | BinaryOp::Subtract);
        let mut links = vec![(op, right)];
        let mut first = left;
        while let ModelExprKind::Binary(inner, left, right) = &first.kind
            && is_sum(*inner) == is_sum(op)
        {
            links.push((*inner, right));
            first = left;
        }
        let links = links.into_iter().rev().flat_map(|(op, operand)| {
            [Doc::Line(1), Doc::text(format!("{} ", op.symbol())), self.model_expr(operand, indent)]
        });
        Doc::Cat(vec![self.model_expr(first, indent), Doc::Cat(links.collect()).nest()]).group()
    }
}

fn named(name: &Ident, value: Doc) -> Doc {
    Doc::Cat(vec![Doc::text(format!("{}: ", name.text)), value])
}

fn statement_span(statement: &Statement) -> Span {
    match statement {
        Statement::Let { span, .. } | Statement::For { span, .. } | Statement::Unused { span, .. } => *span,
    }
}

fn argument(argument: &ModelArgument) -> String {
    let mut text = argument.name.text.clone();
    if argument.optional {
        text.push('?');
    }
    if let Some(of) = &argument.layout {
        text.push_str(&format!(" {}", layout(of)));
    }
    if let Some(along) = &argument.along {
        text.push_str(&format!(" in {}", along.text));
    }
    text
}
