//! `model`, `fn` and `repr`: forward passes and stored representations.

use super::layout::{operator, parse_layout};
use super::name::parse_name;
use super::{Node, Rule, bug, expect, ident, span, string, without_keywords};
use crate::ast::{Block, ModelArgument, ModelDecl, ModelExpr, ModelExprKind, ReprDecl, Statement};

pub(super) fn parse_model(node: Node<'_>) -> ModelDecl {
    let at = span(&node);
    let function = node.as_rule() == Rule::function;
    let mut children = without_keywords(node);
    let mut signature = expect(children.next()).into_inner();
    let name = ident(&expect(signature.next()));
    let mut arguments: Vec<ModelArgument> = signature.map(parse_argument).collect();
    let result = expect(arguments.pop());
    ModelDecl { function, name, arguments, result, block: parse_block(expect(children.next())), span: at }
}

fn parse_argument(node: Node<'_>) -> ModelArgument {
    let mut parts = node.into_inner();
    ModelArgument { name: ident(&expect(parts.next())), layout: parts.next().map(parse_layout) }
}

fn parse_block(node: Node<'_>) -> Block {
    let at = span(&node);
    let mut statements = Vec::new();
    let mut result = None;
    for child in node.into_inner() {
        match child.as_rule() {
            Rule::m_expr => result = Some(parse_model_expr(child)),
            _ => statements.push(parse_statement(child)),
        }
    }
    Block { statements, result, span: at }
}

fn parse_statement(node: Node<'_>) -> Statement {
    let at = span(&node);
    let rule = node.as_rule();
    let mut parts = without_keywords(node);
    let first = expect(parts.next());
    match rule {
        Rule::let_stmt => Statement::Let {
            names: first.into_inner().map(|p| ident(&p)).collect(),
            value: parse_model_expr(expect(parts.next())),
            span: at,
        },
        Rule::for_stmt => Statement::For {
            name: ident(&first),
            over: ident(&expect(parts.next())),
            block: parse_block(expect(parts.next())),
            span: at,
        },
        _ => bug(),
    }
}

fn parse_model_expr(node: Node<'_>) -> ModelExpr {
    parse_chain(node, |product| parse_chain(product, parse_postfix))
}

fn parse_chain(node: Node<'_>, operand: fn(Node<'_>) -> ModelExpr) -> ModelExpr {
    let mut children = node.into_inner();
    let mut left = operand(expect(children.next()));
    while let Some(op) = children.next() {
        let right = operand(expect(children.next()));
        let at = left.span.to(right.span);
        let kind = ModelExprKind::Binary(operator(&op), Box::new(left), Box::new(right));
        left = ModelExpr { kind, span: at };
    }
    left
}

fn parse_postfix(node: Node<'_>) -> ModelExpr {
    let mut children = node.into_inner();
    let mut value = parse_primary(expect(children.next()));
    for child in children {
        let at = value.span.to(span(&child));
        let call = child.as_rule() == Rule::m_call;
        let arguments = child.into_inner().map(parse_model_expr).collect();
        let kind = if call {
            ModelExprKind::Call(Box::new(value), arguments)
        } else {
            ModelExprKind::Index(Box::new(value), arguments)
        };
        value = ModelExpr { kind, span: at };
    }
    value
}

fn parse_primary(node: Node<'_>) -> ModelExpr {
    let at = span(&node);
    let mut children = node.into_inner();
    let inner = expect(children.next());
    let kind = match inner.as_rule() {
        Rule::number => ModelExprKind::Number(inner.as_str().to_owned()),
        Rule::string => ModelExprKind::Text(string(inner).text),
        Rule::place => ModelExprKind::Place(inner.as_str().to_owned()),
        Rule::m_expr => {
            let first = parse_model_expr(inner);
            ModelExprKind::Tuple(std::iter::once(first).chain(children.map(parse_model_expr)).collect())
        }
        _ => bug(),
    };
    ModelExpr { kind, span: at }
}

pub(super) fn parse_repr(node: Node<'_>) -> ReprDecl {
    let at = span(&node);
    let mut children = without_keywords(node);
    let name = ident(&expect(children.next()));
    let mut repr = ReprDecl { name, formals: Vec::new(), params: Vec::new(), value: None, span: at };
    for child in children {
        match child.as_rule() {
            Rule::ident => repr.formals.push(ident(&child)),
            Rule::repr_param => {
                let mut parts = child.into_inner();
                let name = parse_name(expect(parts.next()));
                let dtype = ident(&expect(parts.next()));
                repr.params.push((name, dtype, parse_layout(expect(parts.next()))));
            }
            Rule::m_expr => repr.value = Some(parse_model_expr(child)),
            _ => bug(),
        }
    }
    repr
}
