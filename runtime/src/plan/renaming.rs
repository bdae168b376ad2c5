//! Parameters of rules without layouts. Each keeps its shape, whatever that is; where its checkpoint holds it in
//! chunks, these are put together.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet};

use transship_grammar as grammar;

use grammar::{Captures, Diagnostics, Replicas, Rule, Stored};

use super::pieces::{engine_affine, steps};
use super::ranks::TargetRanks;
use super::replicas::{TensorCopy, add_nothing, are_joined, common_dtype, integer_replicas, joined};
use super::tensors::{Place, Target, check_convert, dimensions, no_name, target_dtype};
use super::{Check, PlanOptions, RoundTrip, Source};
use crate::Tensor;
use crate::bind::{Binding, Key, name_below, sorted_key, split_over};
use crate::engine::{Convert, StridedCopy, TargetTensor, row_major};

/// A parameter and the tensors that hold it.
struct Renamed<'r, 'a> {
    /// The number of its first tensor.
    first: usize,
    stored: &'a Stored,
    /// Which of its side's roots it lies below.
    root: usize,
    captures: &'r Captures,
    chunks: Vec<Chunk<'a>>,
}

/// All tensors that hold the same elements of a parameter.
struct Chunk<'a> {
    offsets: Option<&'a [u64]>,
    tensors: Vec<&'a Tensor>,
}

/// One rule.
pub(super) struct Renaming<'r, 'a> {
    pub(super) binding: &'r Binding<'a>,
    pub(super) options: &'r PlanOptions,
    pub(super) number: usize,
    pub(super) rule: &'a Rule,
    pub(super) ranks: &'r TargetRanks<'r, 'a>,
}

impl<'r, 'a> Renaming<'r, 'a> {
    pub(super) fn plan(
        &self,
        targets: &mut Vec<Target<'a>>,
        checks: &mut Vec<Check<'a>>,
        diagnostics: &mut Diagnostics,
    ) {
        let Some(entry) = self.rule.sides[self.binding.to().index()].first() else { return };
        for renamed in self.parameters() {
            self.check_replicas(&renamed, checks);
            let to = self.binding.written(entry);
            targets.extend(self.plan_parameter(&renamed, to, diagnostics).into_iter().flatten());
        }
    }

    /// The parameters in the order of the file.
    fn parameters(&self) -> Vec<Renamed<'r, 'a>> {
        let binding = self.binding;
        let mut all: Vec<Renamed<'r, 'a>> = Vec::new();
        let mut seen: HashMap<(Key, &[String]), usize> = HashMap::new();
        for claim in binding.claims.renamed.iter().filter(|claim| claim.rule == self.number) {
            let tensor = &binding.checkpoint.tensors()[claim.tensor];
            let at = match seen.entry((sorted_key(&claim.captures), &claim.captures.stars)) {
                Slot::Occupied(known) => *known.get(),
                Slot::Vacant(free) => {
                    let stored = &self.rule.sides[binding.from.index()][claim.entry].stored[claim.era];
                    let (captures, root) = (&claim.captures, claim.root);
                    all.push(Renamed { first: claim.tensor, stored, root, captures, chunks: Vec::new() });
                    *free.insert(all.len() - 1)
                }
            };
            let offsets = tensor.chunk.as_ref().map(|chunk| chunk.offsets.as_slice());
            let chunks = &mut all[at].chunks;
            match chunks.iter_mut().find(|chunk| chunk.offsets == offsets) {
                Some(chunk) => chunk.tensors.push(tensor),
                None => chunks.push(Chunk { offsets, tensors: vec![tensor] }),
            }
        }
        all
    }

    /// What several ranks hold is the same on all of them, or at least of one shape where it is added up.
    fn check_replicas(&self, renamed: &Renamed<'r, 'a>, checks: &mut Vec<Check<'a>>) {
        for chunk in &renamed.chunks {
            let first = chunk.tensors[0];
            for other in &chunk.tensors[1..] {
                let must_agree = match self.rule.replicas {
                    Replicas::Equal => true,
                    Replicas::First => false,
                    Replicas::Mean | Replicas::Sum => first.shape != other.shape,
                };
                if must_agree {
                    checks.push(Check::of_whole_replicas(self.binding, [first, other], self.rule.span));
                }
            }
        }
    }

    /// The parameter on each rank that holds it.
    fn plan_parameter(
        &self,
        renamed: &Renamed<'r, 'a>,
        to: &'a Stored,
        diagnostics: &mut Diagnostics,
    ) -> Option<Vec<Target<'a>>> {
        let (binding, rule) = (self.binding, self.rule);
        let key = sorted_key(renamed.captures);
        let template = self.assemble(renamed, to, diagnostics)?;
        let homes = match self.ranks.homes(&to.name, rule.on, &key) {
            Ok(homes) => homes,
            Err(diagnostic) => {
                diagnostics.push(*diagnostic);
                return None;
            }
        };
        if rule.replicas == Replicas::Sum && homes.len() > 1 && !template.tensor.dtype.is_float() {
            let (name, dtype) = (&template.tensor.name, template.tensor.dtype);
            diagnostics.push(integer_replicas(binding, name, dtype, rule.span));
            return None;
        }
        let tensors = renamed.chunks.iter().flat_map(|chunk| &chunk.tensors);
        let used: HashSet<&'a str> = tensors.map(|tensor| tensor.name.as_str()).collect();
        let split = split_over(to, None);
        let mut held: Vec<Vec<u64>> = Vec::new();
        let mut targets = Vec::with_capacity(homes.len());
        for home in homes {
            let holes =
                Captures { stars: renamed.captures.stars.clone(), ..self.ranks.holes(&to.name, &key, &home) };
            let root = if binding.mapping.reflected { renamed.root } else { 0 };
            let Some(name) = name_below(binding.mapping, binding.to(), root, &to.name, &holes) else {
                diagnostics.push(no_name(binding, to, &key));
                return None;
            };
            let mut target = Target {
                order: renamed.first,
                place: Place::of_renamed(binding, &home, [self.number, renamed.first]),
                of: (self.number, key.clone()),
                tensor: TargetTensor { name, ..template.tensor.clone() },
                sources: template.sources.clone(),
                root,
                used: used.clone(),
                round_trips: Vec::new(),
                home: None,
            };
            let part: Vec<u64> = split.iter().map(|rank| home.numbers[rank.index()]).collect();
            if !held.contains(&part) {
                held.push(part);
                target.round_trips = template.round_trips.clone();
            } else if rule.replicas == Replicas::Sum {
                add_nothing(&mut target.tensor, &mut target.sources);
            }
            target.home = Some(home);
            targets.push(target);
        }
        Some(targets)
    }

    /// The whole parameter, its chunks put together.
    fn assemble(
        &self,
        renamed: &Renamed<'r, 'a>,
        to: &'a Stored,
        diagnostics: &mut Diagnostics,
    ) -> Option<Assembled<'a>> {
        let (binding, rule) = (self.binding, self.rule);
        let joins = are_joined(rule.replicas);
        let read = |chunk: &Chunk<'a>| {
            let count = if joins { chunk.tensors.len() } else { 1 };
            chunk.tensors[..count].to_vec()
        };
        let all: Vec<&Tensor> = renamed.chunks.iter().flat_map(read).collect();
        let own = match common_dtype(binding, rule, &all, to.dtype.as_deref()) {
            Ok(own) => own,
            Err(diagnostic) => {
                diagnostics.push(*diagnostic);
                return None;
            }
        };
        let dtype = target_dtype(binding, self.options, to.dtype.as_deref(), own);
        let first = all.first()?;
        let shape = first.chunk.as_ref().map_or(&first.shape, |chunk| &chunk.shape).clone();
        let strides = row_major(&dimensions(&shape));
        let [affine, back] = [renamed.stored.affine.to(to.affine), to.affine.to(renamed.stored.affine)];
        let [affine, back] = [affine, back].map(engine_affine);
        let mut made = Assembled {
            tensor: TargetTensor { name: first.name.clone(), dtype, shape, contents: Vec::new() },
            sources: Vec::new(),
            round_trips: Vec::new(),
        };
        for chunk in &renamed.chunks {
            let tensors = read(chunk);
            for tensor in &tensors {
                let convert = Convert { from: tensor.dtype, to: dtype, affine };
                if !check_convert(&convert, rule, tensor, diagnostics) {
                    return None;
                }
            }
            if tensors.len() > 1 && !dtype.is_float() {
                diagnostics.push(integer_replicas(binding, &first.name, dtype, rule.span));
                return None;
            }
            let copies = tensors.iter().map(|tensor| {
                TensorCopy::new(binding, tensor, placed(tensor, chunk.offsets.unwrap_or_default(), &strides))
            });
            let copies: Vec<TensorCopy<'a>> = copies.collect();
            let (name, convert) = (&tensors[0].name, Convert { from: tensors[0].dtype, to: dtype, affine });
            made.sources.push(Source { name: name.clone(), steps: steps(&copies[0].copy, &convert) });
            let content = joined(rule.replicas, copies, dtype, affine)?;
            made.round_trips.extend(RoundTrip::of(name, &content, back));
            made.tensor.contents.push(content);
        }
        Some(made)
    }
}

/// A parameter before it has ranks.
struct Assembled<'a> {
    tensor: TargetTensor<'a>,
    sources: Vec<Source>,
    round_trips: Vec<RoundTrip<'a>>,
}

/// The copy of a stored tensor to its place in a larger one with these strides. Sizes were checked against memory when
/// it was opened.
fn placed(tensor: &Tensor, offsets: &[u64], strides: &[usize]) -> StridedCopy {
    let begins = dimensions(offsets).into_iter().zip(strides).map(|(at, step)| at.saturating_mul(*step));
    StridedCopy {
        shape: dimensions(&tensor.shape),
        source_offset: usize::try_from(tensor.offset).unwrap_or(usize::MAX),
        source_strides: dimensions(&tensor.strides),
        target_offset: begins.fold(0, usize::saturating_add),
        target_strides: strides.to_vec(),
    }
}
