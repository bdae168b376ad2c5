//! Source text and places in it.

use std::fmt;
use std::sync::Arc;

/// A range of bytes of one source text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The span of `start..end`, in bytes.
    #[must_use]
    pub fn new(start: usize, end: usize) -> Span {
        let clamp = |n| u32::try_from(n).unwrap_or(u32::MAX);
        Span { start: clamp(start), end: clamp(end) }
    }

    /// The smallest span that holds both.
    #[must_use]
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// The span as a range for slicing.
    #[must_use]
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// A mapping's text with the texts that it imports, and the names they are shown under; cheap to clone.
///
/// Spans count through all texts as though they stood one after the other, the mapping's own first, so that a span
/// says in which text it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    parts: Arc<[Part]>,
    pub(crate) imports: Arc<[Import]>,
}

/// One text, and where its first byte is in the count of spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: Arc<str>,
    pub(crate) text: Arc<str>,
    pub(crate) start: usize,
}

/// An `import`: the number of the text it is in and the place, what it says, and the number of the text that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Import {
    pub(crate) from: usize,
    pub(crate) span: Span,
    pub(crate) written: String,
    pub(crate) by_path: bool,
    pub(crate) found: Result<usize, String>,
}

impl Source {
    /// A text shown as `name` in messages. What it imports is not found; see [`Source::load`].
    #[must_use]
    pub fn new(name: &str, text: &str) -> Source {
        let part = Part { name: name.into(), text: text.into(), start: 0 };
        Source::of_parts(vec![part], Vec::new())
    }

    pub(crate) fn of_parts(parts: Vec<Part>, imports: Vec<Import>) -> Source {
        Source { parts: parts.into(), imports: imports.into() }
    }

    /// The name shown in messages, usually a path as the user gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.parts[0].name
    }

    /// The mapping's own text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.parts[0].text
    }

    /// The name of the text that a byte is in.
    #[must_use]
    pub fn name_at(&self, byte: u32) -> &str {
        &self.part_at(byte).name
    }

    /// The text at a span of this source.
    #[must_use]
    pub fn slice(&self, span: Span) -> &str {
        let part = self.part_at(span.start);
        part.text.get(part.local(span)).unwrap_or("")
    }

    /// Line and column of a byte in its text, both from 1; columns count characters.
    #[must_use]
    pub fn position(&self, byte: u32) -> (usize, usize) {
        let part = self.part_at(byte);
        let before = part.text.get(..(byte as usize).saturating_sub(part.start)).unwrap_or(&part.text);
        let line = before.bytes().filter(|&b| b == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line, column)
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The text that a byte is in.
    pub(crate) fn part_at(&self, byte: u32) -> &Part {
        &self.parts[self.number_at(byte)]
    }

    /// The number of the text that a byte is in, from 0 for the mapping's own.
    pub(crate) fn number_at(&self, byte: u32) -> usize {
        self.parts.partition_point(|p| p.start <= byte as usize).saturating_sub(1)
    }
}

impl Part {
    /// A span as a range of this text.
    pub(crate) fn local(&self, span: Span) -> std::ops::Range<usize> {
        let clamp = |n: usize| n.saturating_sub(self.start).min(self.text.len());
        let start = clamp(span.range().start);
        start..clamp(span.range().end).max(start)
    }

    /// One past the last byte in the count of spans.
    pub(crate) fn end(&self) -> usize {
        self.start + self.text.len()
    }
}
