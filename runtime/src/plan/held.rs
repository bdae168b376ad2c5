//! Which tensor of a parameter gives an element that several of them hold: the first. All others are compared with it.
//!
//! Ranks hold the same elements where a part is not distributed, and ranks and chunks that cut along a broadcast do too.
//! After this the boxes of a parameter's tensors have no element in common.

use std::collections::HashMap;
use std::ops::Range;

use transship_grammar as grammar;

use grammar::{BoxAxis, Labels, LayoutBox};

use super::found::Shard;
use crate::Tensor;
use crate::engine::StridedCopy;

/// A box that a tensor gives the elements of.
pub(super) struct HeldBox<'a> {
    pub(super) own: LayoutBox,
    /// Where other tensors hold the same elements.
    pub(super) replicas: Vec<(&'a Tensor, LayoutBox)>,
}

/// Two boxes with the same elements, of different coordinates along a broadcast.
pub(super) struct BroadcastPair<'a> {
    pub(super) first: (&'a Tensor, LayoutBox),
    pub(super) other: (&'a Tensor, LayoutBox),
}

/// Leaves every element to the first box that holds it.
pub(super) fn hold_once<'a>(shards: &mut [Shard<'a>]) -> Vec<BroadcastPair<'a>> {
    let mut taken: HashMap<Labels, Vec<(usize, HeldBox<'a>)>> = HashMap::new();
    let mut broadcasts = Vec::new();
    let mut kept: Vec<(usize, HeldBox<'a>)> = Vec::new();
    for (number, shard) in shards.iter_mut().enumerate() {
        for HeldBox { own, .. } in std::mem::take(&mut shard.boxes) {
            if !own.pads.is_empty() {
                kept.push((number, HeldBox::of(own)));
                continue;
            }
            let taken = taken.entry(own.labels.clone()).or_default();
            take(taken, (number, shard.tensor, own), &mut broadcasts);
        }
    }
    let tensors: Vec<&Tensor> = shards.iter().map(|shard| shard.tensor).collect();
    kept.extend(taken.into_values().flatten());
    for (number, held) in kept {
        shards[number].boxes.push(held);
    }
    for shard in shards {
        shard.boxes.sort_by(|a, b| (&a.own.starts, &a.own.labels).cmp(&(&b.own.starts, &b.own.labels)));
    }
    let with_tensor = |(number, own): (usize, LayoutBox)| (tensors[number], own);
    let pairs = broadcasts.into_iter();
    pairs
        .map(|[first, other]| BroadcastPair { first: with_tensor(first), other: with_tensor(other) })
        .collect()
}

/// Takes what of a box no earlier one has.
fn take<'a>(
    taken: &mut Vec<(usize, HeldBox<'a>)>,
    (number, tensor, own): (usize, &'a Tensor, LayoutBox),
    broadcasts: &mut Vec<[(usize, LayoutBox); 2]>,
) {
    let mut left = vec![own];
    let mut at = 0;
    while at < taken.len() && !left.is_empty() {
        let mut still = Vec::new();
        for piece in left {
            let Some(common) = common(&taken[at].1.own, &piece) else {
                still.push(piece);
                continue;
            };
            still.extend(without(&piece, &common));
            let piece = narrowed(&piece, &common);
            let (first, held) = &mut taken[at];
            if !same_copies(&held.own, &piece) {
                broadcasts.push([(*first, narrowed(&held.own, &common)), (number, piece)]);
                continue;
            }
            let (first, rest) = (*first, held.without(&common));
            held.narrow(&common);
            held.replicas.push((tensor, piece));
            taken.extend(rest.into_iter().map(|rest| (first, rest)));
        }
        left = still;
        at += 1;
    }
    taken.extend(left.into_iter().map(|own| (number, HeldBox::of(own))));
}

/// Coordinates along each axis of a box that is no broadcast.
type Ranges = Vec<Range<u64>>;

impl<'a> HeldBox<'a> {
    pub(super) fn of(own: LayoutBox) -> HeldBox<'a> {
        HeldBox { own, replicas: Vec::new() }
    }

    fn narrow(&mut self, to: &Ranges) {
        self.own = narrowed(&self.own, to);
        for (_, replica) in &mut self.replicas {
            *replica = narrowed(replica, to);
        }
    }

    /// What it holds outside of these coordinates.
    fn without(&self, inner: &Ranges) -> Vec<HeldBox<'a>> {
        let part = |own: LayoutBox| {
            let ranges = ranges(&own);
            let replicas = self.replicas.iter();
            let replicas = replicas.map(|(tensor, replica)| (*tensor, narrowed(replica, &ranges)));
            HeldBox { replicas: replicas.collect(), own }
        };
        without(&self.own, inner).into_iter().map(part).collect()
    }
}

/// The copy that compares the elements of two boxes; all copies along broadcasts of the second with the first ones of
/// the first.
pub(super) fn comparison(one: (&Tensor, &LayoutBox), other: (&Tensor, &LayoutBox)) -> Option<StridedCopy> {
    let mut copy = StridedCopy {
        shape: Vec::new(),
        source_offset: origin(one)?,
        source_strides: Vec::new(),
        target_offset: origin(other)?,
        target_strides: Vec::new(),
    };
    for (a, b) in plain(one.1).zip(plain(other.1)) {
        copy.push(a.len, step(one.0, a)?, step(other.0, b)?)?;
    }
    for copies in other.1.axes.iter().filter(|axis| axis.axis.broadcast) {
        copy.push(copies.len, 0, step(other.0, copies)?)?;
    }
    Some(copy)
}

fn origin((tensor, of): (&Tensor, &LayoutBox)) -> Option<usize> {
    let steps = of.starts.iter().zip(&tensor.strides);
    let offset = steps
        .into_iter()
        .try_fold(tensor.offset, |offset, (start, stride)| offset.checked_add(start.checked_mul(*stride)?));
    usize::try_from(offset?).ok()
}

fn step(tensor: &Tensor, axis: &BoxAxis) -> Option<usize> {
    usize::try_from(tensor.strides[axis.dim].checked_mul(axis.step)?).ok()
}

/// The axes along which elements differ. Boxes of one layout with the same labels have the same.
fn plain(of: &LayoutBox) -> impl Iterator<Item = &BoxAxis> {
    of.axes.iter().filter(|axis| !axis.axis.broadcast)
}

fn ranges(of: &LayoutBox) -> Ranges {
    plain(of).map(|axis| axis.from..axis.from.saturating_add(axis.len)).collect()
}

/// Whether both are the same copies along all broadcasts, and so are so by being on several ranks.
fn same_copies(one: &LayoutBox, other: &LayoutBox) -> bool {
    fn copies(of: &LayoutBox) -> impl Iterator<Item = (u64, u64)> {
        of.axes.iter().filter(|axis| axis.axis.broadcast).map(|axis| (axis.from, axis.len))
    }
    copies(one).eq(copies(other))
}

fn common(one: &LayoutBox, other: &LayoutBox) -> Option<Ranges> {
    let both = ranges(one).into_iter().zip(ranges(other));
    both.map(|(a, b)| Some(a.start.max(b.start)..a.end.min(b.end)).filter(|range| !range.is_empty()))
        .collect()
}

/// The part of a box at these coordinates, which it has.
fn narrowed(of: &LayoutBox, to: &Ranges) -> LayoutBox {
    let mut part = of.clone();
    let axes = part.axes.iter_mut().filter(|axis| !axis.axis.broadcast);
    for (axis, range) in axes.zip(to) {
        part.starts[axis.dim] += (range.start - axis.from) * axis.step;
        (axis.from, axis.len) = (range.start, range.end - range.start);
    }
    part
}

/// What is left of a box without these of its coordinates, in boxes that do not meet.
fn without(of: &LayoutBox, inner: &Ranges) -> Vec<LayoutBox> {
    let mut open = ranges(of);
    let mut parts = Vec::new();
    for (at, inner) in inner.iter().enumerate() {
        for beside in [open[at].start..inner.start, inner.end..open[at].end] {
            if !beside.is_empty() {
                let mut part = open.clone();
                part[at] = beside;
                parts.push(narrowed(of, &part));
            }
        }
        open[at] = inner.clone();
    }
    parts
}
