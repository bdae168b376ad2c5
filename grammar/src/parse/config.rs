//! `side` and `config` blocks.

use super::items::{parse_arrow, parse_drop, split_side};
use super::layout::{parse_expr, parse_sum};
use super::name::parse_name;
use super::{Node, Rule, bug, expect, ident, span, string, without_keywords};
use crate::ast::{
    ConfigDecl, ConfigLine, ConfigLineKind, Default, Field, FieldSource, Ident, PlainKey, SideDecl,
    SideEntry, SideEntryKind,
};

pub(super) fn parse_side(node: Node<'_>) -> SideDecl {
    let at = span(&node);
    let mut children = without_keywords(node);
    let name = ident(&expect(children.next()));
    SideDecl { name, entries: children.map(parse_side_entry).collect(), span: at }
}

fn parse_side_entry(node: Node<'_>) -> SideEntry {
    let at = span(&node);
    let rule = node.as_rule();
    let kind = match rule {
        Rule::drop => SideEntryKind::Drop(parse_drop(node)),
        Rule::rank_decl => parse_rank_decl(node),
        Rule::documents => SideEntryKind::Documents(
            without_keywords(node)
                .map(|document| {
                    let mut parts = without_keywords(document);
                    (ident(&expect(parts.next())), parts.next().map(|alias| ident(&alias)))
                })
                .collect(),
        ),
        Rule::parameters => SideEntryKind::Parameters(without_keywords(node).map(parse_name).collect()),
        Rule::nested => SideEntryKind::Nested(without_keywords(node).map(parse_name).collect()),
        Rule::detect => SideEntryKind::Detect(without_keywords(node).map(parse_name).collect()),
        Rule::family => parse_family(node),
        Rule::plain => parse_plain(node),
        Rule::ignored => {
            let (document, keys) = split_document(node);
            SideEntryKind::Ignored { document, keys: keys.map(|key| ident(&key)).collect() }
        }
        Rule::default_dtype => SideEntryKind::DType(ident(&expect(without_keywords(node).next()))),
        Rule::keeps => SideEntryKind::Keeps(ident(&expect(without_keywords(node).next()))),
        Rule::format => SideEntryKind::Format(ident(&expect(without_keywords(node).next()))),
        _ => bug(),
    };
    SideEntry { kind, span: at }
}

fn parse_family(node: Node<'_>) -> SideEntryKind {
    let mut children = without_keywords(node);
    let place = ident(&expect(children.next()));
    SideEntryKind::Family { place, names: children.map(string).collect() }
}

fn parse_plain(node: Node<'_>) -> SideEntryKind {
    let (document, keys) = split_document(node);
    let keys = keys.map(|key| {
        let mut parts = key.into_inner();
        let key = ident(&expect(parts.next()));
        PlainKey { key, values: parts.map(parse_expr).collect() }
    });
    SideEntryKind::Plain { document, keys: keys.collect() }
}

/// The document that stands before a list of keys, and the keys.
fn split_document(node: Node<'_>) -> (Option<Ident>, impl Iterator<Item = Node<'_>>) {
    let mut children = without_keywords(node).peekable();
    let document = children.next_if(|child| child.as_rule() == Rule::in_document);
    (document.map(|document| ident(&expect(document.into_inner().next()))), children)
}

fn parse_rank_decl(node: Node<'_>) -> SideEntryKind {
    let mut children = without_keywords(node);
    let name = ident(&expect(children.next()));
    let mut places = Vec::new();
    let mut default = None;
    for child in children {
        match child.as_rule() {
            Rule::places => places = child.into_inner().map(|p| ident(&p)).collect(),
            Rule::expr => default = Some(parse_expr(child)),
            Rule::kw_else => {}
            _ => bug(),
        }
    }
    SideEntryKind::Rank { name, places, default }
}

pub(super) fn parse_config(node: Node<'_>) -> ConfigDecl {
    let at = span(&node);
    ConfigDecl { lines: without_keywords(node).map(parse_config_line).collect(), span: at }
}

fn parse_config_line(node: Node<'_>) -> ConfigLine {
    let at = span(&node);
    let rule = node.as_rule();
    if rule == Rule::field {
        return ConfigLine { kind: ConfigLineKind::Field(parse_field(node)), span: at };
    }
    let (side, parts) = split_side(node);
    let mut parts = parts.filter(|p| p.as_rule() != Rule::kw_else);
    let first = expect(parts.next());
    let kind = match rule {
        Rule::require => {
            let message = string(expect(parts.next()));
            ConfigLineKind::Require { side, condition: parse_expr(first), message }
        }
        Rule::note => {
            ConfigLineKind::Note { side, message: string(first), condition: parts.next().map(parse_expr) }
        }
        Rule::index_decl => ConfigLineKind::Index {
            name: ident(&first),
            from: parse_sum(expect(parts.next())),
            to: parse_sum(expect(parts.next())),
        },
        Rule::to_left => {
            ConfigLineKind::ToLeft { place: ident(&first), value: parse_expr(expect(parts.next())) }
        }
        Rule::to_right => {
            ConfigLineKind::ToRight { value: parse_expr(first), place: ident(&expect(parts.next())) }
        }
        _ => bug(),
    };
    ConfigLine { kind, span: at }
}

fn parse_field(node: Node<'_>) -> Field {
    let mut children = node.into_inner();
    let name = ident(&expect(children.next()));
    let mut field = Field { name, ty: None, source: None, target: None, defaults: Vec::new() };
    let mut arrow = None;
    for child in children {
        match child.as_rule() {
            Rule::ident => field.ty = Some(ident(&child)),
            Rule::places => {
                let places = child.into_inner().map(|p| ident(&p)).collect();
                match arrow {
                    Some((kind, at)) => field.target = Some((kind, at, places)),
                    None => field.source = Some(FieldSource::Places(places)),
                }
            }
            Rule::arrow => arrow = Some((parse_arrow(&child), span(&child))),
            Rule::default => field.defaults.push(parse_default(child)),
            Rule::expr => field.source = Some(FieldSource::Expr(parse_expr(child))),
            _ => bug(),
        }
    }
    field
}

fn parse_default(node: Node<'_>) -> Default {
    let at = span(&node);
    let mut parts = node.into_inner().filter(|p| p.as_rule() != Rule::kw_else).peekable();
    let side = parts.next_if(|p| p.as_rule() == Rule::on_side);
    let side = side.map(|side| ident(&expect(side.into_inner().next())));
    Default { side, value: parse_expr(expect(parts.next())), span: at }
}
