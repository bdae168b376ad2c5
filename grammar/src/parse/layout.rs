//! Layouts, and the expressions that choose among them.

use super::{Node, Rule, bug, expect, ident, name, span, string, without_keywords};
use crate::ast::{
    BinaryOp, Dim, DimKind, Expr, ExprKind, If, Layout, LayoutExpr, Match, Pattern, PatternChoice,
};

pub(super) fn parse_layout(node: Node<'_>) -> Layout {
    Layout { span: span(&node), dims: node.into_inner().map(parse_dim).collect() }
}

/// A `layout_expr`, or a `stored_layout`, which is one without bare dims.
pub(super) fn parse_layout_expr(node: Node<'_>) -> LayoutExpr {
    let inner = expect(node.into_inner().next());
    match inner.as_rule() {
        Rule::layout => LayoutExpr::Layout(parse_layout(inner)),
        Rule::dim => LayoutExpr::Dim(parse_dim(inner)),
        Rule::layout_match => LayoutExpr::Match(parse_match(inner, parse_layout_expr)),
        Rule::layout_if => parse_layout_if(inner),
        _ => bug(),
    }
}

fn parse_layout_if(node: Node<'_>) -> LayoutExpr {
    LayoutExpr::If(parse_if(node, parse_layout_expr, parse_layout_if, Rule::layout_if))
}

fn parse_dim(node: Node<'_>) -> Dim {
    let at = span(&node);
    let mut role = None;
    let mut kind = None;
    for child in node.into_inner() {
        match (child.as_rule(), &mut kind) {
            (Rule::role, _) => role = Some(ident(&expect(child.into_inner().next()))),
            (Rule::rank, Some(DimKind::Group { ranks, .. })) => ranks.push(name::parse_rank(child)),
            _ => kind = Some(parse_dim_kind(child)),
        }
    }
    Dim { role, kind: expect(kind), span: at }
}

fn parse_dim_kind(node: Node<'_>) -> DimKind {
    match node.as_rule() {
        Rule::group => DimKind::Group {
            arms: node.into_inner().map(|arm| arm.into_inner().map(parse_dim).collect()).collect(),
            ranks: Vec::new(),
        },
        Rule::pad => DimKind::Pad,
        Rule::broadcast => DimKind::Broadcast(ident(&expect(node.into_inner().next()))),
        Rule::unit => DimKind::Unit(ident(&node)),
        Rule::axis => {
            let mut children = node.into_inner();
            let axis = ident(&expect(children.next()));
            let mut index = None;
            let mut ranks = Vec::new();
            for child in children {
                match child.as_rule() {
                    Rule::axis_index => index = Some(ident(&expect(child.into_inner().next()))),
                    _ => ranks.push(name::parse_rank(child)),
                }
            }
            DimKind::Axis { name: axis, index, ranks }
        }
        _ => bug(),
    }
}

// ------------------------------------------------------------------ choices

fn parse_match<T>(node: Node<'_>, value: fn(Node<'_>) -> T) -> Match<T> {
    let at = span(&node);
    let mut children = without_keywords(node);
    let scrutinee = parse_expr(expect(children.next()));
    let arms = children
        .map(|arm| {
            let mut parts = arm.into_inner();
            (parse_pattern(expect(parts.next())), value(expect(parts.next())))
        })
        .collect();
    Match { scrutinee, arms, span: at }
}

fn parse_if<T>(node: Node<'_>, value: fn(Node<'_>) -> T, nested: fn(Node<'_>) -> T, rule: Rule) -> If<T> {
    let at = span(&node);
    let mut children = without_keywords(node).filter(|p| p.as_rule() != Rule::kw_else);
    let condition = parse_expr(expect(children.next()));
    let then = Box::new(value(expect(children.next())));
    let last = expect(children.next());
    let otherwise = Box::new(if last.as_rule() == rule { nested(last) } else { value(last) });
    If { condition, then, otherwise, span: at }
}

pub(super) fn parse_pattern(node: Node<'_>) -> Pattern {
    Pattern { span: span(&node), choices: node.into_inner().map(parse_pattern_choice).collect() }
}

fn parse_pattern_choice(node: Node<'_>) -> PatternChoice {
    let inner = expect(node.into_inner().next());
    match inner.as_rule() {
        Rule::pad => PatternChoice::Any,
        Rule::number => PatternChoice::Number(inner.as_str().to_owned()),
        Rule::string => PatternChoice::Text(string(inner).text),
        Rule::ident => PatternChoice::Word(ident(&inner)),
        Rule::pattern_range => {
            let open_start = inner.as_str().starts_with("..");
            let mut ends = inner.into_inner().map(|p| p.as_str().to_owned());
            let (first, second) = (ends.next(), ends.next());
            if open_start { PatternChoice::Range(None, first) } else { PatternChoice::Range(first, second) }
        }
        _ => bug(),
    }
}

// ------------------------------------------------------------------ expressions

pub(super) fn parse_expr(node: Node<'_>) -> Expr {
    let inner = expect(node.into_inner().next());
    match inner.as_rule() {
        Rule::if_expr => parse_if_expr(inner),
        Rule::match_expr => {
            let at = span(&inner);
            Expr { kind: ExprKind::Match(Box::new(parse_match(inner, parse_expr))), span: at }
        }
        Rule::or_expr => parse_or(inner),
        _ => bug(),
    }
}

fn parse_if_expr(node: Node<'_>) -> Expr {
    let at = span(&node);
    let kind = ExprKind::If(Box::new(parse_if(node, parse_expr, parse_if_expr, Rule::if_expr)));
    Expr { kind, span: at }
}

fn binary(op: BinaryOp, left: Expr, right: Expr) -> Expr {
    let span = left.span.to(right.span);
    Expr { kind: ExprKind::Binary(op, Box::new(left), Box::new(right)), span }
}

fn parse_or(node: Node<'_>) -> Expr {
    let terms = node.into_inner().filter(|p| p.as_rule() != Rule::kw_or).map(parse_and);
    expect(terms.reduce(|a, b| binary(BinaryOp::Or, a, b)))
}

fn parse_and(node: Node<'_>) -> Expr {
    let terms = node.into_inner().filter(|p| p.as_rule() != Rule::kw_and).map(parse_not);
    expect(terms.reduce(|a, b| binary(BinaryOp::And, a, b)))
}

fn parse_not(node: Node<'_>) -> Expr {
    let at = span(&node);
    let inner = expect(without_keywords(node).next());
    if inner.as_rule() == Rule::not_expr {
        return Expr { kind: ExprKind::Not(Box::new(parse_not(inner))), span: at };
    }
    parse_chain(inner, parse_sum)
}

pub(super) fn parse_sum(node: Node<'_>) -> Expr {
    parse_chain(node, |product| parse_chain(product, parse_operand))
}

/// `operand (op operand)*`, left to right.
fn parse_chain(node: Node<'_>, operand: fn(Node<'_>) -> Expr) -> Expr {
    let mut children = node.into_inner();
    let mut left = operand(expect(children.next()));
    while let Some(op) = children.next() {
        left = binary(operator(&op), left, operand(expect(children.next())));
    }
    left
}

pub(super) fn operator(node: &Node<'_>) -> BinaryOp {
    let symbol = node.as_str().trim();
    expect(BinaryOp::ALL.into_iter().find(|op| op.symbol() == symbol))
}

fn parse_operand(node: Node<'_>) -> Expr {
    let at = span(&node);
    let inner = expect(node.into_inner().next());
    let kind = match inner.as_rule() {
        Rule::number => ExprKind::Number(inner.as_str().to_owned()),
        Rule::string => ExprKind::Text(string(inner).text),
        Rule::list => ExprKind::List(inner.into_inner().map(parse_expr).collect()),
        Rule::present => ExprKind::Present(ident(&expect(without_keywords(inner).next()))),
        Rule::place => ExprKind::Place(inner.as_str().to_owned()),
        Rule::expr => ExprKind::Paren(Box::new(parse_expr(inner))),
        _ => bug(),
    };
    Expr { kind, span: at }
}
