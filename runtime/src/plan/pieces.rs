//! One target tensor as strided copies: boxes of both sides paired, coordinates in names fixed.

use std::collections::HashSet;

use transship_grammar as grammar;

use grammar::{
    AxisUse, Code, Diagnostic, Diagnostics, Entry, Labels, LayoutBox, Padding, RankId, Replicas, Rule, Sizes,
    Stored, Unplaced,
};

use super::found::{Found, Shard, matching};
use super::padding::target_padding;
use super::pair::{Common, Pair};
use super::ranks::{Home, TargetRanks};
use super::replicas::{add_nothing, integer_replicas};
use super::tensors::{Place, Target, check_convert, dimensions, no_name, restrict, target_dtype};
use super::{Check, PlanOptions, RoundTrip, Source};
use crate::bind::{Binding, Key, full_name, split_over};
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
        let to = self.target_way();
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
            let told = if first { &mut *checks } else { &mut Vec::new() };
            let mut target = self.plan_home(&found, to, layout, &home, told, diagnostics)?;
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
        to: &'a Stored,
        layout: &grammar::Layout,
        home: &Home,
        checks: &mut Vec<Check<'a>>,
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
        let pads = self.target_pads(layout);
        let placed = match layout.place(&LayoutSizes { binding, key, pads: pads.clone(), part }) {
            Ok(placed) => placed,
            Err(unplaced) => {
                diagnostics.push(self.unplaced(&unplaced, to, layout.span));
                return None;
            }
        };
        let mut piece = Pieces {
            dtype,
            strides: row_major(&dimensions(&placed.shape)),
            affine: to.affine,
            contents: Vec::new(),
            sources: Vec::new(),
            round_trips: Vec::new(),
            described: HashSet::new(),
        };
        for target in &placed.boxes {
            if target.pads.is_empty() {
                self.copy_box(found, target, None, &mut piece, checks, diagnostics)?;
            } else {
                self.fill_padding(found, layout, &pads, target, &mut piece, diagnostics)?;
            }
        }
        let holes = self.ranks.holes(&to.name, self.key, home);
        let Some(name) = full_name(binding.mapping, binding.to(), &to.name, &holes) else {
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
            round_trips: piece.round_trips,
        })
    }

    /// The way a target is stored: the first, or the one it has already where only ranks change.
    pub(super) fn target_way(&self) -> &'a Stored {
        let ways = &self.entry.stored;
        let kept = self.binding.mapping.reflected.then(|| {
            let claim = (self.number, self.entry_number, restrict(self.key, &ways[0].name));
            ways.get(self.binding.claims.entries.get(&claim)?.era)
        });
        kept.flatten().unwrap_or(&ways[0])
    }

    /// Copies into one box of the target from all boxes that hold some of its elements.
    pub(super) fn copy_box(
        &self,
        found: &[Found<'a>],
        target: &LayoutBox,
        repeated: Option<Padding>,
        piece: &mut Pieces<'a>,
        checks: &mut Vec<Check<'a>>,
        diagnostics: &mut Diagnostics,
    ) -> Option<()> {
        for (f, shard, source) in matching(found, with_labels(&target.labels, self.entry)) {
            let [affine, back] = [f.stored.affine.to(piece.affine), piece.affine.to(f.stored.affine)];
            let [affine, back] = [affine, back].map(engine_affine);
            let convert = Convert { from: shard.tensor.dtype, to: piece.dtype, affine };
            self.check_converts(shard, &convert, diagnostics)?;
            let (binding, tensor, strides) = (self.binding, shard.tensor, &piece.strides);
            let pair = Pair { binding, key: &f.key, tensor, source, target, strides, repeated };
            let copy = match pair.common() {
                Common::Copy(copy) => copy,
                Common::Nothing => continue,
                Common::Unaddressable => {
                    diagnostics.push(self.unaddressable(shard.tensor));
                    return None;
                }
            };
            if repeated.is_none() {
                self.check_broadcast(shard.tensor, source, &copy, checks);
                if piece.described.insert(shard.number) {
                    piece.sources.push(describe(f, shard, &copy, &convert));
                }
            }
            let Some(content) = self.content(shard, &pair, copy, convert) else {
                diagnostics.push(self.unaddressable(shard.tensor));
                return None;
            };
            if repeated.is_none() {
                piece.round_trips.extend(RoundTrip::of(&tensor.name, &content, back));
            }
            piece.contents.push(content);
        }
        Some(())
    }

    /// Whether all that is read of a shard can be converted so, and joined where replicas are.
    fn check_converts(
        &self,
        shard: &Shard<'a>,
        convert: &Convert,
        diagnostics: &mut Diagnostics,
    ) -> Option<()> {
        let mut read = shard.read(self.rule.replicas);
        let defined = read.all(|tensor| {
            let convert = Convert { from: tensor.dtype, ..*convert };
            check_convert(&convert, self.rule, tensor, diagnostics)
        });
        if !defined {
            return None;
        }
        if shard.read(self.rule.replicas).count() > 1 && !convert.to.is_float() {
            let (name, span) = (&shard.tensor.name, self.rule.span);
            diagnostics.push(integer_replicas(self.binding, name, convert.to, span));
            return None;
        }
        Some(())
    }

    /// The copies of all elements of a box, with their sources and dtypes.
    pub(super) fn copies(
        &self,
        found: &[Found<'a>],
        target: &LayoutBox,
        pieces: &Pieces<'a>,
    ) -> Vec<(StridedCopy, &'a [u8], DType)> {
        let boxes = matching(found, with_labels(&target.labels, self.entry));
        let copies = boxes.filter_map(|(f, shard, source)| {
            let (binding, tensor, strides) = (self.binding, shard.tensor, &pieces.strides);
            let pair = Pair { binding, key: &f.key, tensor, source, target, strides, repeated: None };
            match pair.common() {
                Common::Copy(copy) => Some((copy, binding.checkpoint.bytes(tensor), tensor.dtype)),
                Common::Nothing | Common::Unaddressable => None,
            }
        });
        copies.collect()
    }

    /// The padding of the target's dimensions: the config value with the name of the padding's label, or none.
    fn target_pads(&self, layout: &grammar::Layout) -> Vec<u64> {
        layout.dims.iter().map(|factor| target_padding(self.binding, factor).unwrap_or(0)).collect()
    }

    /// Copies along a broadcast axis must all be what the first one is, which is the one that is taken.
    fn check_broadcast(
        &self,
        tensor: &'a Tensor,
        source: &LayoutBox,
        copy: &StridedCopy,
        checks: &mut Vec<Check<'a>>,
    ) {
        let copies: Vec<&grammar::BoxAxis> =
            source.axes.iter().filter(|a| a.axis.broadcast && a.len > 1).collect();
        let Some(first) = copies.first() else { return };
        let sizes: Option<Vec<(usize, usize)>> = copies
            .iter()
            .map(|a| {
                let step = tensor.strides[a.dim].checked_mul(a.step)?;
                Some((usize::try_from(a.len).ok()?, usize::try_from(step).ok()?))
            })
            .collect();
        // Sizes of a tensor that is mapped fit memory.
        let Some(sizes) = sizes else { return };
        let names: Vec<String> =
            copies.iter().map(|a| format!("`{}`", self.binding.mapping.axis(a.axis.axis).name)).collect();
        let with = |own: &[usize], more: Vec<usize>| [own, more.as_slice()].concat();
        let bytes = self.binding.checkpoint.bytes(tensor);
        checks.push(Check {
            copy: StridedCopy {
                shape: with(&copy.shape, sizes.iter().map(|(len, _)| *len).collect()),
                source_offset: copy.source_offset,
                source_strides: with(&copy.source_strides, vec![0; sizes.len()]),
                target_offset: copy.source_offset,
                target_strides: with(&copy.source_strides, sizes.iter().map(|(_, step)| *step).collect()),
            },
            dtype: tensor.dtype,
            left: bytes,
            right: bytes,
            unlike: None,
            code: Code::BroadcastDiffers,
            message: format!(
                "the copies of `{}` along {} are not all the same",
                tensor.name,
                names.join(" and ")
            ),
            span: first.axis.span,
            file: self.binding.checkpoint.file(),
        });
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

    fn unaddressable(&self, tensor: &Tensor) -> Diagnostic {
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
            .filter(|b| b.pads.is_empty())
            .flat_map(|b| b.labels.values().cloned())
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
    dtype: DType,
    /// Row-major steps of the target.
    pub(super) strides: Vec<usize>,
    affine: grammar::Affine,
    pub(super) contents: Vec<Content<'a>>,
    sources: Vec<Source>,
    round_trips: Vec<RoundTrip<'a>>,
    /// Numbers of the tensors among the sources.
    described: HashSet<usize>,
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
