//! Names: alternatives, labels and lists multiplied out into templates.

use std::collections::HashMap;

use super::Resolver;
use crate::ast::{self, Ident, Index, IndexSet, Name, Piece};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::mapping::{AxisId, SideId};
use crate::size::Size;
use crate::source::Span;
use crate::template::{IndexPart, Part, Template};

/// One way to read a name.
#[derive(Clone, Debug, Default)]
pub(super) struct Expanded {
    pub(super) template: Template,
    /// Labels that the name chooses, by the set of labels they are chosen from.
    pub(super) labels: Vec<(Vec<String>, String)>,
    /// Which element of each `{a, b}` list, in order.
    pub(super) lists: Vec<usize>,
}

impl Expanded {
    /// `self` and then `other`.
    fn join(&self, other: &Expanded) -> Expanded {
        let mut all = self.clone();
        other.template.parts.iter().cloned().for_each(|p| all.template.push(p));
        all.template.absolute |= other.template.absolute;
        all.labels.extend(other.labels.iter().cloned());
        all.lists.extend(&other.lists);
        all
    }

    /// `other` below `self`.
    pub(super) fn child(&self, other: &Expanded) -> Expanded {
        let mut dotted = self.clone();
        if !dotted.template.parts.is_empty() {
            dotted.template.push_text(".");
        }
        dotted.join(other)
    }
}

/// More ways to read one name than any mapping needs.
const MAX_EXPANSION: usize = 4096;

impl<'a> Resolver<'a> {
    /// Every way to read a name; the first alternatives first.
    pub(super) fn expand_name(&mut self, name: &'a Name, side: SideId) -> Option<Vec<Expanded>> {
        let mut all = vec![Expanded::default()];
        let mut good = true;
        for piece in &name.pieces {
            let Some(options) = self.expand_piece(piece, side) else {
                good = false;
                continue;
            };
            self.check_ways(name, all.len().saturating_mul(options.len()))?;
            all = all.iter().flat_map(|a| options.iter().map(|b| a.join(b))).collect();
        }
        all.iter_mut().for_each(|e| e.template.absolute |= name.absolute);
        good &= self.check_adjacent(name, &all);
        good.then_some(all)
    }

    /// Whether a name, or one with those of the scopes around it, is read in few enough ways.
    pub(super) fn check_ways(&mut self, name: &Name, ways: usize) -> Option<()> {
        if ways > MAX_EXPANSION {
            self.error(Diagnostic::error(
                Code::NameTooWide,
                name.span,
                format!("this name can be read in more than {MAX_EXPANSION} ways"),
                "its alternatives multiply",
            ));
            return None;
        }
        self.charge(ways, name.span)
    }

    fn expand_piece(&mut self, piece: &'a Piece, side: SideId) -> Option<Vec<Expanded>> {
        let single = |part: Part| {
            let mut expanded = Expanded::default();
            expanded.template.push(part);
            vec![expanded]
        };
        match piece {
            Piece::Text(word) | Piece::Quoted(word) => Some(single(Part::Literal(word.text.clone()))),
            Piece::Star => Some(single(Part::Star)),
            Piece::DoubleStar => Some(single(Part::DoubleStar)),
            Piece::Index(index) => self.resolve_index_part(index, side).map(single),
            Piece::Alternatives(names) => {
                let all: Vec<Option<Vec<Expanded>>> =
                    names.iter().map(|n| self.expand_name(n, side)).collect();
                Some(all.into_iter().collect::<Option<Vec<_>>>()?.concat())
            }
            Piece::List(names) => {
                let mut all = Vec::new();
                for (place, name) in names.iter().enumerate() {
                    for mut expanded in self.expand_name(name, side)? {
                        expanded.lists.insert(0, place);
                        all.push(expanded);
                    }
                }
                Some(all)
            }
            Piece::Labels(labels) => {
                let words: Vec<&Ident> = labels.iter().map(|(l, _)| l).collect();
                // Each of them knows the names of all.
                self.charge(words.len().saturating_mul(words.len()), words.first()?.span)?;
                let key = self.label_set(&words)?;
                let mut all = Vec::new();
                for (label, name) in labels {
                    for mut expanded in self.expand_name(name, side)? {
                        expanded.labels.insert(0, (key.clone(), label.text.clone()));
                        all.push(expanded);
                    }
                }
                Some(all)
            }
        }
    }

    /// Whether no index stands twice in a name, over the scopes and modules around it.
    pub(super) fn check_indices_once(&mut self, names: &[Expanded], place: Span) -> bool {
        let twice = names.iter().find_map(|name| {
            let indices: Vec<AxisId> = name.template.indices().map(|i| i.axis).collect();
            let again = (1..indices.len()).find(|i| indices[..*i].contains(&indices[*i]))?;
            Some((indices[again], name))
        });
        let Some((axis, name)) = twice else { return true };
        let axis = self.mapping.axis(axis).name.clone();
        let shown = self.mapping.display_template(&name.template);
        self.error(
            Diagnostic::error(
                Code::IndexTwice,
                place,
                format!("the index `{axis}` stands twice in `{shown}`"),
                "one number would have to be both",
            )
            .help(format!("give one of the two an index of its own, declared by `{axis}2 in 0..COUNT`")),
        );
        false
    }

    /// The set that labels are known by; each may stand in it once.
    pub(super) fn label_set(&mut self, labels: &[&Ident]) -> Option<Vec<String>> {
        let mut good = true;
        let mut seen: HashMap<&str, &Ident> = HashMap::new();
        for label in labels {
            if let Some(first) = seen.get(label.text.as_str()).copied() {
                good = false;
                self.error(
                    Diagnostic::error(
                        Code::DuplicateLabel,
                        label.span,
                        format!("the label `{}` stands here twice", label.text),
                        "again here",
                    )
                    .with(first.span, "first here")
                    .help("give each part a label of its own"),
                );
            }
            seen.entry(&label.text).or_insert(label);
        }
        let mut key: Vec<String> = labels.iter().map(|l| l.text.clone()).collect();
        key.sort_unstable();
        good.then_some(key)
    }

    fn resolve_index_part(&mut self, index: &'a Index, side: SideId) -> Option<Part> {
        let axes: Vec<&ast::IndexTerm> = index.terms.iter().filter(|t| t.axis.is_some()).collect();
        let numbers = index.terms.iter().filter(|t| t.axis.is_none()).map(|t| t.factor);
        let offset = numbers.fold(0i64, i64::saturating_add);
        self.check_index_numbers(index, offset)?;
        let (term, name) = match axes.as_slice() {
            [ast::IndexTerm { factor, axis: Some(name) }] if *factor != 0 => (*factor, name),
            _ => {
                self.error(
                    Diagnostic::error(
                        Code::IndexNotInvertible,
                        index.span,
                        "a number in a name does not tell the index",
                        "an index is one axis, times a number other than 0, plus a number",
                    )
                    .help("write it like `{layer}`, `{layer + 2}` or `{2 * layer}`"),
                );
                return None;
            }
        };
        let width = index.width.as_ref().and_then(|w| w.text.parse().ok());
        if let Some(rank) = self.mapping.ranks.iter().position(|r| r.name == name.text && r.side == side) {
            return Some(Part::Rank(crate::mapping::RankId::from_index(rank), width));
        }
        let axis = self.axis(name);
        let ranks: Vec<_> = index.ranks.iter().map(|r| self.rank(r, side)).collect();
        let range = match &index.set {
            // An index that does not begin at 0 says everywhere which numbers are its own.
            None => {
                axis.map(|a| self.mapping.axis(a).range.clone()).filter(|(from, _)| *from != Size::default())
            }
            Some(set) => Some(self.index_set(set)?),
        };
        if let Some(field) = axis.and_then(|a| self.mapping.axis(a).field) {
            self.expect_integer(field.index(), name.span);
        }
        Some(Part::Index(IndexPart {
            axis: axis?,
            scale: term,
            offset,
            width,
            range,
            ranks: ranks.into_iter().collect::<Option<_>>()?,
        }))
    }

    /// Numbers that no name has would only overflow later.
    fn check_index_numbers(&mut self, index: &Index, offset: i64) -> Option<()> {
        const LARGEST: u64 = 1 << 40;
        let factors = index.terms.iter().map(|t| t.factor.unsigned_abs());
        let width = index.width.as_ref().map(|w| w.text.parse::<u64>().unwrap_or(u64::MAX));
        let message = match width {
            Some(width) if width > 20 => "a number in a name has more than 20 digits",
            _ if factors.max().unwrap_or(0).max(offset.unsigned_abs()) > LARGEST => {
                "this number is larger than any in a name"
            }
            _ => return Some(()),
        };
        self.error(Diagnostic::error(Code::IndexNotInvertible, index.span, message, "in this index"));
        None
    }

    fn index_set(&mut self, set: &'a IndexSet) -> Option<(Size, Size)> {
        match set {
            IndexSet::Named(name) => {
                let axis = self.axis(name)?;
                if let Some(field) = self.mapping.axis(axis).field {
                    self.expect_integer(field.index(), name.span);
                }
                Some(self.mapping.axis(axis).range.clone())
            }
            IndexSet::Range(from, to) => {
                let (from, to) = (self.size(from), self.size(to));
                Some((from?, to?))
            }
        }
    }

    /// Two numbers side by side, or a number after a digit, cannot be told apart when a name is read.
    fn check_adjacent(&mut self, name: &Name, all: &[Expanded]) -> bool {
        let number = |p: &Part| matches!(p, Part::Index(_) | Part::Rank(..));
        let clash = all.iter().any(|e| {
            e.template.parts.windows(2).any(|pair| match pair {
                [Part::Literal(text), part] if number(part) => text.ends_with(|c: char| c.is_ascii_digit()),
                [part, Part::Literal(text)] if number(part) => text.starts_with(|c: char| c.is_ascii_digit()),
                [a, b] => !matches!(a, Part::Literal(_)) && !matches!(b, Part::Literal(_)),
                _ => false,
            })
        });
        if clash {
            self.error(
                Diagnostic::error(
                    Code::AmbiguousName,
                    name.span,
                    "the parts of this name run into one another",
                    "where one number or star ends and the next begins cannot be told",
                )
                .help("put text between them, such as a dot"),
            );
        }
        !clash
    }
}
