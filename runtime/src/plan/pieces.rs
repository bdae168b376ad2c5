//! One target tensor as strided copies: boxes of both sides paired, coordinates in names fixed.

use std::collections::HashSet;

use transship_grammar as grammar;

use grammar::{
    AxisUse, Code, Diagnostic, Diagnostics, Entry, Labels, LayoutBox, Padding, RankId, Replicas, Rule, Sizes,
    Stored, Unplaced,
};

use super::found::{Found, Shard, matching};
use super::held::HeldBox;
use super::padding::{LARGEST_PADDED, bytes_of, target_padding, too_much_padding};
use super::pair::{Common, Pair};
use super::ranks::{Home, TargetRanks};
use super::replicas::{add_nothing, integer_replicas};
use super::tensors::{Place, Target, check_convert, dimensions, no_name, restrict, target_dtype};
use super::{Check, PlanOptions, RoundTrip, Source};
use crate::bind::{Binding, Key, name_below, split_over};
use crate::engine::{Affine, Content, Convert, StridedCopy, TargetTensor, row_major};
use crate::{DType, Tensor};

/// A target of a rule at given coordinates of the indices in its name.
pub(super) struct Instance<'i, 'a> {
    pub(super) binding: &'i Binding<'a>,
    pub(super) options: &'i PlanOptions,
    pub(super) number: usize,
    pub(super) rule: &'a Rule,
    pub(super) entry_number: usize,
    pub(super) entry: &'a Entry,
    pub(super) key: &'i Key,
    /// The first rules of the scopes that the rule stands in.
    pub(super) scopes: &'i [usize],
    pub(super) ranks: &'i TargetRanks<'i, 'a>,
}

/// Sizes of a layout's axes at given coordinates.
pub(crate) struct LayoutSizes<'i, 'a> {
    pub(crate) binding: &'i Binding<'a>,
    pub(crate) key: &'i Key,
    /// Padding of each dimension; none where absent.
    pub(crate) pads: Vec<u64>,
    pub(crate) part: StoredPart<'i>,
}

/// Which part of a parameter is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StoredPart<'i> {
    /// All of it.
    Whole,
    /// What the rank with these numbers along all rank axes stores.
    Rank(&'i [u64]),
    /// A chunk: its offsets, and its sizes.
    Chunk(&'i [u64], &'i [u64]),
}

impl Sizes for LayoutSizes<'_, '_> {
    fn axis(&self, axis: &AxisUse) -> Option<u64> {
        self.binding.axis_len(axis, self.key)
    }

    fn pad(&self, dim: usize) -> u64 {
        self.pads.get(dim).copied().unwrap_or(0)
    }

    fn rank(&self, rank: RankId) -> (u64, u64) {
        match self.part {
            StoredPart::Rank(numbers) => (numbers[rank.index()], self.binding.ranks.count(rank)),
            StoredPart::Whole | StoredPart::Chunk(..) => (0, 1),
        }
    }

    fn window(&self, dim: usize) -> Option<(u64, u64)> {
        match self.part {
            StoredPart::Chunk(offsets, sizes) => Some((offsets[dim], offsets[dim].checked_add(sizes[dim])?)),
            StoredPart::Whole | StoredPart::Rank(_) => None,
        }
    }
}

impl<'a> Instance<'_, 'a> {
    /// The target on each rank that holds it, or nothing where the rule is optional and its parameters are absent.
    pub(super) fn plan(
        &self,
        checks: &mut Vec<Check<'a>>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Vec<Target<'a>>> {
        let binding = self.binding;
        let mut found = Vec::new();
        for entry in 0..self.rule.sides[binding.from.index()].len() {
            self.find(entry, &mut found, checks, diagnostics);
        }
        let first = found.first()?;
        let (to, root) = self.target_way();
        let Some(layout) = binding.layout(to, &first.key) else {
            diagnostics.push(self.unknown_shape(to));
            return None;
        };
        let homes = match self.ranks.homes(&to.name, self.rule.on, self.key) {
            Ok(homes) => homes,
            Err(diagnostic) => {
                diagnostics.push(*diagnostic);
                return None;
            }
        };
        let mut targets = Vec::with_capacity(homes.len());
        let split = split_over(to, Some(layout));
        let mut held: HashSet<Vec<u64>> = HashSet::new();
        let several = homes.len() > 1;
        for home in homes {
            // What several ranks hold is told of on the first of them.
            let first = held.insert(split.iter().map(|rank| home.numbers[rank.index()]).collect());
            let mut target = self.plan_home(&found, (to, root), layout, &home, diagnostics)?;
            if !first {
                target.round_trips.clear();
            }
            if self.rule.replicas == Replicas::Sum && several {
                if !target.tensor.dtype.is_float() {
                    let (name, dtype) = (&target.tensor.name, target.tensor.dtype);
                    diagnostics.push(integer_replicas(binding, name, dtype, self.rule.span));
                    return None;
                }
                if !first {
                    add_nothing(&mut target.tensor, &mut target.sources);
                }
            }
            targets.push(target);
        }
        Some(targets)
    }

    /// The target on one rank.
    fn plan_home(
        &self,
        found: &[Found<'a>],
        (to, root): (&'a Stored, usize),
        layout: &grammar::Layout,
        home: &Home,
        diagnostics: &mut Diagnostics,
    ) -> Option<Target<'a>> {
        let binding = self.binding;
        let shards = || found.iter().flat_map(|f| &f.shards);
        let own = match self.own_dtype(found, to.dtype.as_deref()) {
            Ok(own) => own,
            Err(diagnostic) => {
                diagnostics.push(*diagnostic);
                return None;
            }
        };
        let dtype = target_dtype(binding, self.options, to.dtype.as_deref(), own);
        let key = &found.first()?.key;
        let part = StoredPart::Rank(&home.numbers);
        let pads = match self.target_pads(layout) {
            Ok(pads) => pads,
            Err(diagnostic) => {
                diagnostics.push(*diagnostic);
                return None;
            }
        };
        let placed = match layout.place(&LayoutSizes { binding, key, pads: pads.clone(), part }) {
            Ok(placed) => placed,
            Err(unplaced) => {
                diagnostics.push(self.unplaced(&unplaced, to, layout.span));
                return None;
            }
        };
        if pads.iter().any(|rows| *rows > 0) && bytes_of(&placed.shape, dtype) > LARGEST_PADDED {
            diagnostics.push(too_much_padding(layout, &pads, &placed.shape));
            return None;
        }
        let mut piece = Pieces {
            dtype,
            strides: row_major(&dimensions(&placed.shape)),
            affine: to.affine,
            contents: Vec::new(),
            sources: Vec::new(),
            round_trips: Vec::new(),
            described: HashSet::new(),
            // What has no elements has been converted by being found.
            used: shards().filter(|s| s.tensor.elements() == 0).map(|s| s.tensor.name.as_str()).collect(),
        };
        for target in &placed.boxes {
            if target.pads.is_empty() {
                self.copy_box(found, target, &[], &mut piece, diagnostics)?;
            } else {
                self.fill_padding(found, layout, &pads, target, &mut piece, diagnostics)?;
            }
        }
        let holes = self.ranks.holes(&to.name, self.key, home);
        let Some(name) = name_below(binding.mapping, binding.to(), root, &to.name, &holes) else {
            diagnostics.push(no_name(binding, to, self.key));
            return None;
        };
        self.check_covered(&name, &placed.shape, &piece.contents, diagnostics);
        let first = shards().map(|s| s.number).min().unwrap_or(usize::MAX);
        let tensor = TargetTensor { name, dtype, shape: placed.shape, contents: piece.contents };
        Some(Target {
            order: first,
            place: Place::of(self, home),
            home: Some(home.clone()),
            of: (self.number, self.key.clone()),
            tensor,
            sources: piece.sources,
            root,
            used: piece.used,
            round_trips: piece.round_trips,
        })
    }

    /// The way a target is stored: the one that is written, or the one it has already where only ranks change; and below
    /// which root.
    pub(super) fn target_way(&self) -> (&'a Stored, usize) {
        let written = self.binding.written(self.entry);
        let kept = self.binding.mapping.reflected.then(|| {
            let claim = (self.number, self.entry_number, restrict(self.key, &written.name));
            let claimed = self.binding.claims.entries.get(&claim)?;
            Some((self.entry.stored.get(claimed.era)?, claimed.root))
        });
        kept.flatten().unwrap_or((written, 0))
    }

    /// Copies into one box of the target from all boxes that hold some of its elements.
    pub(super) fn copy_box(
        &self,
        found: &[Found<'a>],
        target: &LayoutBox,
        repeated: &[Padding],
        piece: &mut Pieces<'a>,
        diagnostics: &mut Diagnostics,
    ) -> Option<()> {
        for (f, shard, held) in matching(found, with_labels(&target.labels, self.entry)) {
            let [affine, back] = [f.stored.affine.to(piece.affine), piece.affine.to(f.stored.affine)];
            let [affine, back] = [affine, back].map(engine_affine);
            let convert = Convert { from: shard.tensor.dtype, to: piece.dtype, affine };
            self.check_converts((shard.tensor, held), &convert, diagnostics)?;
            let (binding, tensor, source, strides) = (self.binding, shard.tensor, &held.own, &piece.strides);
            let pair = Pair { binding, key: &f.key, tensor, source, target, strides, repeated };
            let copy = match pair.common() {
                Common::Some(copy) => copy,
                Common::Nothing => continue,
                Common::Unaddressable => {
                    diagnostics.push(self.unaddressable(shard.tensor));
                    return None;
                }
            };
            piece.used.insert(&tensor.name);
            piece.used.extend(held.replicas.iter().map(|(replica, _)| replica.name.as_str()));
            if repeated.is_empty() && piece.described.insert(shard.number) {
                piece.sources.push(describe(f, shard, &copy, &convert));
            }
            let Some(content) = self.content(held, &pair, copy, convert) else {
                diagnostics.push(self.unaddressable(shard.tensor));
                return None;
            };
            if repeated.is_empty() {
                piece.round_trips.extend(RoundTrip::of(&tensor.name, &content, back));
            }
            piece.contents.push(content);
        }
        Some(())
    }

    /// Whether all that is read of a box can be converted so, and joined where replicas are.
    fn check_converts(
        &self,
        (tensor, held): (&'a Tensor, &HeldBox<'a>),
        convert: &Convert,
        diagnostics: &mut Diagnostics,
    ) -> Option<()> {
        let read = || held.read(tensor, self.rule.replicas);
        let defined = read().all(|(tensor, _)| {
            let convert = Convert { from: tensor.dtype, ..*convert };
            check_convert(&convert, self.rule, tensor, diagnostics)
        });
        if !defined {
            return None;
        }
        if read().count() > 1 && !convert.to.is_float() {
            let (name, span) = (&tensor.name, self.rule.span);
            diagnostics.push(integer_replicas(self.binding, name, convert.to, span));
            return None;
        }
        Some(())
    }

    /// The padding of the target's dimensions: the config value with the name of the padding's label, or none.
    fn target_pads(&self, layout: &grammar::Layout) -> Result<Vec<u64>, Box<Diagnostic>> {
        let rows = layout.dims.iter().map(|factor| target_padding(self.binding, factor));
        rows.map(|rows| Ok(rows?.unwrap_or(0))).collect()
    }

    /// Parts that are absent leave elements without a source.
    fn check_covered(
        &self,
        name: &str,
        shape: &[u64],
        contents: &[Content<'_>],
        diagnostics: &mut Diagnostics,
    ) {
        let elements: u64 = shape.iter().fold(1, |n, size| n.saturating_mul(*size));
        let copied = contents.iter().fold(0u64, |sum, content| match content {
            Content::Copy { copy, .. } => {
                let count = copy.shape.iter().fold(1u64, |n, size| n.saturating_mul(*size as u64));
                sum.saturating_add(count)
            }
            Content::Fill { region, .. } => {
                let count = region.shape.iter().fold(1u64, |n, size| n.saturating_mul(*size as u64));
                sum.saturating_add(count)
            }
        });
        if copied < elements {
            diagnostics.push(
                Diagnostic::error(
                    Code::MissingParameter,
                    self.rule.span,
                    format!("`{name}` has {elements} elements, but the parameters that are there hold {copied} of them"),
                    "some of what this rule puts together is absent",
                )
                .note(format!("in {}", self.binding.checkpoint.file()))
                .help("parameters that may be absent are absent together; the checkpoint may be incomplete"),
            );
        }
    }

    pub(super) fn misshapen(&self, tensor: &Tensor, expected: &[u64], span: grammar::Span) -> Diagnostic {
        Diagnostic::error(
            Code::ShapeMismatch,
            span,
            format!(
                "`{}` is stored as {:?}, but by this layout it is {expected:?}",
                tensor.name, tensor.shape
            ),
            "this layout",
        )
        .note(format!("in {}", self.binding.checkpoint.ranks()[tensor.rank].file))
        .help(
            "ranks split a parameter evenly; the file may be of another run, or the layout may need `@rank`",
        )
    }

    pub(super) fn unplaced(&self, unplaced: &Unplaced, stored: &Stored, span: grammar::Span) -> Diagnostic {
        match unplaced {
            Unplaced::Unknown => self.unknown_shape(stored),
            Unplaced::Uneven { len, rank, .. } => {
                let name = self.binding.mapping.display_template(&stored.name);
                self.ranks.uneven(&name, *len, *rank, Some(span))
            }
            Unplaced::Nested => Diagnostic::error(
                Code::NotSupported,
                span,
                "a group is cut over ranks that has a distributed axis inside",
                "both are distributed",
            )
            .help("distribute the group or the axis, not both"),
        }
    }

    pub(super) fn unaddressable(&self, tensor: &Tensor) -> Diagnostic {
        Diagnostic::error(
            Code::ShapeMismatch,
            self.rule.span,
            format!(
                "`{}` cannot be laid out by this rule: its sizes are beyond what can be addressed",
                tensor.name
            ),
            "by this rule",
        )
    }

    pub(super) fn unknown_shape(&self, to: &Stored) -> Diagnostic {
        Diagnostic::error(
            Code::UnknownValue,
            to.span,
            "the shape of this parameter is not known",
            "not all of its axes have a size",
        )
        .help("give the sizes with `--set NAME=VALUE`")
    }

    pub(super) fn uneven_padding(&self, layout: &grammar::Layout, tensor: &Tensor) -> Diagnostic {
        Diagnostic::error(
            Code::ShapeMismatch,
            layout.span,
            format!("`{}` has shape {:?}, whose padding does not come out even", tensor.name, tensor.shape),
            "by this layout",
        )
    }
}

fn describe(f: &Found<'_>, shard: &Shard<'_>, copy: &StridedCopy, convert: &Convert) -> Source {
    let mut steps = steps(copy, convert);
    if shard.boxes.len() > 1 {
        let parts: Vec<String> = shard
            .boxes
            .iter()
            .filter(|held| held.own.pads.is_empty())
            .flat_map(|held| held.own.labels.values().cloned())
            .collect();
        if !parts.is_empty() {
            steps.insert(0, format!("taken apart into {}", parts.join(", ")));
        }
        if f.padded {
            steps.push("padding left out".to_owned());
        }
    }
    Source { name: shard.tensor.name.clone(), steps }
}

pub(super) fn with_labels(labels: &Labels, entry: &Entry) -> Labels {
    let mut all = labels.clone();
    all.extend(entry.labels.iter().cloned());
    all
}

/// What is gathered for one target.
pub(super) struct Pieces<'a> {
    pub(super) dtype: DType,
    /// Row-major steps of the target.
    pub(super) strides: Vec<usize>,
    pub(super) affine: grammar::Affine,
    pub(super) contents: Vec<Content<'a>>,
    sources: Vec<Source>,
    round_trips: Vec<RoundTrip<'a>>,
    /// Numbers of the tensors among the sources.
    described: HashSet<usize>,
    /// Names of all tensors that hold what has been copied.
    used: HashSet<&'a str>,
}

pub(super) fn engine_affine(affine: grammar::Affine) -> Option<Affine> {
    (affine != grammar::Affine::IDENTITY).then_some(Affine { scale: affine.scale, offset: affine.offset })
}

/// What a copy does, in words.
pub(super) fn steps(copy: &StridedCopy, convert: &Convert) -> Vec<String> {
    let mut axes: Vec<(usize, usize)> = copy
        .target_strides
        .iter()
        .zip(&copy.source_strides)
        .zip(&copy.shape)
        .filter(|(_, len)| **len > 1)
        .map(|((t, s), _)| (*t, *s))
        .collect();
    axes.sort_unstable_by(|a, b| b.cmp(a));
    let mut steps = Vec::new();
    if axes.iter().any(|(_, source)| *source == 0) {
        steps.push("repeated".to_owned());
    }
    if axes.windows(2).any(|pair| pair[0].1 < pair[1].1 && pair[0].1 != 0) {
        steps.push("axes reordered".to_owned());
    }
    if let Some(Affine { scale, offset }) = convert.affine {
        steps.push(format!("times {scale} plus {offset}"));
    }
    if convert.from != convert.to {
        steps.push(format!("{} to {}", convert.from, convert.to));
    }
    steps
}
