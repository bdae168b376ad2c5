//! Parameters of the source side that take part in a target: their tensors, and the boxes that each holds.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use transship_grammar as grammar;

use grammar::{Diagnostics, Entry, Labels, LayoutBox, Replicas, Stored};

use super::Check;
use super::pieces::{Instance, LayoutSizes, StoredPart, with_labels};
use super::tensors::restrict;
use crate::Tensor;
use crate::bind::{Claimed, Key, joined_key, split_over};

/// A parameter of the source side that takes part.
pub(super) struct Found<'a> {
    pub(super) stored: &'a Stored,
    /// Its tensors, one of each group of replicas.
    pub(super) shards: Vec<Shard<'a>>,
    /// Whether some of it is padding.
    pub(super) padded: bool,
    /// All coordinates that are fixed by names, on either side.
    pub(super) key: Key,
}

/// How a parameter lies in its checkpoint.
#[derive(Clone, Copy)]
struct Lying<'s> {
    entry: &'s Entry,
    stored: &'s Stored,
    layout: &'s grammar::Layout,
    /// All coordinates that are fixed by names.
    key: &'s Key,
    /// Rows of padding, by dimension.
    pads: &'s [u64],
}

/// A stored tensor.
pub(super) struct Shard<'a> {
    pub(super) tensor: &'a Tensor,
    pub(super) number: usize,
    pub(super) boxes: Vec<LayoutBox>,
    /// Tensors of other ranks that hold the same elements.
    pub(super) replicas: Vec<&'a Tensor>,
}

impl<'a> Instance<'_, 'a> {
    /// Stored tensors of one entry of the source side: of one parameter, or of one for each coordinate of the
    /// indices in its name that the target has in memory.
    pub(super) fn find(
        &self,
        entry_number: usize,
        found: &mut Vec<Found<'a>>,
        checks: &mut Vec<Check<'a>>,
        diagnostics: &mut Diagnostics,
    ) {
        let binding = self.binding;
        let entry = &self.rule.sides[binding.from.index()][entry_number];
        // An index can be in the name in one era and in memory in another.
        let ways = entry.stored.iter().enumerate();
        let keys = ways.flat_map(|(era, way)| {
            binding.keys_with(&way.name, self.key).into_iter().map(move |key| (era, &way.name, key))
        });
        for (era, template, key) in keys {
            let claim = (self.number, entry_number, restrict(&key, template));
            let claimed = binding.claims.entries.get(&claim).filter(|claimed| claimed.era == era);
            let Some(claimed) = claimed else { continue };
            let stored = &entry.stored[era];
            let all = joined_key(self.key, &key);
            let Some(layout) = binding.layout(stored, &all) else {
                diagnostics.push(self.unknown_shape(stored));
                continue;
            };
            let whole = LayoutSizes { binding, key: &all, pads: Vec::new(), part: StoredPart::Whole };
            if layout.shape(&whole).is_none() {
                diagnostics.push(self.unknown_shape(stored));
                continue;
            }
            let first = &binding.checkpoint.tensors()[claimed.tensor];
            let Some(pads) = self.pads(layout, first, &all) else {
                diagnostics.push(self.uneven_padding(layout, first));
                continue;
            };
            let padded = pads.iter().any(|n| *n > 0);
            let lying = Lying { entry, stored, layout, key: &all, pads: &pads };
            let Some(shards) = self.shards(claimed, &lying, diagnostics) else { continue };
            if self.rule.replicas == Replicas::Equal {
                let pairs = shards.iter().flat_map(|s| s.replicas.iter().map(|replica| [s.tensor, *replica]));
                checks.extend(pairs.map(|pair| Check::of_replicas(binding, pair, self.rule.span)));
            }
            found.push(Found { stored, shards, padded, key: all });
        }
    }

    /// The tensors of one parameter with the boxes that each holds.
    fn shards(
        &self,
        claimed: &Claimed,
        lying: &Lying<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Vec<Shard<'a>>> {
        let Lying { entry, stored, layout, key, pads } = *lying;
        let binding = self.binding;
        let split = split_over(stored, Some(layout));
        let mut shards: Vec<Shard<'a>> = Vec::new();
        let mut held: HashMap<Vec<u64>, usize> = HashMap::new();
        for number in claimed.tensors() {
            let tensor = &binding.checkpoint.tensors()[number];
            let numbers = binding.coordinates_of(number);
            let (part, place) = match &tensor.chunk {
                Some(chunk) => (StoredPart::Chunk(&chunk.offsets, &tensor.shape), chunk.offsets.clone()),
                None => {
                    let place = split.iter().map(|rank| numbers[rank.index()]).collect();
                    (StoredPart::Rank(&numbers), place)
                }
            };
            let sizes = LayoutSizes { binding, key, pads: pads.to_vec(), part };
            let mut placed = match layout.place(&sizes) {
                Ok(placed) if placed.shape == tensor.shape => placed,
                Ok(placed) => {
                    diagnostics.push(self.misshapen(tensor, &placed.shape, layout.span));
                    return None;
                }
                Err(unplaced) => {
                    diagnostics.push(self.unplaced(&unplaced, stored, layout.span));
                    return None;
                }
            };
            match held.entry(place) {
                Slot::Occupied(first) => shards[*first.get()].replicas.push(tensor),
                Slot::Vacant(free) => {
                    free.insert(shards.len());
                    placed.boxes.iter_mut().for_each(|b| b.labels = with_labels(&b.labels, entry));
                    shards.push(Shard { tensor, number, boxes: placed.boxes, replicas: Vec::new() });
                }
            }
        }
        Some(shards)
    }

    /// How much padding each stored dimension has; `None` where what is left over does not come out even.
    fn pads(&self, layout: &grammar::Layout, tensor: &Tensor, key: &Key) -> Option<Vec<u64>> {
        let with = |pad: u64| {
            let pads = vec![pad; layout.dims.len()];
            layout.shape(&LayoutSizes { binding: self.binding, key, pads, part: StoredPart::Whole })
        };
        let (none, one) = (with(0)?, with(1)?);
        let whole: Vec<u64> = match &tensor.chunk {
            Some(chunk) => chunk.shape.clone(),
            None => {
                let scaled =
                    tensor.shape.iter().zip(&layout.dims).zip(&none).map(|((size, factor), none)| {
                        // Where parts are split differently there is no padding to find.
                        self.binding.ranks.scale(factor).map_or(Some(*none), |scale| size.checked_mul(scale))
                    });
                scaled.collect::<Option<_>>()?
            }
        };
        let dims = whole.iter().zip(none.iter().zip(&one));
        dims.map(|(stored, (none, one))| match (stored.checked_sub(*none)?, one - none) {
            (0, _) => Some(0),
            (left, step) if step > 0 && left % step == 0 => Some(left / step),
            _ => None,
        })
        .collect()
    }
}

/// The stored boxes that have these labels, padding left out, with the tensors and parameters they are of.
pub(super) fn matching<'f, 'a>(
    found: &'f [Found<'a>],
    labels: Labels,
) -> impl Iterator<Item = (&'f Found<'a>, &'f Shard<'a>, &'f LayoutBox)> {
    let shards = found.iter().flat_map(|f| f.shards.iter().map(move |shard| (f, shard)));
    let boxes = shards.flat_map(|(f, shard)| shard.boxes.iter().map(move |b| (f, shard, b)));
    boxes.filter(move |(_, _, b)| b.pads.is_empty() && b.labels == labels)
}
