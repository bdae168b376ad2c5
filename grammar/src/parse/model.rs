//! `model`, `fn` and `repr`: forward passes and stored representations.

use super::layout::{operator, parse_expr, parse_layout, parse_pattern};
use super::name::parse_name;
use super::{Node, Rule, bug, expect, ident, span, string, without_keywords};
use crate::ast::{
    Block, Ident, ModelArgument, ModelDecl, ModelExpr, ModelExprKind, Operand, ReprDecl, RoutedSum, Statement,
};

pub(super) fn parse_model(node: Node<'_>) -> ModelDecl {
    let at = span(&node);
    let function = node.as_rule() == Rule::function;
    let mut children = without_keywords(node);
    let mut signature = expect(children.next()).into_inner().peekable();
    let name = ident(&expect(signature.next()));
    let over = signature.next_if(|p| p.as_rule() == Rule::over);
    let over = over.map(|p| ident(&expect(without_keywords(p).next())));
    let mut arguments: Vec<ModelArgument> = signature.map(parse_argument).collect();
    let result = expect(arguments.pop());
    let block = parse_block(expect(children.next()));
    ModelDecl { function, name, over, arguments, result, block, span: at }
}

fn parse_argument(node: Node<'_>) -> ModelArgument {
    let mut parts = without_keywords(node);
    let name = ident(&expect(parts.next()));
    let mut argument = ModelArgument { name, optional: false, layout: None, along: None };
    for part in parts {
        match part.as_rule() {
            Rule::optional => argument.optional = true,
            Rule::layout => argument.layout = Some(parse_layout(part)),
            Rule::ident => argument.along = Some(ident(&part)),
            _ => bug(),
        }
    }
    argument
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
            names: first.into_inner().map(parse_bound_name).collect(),
            value: parse_model_expr(expect(parts.next())),
            span: at,
        },
        Rule::for_stmt => Statement::For {
            name: ident(&first),
            over: ident(&expect(parts.next())),
            block: parse_block(expect(parts.next())),
            span: at,
        },
        Rule::unused_stmt => {
            Statement::Unused { name: parse_name(first), reason: string(expect(parts.next())), span: at }
        }
        _ => bug(),
    }
}

/// `q` or `q: query`.
fn parse_bound_name(node: Node<'_>) -> (Option<Ident>, Ident) {
    let mut words: Vec<Ident> = node.into_inner().map(|p| ident(&p)).collect();
    let name = expect(words.pop());
    (words.pop(), name)
}

fn parse_model_expr(node: Node<'_>) -> ModelExpr {
    let first = expect(node.clone().into_inner().next());
    match first.as_rule() {
        Rule::m_if => parse_if(first),
        Rule::m_match => parse_match(first),
        Rule::m_sum => parse_sum(first),
        _ => parse_chain(node, |product| parse_chain(product, parse_postfix)),
    }
}

fn parse_if(node: Node<'_>) -> ModelExpr {
    let at = span(&node);
    let mut parts = without_keywords(node).filter(|p| p.as_rule() != Rule::kw_else);
    let condition = parse_expr(expect(parts.next()));
    let then = parse_block(expect(parts.next()));
    let last = expect(parts.next());
    let otherwise = match last.as_rule() {
        Rule::m_if => {
            let inner = parse_if(last);
            Block { statements: Vec::new(), span: inner.span, result: Some(inner) }
        }
        _ => parse_block(last),
    };
    ModelExpr { kind: ModelExprKind::If(Box::new((condition, then, otherwise))), span: at }
}

fn parse_match(node: Node<'_>) -> ModelExpr {
    let at = span(&node);
    let mut parts = without_keywords(node);
    let on = parse_expr(expect(parts.next()));
    let arm = |p: Node<'_>| {
        let mut parts = p.into_inner();
        (parse_pattern(expect(parts.next())), parse_block(expect(parts.next())))
    };
    ModelExpr { kind: ModelExprKind::Match(Box::new((on, parts.map(arm).collect()))), span: at }
}

fn parse_sum(node: Node<'_>) -> ModelExpr {
    let at = span(&node);
    let mut parts = without_keywords(node);
    let sum = RoutedSum {
        name: ident(&expect(parts.next())),
        over: ident(&expect(parts.next())),
        indices: parse_model_expr(expect(parts.next())),
        weights: parse_model_expr(expect(parts.next())),
        block: parse_block(expect(parts.next())),
    };
    ModelExpr { kind: ModelExprKind::Sum(Box::new(sum)), span: at }
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
        let kind = if call {
            ModelExprKind::Call(Box::new(value), child.into_inner().map(parse_operand).collect())
        } else {
            ModelExprKind::Index(Box::new(value), child.into_inner().map(parse_model_expr).collect())
        };
        value = ModelExpr { kind, span: at };
    }
    value
}

fn parse_operand(node: Node<'_>) -> Operand {
    let mut name = None;
    let mut value = None;
    for part in node.into_inner() {
        match part.as_rule() {
            Rule::ident => name = Some(ident(&part)),
            _ => value = Some(parse_model_expr(part)),
        }
    }
    Operand { name, value: expect(value) }
}

fn parse_primary(node: Node<'_>) -> ModelExpr {
    let at = span(&node);
    let mut children = node.into_inner();
    let inner = expect(children.next());
    let kind = match inner.as_rule() {
        Rule::number => ModelExprKind::Number(inner.as_str().to_owned()),
        Rule::string => ModelExprKind::Text(string(inner).text),
        Rule::place => ModelExprKind::Place(inner.as_str().to_owned()),
        Rule::m_join => {
            let part = |p: Node<'_>| {
                let mut parts = p.into_inner();
                (ident(&expect(parts.next())), parse_model_expr(expect(parts.next())))
            };
            ModelExprKind::Join(inner.into_inner().map(part).collect())
        }
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
