//! Parameters of the source side that take part in a target: their tensors, and the boxes that each holds.

use transship_grammar as grammar;

use grammar::{Diagnostic, Diagnostics, Entry, Labels, RankId, Replicas, Size, Stored, Unplaced};

use super::held::{HeldBox, comparison, hold_once};
use super::pieces::{Instance, LayoutSizes, StoredPart, with_labels};
use super::tensors::restrict;
use super::{Check, replicas_of_two_dtypes};
use crate::Tensor;
use crate::bind::{Claimed, Key, joined_key};

/// A parameter of the source side that takes part.
pub(super) struct Found<'a> {
    pub(super) stored: &'a Stored,
    /// Its tensors.
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
    /// The elements that it gives; none where all of them are elsewhere too.
    pub(super) boxes: Vec<HeldBox<'a>>,
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
            let pads = match self.pads(stored, layout, claimed, &all) {
                Ok(pads) => pads,
                Err(diagnostic) => {
                    diagnostics.push(*diagnostic);
                    continue;
                }
            };
            let padded = pads.iter().any(|n| *n > 0);
            let lying = Lying { entry, stored, layout, key: &all, pads: &pads };
            let Some(mut shards) = self.shards(claimed, &lying, diagnostics) else { continue };
            let broadcasts = hold_once(&mut shards);
            for pair in broadcasts {
                let (one, other) = (pair.first, pair.other);
                checks.extend(Check::of_broadcast(binding, (one.0, &one.1), (other.0, &other.1)));
            }
            let boxes = shards.iter().flat_map(|shard| shard.boxes.iter().map(move |held| (shard, held)));
            for (shard, held) in boxes.filter(|(_, held)| held.own.pads.is_empty()) {
                checks.extend(Check::of_broadcast(
                    binding,
                    (shard.tensor, &held.own),
                    (shard.tensor, &held.own),
                ));
                if self.rule.replicas == Replicas::Equal {
                    self.check_replicas(shard.tensor, held, checks, diagnostics);
                }
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
        let mut shards: Vec<Shard<'a>> = Vec::new();
        for number in claimed.tensors() {
            let tensor = &binding.checkpoint.tensors()[number];
            let numbers = binding.coordinates_of(number);
            let part = match &tensor.chunk {
                Some(chunk) => StoredPart::Chunk(&chunk.offsets, &tensor.shape),
                None => StoredPart::Rank(&numbers),
            };
            let sizes = LayoutSizes { binding, key, pads: pads.to_vec(), part };
            let placed = match layout.place(&sizes) {
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
            let boxes = placed.boxes.into_iter().map(|mut own| {
                own.labels = with_labels(&own.labels, entry);
                HeldBox::of(own)
            });
            shards.push(Shard { tensor, number, boxes: boxes.collect() });
        }
        Some(shards)
    }

    /// What several ranks hold is the same on all of them.
    fn check_replicas(
        &self,
        tensor: &'a Tensor,
        held: &HeldBox<'a>,
        checks: &mut Vec<Check<'a>>,
        diagnostics: &mut Diagnostics,
    ) {
        for (replica, place) in &held.replicas {
            let pair = [tensor, *replica];
            if tensor.dtype == replica.dtype {
                let copy = comparison((tensor, &held.own), (replica, place));
                checks.extend(copy.map(|copy| Check::of_replicas(self.binding, pair, copy, self.rule.span)));
            } else {
                diagnostics.push(replicas_of_two_dtypes(self.binding, pair, self.rule.span));
            }
        }
    }

    /// How much padding each stored dimension has, or an error where what is left over does not come out even.
    fn pads(
        &self,
        stored: &Stored,
        layout: &grammar::Layout,
        claimed: &Claimed,
        key: &Key,
    ) -> Result<Vec<u64>, Box<Diagnostic>> {
        let tensor = &self.binding.checkpoint.tensors()[claimed.tensor];
        let shape = tensor.chunk.as_ref().map_or(&tensor.shape, |chunk| &chunk.shape);
        let rows = layout
            .dims
            .iter()
            .zip(shape)
            .map(|(factor, stored)| self.padding_of(factor, *stored, tensor.chunk.is_some(), key));
        if let Some(pads) = rows.collect() {
            return Ok(pads);
        }
        let numbers = self.binding.coordinates_of(claimed.tensor);
        let part = if tensor.chunk.is_some() { StoredPart::Whole } else { StoredPart::Rank(&numbers) };
        Err(Box::new(
            match layout.place(&LayoutSizes { binding: self.binding, key, pads: Vec::new(), part }) {
                Err(unplaced @ Unplaced::Uneven { .. }) => self.unplaced(&unplaced, stored, layout.span),
                _ => self.uneven_padding(layout, tensor),
            },
        ))
    }

    /// The rows of padding in a dimension of which a rank, or all chunks together, store so many elements.
    fn padding_of(&self, factor: &grammar::Factor, stored: u64, whole: bool, key: &Key) -> Option<u64> {
        let count = |ranks: &[RankId]| if whole { 1 } else { self.binding.ranks.product(ranks) };
        let size = |axis: &grammar::AxisUse| {
            let len = self.binding.axis_len(axis, key).and_then(|len| i64::try_from(len).ok());
            Size::constant(len.unwrap_or(i64::MAX))
        };
        let with = |rows: i64| {
            let (elements, by) = factor.share(&size, &Size::constant(rows), &count);
            Some((elements.as_constant()?, i128::from(by)))
        };
        let ((none, by), (one, _)) = (with(0)?, with(1)?);
        match (i128::from(stored).checked_mul(by)?.checked_sub(none)?, one.checked_sub(none)?) {
            (0, _) => Some(0),
            (left, step) if left > 0 && step > 0 && left % step == 0 => u64::try_from(left / step).ok(),
            // Where there is no padding to find, the shape is compared as a whole.
            (_, 0) => Some(0),
            _ => None,
        }
    }
}

/// The stored boxes that have these labels, padding left out, with the tensors and parameters they are of.
pub(super) fn matching<'f, 'a>(
    found: &'f [Found<'a>],
    labels: Labels,
) -> impl Iterator<Item = (&'f Found<'a>, &'f Shard<'a>, &'f HeldBox<'a>)> {
    let shards = found.iter().flat_map(|f| f.shards.iter().map(move |shard| (f, shard)));
    let boxes = shards.flat_map(|(f, shard)| shard.boxes.iter().map(move |held| (f, shard, held)));
    boxes.filter(move |(_, _, held)| held.own.pads.is_empty() && held.own.labels == labels)
}
