//! `side` blocks: first documents and ranks, and after `config` the names of roots, marks and what is left out.

use super::scope::Scope;
use super::{Resolver, Space};
use crate::ast::{self, Ident, Item, SideEntry, SideEntryKind};
use crate::code::Code;
use crate::diagnostic::{Diagnostic, nearest};
use crate::mapping::{Document, Family, Format, Ignored, Plain, Rank, SideId, place_in};
use crate::template::Template;

impl<'a> Resolver<'a> {
    pub(super) fn resolve_sides(&mut self, file: &'a ast::File) {
        let blocks: Vec<(SideId, &ast::SideDecl)> = file
            .items
            .iter()
            .filter_map(|item| match item {
                Item::Side(block) => Some(block),
                _ => None,
            })
            .filter_map(|block| {
                let side = self.side_or_place(&block.name)?;
                self.described[side.index()] = true;
                Some((side, block))
            })
            .collect();
        self.check_one_block_in_each_text(&blocks);
        for side in SideId::BOTH {
            let own = blocks.iter().filter(|(s, _)| *s == side);
            let entries: Vec<&SideEntry> = own.flat_map(|(_, block)| &block.entries).collect();
            self.check_entries_given_once(&entries);
        }
        // Ranks before roots, whose names may hold them.
        for (side, block) in &blocks {
            for entry in &block.entries {
                if let SideEntryKind::Rank { name, places, .. } = &entry.kind {
                    self.declare_rank(*side, name, places);
                }
            }
        }
        for (side, block) in blocks {
            for entry in &block.entries {
                self.resolve_side_entry(side, entry);
            }
        }
    }

    /// Blocks of one side add up over what is imported. In one text, a second block is most often a copy whose
    /// name was not changed.
    fn check_one_block_in_each_text(&mut self, blocks: &[(SideId, &ast::SideDecl)]) {
        for (i, (side, block)) in blocks.iter().enumerate() {
            let text = self.source.part_at(block.span.start);
            let here =
                |(s, b): &&(SideId, &ast::SideDecl)| s == side && self.source.part_at(b.span.start) == text;
            if let Some((_, first)) = blocks[..i].iter().find(here) {
                self.declared_twice(Space::Side, &block.name, first.name.span);
            }
        }
    }

    fn check_entries_given_once(&mut self, entries: &[&SideEntry]) {
        for (i, entry) in entries.iter().enumerate() {
            let word = match &entry.kind {
                SideEntryKind::Parameters(_) => "parameters",
                SideEntryKind::Documents(_) => "documents",
                SideEntryKind::DType(_) => "dtype",
                SideEntryKind::Format(_) => "format",
                SideEntryKind::Detect(_) => "detect",
                SideEntryKind::Nested(_) => "nested",
                SideEntryKind::Family { .. } => "family",
                SideEntryKind::Keeps(_) => "keeps",
                SideEntryKind::Rank { .. }
                | SideEntryKind::Plain { .. }
                | SideEntryKind::Ignored { .. }
                | SideEntryKind::Drop(_) => continue,
            };
            let same =
                |e: &&&SideEntry| std::mem::discriminant(&e.kind) == std::mem::discriminant(&entry.kind);
            let Some(first) = entries[..i].iter().find(same) else { continue };
            let help = match word {
                "dtype" | "format" | "keeps" => "keep one of them",
                "family" => "list all names in one line: `family model_type = \"one\" | \"other\"`",
                _ => "write one line, with commas between what it lists",
            };
            self.error(
                Diagnostic::error(
                    Code::DuplicateName,
                    entry.span,
                    format!("this side has two `{word}` lines"),
                    "given again here",
                )
                .with(first.span, "first given here")
                .help(help),
            );
        }
    }

    fn declare_rank(&mut self, side: SideId, name: &Ident, places: &[Ident]) {
        if self.mapping.ranks.iter().any(|r| r.name == name.text && r.side == side) {
            self.error(
                Diagnostic::error(
                    Code::DuplicateName,
                    name.span,
                    format!("the rank axis `{}` is declared twice", name.text),
                    "declared again here",
                )
                .help("list its places in one line: `rank tp = args.one | args.other else 1`"),
            );
            return;
        }
        let places = places.iter().map(|p| p.text.clone()).collect();
        self.mapping.ranks.push(Rank { name: name.text.clone(), side, places, default: None });
    }

    fn resolve_side_entry(&mut self, side: SideId, entry: &'a SideEntry) {
        match &entry.kind {
            SideEntryKind::Rank { name, default, .. } => {
                let default = default.as_ref().and_then(|d| self.resolve_expr(d, None));
                let rank = self.mapping.ranks.iter_mut().find(|r| r.name == name.text && r.side == side);
                if let Some(rank) = rank {
                    rank.default = default;
                }
            }
            SideEntryKind::Documents(documents) => {
                let documents = documents
                    .iter()
                    .map(|(name, alias)| Document {
                        name: name.text.clone(),
                        alias: alias.as_ref().map(|a| a.text.clone()),
                    })
                    .collect();
                self.mapping.sides[side.index()].documents = documents;
            }
            SideEntryKind::DType(name) => {
                self.mapping.sides[side.index()].dtype = self.dtype(name);
            }
            SideEntryKind::Format(name) => self.resolve_format(side, name),
            SideEntryKind::Keeps(place) => {
                self.mapping.sides[side.index()].keeps = Some(place.text.clone());
            }
            // Resolved after config.
            SideEntryKind::Parameters(_)
            | SideEntryKind::Detect(_)
            | SideEntryKind::Nested(_)
            | SideEntryKind::Drop(_)
            | SideEntryKind::Family { .. }
            | SideEntryKind::Plain { .. }
            | SideEntryKind::Ignored { .. } => {}
        }
    }

    /// Names, whose indices have config values for sizes, and keys of documents, whose values may name some.
    pub(super) fn resolve_sides_after_config(&mut self, file: &'a ast::File) {
        for item in &file.items {
            let Item::Side(block) = item else { continue };
            // A name that is none is told of where the other entries are.
            let Some(side) = self.known_side(&block.name) else { continue };
            for entry in &block.entries {
                self.resolve_names_and_keys(side, entry);
            }
        }
    }

    fn resolve_names_and_keys(&mut self, side: SideId, entry: &'a SideEntry) {
        match &entry.kind {
            SideEntryKind::Parameters(names) => {
                self.mapping.sides[side.index()].roots = self.plain_templates(side, names).concat();
            }
            SideEntryKind::Detect(names) => {
                self.mapping.sides[side.index()].detect = self.plain_templates(side, names);
            }
            SideEntryKind::Nested(names) => {
                self.mapping.sides[side.index()].nested = self.plain_templates(side, names).concat();
            }
            SideEntryKind::Drop(drop) => self.resolve_drop(drop, Some(side), &Scope::top()),
            SideEntryKind::Family { place, names } => {
                self.check_place(place, side);
                self.mapping.sides[side.index()].family = Some(Family {
                    place: place.text.clone(),
                    names: names.iter().map(|name| name.text.clone()).collect(),
                    span: entry.span,
                });
            }
            SideEntryKind::Plain { document, keys } => {
                for key in keys {
                    self.resolve_plain(side, document.as_ref(), key);
                }
            }
            SideEntryKind::Ignored { document, keys } => {
                for key in keys {
                    self.resolve_ignored(side, document.as_ref(), key);
                }
            }
            SideEntryKind::Rank { .. }
            | SideEntryKind::Documents(_)
            | SideEntryKind::DType(_)
            | SideEntryKind::Format(_)
            | SideEntryKind::Keeps(_) => {}
        }
    }

    fn resolve_plain(&mut self, side: SideId, document: Option<&Ident>, key: &'a ast::PlainKey) {
        let document = document.map_or("", |document| &document.text);
        let place = Ident { text: place_in(document, &key.key.text), span: key.key.span };
        self.check_place(&place, side);
        let listed = &self.mapping.side(side).plain;
        if let Some(first) = listed.iter().find(|plain| plain.place() == place.text) {
            let first = first.span;
            self.error(
                Diagnostic::error(
                    Code::DuplicateName,
                    place.span,
                    format!("`{}` is listed as plain twice", place.text),
                    "listed again here",
                )
                .with(first, "first listed here")
                .help("list all its plain values at one of them, or state a `require`"),
            );
            return;
        }
        let values = key.values.iter().filter_map(|value| self.resolve_expr(value, Some(side))).collect();
        self.mapping.sides[side.index()].plain.push(Plain {
            document: document.to_owned(),
            key: key.key.text.clone(),
            values,
            span: place.span,
        });
    }

    fn resolve_ignored(&mut self, side: SideId, document: Option<&Ident>, key: &Ident) {
        let document = document.map_or("", |document| &document.text);
        let name = key.text.trim_end_matches('*');
        self.check_place(&Ident { text: place_in(document, name), span: key.span }, side);
        self.mapping.sides[side.index()].ignored.push(Ignored {
            document: document.to_owned(),
            key: name.to_owned(),
            begins: name != key.text,
        });
    }

    /// The ways to read each of the names.
    fn plain_templates(&mut self, side: SideId, names: &'a [ast::Name]) -> Vec<Vec<Template>> {
        let expanded: Vec<_> =
            names.iter().filter_map(|name| Some((name, self.expand_name(name, side)?))).collect();
        expanded
            .into_iter()
            .filter(|(name, ways)| self.check_indices_once(ways, name.span))
            .map(|(_, ways)| ways.into_iter().map(|expanded| expanded.template).collect())
            .collect()
    }

    fn resolve_format(&mut self, side: SideId, name: &Ident) {
        self.mapping.sides[side.index()].format = match name.text.as_str() {
            "safetensors" => Format::Safetensors,
            "torch" => Format::Torch,
            other => {
                let mut diagnostic = Diagnostic::error(
                    Code::UnknownOption,
                    name.span,
                    format!("unknown format `{other}`"),
                    "the formats are `safetensors` and `torch`",
                );
                if let Some(near) = nearest(other, ["safetensors", "torch"]) {
                    diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
                }
                self.error(diagnostic);
                return;
            }
        };
    }

    /// A place must begin with a document of its side, where the side says which it has.
    pub(super) fn check_place(&mut self, place: &Ident, side: SideId) {
        let documents = &self.mapping.side(side).documents;
        if documents.is_empty() || documents.iter().any(|d| d.is_file() && d.alias.is_none()) {
            return;
        }
        let first = place.text.split('.').next().unwrap_or_default();
        let known: Vec<String> =
            documents.iter().map(|d| d.alias.clone().unwrap_or_else(|| d.name.clone())).collect();
        if known.iter().any(|k| k == first) {
            return;
        }
        let side_name = &self.mapping.side(side).name;
        let mut diagnostic = Diagnostic::error(
            Code::UnknownDocument,
            place.span,
            format!("side `{side_name}` has no document `{first}`"),
            format!("its documents are {}", known.join(", ")),
        );
        if let Some(near) = nearest(first, known.iter().map(String::as_str)) {
            let fixed = format!("{near}{}", &place.text[first.len()..]);
            diagnostic = diagnostic.help(format!("did you mean `{fixed}`?"));
        }
        self.error(diagnostic);
    }
}
