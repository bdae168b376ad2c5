//! Two checkpoints of one model, parameter by parameter: the elements of each box of the second beside those of the
//! first that belong there.
//!
//! Boxes pair up as they do for a conversion, so that neither ranks nor padding nor how either of the two lies
//! matters; the elements of the first go through the cast and the arithmetic that a conversion would do.

use std::collections::{HashMap, HashSet};

use transship_grammar as grammar;

use grammar::{AxisUse, Diagnostics, Labels, Mapping, Rule};

use super::found::{Found, Shard, matching, read};
use super::pair::{Common, Pair};
use super::pieces::{Instance, engine_affine};
use super::ranks::TargetRanks;
use super::tensors::{target_dtype, whole};
use super::ties::check_ties;
use super::{Check, PlanOptions, compare_once};
use crate::bind::{Binding, Claimed, Key, is_renaming, joined_key, sorted_key};
use crate::engine::{Content, Convert, StridedCopy, row_major};
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
    /// What the names and the labels of the box fix, in words: `layer 3`, `q`.
    pub(crate) fixed: Vec<String>,
    /// The axes in the order of `shape`, each with its first coordinate.
    pub(crate) axes: Vec<(String, u64)>,
    pub(crate) shape: Vec<usize>,
    /// The dtype of the second, in which the two are compared.
    pub(crate) dtype: DType,
    /// What makes these elements of the first, in row-major order of `shape`; `None` where its dtype cannot be cast.
    pub(crate) first: Option<Content<'a>>,
    /// The same elements of the second.
    pub(crate) second: Content<'a>,
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
        let dtype =
            |found: &[Found<'a>]| read(found, self.rule.replicas).max_by_key(|d| (d.is_float(), d.size()));
        let (Some(own), Some(other)) = (dtype(&firsts), dtype(&seconds)) else { return };
        let Some(shard) = second.shards.first() else { return };
        let mut parameter = ParameterPair {
            name: shard.tensor.name.clone(),
            dtypes: [own, other],
            converted: converted(self.bindings, self.options, second.stored, own),
            lengths: self.lengths(first, second),
            elements: 0,
            parts: Vec::new(),
        };
        for second in &seconds {
            for shard in &second.shards {
                for target in shard.boxes.iter().map(|held| &held.own).filter(|b| b.pads.is_empty()) {
                    let elements = elements_at(output, &second.key, target);
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
        (second, other, target): (&Found<'a>, &Shard<'a>, &grammar::LayoutBox),
        parameter: &mut ParameterPair<'a>,
    ) {
        let [input, output] = self.bindings;
        let Some(strides) = addressable(&other.tensor.strides) else { return };
        let Ok(offset) = usize::try_from(other.tensor.offset) else { return };
        for (first, shard, held) in matching(firsts, target.labels.clone()) {
            let key = joined_key(&first.key, &second.key);
            let pair = Pair {
                binding: input,
                key: &key,
                tensor: shard.tensor,
                source: &held.own,
                target,
                strides: &strides,
                repeated: &[],
            };
            let Common::Some(copy) = pair.common() else { continue };
            let dense = row_major(&copy.shape);
            let affine = engine_affine(first.stored.affine.to(second.stored.affine));
            let convert = Convert { from: shard.tensor.dtype, to: other.tensor.dtype, affine };
            let from = StridedCopy { target_offset: 0, target_strides: dense.clone(), ..copy.clone() };
            let instance = self.instance(0, 0, &key);
            let made = convert.check().is_ok().then(|| instance.content(held, &pair, from, convert));
            parameter.parts.push(PartPair {
                fixed: fixed(input.mapping, &key, &target.labels),
                axes: named(input.mapping, &pair.coordinates()),
                dtype: other.tensor.dtype,
                first: made,
                second: Content::Copy {
                    copy: StridedCopy {
                        source_offset: offset.saturating_add(copy.target_offset),
                        source_strides: copy.target_strides,
                        target_offset: 0,
                        target_strides: dense,
                        shape: copy.shape.clone(),
                    },
                    source: output.checkpoint.bytes(other.tensor),
                    convert: Convert::bits(other.tensor.dtype),
                },
                shape: copy.shape,
            });
        }
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

/// `layer 3`, `q`.
fn fixed(mapping: &Mapping, key: &Key, labels: &Labels) -> Vec<String> {
    let numbers = key.iter().map(|(axis, at)| format!("{} {at}", mapping.axis(*axis).name));
    numbers.chain(labels.values().cloned()).collect()
}

/// Names of axes; of two uses of one axis, with the role that tells them apart.
fn named(mapping: &Mapping, axes: &[(&AxisUse, u64)]) -> Vec<(String, u64)> {
    let name = |(axis, first): &(&AxisUse, u64)| {
        let name = &mapping.axis(axis.axis).name;
        let several = axes.iter().filter(|(other, _)| other.axis == axis.axis).count() > 1;
        match axis.role.as_ref().filter(|_| several) {
            Some(role) => (format!("{role}:{name}"), *first),
            None => (name.clone(), *first),
        }
    };
    axes.iter().map(name).collect()
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
    let by_name: HashMap<&Renaming, usize> = firsts.iter().enumerate().map(|(at, (p, _))| (p, at)).collect();
    for (parameter, (tensor, stored)) in &seconds {
        let Some((other, from)) = by_name.get(parameter).map(|at| firsts[*at].1) else {
            if rule.optional || !parameter.1.is_empty() {
                pairs.missing[0].push(tensor.name.clone());
            }
            continue;
        };
        let mut pair = ParameterPair {
            name: tensor.name.clone(),
            dtypes: [other.dtype, tensor.dtype],
            converted: converted(bindings, options, stored, other.dtype),
            lengths: Vec::new(),
            elements: tensor.elements(),
            parts: Vec::new(),
        };
        if tensor.shape == other.shape {
            let affine = engine_affine(from.affine.to(stored.affine));
            let convert = Convert { from: other.dtype, to: tensor.dtype, affine };
            let content = |which: usize, tensor: &Tensor, convert: Convert| Content::Copy {
                copy: whole(tensor),
                source: bindings[which].checkpoint.bytes(tensor),
                convert,
            };
            pair.parts.push(PartPair {
                fixed: fixed(bindings[0].mapping, &parameter.0, &Labels::new()),
                axes: (0..tensor.shape.len()).map(|dim| (format!("dimension {dim}"), 0)).collect(),
                shape: whole(tensor).shape,
                dtype: tensor.dtype,
                first: convert.check().is_ok().then(|| content(0, other, convert)),
                second: content(1, tensor, Convert::bits(tensor.dtype)),
            });
        }
        pairs.parameters.push(pair);
    }
    let there: HashSet<&Renaming> = seconds.iter().map(|(parameter, _)| parameter).collect();
    for (parameter, (tensor, _)) in &firsts {
        if !there.contains(parameter) && (rule.optional || !parameter.1.is_empty()) {
            pairs.missing[1].push(tensor.name.clone());
        }
    }
}

/// Coordinates and stars of a name.
type Renaming = (Key, Vec<String>);

/// The tensors that a renaming takes, one of each group of replicas, in the order of the file.
fn renamed<'a>(
    bindings: &[Binding<'a>; 2],
    number: usize,
    which: usize,
    checks: &mut Vec<Check<'a>>,
) -> Vec<(Renaming, (&'a Tensor, &'a grammar::Stored))> {
    let binding = &bindings[which];
    let rule = &binding.mapping.rules[number];
    let mut all: Vec<(Renaming, (&Tensor, &grammar::Stored))> = Vec::new();
    let mut seen: HashMap<Renaming, usize> = HashMap::new();
    for claim in binding.claims.renamed.iter().filter(|r| r.rule == number) {
        let tensor = &binding.checkpoint.tensors()[claim.tensor];
        let parameter = (sorted_key(&claim.captures), claim.captures.stars.clone());
        match seen.get(&parameter) {
            Some(first) => {
                checks.push(Check::of_whole_replicas(binding, [all[*first].1.0, tensor], rule.span));
            }
            None => {
                seen.insert(parameter.clone(), all.len());
                let stored = &rule.sides[binding.from.index()][claim.entry].stored[claim.era];
                all.push((parameter, (tensor, stored)));
            }
        }
    }
    all
}
