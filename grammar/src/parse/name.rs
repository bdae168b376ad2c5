//! Names of parameters: text, alternatives, indices, labels, stars.

use super::{Node, Rule, bug, expect, ident, layout, span, string, without_keywords};
use crate::ast::{Ident, Index, IndexSet, IndexTerm, Name, Piece};

pub(super) fn parse_name(node: Node<'_>) -> Name {
    let at = span(&node);
    let mut absolute = false;
    let mut pieces = Vec::new();
    for child in node.into_inner() {
        match child.as_rule() {
            Rule::absolute => absolute = true,
            _ => pieces.push(parse_piece(child)),
        }
    }
    Name { absolute, pieces, span: at }
}

fn parse_piece(node: Node<'_>) -> Piece {
    match node.as_rule() {
        Rule::name_text => Piece::Text(ident(&node)),
        Rule::name_quoted => Piece::Quoted(string(expect(node.into_inner().next()))),
        Rule::name_stars if node.as_str() == "*" => Piece::Star,
        Rule::name_stars => Piece::DoubleStar,
        Rule::name_alt => Piece::Alternatives(node.into_inner().map(parse_name).collect()),
        Rule::name_list => Piece::List(node.into_inner().map(parse_name).collect()),
        Rule::name_labels => {
            let mut labels = Vec::new();
            let mut children = node.into_inner();
            while let Some(label) = children.next() {
                labels.push((ident(&label), parse_name(expect(children.next()))));
            }
            Piece::Labels(labels)
        }
        Rule::name_index => Piece::Index(parse_index(node)),
        _ => bug(),
    }
}

fn parse_index(node: Node<'_>) -> Index {
    let mut index = Index { terms: Vec::new(), ranks: Vec::new(), set: None, width: None, span: span(&node) };
    for child in without_keywords(node) {
        match child.as_rule() {
            Rule::index_sum => index.terms = parse_index_sum(child),
            Rule::rank => index.ranks.push(parse_rank(child)),
            Rule::index_set => index.set = Some(parse_index_set(child)),
            Rule::integer => index.width = Some(ident(&child)),
            _ => bug(),
        }
    }
    index
}

pub(super) fn parse_rank(node: Node<'_>) -> Ident {
    ident(&expect(node.into_inner().next()))
}

fn parse_index_sum(node: Node<'_>) -> Vec<IndexTerm> {
    let mut terms = Vec::new();
    let mut sign = 1;
    for child in node.into_inner() {
        match child.as_rule() {
            Rule::sign => sign = if child.as_str() == "-" { -1 } else { 1 },
            _ => terms.push(parse_index_term(child, sign)),
        }
    }
    terms
}

/// A number too large for an index saturates; no template matches it.
fn parse_index_term(node: Node<'_>, sign: i64) -> IndexTerm {
    let mut factor = None;
    let mut axis: Option<Ident> = None;
    for child in node.into_inner() {
        match child.as_rule() {
            Rule::integer => factor = Some(child.as_str().parse().unwrap_or(i64::MAX / 2)),
            _ => axis = Some(ident(&child)),
        }
    }
    IndexTerm { factor: sign * factor.unwrap_or(1), axis }
}

fn parse_index_set(node: Node<'_>) -> IndexSet {
    let mut children = node.into_inner();
    let first = expect(children.next());
    if first.as_rule() == Rule::ident {
        return IndexSet::Named(ident(&first));
    }
    IndexSet::Range(layout::parse_sum(first), layout::parse_sum(expect(children.next())))
}
