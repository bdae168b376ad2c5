//! Comments, which the syntax tree leaves out: where they are, and what each belongs to.

use std::cell::Cell;
use std::ops::Range;

use crate::source::Span;

/// What the syntax tree does not say of a text.
pub(super) struct Trivia<'a> {
    text: &'a str,
    /// In the order of their places.
    comments: Vec<Comment>,
    /// Opening and closing braces, in the order of the opening ones.
    braces: Vec<(usize, usize)>,
    /// Where the first token starts.
    pub(super) first_token: usize,
}

struct Comment {
    start: usize,
    end: usize,
    /// Whether it has its place in the output.
    taken: Cell<bool>,
}

/// What stands in a block, in order.
pub(super) enum Piece<T> {
    /// One or more blank lines.
    Blank,
    /// A comment on lines of its own.
    Comment(String),
    /// An entry and the comment at the end of its line.
    Entry(T, Option<String>),
}

/// The inside of a block.
pub(super) struct Sequence<T> {
    /// A comment on the line of the opening brace.
    pub(super) open: Option<String>,
    pub(super) pieces: Vec<Piece<T>>,
}

impl<T> Sequence<T> {
    pub(super) fn has_comments(&self) -> bool {
        let commented = |p: &Piece<T>| matches!(p, Piece::Comment(_) | Piece::Entry(_, Some(_)));
        self.open.is_some() || self.pieces.iter().any(commented)
    }
}

impl<'a> Trivia<'a> {
    /// Scans a text that parses.
    pub(super) fn scan(text: &'a str) -> Trivia<'a> {
        let mut trivia = Trivia { text, comments: Vec::new(), braces: Vec::new(), first_token: text.len() };
        let mut open = Vec::new();
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            if bytes[at..].starts_with(b"//") {
                let end = text[at..].find('\n').map_or(text.len(), |length| at + length);
                let comment = text[at..end].trim_end();
                trivia.comments.push(Comment { start: at, end: at + comment.len(), taken: Cell::new(false) });
                at = end;
                continue;
            }
            if !bytes[at].is_ascii_whitespace() {
                trivia.first_token = trivia.first_token.min(at);
            }
            match bytes[at] {
                b'"' => at = string_end(bytes, at),
                b'{' => {
                    open.push(trivia.braces.len());
                    trivia.braces.push((at, text.len()));
                }
                b'}' => {
                    if let Some(brace) = open.pop() {
                        trivia.braces[brace].1 = at;
                    }
                }
                _ => {}
            }
            at += 1;
        }
        trivia
    }

    /// The inside of the first pair of braces at or after `at`.
    pub(super) fn braces_after(&self, at: u32) -> Range<usize> {
        let first = self.braces.partition_point(|(open, _)| *open < at as usize);
        self.braces.get(first).map_or(self.text.len()..self.text.len(), |(open, close)| open + 1..*close)
    }

    /// The inside of the pair of braces that closes at the end of `span`.
    pub(super) fn braces_at_end(&self, span: Span) -> Range<usize> {
        let close = (span.end as usize).saturating_sub(1);
        let found = self.braces.iter().find(|(_, c)| *c == close);
        found.map_or(close..close, |(open, close)| open + 1..*close)
    }

    /// Whether a comment in `range` has no place yet.
    pub(super) fn any_in(&self, range: Range<usize>) -> bool {
        self.waiting(range).next().is_some()
    }

    fn waiting(&self, range: Range<usize>) -> impl Iterator<Item = &Comment> {
        let first = self.comments.partition_point(|c| c.start < range.start);
        self.comments[first..].iter().take_while(move |c| c.start < range.end).filter(|c| !c.taken.get())
    }

    fn take(&self, comment: &Comment) -> String {
        comment.taken.set(true);
        self.text[comment.start..comment.end].to_owned()
    }

    /// The next comment, if it stands in `range` on the line on which `range` starts.
    fn take_on_line(&self, range: Range<usize>) -> Option<(String, usize)> {
        let comment = self.waiting(range.clone()).next()?;
        let same_line = !self.text[range.start..comment.start].contains('\n');
        same_line.then(|| (self.take(comment), comment.end))
    }

    fn has_blank_line(&self, range: Range<usize>) -> bool {
        self.text.get(range).is_some_and(|gap| gap.bytes().filter(|b| *b == b'\n').count() > 1)
    }

    /// The entries of a block whose inside is `inside`, with the comments among them.
    ///
    /// Entries take the comments of their own blocks as they are printed. What is left inside an entry then
    /// goes before it.
    pub(super) fn sequence<E, T>(
        &self,
        entries: impl IntoIterator<Item = (Span, E)>,
        inside: Range<usize>,
        mut print: impl FnMut(E) -> T,
    ) -> Sequence<T> {
        let mut walk = Walk { trivia: self, at: inside.start, pieces: Vec::new() };
        let mut entries = entries.into_iter().peekable();
        let first = entries.peek().map_or(inside.end, |(span, _)| span.range().start);
        let open = (inside.start > 0).then(|| self.take_on_line(inside.start..first)).flatten();
        let open = open.map(|(text, end)| {
            walk.at = end;
            text
        });
        while let Some((span, entry)) = entries.next() {
            let Range { start, end } = span.range();
            walk.comments_to(start);
            walk.blank_before(start);
            let printed = print(entry);
            let inner: Vec<String> = self.waiting(start..end).map(|c| self.take(c)).collect();
            walk.pieces.extend(inner.into_iter().map(Piece::Comment));
            walk.at = end;
            let next = entries.peek().map_or(inside.end, |(span, _)| span.range().start);
            let trailing = self.take_on_line(end..next).map(|(text, end)| {
                walk.at = end;
                text
            });
            walk.pieces.push(Piece::Entry(printed, trailing));
        }
        walk.comments_to(inside.end);
        Sequence { open, pieces: walk.pieces }
    }
}

struct Walk<'t, 'a, T> {
    trivia: &'t Trivia<'a>,
    /// The end of what was last put down.
    at: usize,
    pieces: Vec<Piece<T>>,
}

impl<T> Walk<'_, '_, T> {
    fn comments_to(&mut self, end: usize) {
        let trivia = self.trivia;
        for comment in trivia.waiting(self.at..end) {
            self.blank_before(comment.start);
            self.pieces.push(Piece::Comment(trivia.take(comment)));
            self.at = comment.end;
        }
    }

    fn blank_before(&mut self, start: usize) {
        if !self.pieces.is_empty() && self.trivia.has_blank_line(self.at..start) {
            self.pieces.push(Piece::Blank);
        }
    }
}

/// The closing quote of the string that opens at `at`.
fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at
}
