//! Text to syntax tree. After this pass the tree says what was written; no name in it has been looked up.

mod config;
mod error;
mod hint;
mod items;
mod layout;
mod model;
mod name;
mod recover;

pub(crate) use recover::parse_recovering;

use pest::Parser;
use pest::iterators::Pair;

use crate::ast::{File, Ident};
use crate::diagnostic::Diagnostic;
use crate::source::{Part, Span};

#[derive(pest_derive::Parser)]
#[grammar = "mapping.pest"]
struct MappingParser;

type Node<'a> = Pair<'a, Rule>;

/// Nesting that no mapping needs; beyond it the parser's own recursion would be at risk.
const MAX_NESTING: usize = 64;

/// Terms of one expression, or alternatives of one `else if`, that no mapping needs; later passes go into each of them
/// from the one before.
const MAX_TERMS: usize = 256;

/// Parses a whole mapping's or library's text; spans count from where it begins in its source.
pub(crate) fn parse_part(part: &Part) -> Result<File, Box<Diagnostic>> {
    parse_text(&padded(part), part.start)
}

/// The text after as much white space as there is text before it in its source, so that places are right.
fn padded(part: &Part) -> String {
    let mut text = " ".repeat(part.start);
    text.push_str(&part.text);
    text
}

/// Parses a text whose first `begin` bytes are blank.
fn parse_text(text: &str, begin: usize) -> Result<File, Box<Diagnostic>> {
    error::check_nesting(text, MAX_NESTING)?;
    error::check_alternatives(text, MAX_TERMS)?;
    let mut pairs =
        MappingParser::parse(Rule::file, text).map_err(|e| Box::new(error::syntax_error(text, begin, &e)))?;
    error::check_terms(pairs.clone(), MAX_TERMS)?;
    let mut children = pairs.next().into_iter().flat_map(Pair::into_inner);
    let header = expect(children.next());
    let mut words = header.into_inner().filter(|p| p.as_rule() == Rule::ident).map(|p| ident(&p));
    let name = expect(words.next());
    let sides = <[Ident; 2]>::try_from(words.collect::<Vec<_>>()).ok();
    let items = children.filter(|p| p.as_rule() != Rule::EOI).map(items::parse_item).collect();
    Ok(File { name, sides, items })
}

fn span(node: &Node<'_>) -> Span {
    let at = node.as_span();
    Span::new(at.start(), at.start() + without_trailing_space(at.as_str()).len())
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
            | Rule::kw_keeps
    )
}
