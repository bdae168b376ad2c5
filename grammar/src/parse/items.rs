//! Modules, layouts, rules and what stands among rules.

use super::config::{parse_config, parse_side};
use super::layout::{parse_expr, parse_layout, parse_layout_expr, parse_pattern};
use super::model::{parse_model, parse_repr};
use super::name::parse_name;
use super::{Node, Rule as Syntax, bug, expect, ident, span, string, without_keywords};
use crate::ast::{
    Affine, Alternative, Arrow, Drop, Emit, Ident, Import, Item, LayoutDef, ModuleDecl, ModuleParam, Rule,
    RuleMatch, RuleOption, RuleOptionKind, RuleSide, Term, TermContent, Tie, When,
};

pub(super) fn parse_item(node: Node<'_>) -> Item {
    match node.as_rule() {
        Syntax::import => Item::Import(parse_import(node)),
        Syntax::side => Item::Side(parse_side(node)),
        Syntax::config => Item::Config(parse_config(node)),
        Syntax::module => Item::Module(parse_module(node)),
        Syntax::layout_def => Item::Layout(parse_layout_def(node)),
        Syntax::model | Syntax::function => Item::Model(parse_model(node)),
        Syntax::repr => Item::Repr(parse_repr(node)),
        Syntax::rule_line => Item::Rule(Box::new(parse_rule(node))),
        Syntax::when => Item::When(parse_when(node)),
        Syntax::rule_match => Item::Match(parse_rule_match(node)),
        Syntax::drop => Item::Drop(parse_drop(node)),
        Syntax::emit => Item::Emit(parse_emit(node)),
        Syntax::tie => Item::Tie(parse_tie(node)),
        _ => bug(),
    }
}

fn parse_import(node: Node<'_>) -> Import {
    let at = span(&node);
    let named = expect(without_keywords(node).next());
    let by_path = named.as_rule() == Syntax::string;
    Import { name: if by_path { string(named) } else { ident(&named) }, by_path, span: at }
}

fn parse_layout_def(node: Node<'_>) -> LayoutDef {
    let at = span(&node);
    let mut children = without_keywords(node);
    let name = ident(&expect(children.next()));
    LayoutDef { name, value: parse_layout_expr(expect(children.next())), span: at }
}

fn parse_module(node: Node<'_>) -> ModuleDecl {
    let at = span(&node);
    let mut children = without_keywords(node);
    let name = ident(&expect(children.next()));
    let mut formals = Vec::new();
    let mut kind = None;
    let mut params = Vec::new();
    for child in children {
        match child.as_rule() {
            Syntax::ident => formals.push(ident(&child)),
            Syntax::module_kind => kind = child.into_inner().next().map(|p| ident(&p)),
            _ => params.push(parse_module_param(child)),
        }
    }
    ModuleDecl { name, formals, kind, params, span: at }
}

fn parse_module_param(node: Node<'_>) -> ModuleParam {
    let at = span(&node);
    let mut slot = None;
    let mut name = None;
    let mut optional = false;
    let mut layout = None;
    let mut affine = Vec::new();
    let mut cast = None;
    for child in node.into_inner() {
        match child.as_rule() {
            Syntax::slot => {
                let mut parts = child.into_inner();
                slot = parts.next().map(|p| ident(&p));
                optional |= parts.next().is_some();
            }
            Syntax::name => name = Some(parse_name(child)),
            Syntax::optional => optional = true,
            Syntax::stored_layout => layout = Some(parse_layout_expr(child)),
            Syntax::affine => affine.push(parse_affine(child)),
            Syntax::cast => cast = Some(parse_cast(child)),
            _ => bug(),
        }
    }
    ModuleParam { slot, name: expect(name), optional, layout: expect(layout), affine, cast, span: at }
}

fn parse_affine(node: Node<'_>) -> Affine {
    let at = span(&node);
    let mut parts = node.into_inner();
    let op = expect(expect(parts.next()).as_str().chars().next());
    Affine { op, number: ident(&expect(parts.next())), span: at }
}

fn parse_cast(node: Node<'_>) -> Ident {
    ident(&expect(without_keywords(node).next()))
}

pub(super) fn parse_arrow(node: &Node<'_>) -> Arrow {
    match node.as_str().trim() {
        "<=>" => Arrow::Both,
        "=>" => Arrow::Right,
        _ => Arrow::Left,
    }
}

fn parse_rule(node: Node<'_>) -> Rule {
    let at = span(&node);
    let mut children = node.into_inner();
    let left = parse_rule_side(expect(children.next()));
    let arrow = expect(children.next());
    let right = parse_rule_side(expect(children.next()));
    let mut options = Vec::new();
    let mut body = None;
    for child in children {
        match child.as_rule() {
            Syntax::body => body = Some(parse_body(child)),
            _ => options.push(parse_rule_option(child)),
        }
    }
    Rule { left, arrow: parse_arrow(&arrow), arrow_span: span(&arrow), right, options, body, span: at }
}

fn parse_body(node: Node<'_>) -> Vec<Item> {
    node.into_inner().map(parse_item).collect()
}

fn parse_rule_side(node: Node<'_>) -> RuleSide {
    let inner = expect(node.into_inner().next());
    let at = span(&inner);
    match inner.as_rule() {
        Syntax::term => RuleSide::Term(Box::new(parse_term(inner))),
        Syntax::term_alt => RuleSide::Alternatives(inner.into_inner().map(parse_alternative).collect(), at),
        Syntax::term_block => {
            let labelled = |p: Node<'_>| {
                let mut parts = p.into_inner();
                (ident(&expect(parts.next())), parse_term(expect(parts.next())))
            };
            RuleSide::Labelled(inner.into_inner().map(labelled).collect(), at)
        }
        _ => bug(),
    }
}

fn parse_alternative(node: Node<'_>) -> Alternative {
    let mut children = without_keywords(node);
    let term = parse_term(expect(children.next()));
    Alternative { term, condition: children.next().map(parse_expr) }
}

fn parse_term(node: Node<'_>) -> Term {
    let at = span(&node);
    let mut children = node.into_inner();
    let name = parse_name(expect(children.next()));
    let mut term =
        Term { name, optional: false, content: TermContent::Bare, affine: Vec::new(), cast: None, span: at };
    for child in children {
        match child.as_rule() {
            Syntax::optional => term.optional = true,
            Syntax::kind_use => {
                let mut parts = child.into_inner();
                let kind = ident(&expect(parts.next()));
                term.content = TermContent::Kind(kind, parts.map(parse_layout_expr).collect());
            }
            Syntax::stored_layout => term.content = TermContent::Layout(parse_layout_expr(child)),
            Syntax::affine => term.affine.push(parse_affine(child)),
            Syntax::cast => term.cast = Some(parse_cast(child)),
            _ => bug(),
        }
    }
    term
}

fn parse_rule_option(node: Node<'_>) -> RuleOption {
    let at = span(&node);
    let rule = node.as_rule();
    let mut parts = without_keywords(node);
    let word = ident(&expect(parts.next()));
    let kind = match rule {
        Syntax::fill => RuleOptionKind::Fill(word, parts.map(|p| ident(&p)).collect()),
        Syntax::on => RuleOptionKind::On(word),
        Syntax::replicas => RuleOptionKind::Replicas(word),
        _ => bug(),
    };
    RuleOption { kind, span: at }
}

fn parse_when(node: Node<'_>) -> When {
    let at = span(&node);
    let mut children = without_keywords(node).filter(|p| p.as_rule() != Syntax::kw_else);
    let condition = parse_expr(expect(children.next()));
    let then = parse_body(expect(children.next()));
    let otherwise = children.next().map(|last| match last.as_rule() {
        Syntax::when => vec![Item::When(parse_when(last))],
        _ => parse_body(last),
    });
    When { condition, then, otherwise, span: at }
}

fn parse_rule_match(node: Node<'_>) -> RuleMatch {
    let at = span(&node);
    let mut children = without_keywords(node);
    let scrutinee = parse_expr(expect(children.next()));
    let arm = |p: Node<'_>| {
        let mut parts = p.into_inner();
        (parse_pattern(expect(parts.next())), parse_body(expect(parts.next())))
    };
    RuleMatch { scrutinee, arms: children.map(arm).collect(), span: at }
}

pub(super) fn parse_drop(node: Node<'_>) -> Drop {
    let at = span(&node);
    let (side, parts) = split_side(node);
    let mut names = Vec::new();
    let mut reason = None;
    for part in parts {
        match part.as_rule() {
            Syntax::name => names.push(parse_name(part)),
            _ => reason = Some(string(part)),
        }
    }
    Drop { side, names, reason, span: at }
}

fn parse_emit(node: Node<'_>) -> Emit {
    let at = span(&node);
    let (side, mut parts) = split_side(node);
    let name = parse_name(expect(parts.next()));
    let layout = parse_layout(expect(parts.next()));
    let mut cast = None;
    let mut value = None;
    for part in parts {
        match part.as_rule() {
            Syntax::cast => cast = Some(parse_cast(part)),
            Syntax::emit_value => value = Some(ident(&part)),
            _ => bug(),
        }
    }
    Emit { side, name, layout, cast, value: expect(value), span: at }
}

fn parse_tie(node: Node<'_>) -> Tie {
    let at = span(&node);
    let (side, mut parts) = split_side(node);
    let alias = parse_name(expect(parts.next()));
    let of = parse_name(expect(parts.next()));
    let on = parts.next().map(|on| ident(&expect(without_keywords(on).next())));
    Tie { side, alias, of, on, span: at }
}

/// The side before a colon, if one is named, and the other children.
pub(super) fn split_side(node: Node<'_>) -> (Option<Ident>, impl Iterator<Item = Node<'_>>) {
    let mut parts = without_keywords(node).peekable();
    let side =
        parts.next_if(|p| p.as_rule() == Syntax::on_side).map(|p| ident(&expect(p.into_inner().next())));
    (side, parts)
}
