//! The formatter: a mapping in, the same mapping in one style out.
//!
//! It prints the syntax tree, so that a text and its formatted form always parse to the same tree, and formatting
//! a second time changes nothing. Comments are put back by their places.

mod columns;
mod comments;
mod declarations;
mod doc;
mod expr;
mod model;
mod name;
mod rules;
#[cfg(test)]
mod tests;

use self::columns::{Printed, lines};
use self::comments::{Sequence, Trivia};
use self::doc::Doc;
use crate::ast::{File, Ident, Item};
use crate::diagnostic::Diagnostics;
use crate::parse::parse_part;
use crate::source::{Source, Span};

/// The mapping in the one style: 4 spaces of indent, neighbouring lines of a kind in columns, 110 characters
/// wide where that can be. Comments stay with what they stand beside.
///
/// # Errors
/// The mapping does not parse. That it does not check is no obstacle.
pub fn format(source: &Source) -> Result<String, Diagnostics> {
    let file = parse_part(&source.parts()[0]).map_err(|error| {
        let mut diagnostics = Diagnostics::new(source);
        diagnostics.push(*error);
        diagnostics
    })?;
    let trivia = Trivia::scan(source.text());
    let printer = Printer { trivia: &trivia, places_comments: true };
    let mut text = printer.file(&file, source.text().len()).render();
    text.push('\n');
    Ok(text)
}

/// Prints parts of one tree. Each node is printed once, since that is when its comments find their place.
#[derive(Clone, Copy)]
struct Printer<'a> {
    trivia: &'a Trivia<'a>,
    /// Whether comments in what is printed go with it, or wait for something around it.
    places_comments: bool,
}

impl Printer<'_> {
    fn file(self, file: &File, length: usize) -> Doc {
        let last = file.sides.as_ref().map_or(&file.name, |[_, right]| right);
        let header = Span::new(self.trivia.first_token, last.span.range().end);
        let entries = std::iter::once((header, None)).chain(file.items.iter().map(|i| (i.span(), Some(i))));
        let Sequence { pieces, .. } = self.trivia.sequence(entries, 0..length, |entry| match entry {
            Some(item) => self.item(item, 0),
            None => {
                let name = &file.name.text;
                Printed::doc(Doc::text(match &file.sides {
                    Some([left, right]) => format!("mapping {name} : {} <=> {}", left.text, right.text),
                    None => format!("library {name}"),
                }))
            }
        });
        lines(pieces, 0)
    }

    fn item(self, item: &Item, indent: usize) -> Printed {
        match item {
            Item::Import(import) => Printed::import(import),
            Item::Side(side) => self.side(side, indent),
            Item::Config(config) => self.config(config, indent),
            Item::Module(module) => self.module(module, indent),
            Item::Layout(layout) => self.layout_def(layout),
            Item::Model(model) => self.model(model, indent),
            Item::Repr(repr) => self.repr(repr, indent),
            Item::Rule(rule) => self.rule(rule, indent),
            Item::When(when) => self.when(when, indent),
            Item::Match(choice) => self.rule_match(choice, indent),
            Item::Drop(drop) => self.drop(drop),
            Item::Emit(emit) => self.emit(emit),
            Item::Tie(tie) => self.tie(tie),
        }
    }
}

/// The words with a separator between them.
fn words(idents: &[Ident], separator: &str) -> String {
    let texts: Vec<&str> = idents.iter().map(|i| i.text.as_str()).collect();
    texts.join(separator)
}

/// A text in quotes, escaped as the language has it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}
