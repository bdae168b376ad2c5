//! The copy between two boxes: axes paired, coordinates in names fixed, ranges of ranks and chunks intersected.

use transship_grammar as grammar;

use grammar::{AxisUse, BoxAxis, LayoutBox, Padding};

use crate::Tensor;
use crate::bind::{Binding, Key};
use crate::engine::StridedCopy;

/// Two boxes of one parameter, in a stored tensor and in a target.
#[derive(Clone, Copy)]
pub(super) struct Pair<'p, 'a> {
    pub(super) binding: &'p Binding<'a>,
    /// Coordinates that names fix.
    pub(super) key: &'p Key,
    pub(super) tensor: &'p Tensor,
    pub(super) source: &'p LayoutBox,
    pub(super) target: &'p LayoutBox,
    /// Steps of the target's dimensions, in elements.
    pub(super) strides: &'p [usize],
    /// Rows of padding that all get what the target box has at one coordinate.
    pub(super) repeated: Option<Padding>,
}

/// What two boxes have in common.
pub(super) enum Common {
    /// These elements.
    Copy(StridedCopy),
    /// None: they are of different ranks' coordinates.
    Nothing,
    /// They cannot be addressed.
    Unaddressable,
}

impl Pair<'_, '_> {
    pub(super) fn common(&self) -> Common {
        match self.copy() {
            None => Common::Unaddressable,
            Some(None) => Common::Nothing,
            Some(Some(copy)) => Common::Copy(copy),
        }
    }

    /// The axes of the copy in its order, each with the coordinate that it begins at.
    pub(super) fn coordinates(&self) -> Vec<(&AxisUse, u64)> {
        let open = self.target.axes.iter().filter(|axis| self.fixed(&axis.axis).is_none());
        let first = |axis: &BoxAxis| {
            let mut sources = self.source.axes.iter();
            let partner = sources.find(|other| same_axis(&other.axis, &axis.axis, self.source, self.target));
            let begins = partner.map_or(axis.from, |partner| partner.from.max(axis.from));
            self.binding.range(axis.axis.axis).map_or(0, |(from, _)| from).saturating_add(begins)
        };
        open.map(|axis| (&axis.axis, first(axis))).collect()
    }

    fn source_step(&self, axis: &BoxAxis) -> Option<usize> {
        usize::try_from(self.tensor.strides[axis.dim].checked_mul(axis.step)?).ok()
    }

    fn target_step(&self, dim: usize, step: u64) -> Option<usize> {
        self.strides[dim].checked_mul(usize::try_from(step).ok()?)
    }

    /// The outer `None` is what cannot be addressed, the inner one what does not meet.
    fn copy(&self) -> Option<Option<StridedCopy>> {
        let (source, target) = (self.source, self.target);
        let mut copy = self.origin()?;
        let mut open: Vec<&BoxAxis> = source.axes.iter().collect();
        for axis in &target.axes {
            let step = self.target_step(axis.dim, axis.step)?;
            if let Some(at) = self.fixed(&axis.axis) {
                let Some(at) = within(axis, at) else { return Some(None) };
                copy.target_offset = copy.target_offset.checked_add(at.checked_mul(step)?)?;
                continue;
            }
            let partner = open.iter().position(|other| same_axis(&other.axis, &axis.axis, source, target));
            let Some(partner) = partner else {
                // Every coordinate holds the same.
                if !axis.axis.broadcast {
                    return None;
                }
                copy.push(axis.len, 0, step)?;
                continue;
            };
            let partner = open.remove(partner);
            let (from, to) =
                (axis.from.max(partner.from), (axis.from + axis.len).min(partner.from + partner.len));
            if from >= to {
                return Some(None);
            }
            let own = self.source_step(partner)?;
            let skipped =
                |at: u64, first: u64, step: usize| usize::try_from(at - first).ok()?.checked_mul(step);
            copy.target_offset = copy.target_offset.checked_add(skipped(from, axis.from, step)?)?;
            copy.source_offset = copy.source_offset.checked_add(skipped(from, partner.from, own)?)?;
            copy.push(to - from, own, step)?;
        }
        for axis in open {
            let at = match self.fixed(&axis.axis) {
                Some(at) => at,
                None if axis.axis.broadcast => axis.from,
                None => return None,
            };
            let Some(at) = within(axis, at) else { return Some(None) };
            let step = self.source_step(axis)?;
            copy.source_offset = copy.source_offset.checked_add(at.checked_mul(step)?)?;
        }
        if let Some(rows) = self.repeated {
            copy.push(rows.len, 0, self.target_step(rows.dim, rows.step)?)?;
        }
        Some(Some(copy))
    }

    /// No elements yet, at the first ones of both boxes.
    fn origin(&self) -> Option<StridedCopy> {
        let mut copy = StridedCopy {
            shape: Vec::new(),
            source_offset: usize::try_from(self.tensor.offset).ok()?,
            source_strides: Vec::new(),
            target_offset: 0,
            target_strides: Vec::new(),
        };
        for (dim, start) in self.source.starts.iter().enumerate() {
            let step = usize::try_from(self.tensor.strides[dim].checked_mul(*start)?).ok()?;
            copy.source_offset = copy.source_offset.checked_add(step)?;
        }
        for (dim, start) in self.target.starts.iter().enumerate() {
            copy.target_offset = copy.target_offset.checked_add(self.target_step(dim, *start)?)?;
        }
        Some(copy)
    }

    /// The coordinate, counted from 0, of an axis that a name fixes.
    fn fixed(&self, axis: &AxisUse) -> Option<u64> {
        let (_, at) = self.key.iter().find(|(a, _)| *a == axis.axis)?;
        let (from, _) = self.binding.range(axis.axis)?;
        at.checked_sub(from)
    }
}

impl StridedCopy {
    fn push(&mut self, len: u64, source: usize, target: usize) -> Option<()> {
        self.shape.push(usize::try_from(len).ok()?);
        self.source_strides.push(source);
        self.target_strides.push(target);
        Some(())
    }
}

/// Where in an axis of a box a coordinate is, if it is in it.
fn within(axis: &BoxAxis, at: u64) -> Option<usize> {
    let inside = at.checked_sub(axis.from).filter(|inside| *inside < axis.len)?;
    usize::try_from(inside).ok()
}

/// Whether two uses of an axis are the same coordinate. A role matters where the axis is there more than once.
fn same_axis(a: &AxisUse, b: &AxisUse, in_a: &LayoutBox, in_b: &LayoutBox) -> bool {
    if (a.axis, a.by) != (b.axis, b.by) || a.broadcast || b.broadcast {
        return false;
    }
    let several = |b: &LayoutBox| {
        let same = |x: &&BoxAxis| !x.axis.broadcast && (x.axis.axis, x.axis.by) == (a.axis, a.by);
        b.axes.iter().filter(same).count() > 1
    };
    !(several(in_a) || several(in_b)) || a.role == b.role
}
