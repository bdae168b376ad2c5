//! Text to syntax tree. After this pass the tree says what was written; no name in it has been looked up.

mod config;
mod error;
mod form;
mod hint;
mod items;
mod layout;
mod limit;
mod model;
mod name;
mod recover;

pub(crate) use limit::MAX_TEXT;
pub(crate) use recover::parse_recovering;

use pest::Parser;
use pest::iterators::Pair;

use crate::ast::{File, Ident, Item};
use crate::diagnostic::Diagnostic;
use crate::source::{Part, Span};

#[derive(pest_derive::Parser)]
#[grammar = "mapping.pest"]
struct MappingParser;

/// A node of pest's tree, with the place in the source at which the text that was parsed begins.
#[derive(Clone)]
struct Node<'a> {
    pair: Pair<'a, Rule>,
    begin: usize,
}

impl<'a> Node<'a> {
    fn as_rule(&self) -> Rule {
        self.pair.as_rule()
    }

    fn as_str(&self) -> &'a str {
        self.pair.as_str()
    }

    fn into_inner(self) -> impl Iterator<Item = Node<'a>> {
        let begin = self.begin;
        self.pair.into_inner().map(move |pair| Node { pair, begin })
    }
}

/// Parses a whole mapping's or library's text; spans count from where it begins in its source.
pub(crate) fn parse_part(part: &Part) -> Result<File, Box<Diagnostic>> {
    limit::check_length(part)?;
    parse_file(&part.text, part.start)
}

/// Parses a text that begins with a header; spans count from `begin`.
fn parse_file(text: &str, begin: usize) -> Result<File, Box<Diagnostic>> {
    let mut children = parse_rule(Rule::file, text, begin)?;
    let header = expect(children.next());
    let mut words = header.into_inner().filter(|p| p.as_rule() == Rule::ident).map(|p| ident(&p));
    let name = expect(words.next());
    let sides = <[Ident; 2]>::try_from(words.collect::<Vec<_>>()).ok();
    let items = children.filter(|p| p.as_rule() != Rule::EOI).map(items::parse_item).collect();
    Ok(File { name, sides, items })
}

/// Parses a text of items alone.
fn parse_items(text: &str, begin: usize) -> Result<Vec<Item>, Box<Diagnostic>> {
    let children = parse_rule(Rule::items, text, begin)?;
    Ok(children.filter(|p| p.as_rule() != Rule::EOI).map(items::parse_item).collect())
}

/// What a rule for a whole text holds.
fn parse_rule(
    rule: Rule,
    text: &str,
    begin: usize,
) -> Result<impl Iterator<Item = Node<'_>>, Box<Diagnostic>> {
    let parsed = limit::check_text(text).and_then(|()| {
        let pairs = MappingParser::parse(rule, text)
            .map_err(|e| Box::new(error::syntax_error(text, rule, begin, &e)))?;
        limit::check_tree(text, pairs.clone())?;
        Ok(pairs)
    });
    let mut pairs = parsed.map_err(|mut error| {
        error.shift(begin);
        error
    })?;
    Ok(pairs.next().into_iter().flat_map(move |pair| Node { pair, begin }.into_inner()))
}

fn span(node: &Node<'_>) -> Span {
    let at = node.pair.as_span();
    let start = node.begin + at.start();
    Span::new(start, start + without_trailing_space(at.as_str()).len())
}

/// Without the white space and comments at the end, which pest's spans of rules with optional last parts include.
fn without_trailing_space(text: &str) -> &str {
    let mut text = text.trim_end();
    while let Some(comment) = comment_in_last_line(text) {
        text = text[..comment].trim_end();
    }
    text
}

/// Where the comment in the last line starts. Neither strings nor comments go over the end of a line.
fn comment_in_last_line(text: &str) -> Option<usize> {
    let start = text.rfind('\n').map_or(0, |end| end + 1);
    let bytes = text.as_bytes();
    let mut at = start;
    let mut quoted = false;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => quoted = !quoted,
            b'\\' if quoted => at += 1,
            b'/' if !quoted && bytes.get(at + 1) == Some(&b'/') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

fn ident(node: &Node<'_>) -> Ident {
    Ident { text: node.as_str().to_owned(), span: span(node) }
}

/// A string literal; its escapes are `\"`, `\\` and `\n`.
fn string(node: Node<'_>) -> Ident {
    let at = span(&node);
    let raw = node.into_inner().next().map(|p| p.as_str().to_owned()).unwrap_or_default();
    let mut text = String::new();
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => text.push('\n'),
                Some(other) => text.push(other),
                None => {}
            },
            other => text.push(other),
        }
    }
    Ident { text, span: at }
}

/// A child that the grammar promises.
fn expect<T>(child: Option<T>) -> T {
    child.unwrap_or_else(|| bug())
}

#[cold]
fn bug() -> ! {
    unreachable!("the grammar and the tree builder disagree; this is a bug in transship-grammar")
}

/// The child of a keyword clause that follows its keyword.
fn without_keywords<'a>(node: Node<'a>) -> impl Iterator<Item = Node<'a>> {
    node.into_inner().filter(|p| !is_keyword(p.as_rule()))
}

fn is_keyword(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::kw_mapping
            | Rule::kw_library
            | Rule::kw_import
            | Rule::kw_side
            | Rule::kw_config
            | Rule::kw_module
            | Rule::kw_layout
            | Rule::kw_model
            | Rule::kw_fn
            | Rule::kw_repr
            | Rule::kw_when
            | Rule::kw_if
            | Rule::kw_match
            | Rule::kw_drop
            | Rule::kw_emit
            | Rule::kw_tie
            | Rule::kw_because
            | Rule::kw_as
            | Rule::kw_fill
            | Rule::kw_on
            | Rule::kw_in
            | Rule::kw_replicas
            | Rule::kw_require
            | Rule::kw_note
            | Rule::kw_let
            | Rule::kw_for
            | Rule::kw_over
            | Rule::kw_unused
            | Rule::kw_sum
            | Rule::kw_weighted
            | Rule::kw_or
            | Rule::kw_and
            | Rule::kw_not
            | Rule::kw_present
            | Rule::kw_parameters
            | Rule::kw_documents
            | Rule::kw_rank
            | Rule::kw_dtype
            | Rule::kw_format
            | Rule::kw_detect
            | Rule::kw_nested
            | Rule::kw_family
            | Rule::kw_plain
            | Rule::kw_ignored
            | Rule::kw_keeps
    )
}
