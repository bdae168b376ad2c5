//! Names of parameters, and layouts. Both stay on one line.

use super::{Printer, quoted, words};
use crate::ast::{Dim, DimKind, Ident, Index, IndexSet, IndexTerm, Layout, Name, Piece};

impl Printer<'_> {
    pub(super) fn name(self, name: &Name) -> String {
        let mut out = String::from(if name.absolute { "/" } else { "" });
        for piece in &name.pieces {
            out.push_str(&self.piece(piece));
        }
        out
    }

    pub(super) fn names(self, names: &[Name], separator: &str) -> String {
        let names: Vec<String> = names.iter().map(|n| self.name(n)).collect();
        names.join(separator)
    }

    fn piece(self, piece: &Piece) -> String {
        match piece {
            Piece::Text(text) => text.text.clone(),
            Piece::Quoted(text) => quoted(&text.text),
            Piece::Star => "*".to_owned(),
            Piece::DoubleStar => "**".to_owned(),
            Piece::Index(index) => self.index(index),
            Piece::Alternatives(names) => format!("({})", self.names(names, "|")),
            Piece::List(names) => format!("{{{}}}", self.names(names, ",")),
            Piece::Labels(names) => {
                let labelled = |(label, name): &(Ident, Name)| format!("{}: {}", label.text, self.name(name));
                let names: Vec<String> = names.iter().map(labelled).collect();
                format!("{{{}}}", names.join(", "))
            }
        }
    }

    fn index(self, index: &Index) -> String {
        let mut out = String::from("{");
        for (i, term) in index.terms.iter().enumerate() {
            let sign = if term.factor < 0 { "-" } else { "+" };
            if i > 0 {
                out.push_str(&format!(" {sign} "));
            }
            out.push_str(&index_term(term));
        }
        out.push_str(&ranks(&index.ranks));
        match &index.set {
            None => {}
            Some(IndexSet::Named(set)) => out.push_str(&format!(" in {}", set.text)),
            Some(IndexSet::Range(from, to)) => {
                out.push_str(&format!(" in {}..{}", self.inline(from), self.inline(to)));
            }
        }
        if let Some(width) = &index.width {
            out.push_str(&format!(":{}", width.text));
        }
        out.push('}');
        out
    }
}

/// The term without its sign.
fn index_term(term: &IndexTerm) -> String {
    let factor = term.factor.unsigned_abs();
    match &term.axis {
        None => factor.to_string(),
        Some(axis) if factor == 1 => axis.text.clone(),
        Some(axis) => format!("{factor}*{}", axis.text),
    }
}

fn ranks(ranks: &[Ident]) -> String {
    ranks.iter().map(|rank| format!("@{}", rank.text)).collect()
}

pub(super) fn layout(layout: &Layout) -> String {
    format!("[{}]", dims(&layout.dims))
}

fn dims(dims: &[Dim]) -> String {
    let dims: Vec<String> = dims.iter().map(dim).collect();
    dims.join(" ")
}

/// A role clings to its axis; a label stands off from its arm.
pub(super) fn dim(dim: &Dim) -> String {
    let text = dim_kind(&dim.kind);
    match &dim.role {
        Some(role) => format!("{}:{text}", role.text),
        None => text,
    }
}

fn dim_kind(kind: &DimKind) -> String {
    match kind {
        DimKind::Axis { name, index, ranks: by } => {
            let index = index.as_ref().map_or(String::new(), |index| format!("[{}]", index.text));
            format!("{}{index}{}", name.text, ranks(by))
        }
        DimKind::Broadcast(axis) => format!("*{}", axis.text),
        DimKind::Unit(unit) => unit.text.clone(),
        DimKind::Pad => "_".to_owned(),
        DimKind::Group { arms, ranks: by } => {
            let is_sum = arms.len() > 1;
            let arms: Vec<String> = arms.iter().map(|a| arm(a, is_sum)).collect();
            format!("({}){}", arms.join(" | "), ranks(by))
        }
    }
}

/// An arm of a group; only in a sum does its first role label the arm.
fn arm(arm: &[Dim], is_sum: bool) -> String {
    match (arm.split_first(), is_sum) {
        (Some((Dim { role: Some(label), kind, .. }, rest)), true) => {
            let rest: String = rest.iter().map(|d| format!(" {}", dim(d))).collect();
            format!("{}: {}{rest}", label.text, dim_kind(kind))
        }
        _ => dims(arm),
    }
}

/// The words of a clause such as `on pp.first`, or nothing.
pub(super) fn clause(keyword: &str, word: Option<&Ident>) -> String {
    word.map_or(String::new(), |word| format!("{keyword} {}", word.text))
}

/// `(a, b)`.
pub(super) fn formals(formals: &[Ident]) -> String {
    format!("({})", words(formals, ", "))
}
