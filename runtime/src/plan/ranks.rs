//! Which ranks of the target hold a parameter, under which name, and in what order a rank's file lists it.

use transship_grammar as grammar;

use grammar::{Captures, Code, Diagnostic, IndexPart, Part, RankEnd, RankId, Rule, Span, Template};

use crate::bind::{Binding, Coordinates, Key, file_ranks, is_in_roots};
use crate::checkpoint::RankName;

/// The ranks of the target side.
pub(super) struct TargetRanks<'b, 'a> {
    binding: &'b Binding<'a>,
}

/// A place of the target that holds a parameter, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Home {
    /// Numbers along all rank axes.
    pub(super) numbers: Coordinates,
    /// The file, counted in the order of [`TargetRanks::files`].
    pub(super) file: usize,
}

/// The first coordinate of a block, and the numbers of the ranks that hold it.
type Block = (u64, Vec<(RankId, u64)>);

impl<'b, 'a> TargetRanks<'b, 'a> {
    pub(super) fn new(binding: &'b Binding<'a>) -> TargetRanks<'b, 'a> {
        TargetRanks { binding }
    }

    fn count(&self, rank: RankId) -> u64 {
        self.binding.ranks.count(rank)
    }

    /// The directories of all ranks, as Megatron-LM names them: by the first rank axis, and each further one that has
    /// several ranks.
    pub(super) fn files(&self) -> Vec<String> {
        let axes = file_ranks(self.binding.mapping, self.binding.to());
        let first = axes.iter().take(1);
        let numbered: Vec<&RankId> =
            first.chain(axes.iter().skip(1).filter(|rank| self.count(**rank) > 1)).collect();
        let name = |numbers: &Coordinates| match &numbered[..] {
            [] => RankName::of(&[0]),
            several => RankName::of(&several.iter().map(|rank| numbers[rank.index()]).collect::<Vec<_>>()),
        };
        self.all(&axes).iter().map(name).collect()
    }

    /// All numbers along `axes`, the last one fastest; 0 along all others.
    fn all(&self, axes: &[RankId]) -> Vec<Coordinates> {
        let mut all = vec![vec![0; self.binding.mapping.ranks.len()]];
        for rank in axes {
            let several = all.iter().flat_map(|numbers| {
                (0..self.count(*rank)).map(move |at| {
                    let mut numbers = numbers.clone();
                    numbers[rank.index()] = at;
                    numbers
                })
            });
            all = several.collect();
        }
        all
    }

    fn file_of(&self, numbers: &Coordinates) -> usize {
        let axes = file_ranks(self.binding.mapping, self.binding.to());
        let at = axes.iter().fold(0u64, |at, rank| at * self.count(*rank) + numbers[rank.index()]);
        usize::try_from(at).unwrap_or(usize::MAX)
    }

    /// Where a parameter goes whose name has `key`: to the ranks whose blocks hold these coordinates, or that `on`
    /// names.
    pub(super) fn homes(
        &self,
        template: &Template,
        on: Option<(RankId, RankEnd)>,
        key: &Key,
    ) -> Result<Vec<Home>, Box<Diagnostic>> {
        let mapping = self.binding.mapping;
        let axes: Vec<RankId> = mapping.ranks_of(self.binding.to()).collect();
        let mut required = Vec::new();
        for index in template.indices() {
            let (_, numbers) = self.block_of(index, key)?;
            required.extend(numbers);
        }
        if let Some((rank, end)) = on {
            let stages = axes.iter().filter(|a| **a == rank || is_in_roots(mapping, self.binding.to(), **a));
            for stage in stages {
                let at = match end {
                    RankEnd::First => 0,
                    RankEnd::Last => self.count(*stage) - 1,
                };
                required.push((*stage, at));
            }
        }
        let all = self.all(&axes).into_iter();
        let held = all.filter(|numbers| required.iter().all(|(rank, at)| numbers[rank.index()] == *at));
        Ok(held.map(|numbers| Home { file: self.file_of(&numbers), numbers }).collect())
    }

    /// The first coordinate of the block that holds a coordinate, and the numbers of the ranks that hold the block.
    fn block_of(&self, index: &IndexPart, key: &Key) -> Result<Block, Box<Diagnostic>> {
        let several = self.binding.ranks.product(&index.ranks) > 1;
        let at = key.iter().find(|(axis, _)| *axis == index.axis).map_or(0, |(_, at)| *at);
        let (from, to) = self.binding.range(index.axis).unwrap_or((0, 0));
        let (mut start, mut len) = (0, to.saturating_sub(from));
        let inside = (from..to).contains(&at);
        if inside && let Some(shares) = self.binding.ranks.shares_over(&index.ranks) {
            return self.share_of(index, shares, at - from, len);
        }
        if !several || !inside {
            return Ok((0, index.ranks.iter().map(|rank| (*rank, 0)).collect()));
        }
        let mut numbers = Vec::new();
        for rank in &index.ranks {
            let count = self.count(*rank);
            if !len.is_multiple_of(count) {
                let name = &self.binding.mapping.axis(index.axis).name;
                return Err(Box::new(self.uneven(name, len, *rank, None)));
            }
            len /= count;
            let own = (at - from - start) / len;
            start += own * len;
            numbers.push((*rank, own));
        }
        Ok((start, numbers))
    }

    /// The same where each block has a size of its own.
    fn share_of(
        &self,
        index: &IndexPart,
        shares: &[u64],
        at: u64,
        len: u64,
    ) -> Result<Block, Box<Diagnostic>> {
        let given: u128 = shares.iter().map(|share| u128::from(*share)).sum();
        let wanted = self.binding.ranks.product(&index.ranks);
        let name = &self.binding.mapping.axis(index.axis).name;
        if given != u128::from(len) || shares.len() as u64 != wanted {
            let list = shares.iter().map(u64::to_string).collect::<Vec<_>>().join(" + ");
            let message = format!("the ranks are given {list} = {given} of `{name}`, but there are {len}");
            let help = format!("give {wanted} numbers that make {len} together");
            return Err(Box::new(Diagnostic::without_place(Code::UnevenRanks, message).help(help)));
        }
        let (mut start, mut block) = (0u64, 0u64);
        for share in shares {
            if at < start + share {
                break;
            }
            start += share;
            block += 1;
        }
        let mut numbers = Vec::new();
        for rank in index.ranks.iter().rev() {
            numbers.push((*rank, block % self.count(*rank)));
            block /= self.count(*rank);
        }
        Ok((start, numbers))
    }

    /// What fills the holes of a parameter's name on one rank.
    pub(super) fn holes(&self, template: &Template, key: &Key, home: &Home) -> Captures {
        let mut holes = Captures { indices: key.clone(), ..Captures::default() };
        for index in template.indices() {
            let start = self.block_of(index, key).map_or(0, |(start, _)| start);
            if let Some((_, at)) = holes.indices.iter_mut().find(|(axis, _)| *axis == index.axis) {
                *at = at.saturating_sub(start);
            }
        }
        let mapping = self.binding.mapping;
        let named = mapping.ranks_of(self.binding.to()).filter(|rank| self.count(*rank) > 1);
        holes.ranks = named.map(|rank| (rank, home.numbers[rank.index()])).collect();
        holes
    }

    /// Elements that ranks cannot share.
    pub(super) fn uneven(&self, what: &str, len: u64, rank: RankId, span: Option<Span>) -> Diagnostic {
        let name = &self.binding.mapping.ranks[rank.index()].name;
        let count = self.count(rank);
        let message = format!("{len} of `{what}` cannot be shared evenly by {count} `{name}` ranks");
        let diagnostic = match span {
            Some(span) => Diagnostic::error(Code::UnevenRanks, span, message, "distributed here"),
            None => Diagnostic::without_place(Code::UnevenRanks, message),
        };
        diagnostic.help(format!("choose a number of `{name}` ranks that divides {len}"))
    }
}

/// The scopes that a rule stands in, outermost first, each by its first rule: rules in a row whose names have the same
/// beginning up to a number stand together, number by number, as a model's layers do, and a layer's experts.
pub(super) fn scopes_of(rules: &[Rule], number: usize, to: grammar::SideId) -> Vec<usize> {
    fn parts(rule: &Rule, to: grammar::SideId) -> Option<&[Part]> {
        Some(&rule.sides[to.index()].first()?.stored.first()?.name.parts)
    }
    let Some(own) = parts(&rules[number], to) else { return Vec::new() };
    let ends =
        own.iter().enumerate().filter(|(_, part)| matches!(part, Part::Index(_))).map(|(at, _)| at + 1);
    let first = |end: usize| {
        let same = |rule: &Rule| parts(rule, to).is_some_and(|parts| parts.get(..end) == own.get(..end));
        rules[..number].iter().rposition(|rule| !same(rule)).map_or(0, |at| at + 1)
    };
    ends.map(first).collect()
}
