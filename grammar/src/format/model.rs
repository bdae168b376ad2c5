//! `model`, `fn` and `repr`.

use std::ops::Range;

use super::columns::{Kind, Printed, braces};
use super::declarations::in_braces;
use super::doc::{Doc, INDENT};
use super::name::{formals, layout};
use super::{Printer, quoted};
use crate::ast::{BinaryOp, Block, ModelArgument, ModelDecl, ModelExpr, ModelExprKind, ReprDecl, Statement};
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
        Printed::doc(Doc::Cat(vec![
            Doc::list(&format!("{keyword} {}(", model.name.text), arguments, ")"),
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
            Part::Result(value) => Printed::doc(model_expr(value)),
        });
        braces(parts, indent)
    }

    fn statement(self, statement: &Statement, indent: usize) -> Printed {
        match statement {
            Statement::Let { names, value, .. } => {
                let names = match names.as_slice() {
                    [one] => one.text.clone(),
                    several => formals(several),
                };
                let text = Doc::Cat(vec![Doc::text(format!("let {names} = ")), model_expr(value)]);
                Printed::row(Kind::Other, &[(0, &text)], text.clone())
            }
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
                model_expr(value),
            ])),
        }
    }
}

fn statement_span(statement: &Statement) -> Span {
    match statement {
        Statement::Let { span, .. } | Statement::For { span, .. } => *span,
    }
}

fn argument(argument: &ModelArgument) -> String {
    match &argument.layout {
        Some(of) => format!("{} {}", argument.name.text, layout(of)),
        None => argument.name.text.clone(),
    }
}

fn model_expr(expr: &ModelExpr) -> Doc {
    let list = |values: &[ModelExpr]| values.iter().map(model_expr).collect::<Vec<Doc>>();
    match &expr.kind {
        ModelExprKind::Number(text) | ModelExprKind::Place(text) => Doc::text(text),
        ModelExprKind::Text(text) => Doc::Text(quoted(text)),
        ModelExprKind::Tuple(values) => Doc::list("(", list(values), ")"),
        ModelExprKind::Call(callee, arguments) => {
            Doc::Cat(vec![model_expr(callee), Doc::list("(", list(arguments), ")")])
        }
        ModelExprKind::Index(of, indices) => {
            Doc::Cat(vec![model_expr(of), Doc::list("[", list(indices), "]")])
        }
        ModelExprKind::Binary(op, left, right) => chain(*op, left, right),
    }
}

/// Sums or products, left to right, broken before each operator.
fn chain(op: BinaryOp, left: &ModelExpr, right: &ModelExpr) -> Doc {
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
        [Doc::Line(1), Doc::text(format!("{} ", op.symbol())), model_expr(operand)]
    });
    Doc::Cat(vec![model_expr(first), Doc::Cat(links.collect()).nest()]).group()
}
