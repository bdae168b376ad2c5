//! Lines of a kind, one below the other, in columns.

use super::comments::{Piece, Sequence};
use super::doc::{Doc, INDENT, WIDTH};

/// What a line is; neighbours that are the same are aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Not aligned with anything.
    Other,
    Import,
    Field,
    ToLeft,
    ToRight,
    Module,
    Layout,
    Parameter,
    Rule,
    Emit,
    Drop,
}

/// An entry of a block: its columns, for where it fits on a line, and its text over several lines.
pub(super) struct Printed {
    kind: Kind,
    /// None where it cannot be on one line.
    cells: Vec<Cell>,
    broken: Doc,
}

#[derive(Debug)]
struct Cell {
    /// Spaces before it.
    gap: usize,
    text: String,
}

impl Printed {
    /// Columns, each with the spaces before it; an empty column keeps its place.
    pub(super) fn row(kind: Kind, cells: &[(usize, &Doc)], broken: Doc) -> Printed {
        let cell = |(gap, doc): &(usize, &Doc)| doc.flat().map(|text| Cell { gap: *gap, text });
        let cells = cells.iter().map(cell).collect::<Option<Vec<Cell>>>().unwrap_or_default();
        Printed { kind, cells, broken }
    }

    /// A text without columns.
    pub(super) fn doc(doc: Doc) -> Printed {
        Printed { kind: Kind::Other, cells: Vec::new(), broken: doc }
    }

    /// The text on one line, if it fits in `width`.
    pub(super) fn line(&self, width: usize) -> Option<String> {
        let line = align(&[&self.cells], 0).pop()?;
        (!self.cells.is_empty() && line.chars().count() <= width).then_some(line)
    }

    /// The text on one line where it fits in `width`, else over several.
    pub(super) fn into_doc(self, width: usize) -> Doc {
        match self.line(width) {
            Some(line) => Doc::Text(line),
            None => self.broken,
        }
    }
}

/// `{`, the lines, and `}` on a line of its own, in a block that starts `indent` characters in.
pub(super) fn braces(inside: Sequence<Printed>, indent: usize) -> Doc {
    let Sequence { open, pieces } = inside;
    if open.is_none() && pieces.is_empty() {
        return Doc::text("{}");
    }
    let mut parts = vec![Doc::text("{")];
    parts.extend(open.map(|comment| Doc::text(format!("  {comment}"))));
    if !pieces.is_empty() {
        parts.push(lines(pieces, indent + INDENT).next_line());
    }
    parts.extend([Doc::Hard, Doc::text("}")]);
    Doc::Cat(parts)
}

/// `{ a  b }`, where every entry fits on a line and no comment stands among them.
pub(super) fn on_one_line(inside: &Sequence<Printed>) -> Option<String> {
    if inside.has_comments() {
        return None;
    }
    let entries = inside.pieces.iter().filter_map(|piece| match piece {
        Piece::Entry(entry, _) => Some(entry.line(WIDTH)),
        _ => None,
    });
    let entries: Vec<String> = entries.collect::<Option<_>>()?;
    Some(format!("{{ {} }}", entries.join("  ")))
}

/// Entries and comments, one to a line, neighbours of a kind in columns.
pub(super) fn lines(pieces: Vec<Piece<Printed>>, indent: usize) -> Doc {
    let width = WIDTH.saturating_sub(indent);
    let texts = aligned_texts(&pieces, width);
    let pads = comment_pads(&pieces, &texts, width);
    let mut parts = Vec::new();
    for ((piece, text), pad) in pieces.into_iter().zip(texts).zip(pads) {
        if !parts.is_empty() {
            parts.push(Doc::Hard);
        }
        match piece {
            Piece::Blank => {}
            Piece::Comment(comment) => parts.push(Doc::Text(comment)),
            Piece::Entry(entry, trailing) => {
                parts.push(text.map_or(entry.broken, Doc::Text));
                parts.extend(trailing.map(|comment| Doc::text(format!("{:pad$}{comment}", ""))));
            }
        }
    }
    Doc::Cat(parts)
}

/// The line of each entry that fits on one.
fn aligned_texts(pieces: &[Piece<Printed>], width: usize) -> Vec<Option<String>> {
    let run_of = |piece: &Piece<Printed>| match piece {
        Piece::Entry(entry, _) => entry.line(width).map(|_| entry.kind),
        _ => None,
    };
    let mut texts = Vec::with_capacity(pieces.len());
    for run in pieces.chunk_by(|a, b| {
        let kind = run_of(a);
        kind == run_of(b) && kind != Some(Kind::Other)
    }) {
        if run.first().and_then(run_of).is_none() {
            texts.extend(run.iter().map(|_| None));
            continue;
        }
        let rows: Vec<&[Cell]> = run
            .iter()
            .filter_map(|piece| match piece {
                Piece::Entry(entry, _) => Some(entry.cells.as_slice()),
                _ => None,
            })
            .collect();
        texts.extend(align_within(&rows, width).into_iter().map(Some));
    }
    texts
}

/// As many columns as the width allows, from the left. Where not even one can be, the longest row stands apart from
/// those above and below it.
fn align_within(rows: &[&[Cell]], width: usize) -> Vec<String> {
    let most = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    let mut tries = (1..=most).rev().map(|columns| align(rows, columns));
    if let Some(lines) = tries.find(|lines| lines.iter().all(|line| line.chars().count() <= width)) {
        return lines;
    }
    let lines = align(rows, 0);
    let longest = (0..lines.len()).max_by_key(|i| lines[*i].chars().count()).unwrap_or(0);
    let Some(line) = lines.into_iter().nth(longest) else {
        return Vec::new();
    };
    let mut all = align_within(&rows[..longest], width);
    all.push(line);
    all.extend(align_within(&rows[longest + 1..], width));
    all
}

/// The rows as lines, the first `columns` of their cells padded to one width.
fn align(rows: &[&[Cell]], columns: usize) -> Vec<String> {
    let widths: Vec<usize> = (0..columns)
        .map(|i| rows.iter().filter_map(|row| row.get(i)).map(|c| c.text.chars().count()).max().unwrap_or(0))
        .collect();
    let line = |row: &&[Cell]| {
        let mut line = String::new();
        for (i, cell) in row.iter().enumerate() {
            let width = widths.get(i).copied().unwrap_or(0);
            if width > 0 || !cell.text.is_empty() {
                let (gap, text) = (cell.gap, &cell.text);
                line.push_str(&format!("{:gap$}{text:width$}", ""));
            }
        }
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Spaces before the comment at the end of each line: neighbours' comments start in one column.
fn comment_pads(pieces: &[Piece<Printed>], texts: &[Option<String>], width: usize) -> Vec<usize> {
    let length = |i: usize| match (&pieces[i], &texts[i]) {
        (Piece::Entry(_, Some(_)), Some(text)) => Some(text.chars().count()),
        _ => None,
    };
    let mut pads = vec![2; pieces.len()];
    let mut start = 0;
    while start < pieces.len() {
        let run: Vec<usize> = (start..pieces.len()).map_while(length).collect();
        let longest = run.iter().copied().max().unwrap_or(0).min(width);
        for (i, length) in run.iter().enumerate() {
            pads[start + i] = longest.saturating_sub(*length) + 2;
        }
        start += run.len().max(1);
    }
    pads
}
