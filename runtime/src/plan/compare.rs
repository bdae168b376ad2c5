//! Two checkpoints of one model, parameter by parameter: the elements of each box of the second beside those of the
//! first that belong there.
//!
//! Boxes pair up as they do for a conversion, so that neither ranks nor padding nor how either of the two lies
//! matters; the elements of the first go through the cast and the arithmetic that a conversion would do.

use std::collections::HashSet;

use indexmap::IndexMap;

use transship_grammar as grammar;

use grammar::{AxisUse, Diagnostics, Labels, Replicas, Rule};

use super::found::{Found, Shard, matching};
use super::held::HeldBox;
use super::pair::{Common, Pair};
use super::pieces::{Instance, engine_affine};
use super::ranks::TargetRanks;
use super::replicas::{TensorCopy, joined};
use super::tensors::{target_dtype, whole};
use super::ties::check_ties;
use super::{Check, PlanOptions, compare_once};
use crate::bind::{Binding, Claimed, Key, is_renaming, joined_key, sorted_key};
use crate::engine::{Affine, Content, Convert, Fill, StridedCopy, row_major};
use crate::{DType, Tensor};

/// All that is compared.
#[derive(Debug, Default)]
pub(crate) struct Pairs<'a> {
    pub(crate) parameters: Vec<ParameterPair<'a>>,
    /// Names of parameters that one of the two lacks, and the other has where it may be absent.
    pub(crate) missing: [Vec<String>; 2],
    /// Copies inside each that must be equal: replicas, tied parameters.
    pub(crate) checks: Vec<Check<'a>>,
}

/// A parameter of the second checkpoint, and what the first has for it.
#[derive(Debug)]
pub(crate) struct ParameterPair<'a> {
    /// The number of its rule.
    pub(crate) rule: usize,
    /// Its name in the second.
    pub(crate) name: String,
    /// The widest dtype of its tensors in each of the two.
    pub(crate) dtypes: [DType; 2],
    /// The dtype that a conversion would write.
    pub(crate) converted: DType,
    /// Axes that are not as long in the two, with both lengths.
    pub(crate) lengths: Vec<(String, u64, u64)>,
    /// Elements of the second, padding aside.
    pub(crate) elements: u64,
    pub(crate) parts: Vec<PartPair<'a>>,
}

/// Elements of one tensor of each.
#[derive(Debug)]
pub(crate) struct PartPair<'a> {
    /// The numbers of the two tensors, of replicas the first.
    pub(crate) tensors: [usize; 2],
    /// The coordinates that names of either checkpoint fix.
    pub(crate) key: Key,
    /// What the stars of a name stand for.
    pub(crate) stars: Vec<String>,
    /// Which arm of each sum the elements lie in.
    pub(crate) labels: Labels,
    /// The axes in the order of `shape`.
    pub(crate) axes: Vec<PartAxis>,
    pub(crate) shape: Vec<usize>,
    /// The dtype of the second, in which the two are compared.
    pub(crate) dtype: DType,
    /// What makes these elements of the first, in row-major order of `shape`; `None` where its dtype cannot be cast.
    pub(crate) first: Option<Content<'a>>,
    /// The same elements of the second.
    pub(crate) second: Content<'a>,
}

/// An axis along which elements are compared.
#[derive(Clone, Debug)]
pub(crate) struct PartAxis {
    /// How a reader calls it.
    pub(crate) name: String,
    /// The axis; a stored dimension where the parameter has no layout.
    pub(crate) of: Option<AxisUse>,
    /// The first coordinate, counted from 0.
    pub(crate) from: u64,
    /// The same as names count it.
    pub(crate) first: u64,
}

impl PartAxis {
    /// Whether all coordinates along it hold the same.
    pub(crate) fn is_broadcast(&self) -> bool {
        self.of.as_ref().is_some_and(|axis| axis.broadcast)
    }
}

impl PartPair<'_> {
    /// How many coordinates its elements have, copies along broadcasts aside.
    pub(crate) fn coordinates(&self) -> u64 {
        let axes = self.axes.iter().zip(&self.shape).filter(|(axis, _)| !axis.is_broadcast());
        axes.map(|(_, len)| *len as u64).fold(1, u64::saturating_mul)
    }

    /// The element of the storage that one at `index` is taken from: in one of the checkpoints, of its tensor here.
    pub(crate) fn place(&self, which: usize, index: &[u64]) -> Option<u64> {
        let content = if which == 0 { self.first.as_ref()? } else { &self.second };
        let (offset, strides) = match content {
            Content::Copy { copy, .. } => (copy.source_offset, &copy.source_strides),
            Content::Fill { fill: Fill::Mean(mean), .. } => {
                mean.rows.first().map(|rows| (rows.offset, &rows.strides))?
            }
            Content::Fill { .. } => return None,
        };
        let steps = index.iter().zip(strides).map(|(at, step)| at.saturating_mul(*step as u64));
        Some(steps.fold(offset as u64, u64::saturating_add))
    }
}

/// Pairs up all parameters of two bound checkpoints; the second is what the first was converted to with `options`.
pub(crate) fn pair_parameters<'a>(
    bindings: &[Binding<'a>; 2],
    options: &PlanOptions,
) -> Result<Pairs<'a>, Diagnostics> {
    let mapping = bindings[0].mapping;
    let mut diagnostics = Diagnostics::new(&mapping.source);
    let mut pairs = Pairs { missing: bindings.each_ref().map(Binding::missing_names), ..Pairs::default() };
    let ranks = bindings.each_ref().map(TargetRanks::new);
    let mut told: [HashSet<String>; 2] = Default::default();
    for (number, rule) in mapping.rules.iter().enumerate() {
        if !bindings.iter().all(|binding| binding.may_hold(&rule.guard)) {
            continue;
        }
        if is_renaming(rule) {
            pair_renamed(bindings, options, number, &mut pairs);
            continue;
        }
        let pairing = Pairing { bindings, options, ranks: &ranks, number, rule };
        for entry in 0..rule.sides[bindings[1].from.index()].len() {
            let template = &rule.sides[bindings[1].from.index()][entry].stored[0].name;
            for key in bindings[1].keys(template) {
                if bindings.iter().all(|binding| binding.holds(&rule.guard, &key)) {
                    pairing.pair(entry, &key, &mut pairs, &mut told, &mut diagnostics);
                }
            }
        }
    }
    for (which, binding) in bindings.iter().enumerate() {
        check_ties(binding, &mut pairs.checks, &mut diagnostics);
        pairs.missing[1 - which].extend(left_over(binding, &mut told[which]));
    }
    if diagnostics.has_errors() {
        diagnostics.sort();
        return Err(diagnostics);
    }
    compare_once(&mut pairs.checks);
    Ok(pairs)
}

/// Names of claimed tensors that nothing of the other checkpoint was beside, in the order of the file.
fn left_over(binding: &Binding<'_>, told: &mut HashSet<String>) -> Vec<String> {
    let mut numbers: Vec<usize> = binding.claims.entries.values().flat_map(Claimed::tensors).collect();
    numbers.sort_unstable();
    let names = numbers.into_iter().map(|number| &binding.checkpoint.tensors()[number].name);
    names.filter(|name| told.insert((*name).clone())).cloned().collect()
}

/// One rule.
struct Pairing<'p, 'a> {
    bindings: &'p [Binding<'a>; 2],
    options: &'p PlanOptions,
    ranks: &'p [TargetRanks<'p, 'a>; 2],
    number: usize,
    rule: &'a Rule,
}

impl<'a> Pairing<'_, 'a> {
    fn instance<'i>(&'i self, which: usize, entry_number: usize, key: &'i Key) -> Instance<'i, 'a> {
        let binding = &self.bindings[which];
        Instance {
            binding,
            options: self.options,
            number: self.number,
            rule: self.rule,
            entry_number,
            entry: &self.rule.sides[binding.from.index()][entry_number],
            key,
            scopes: &[],
            ranks: &self.ranks[which],
        }
    }

    fn pair(
        &self,
        entry: usize,
        key: &Key,
        pairs: &mut Pairs<'a>,
        told: &mut [HashSet<String>; 2],
        diagnostics: &mut Diagnostics,
    ) {
        let output = &self.bindings[1];
        let (mut firsts, mut seconds) = (Vec::new(), Vec::new());
        self.instance(1, entry, key).find(entry, &mut seconds, &mut pairs.checks, diagnostics);
        for number in 0..self.rule.sides[self.bindings[0].from.index()].len() {
            self.instance(0, number, key).find(number, &mut firsts, &mut pairs.checks, diagnostics);
        }
        // What a checkpoint itself shows that it lacks is told of by its binding, all else at the end.
        let expected = |which: usize, found: &[Found<'_>]| {
            !found.is_empty() || (!self.rule.optional && self.runs_over(which, key))
        };
        if expected(0, &firsts) && expected(1, &seconds) {
            for (found, told) in [&firsts, &seconds].into_iter().zip(told) {
                told.extend(found.iter().flat_map(|f| &f.shards).map(|s| s.tensor.name.clone()));
            }
        }
        let (Some(first), Some(second)) = (firsts.first(), seconds.first()) else { return };
        let Some(shard) = second.shards.first() else { return };
        let stated = second.stored.dtype.as_deref();
        let dtypes = [(0, &firsts), (1, &seconds)]
            .map(|(which, found)| self.instance(which, 0, key).own_dtype(found, stated));
        let [Ok(own), Ok(other)] = dtypes else {
            dtypes.into_iter().filter_map(Result::err).for_each(|diagnostic| diagnostics.push(*diagnostic));
            return;
        };
        let mut parameter = ParameterPair {
            rule: self.number,
            name: shard.tensor.name.clone(),
            dtypes: [own, other],
            converted: converted(self.bindings, self.options, second.stored, own),
            lengths: self.lengths(first, second),
            elements: 0,
            parts: Vec::new(),
        };
        for second in &seconds {
            for shard in &second.shards {
                for target in shard.boxes.iter().filter(|held| held.own.pads.is_empty()) {
                    let elements = elements_at(output, &second.key, &target.own);
                    parameter.elements = parameter.elements.saturating_add(elements);
                    self.pair_box(&firsts, (second, shard, target), &mut parameter);
                }
            }
        }
        pairs.parameters.push(parameter);
    }

    /// Whether names of one checkpoint's side run over these coordinates.
    fn runs_over(&self, which: usize, key: &Key) -> bool {
        let binding = &self.bindings[which];
        let mut entries = self.rule.sides[binding.from.index()].iter();
        entries.any(|entry| !binding.keys_with(&entry.stored[0].name, key).is_empty())
    }

    /// Axes of the second that are not as long as in the first.
    fn lengths(&self, first: &Found<'a>, second: &Found<'a>) -> Vec<(String, u64, u64)> {
        let [input, output] = self.bindings;
        let layout = output.layout(second.stored, &second.key);
        let axes = layout.map(grammar::Layout::axes).unwrap_or_default();
        let mut lengths = Vec::new();
        for axis in axes.into_iter().filter(|axis| !axis.broadcast) {
            let both = (input.axis_len(axis, &first.key), output.axis_len(axis, &second.key));
            if let (Some(one), Some(other)) = both
                && one != other
            {
                lengths.push((input.mapping.axis(axis.axis).name.clone(), one, other));
            }
        }
        lengths.dedup();
        lengths
    }

    /// All elements of one box of the second.
    fn pair_box(
        &self,
        firsts: &[Found<'a>],
        (second, other, target): (&Found<'a>, &Shard<'a>, &HeldBox<'a>),
        parameter: &mut ParameterPair<'a>,
    ) {
        let input = &self.bindings[0];
        let Some(strides) = addressable(&other.tensor.strides) else { return };
        for (first, shard, held) in matching(firsts, target.own.labels.clone()) {
            let key = joined_key(&first.key, &second.key);
            let pair = Pair {
                binding: input,
                key: &key,
                tensor: shard.tensor,
                source: &held.own,
                target: &target.own,
                strides: &strides,
                repeated: &[],
            };
            let Common::Some(copy) = pair.common() else { continue };
            let affine = engine_affine(first.stored.affine.to(second.stored.affine));
            let convert = Convert { from: shard.tensor.dtype, to: other.tensor.dtype, affine };
            let instance = self.instance(0, 0, &key);
            let from =
                StridedCopy { target_offset: 0, target_strides: row_major(&copy.shape), ..copy.clone() };
            let castable = convert.check().is_ok();
            let made = castable.then(|| instance.content(held, &pair, from, convert)).flatten();
            let Some(stored) = self.stored(other.tensor, target, &pair) else { continue };
            parameter.parts.push(PartPair {
                tensors: [shard.number, other.number],
                axes: axes(input, &pair.coordinates()),
                dtype: other.tensor.dtype,
                first: made,
                second: stored,
                shape: copy.shape,
                labels: target.own.labels.clone(),
                stars: Vec::new(),
                key: key.clone(),
            });
        }
    }

    /// The elements that a pair has in common as the second holds them: in its tensor, or in what its replicas make together.
    fn stored(&self, tensor: &Tensor, target: &HeldBox<'a>, pair: &Pair<'_, 'a>) -> Option<Content<'a>> {
        let copies: Option<Vec<TensorCopy<'a>>> = target
            .read(tensor, self.rule.replicas)
            .map(|(tensor, own)| {
                let strides = addressable(&tensor.strides)?;
                let pair = Pair { target: own, strides: &strides, ..*pair };
                let Common::Some(copy) = pair.common() else { return None };
                let offset = usize::try_from(tensor.offset).ok()?;
                let copy = StridedCopy {
                    source_offset: offset.saturating_add(copy.target_offset),
                    source_strides: copy.target_strides,
                    target_offset: 0,
                    target_strides: row_major(&copy.shape),
                    shape: copy.shape,
                };
                Some(TensorCopy::new(&self.bindings[1], tensor, copy))
            })
            .collect();
        joined(self.rule.replicas, copies?, tensor.dtype, None)
    }
}

/// The dtype that a conversion writes parameters of `own` in, which are stored as `second` in the second.
fn converted(
    [input, output]: &[Binding<'_>; 2],
    options: &PlanOptions,
    second: &grammar::Stored,
    own: DType,
) -> DType {
    if input.from == output.from {
        return options.dtype.filter(|_| own.is_float()).unwrap_or(own);
    }
    target_dtype(input, options, second.dtype.as_deref(), own)
}

/// Elements of a box at the coordinates that names fix.
fn elements_at(binding: &Binding<'_>, key: &Key, target: &grammar::LayoutBox) -> u64 {
    target.axes.iter().fold(1u64, |elements, axis| {
        let at = key.iter().find(|(a, _)| *a == axis.axis.axis);
        let at = at.and_then(|(a, at)| at.checked_sub(binding.range(*a)?.0));
        let len = match at {
            Some(at) => u64::from((axis.from..axis.from.saturating_add(axis.len)).contains(&at)),
            None => axis.len,
        };
        elements.saturating_mul(len)
    })
}

fn addressable(sizes: &[u64]) -> Option<Vec<usize>> {
    sizes.iter().map(|n| usize::try_from(*n).ok()).collect()
}

/// The axes that elements are compared along; of two uses of one axis, with the role that tells them apart.
fn axes(binding: &Binding<'_>, axes: &[(&AxisUse, u64)]) -> Vec<PartAxis> {
    let own = |(axis, first): &(&AxisUse, u64)| {
        let name = &binding.mapping.axis(axis.axis).name;
        let several = axes.iter().filter(|(other, _)| other.axis == axis.axis).count() > 1;
        let begins = binding.range(axis.axis).map_or(0, |(from, _)| from);
        PartAxis {
            name: match axis.role.as_ref().filter(|_| several) {
                Some(role) => format!("{role}:{name}"),
                None => name.clone(),
            },
            of: Some((*axis).clone()),
            from: first.saturating_sub(begins),
            first: *first,
        }
    };
    axes.iter().map(own).collect()
}

/// Parameters that keep how they lie: by name alone.
fn pair_renamed<'a>(
    bindings: &[Binding<'a>; 2],
    options: &PlanOptions,
    number: usize,
    pairs: &mut Pairs<'a>,
) {
    let rule = &bindings[0].mapping.rules[number];
    let [firsts, seconds] = [0, 1].map(|which| renamed(bindings, number, which, &mut pairs.checks));
    let may_be_absent = |name: &Renaming| rule.optional || !name.1.is_empty();
    for (name, to) in &seconds {
        let tensors = |which: usize, number: usize| &bindings[which].checkpoint.tensors()[number];
        let second = tensors(1, to.tensors[0]);
        let Some(from) = firsts.get(name) else {
            if may_be_absent(name) {
                pairs.missing[0].push(second.name.clone());
            }
            continue;
        };
        let first = tensors(0, from.tensors[0]);
        let mut pair = ParameterPair {
            rule: number,
            name: second.name.clone(),
            dtypes: [first.dtype, second.dtype],
            converted: converted(bindings, options, to.stored, first.dtype),
            lengths: Vec::new(),
            elements: to.tensors.iter().map(|number| tensors(1, *number).elements()).sum(),
            parts: Vec::new(),
        };
        if whole_shape(first) == whole_shape(second) {
            let affine = engine_affine(from.stored.affine.to(to.stored.affine));
            for other in &to.tensors {
                let common =
                    from.tensors.iter().filter_map(|own| in_common(bindings, [*own, *other], affine));
                pair.parts.extend(common.map(|part| PartPair {
                    key: name.0.clone(),
                    stars: name.1.clone(),
                    ..part
                }));
            }
        }
        pairs.parameters.push(pair);
    }
    for (name, from) in &firsts {
        if !seconds.contains_key(name) && may_be_absent(name) {
            pairs.missing[1].push(bindings[0].checkpoint.tensors()[from.tensors[0]].name.clone());
        }
    }
}

/// Coordinates and stars of a name.
type Renaming = (Key, Vec<String>);

/// A parameter without a layout: its tensors, one of each group of replicas, in the order of the file.
struct Kept<'a> {
    tensors: Vec<usize>,
    stored: &'a grammar::Stored,
}

/// The parameters that a renaming takes, in the order of the file.
fn renamed<'a>(
    bindings: &[Binding<'a>; 2],
    number: usize,
    which: usize,
    checks: &mut Vec<Check<'a>>,
) -> IndexMap<Renaming, Kept<'a>> {
    let binding = &bindings[which];
    let rule = &binding.mapping.rules[number];
    let tensors = binding.checkpoint.tensors();
    let mut all: IndexMap<Renaming, Kept<'a>> = IndexMap::new();
    for claim in binding.claims.renamed.iter().filter(|r| r.rule == number) {
        let name = (sorted_key(&claim.captures), claim.captures.stars.clone());
        let stored = &rule.sides[binding.from.index()][claim.entry].stored[claim.era];
        let kept = all.entry(name).or_insert_with(|| Kept { tensors: Vec::new(), stored });
        let same = |other: &&usize| tensors[**other].chunk == tensors[claim.tensor].chunk;
        match kept.tensors.iter().find(same) {
            Some(first) if rule.replicas == Replicas::Equal => {
                let pair = [&tensors[*first], &tensors[claim.tensor]];
                checks.push(Check::of_whole_replicas(binding, pair, rule.span));
            }
            Some(_) => {}
            None => kept.tensors.push(claim.tensor),
        }
    }
    all
}

/// The shape of what a tensor is, or is a chunk of.
fn whole_shape(tensor: &Tensor) -> &[u64] {
    tensor.chunk.as_ref().map_or(&tensor.shape, |chunk| &chunk.shape)
}

/// The elements that two tensors, or chunks, of one shape have in common.
fn in_common<'a>(
    bindings: &[Binding<'a>; 2],
    numbers: [usize; 2],
    affine: Option<Affine>,
) -> Option<PartPair<'a>> {
    let tensors = [0, 1].map(|which| &bindings[which].checkpoint.tensors()[numbers[which]]);
    let dims = tensors[0].shape.len();
    let begins = |tensor: &Tensor, dim: usize| tensor.chunk.as_ref().map_or(0, |chunk| chunk.offsets[dim]);
    let mut copies = tensors.map(whole);
    let mut firsts = Vec::new();
    for dim in 0..dims {
        let ends = tensors.map(|tensor| begins(tensor, dim).saturating_add(tensor.shape[dim]));
        let from = begins(tensors[0], dim).max(begins(tensors[1], dim));
        let len = ends[0].min(ends[1]).checked_sub(from).filter(|len| *len > 0 || ends[0] == from)?;
        for (copy, tensor) in copies.iter_mut().zip(tensors) {
            let skipped = usize::try_from(from - begins(tensor, dim)).ok()?;
            copy.source_offset =
                copy.source_offset.checked_add(skipped.checked_mul(copy.source_strides[dim])?)?;
            copy.shape[dim] = usize::try_from(len).ok()?;
        }
        firsts.push(from);
    }
    for copy in &mut copies {
        copy.target_strides = row_major(&copy.shape);
    }
    let [from, to] = copies;
    let convert = Convert { from: tensors[0].dtype, to: tensors[1].dtype, affine };
    let content = |which: usize, copy: StridedCopy, convert: Convert| Content::Copy {
        copy,
        source: bindings[which].checkpoint.bytes(tensors[which]),
        convert,
    };
    let axis = |(dim, from): (usize, &u64)| PartAxis {
        name: format!("dimension {dim}"),
        of: None,
        from: *from,
        first: *from,
    };
    Some(PartPair {
        tensors: numbers,
        key: Key::new(),
        stars: Vec::new(),
        labels: Labels::new(),
        axes: firsts.iter().enumerate().map(axis).collect(),
        shape: to.shape.clone(),
        dtype: tensors[1].dtype,
        first: convert.check().is_ok().then(|| content(0, from, convert)),
        second: content(1, to, Convert::bits(tensors[1].dtype)),
    })
}
