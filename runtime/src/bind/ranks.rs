//! Rank axes: how many ranks there are along each, which of them a stored tensor is from, and where their blocks of
//! an index begin.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value as Json;
use transship_grammar as grammar;

use grammar::{
    AxisId, Captures, Code, Diagnostic, Diagnostics, Layout, Mapping, RankId, SideId, Stored, Template,
};

use super::names::{captures, relative};
use super::{BindOptions, Binding};
use crate::FormatKind;
use crate::checkpoint::RankFile;
use crate::document::Value as Document;

/// The ranks of both sides.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranks {
    /// How many there are along each rank axis.
    pub(crate) counts: Vec<u64>,
    /// For each file of the checkpoint its numbers along the rank axes.
    files: Vec<Vec<u64>>,
    /// For each index in names that is distributed, by the numbers of the ranks: the first coordinate of their
    /// block.
    blocks: HashMap<(AxisId, Vec<u64>), u64>,
    /// For each rank axis of the target, how many coordinates of an index each block holds, where that is given.
    pub(super) shares: Vec<Option<Vec<u64>>>,
}

/// Numbers along rank axes, by the position of the axis in the mapping.
pub(crate) type Coordinates = Vec<u64>;

impl Ranks {
    pub(crate) fn count(&self, rank: RankId) -> u64 {
        self.counts.get(rank.index()).copied().unwrap_or(1)
    }

    /// The ranks of all along `ranks`.
    pub(crate) fn product(&self, ranks: &[RankId]) -> u64 {
        ranks.iter().fold(1, |product, rank| product.saturating_mul(self.count(*rank)))
    }
}

/// The rank axes that a parameter is split over, in its name and in its layout.
pub(crate) fn split_over(stored: &Stored, layout: Option<&Layout>) -> Vec<RankId> {
    let mut all: Vec<RankId> = stored.name.indices().flat_map(|index| index.ranks.clone()).collect();
    all.extend(layout.iter().flat_map(|layout| layout.ranks()));
    all.sort_unstable();
    all.dedup();
    all
}

/// The rank axes of a side that number its files, in order.
pub(crate) fn file_ranks(mapping: &Mapping, side: SideId) -> Vec<RankId> {
    mapping.ranks_of(side).filter(|rank| !is_in_roots(mapping, side, *rank)).collect()
}

/// Whether a rank's number is a part of names: `model{vpp}`.
pub(crate) fn is_in_roots(mapping: &Mapping, side: SideId, rank: RankId) -> bool {
    mapping.side(side).roots.iter().any(|root| root.has_rank(rank))
}

impl Binding<'_> {
    /// Numbers along all rank axes of a stored tensor, in whose name are `named`.
    fn rank_numbers(&self, tensor: usize, named: &[(RankId, u64)]) -> Coordinates {
        let file = self.checkpoint.tensors()[tensor].rank;
        let mut numbers = self.ranks.files[file].clone();
        for (rank, at) in named {
            numbers[rank.index()] = *at;
        }
        numbers
    }

    /// Numbers along all rank axes of a stored tensor.
    pub(crate) fn coordinates_of(&self, tensor: usize) -> Coordinates {
        let stored = relative(self.mapping, self.from, &self.checkpoint.tensors()[tensor].name);
        self.rank_numbers(tensor, stored.ranks())
    }

    /// Counts the ranks of both sides.
    pub(super) fn find_ranks(&mut self, options: &BindOptions, diagnostics: &mut Diagnostics) {
        let mapping = self.mapping;
        self.ranks.counts = vec![1; mapping.ranks.len()];
        self.ranks.files = vec![vec![0; mapping.ranks.len()]; self.checkpoint.ranks().len()];
        self.set_target_ranks(options, diagnostics);
        self.report_other_ranks(diagnostics);
        let whole = matches!(self.checkpoint.format().kind, FormatKind::Memory)
            || self.checkpoint.tensors().iter().any(|tensor| tensor.chunk.is_some());
        if whole || diagnostics.has_errors() {
            return;
        }
        let stated: Vec<Option<(u64, String)>> =
            mapping.ranks.iter().map(|rank| (rank.side == self.from).then(|| self.stated(rank))?).collect();
        let axes = file_ranks(mapping, self.from);
        let several = |rank: &&RankId| stated[rank.index()].as_ref().is_some_and(|(n, _)| *n > 1);
        let files = self.checkpoint.ranks();
        let places = files[0].numbers.len();
        // Directories have the number of the first axis, then those of axes with several ranks; where nothing says
        // which these are, of the next ones in order.
        let mut numbered: Vec<RankId> = axes.iter().take(places.min(1)).copied().collect();
        numbered.extend(axes.iter().skip(1).filter(several).take(places.saturating_sub(1)));
        for rank in axes.iter().skip(1).filter(|rank| stated[rank.index()].is_none()) {
            if numbered.len() < places && !numbered.contains(rank) {
                numbered.push(*rank);
            }
        }
        for (place, rank) in numbered.iter().enumerate() {
            let last = files.iter().map(|file| file.numbers[place]).max().unwrap_or(0);
            self.ranks.counts[rank.index()] = last.saturating_add(1);
            for (numbers, file) in self.ranks.files.iter_mut().zip(files) {
                numbers[rank.index()] = file.numbers[place];
            }
        }
        for rank in axes {
            if let Some((count, place)) = &stated[rank.index()]
                && *count != self.ranks.count(rank)
            {
                diagnostics.push(self.incomplete(rank, *count, place));
            }
        }
        // Of what has one rank, the directory has a number all the same.
        let unknown = |file: &RankFile| file.numbers.iter().skip(numbered.len()).any(|number| *number > 0);
        if files.iter().any(unknown) && !diagnostics.has_errors() {
            diagnostics.push(self.too_many_numbers(&files[0], numbered.len()));
        }
    }

    /// The number of ranks by the checkpoint's documents, and the place that says so.
    fn stated(&self, rank: &grammar::Rank) -> Option<(u64, String)> {
        let found = |place: &String| {
            let count = self.source_place(place)?.as_integer()?;
            Some((u64::try_from(count).ok().filter(|n| *n > 0)?, place.clone()))
        };
        rank.places.iter().find_map(found)
    }

    fn report_other_ranks(&self, diagnostics: &mut Diagnostics) {
        let others = self.checkpoint.other_ranks();
        if others.is_empty() {
            return;
        }
        let message = format!("{} holds one rank of {}", self.file(), others.len() + 1);
        diagnostics.push(
            Diagnostic::without_place(Code::MissingRank, message)
                .note(format!("beside it lie {}", others.join(", ")))
                .help("give the directory that holds all of them"),
        );
    }

    fn incomplete(&self, rank: RankId, count: u64, place: &str) -> Diagnostic {
        let name = &self.mapping.ranks[rank.index()].name;
        let found = self.ranks.count(rank);
        let message = format!("the checkpoint holds {found} of {count} `{name}` ranks");
        Diagnostic::without_place(Code::MissingRank, message)
            .note(format!("{place} of the checkpoint is {count}"))
            .note(format!("in {}", self.file()))
            .help("give the directory that holds all ranks (`mp_rank_00`, `mp_rank_01`, …), and see that none is missing")
    }

    fn too_many_numbers(&self, file: &RankFile, known: usize) -> Diagnostic {
        let message = format!(
            "`{}` has {} numbers, but the mapping's rank axes with several ranks are {known}",
            file.name,
            file.numbers.len()
        );
        Diagnostic::without_place(Code::MissingRank, message)
            .note(format!("in {}", self.file()))
            .help("a copy of the mapping can declare the rank axis with `rank NAME = PLACE` in its side")
    }

    /// Documents of all ranks agree on what the mapping reads, and on documents that are single values: the iteration,
    /// the version.
    pub(super) fn check_rank_documents(&self, diagnostics: &mut Diagnostics) {
        let files = self.checkpoint.ranks();
        let Some((first, others)) = files.split_first().filter(|(_, others)| !others.is_empty()) else {
            return;
        };
        let fields = self.mapping.config.fields.iter().flat_map(|f| &f.places[self.from.index()]);
        let counts = self.mapping.ranks.iter().filter(|r| r.side == self.from).flat_map(|r| &r.places);
        let documents = self.mapping.side(self.from).documents.iter().map(|document| &document.name);
        let expressions = self.mapping.places_in_expressions();
        let mut told: Vec<String> = Vec::new();
        for place in documents.chain(fields).chain(counts).chain(&expressions) {
            let Some(path) = self.state_path(place) else { continue };
            let expected = comparable(first.documents.lookup(&path));
            let disagrees = |file: &&RankFile| comparable(file.documents.lookup(&path)) != expected;
            let Some(other) = others.iter().find(disagrees).filter(|_| !told.contains(&path)) else {
                continue;
            };
            let show = |value: Option<Json>| value.map_or("absent".to_owned(), |v| v.to_string());
            let found = comparable(other.documents.lookup(&path));
            diagnostics.push(
                Diagnostic::without_place(
                    Code::RanksDisagree,
                    format!("`{}` and `{}` disagree on {path}", first.name, other.name),
                )
                .note(format!("it is {} in {}", show(expected), first.file))
                .note(format!("it is {} in {}", show(found), other.file))
                .help("they are ranks of different runs; give a directory whose ranks were saved together"),
            );
            told.push(path);
        }
    }

    /// Finds where each rank's block of an index in names begins. Blocks may be uneven: each is as long as its
    /// rank's numbers go.
    pub(super) fn find_blocks(&mut self) {
        let mapping = self.mapping;
        let tensors = self.checkpoint.tensors();
        let mut named = false;
        for (rank, at) in tensors.iter().flat_map(|t| relative(mapping, self.from, &t.name).ranks().to_vec())
        {
            let count = &mut self.ranks.counts[rank.index()];
            *count = (*count).max(at.saturating_add(1));
            named = true;
        }
        // Of a whole every index begins at its first coordinate.
        if !named && self.checkpoint.ranks().len() == 1 {
            return;
        }
        let templates: Vec<&Template> = mapping
            .rules
            .iter()
            .flat_map(|rule| &rule.sides[self.from.index()])
            .flat_map(|entry| &entry.stored)
            .map(|stored| &stored.name)
            .filter(|name| name.indices().any(|index| !index.ranks.is_empty()))
            .collect();
        let mut lengths: BTreeMap<(AxisId, Vec<RankId>), BTreeMap<Vec<u64>, u64>> = BTreeMap::new();
        for (number, tensor) in tensors.iter().enumerate() {
            let stored = relative(mapping, self.from, &tensor.name);
            for template in &templates {
                let Some(found) = captures(template, &stored) else { continue };
                let numbers = self.rank_numbers(number, &found.ranks);
                for index in template.indices().filter(|index| !index.ranks.is_empty()) {
                    let Some(at) = found.index(index.axis) else { continue };
                    let own = index.ranks.iter().map(|rank| numbers[rank.index()]).collect();
                    let blocks = lengths.entry((index.axis, index.ranks.clone())).or_default();
                    let length = blocks.entry(own).or_insert(0);
                    *length = (*length).max(at.saturating_add(1));
                }
            }
        }
        for ((axis, _), blocks) in lengths {
            let mut start = 0u64;
            for (own, length) in blocks {
                self.ranks.blocks.insert((axis, own), start);
                start = start.saturating_add(length);
            }
        }
    }

    /// What a name holds with the coordinates of its indices counted over all ranks.
    pub(super) fn over_ranks(&self, template: &Template, mut found: Captures, tensor: usize) -> Captures {
        if self.ranks.blocks.is_empty() {
            return found;
        }
        let numbers = self.rank_numbers(tensor, &found.ranks);
        for index in template.indices().filter(|index| !index.ranks.is_empty()) {
            let own: Vec<u64> = index.ranks.iter().map(|rank| numbers[rank.index()]).collect();
            let start = self.ranks.blocks.get(&(index.axis, own)).copied().unwrap_or(0);
            if let Some((_, at)) = found.indices.iter_mut().find(|(axis, _)| *axis == index.axis) {
                *at = at.saturating_add(start);
            }
        }
        found
    }
}

/// What has to be the same on all ranks. Of dictionaries that is whether they are there: `args` also holds the
/// rank's own number.
fn comparable(value: Option<&Document>) -> Option<Json> {
    let json = value.map(Document::to_json)?;
    Some(if json.is_object() { Json::Object(serde_json::Map::new()) } else { json })
}
