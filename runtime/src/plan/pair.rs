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
    pub(super) repeated: &'p [Padding],
}

/// What two boxes have in common.
pub(super) enum Common<T> {
    /// These elements.
    Some(T),
    /// None: they are of different ranks' coordinates.
    Nothing,
    /// They cannot be addressed.
    Unaddressable,
}

/// The elements that two boxes have in common, by the axes of the target box. Offsets are of the first of them.
pub(super) struct Meeting {
    pub(super) axes: Vec<MetAxis>,
    pub(super) source_offset: usize,
    pub(super) target_offset: usize,
}

/// An axis of the target box, as far as both boxes have it.
pub(super) struct MetAxis {
    /// The first coordinate, counted from 0.
    pub(super) from: u64,
    /// How many there are; one where a name fixes it.
    pub(super) len: u64,
    pub(super) fixed: bool,
    /// Elements from one coordinate to the next.
    pub(super) source: usize,
    pub(super) target: usize,
}

impl Pair<'_, '_> {
    pub(super) fn common(&self) -> Common<StridedCopy> {
        self.found(|meeting| self.copy(&meeting))
    }

    pub(super) fn meeting(&self) -> Common<Meeting> {
        self.found(Some)
    }

    fn found<T>(&self, of: impl FnOnce(Meeting) -> Option<T>) -> Common<T> {
        match self.meet() {
            None => Common::Unaddressable,
            Some(None) => Common::Nothing,
            Some(Some(meeting)) => of(meeting).map_or(Common::Unaddressable, Common::Some),
        }
    }

    /// The axes of the copy in its order, each with the coordinate that it begins at.
    pub(super) fn coordinates(&self) -> Vec<(&AxisUse, u64)> {
        let Some(Some(meeting)) = self.meet() else { return Vec::new() };
        let met = self.target.axes.iter().zip(meeting.axes).filter(|(_, met)| !met.fixed);
        let first = |axis: &BoxAxis, from: u64| {
            self.binding.range(axis.axis.axis).map_or(0, |(start, _)| start).saturating_add(from)
        };
        met.map(|(axis, met)| (&axis.axis, first(axis, met.from))).collect()
    }

    fn source_step(&self, axis: &BoxAxis) -> Option<usize> {
        usize::try_from(self.tensor.strides[axis.dim].checked_mul(axis.step)?).ok()
    }

    fn target_step(&self, dim: usize, step: u64) -> Option<usize> {
        self.strides[dim].checked_mul(usize::try_from(step).ok()?)
    }

    fn copy(&self, meeting: &Meeting) -> Option<StridedCopy> {
        let mut copy = StridedCopy {
            shape: Vec::new(),
            source_offset: meeting.source_offset,
            source_strides: Vec::new(),
            target_offset: meeting.target_offset,
            target_strides: Vec::new(),
        };
        for axis in meeting.axes.iter().filter(|axis| !axis.fixed) {
            copy.push(axis.len, axis.source, axis.target)?;
        }
        for rows in self.repeated {
            copy.push(rows.len, 0, self.target_step(rows.dim, rows.step)?)?;
        }
        Some(copy)
    }

    /// The outer `None` is what cannot be addressed, the inner one what does not meet.
    fn meet(&self) -> Option<Option<Meeting>> {
        let (source, target) = (self.source, self.target);
        let mut meeting = self.origin()?;
        let mut open: Vec<&BoxAxis> = source.axes.iter().collect();
        for axis in &target.axes {
            let step = self.target_step(axis.dim, axis.step)?;
            if let Some(at) = self.fixed(&axis.axis) {
                let Some(inside) = within(axis, at) else { return Some(None) };
                meeting.target_offset = meeting.target_offset.checked_add(inside.checked_mul(step)?)?;
                meeting.axes.push(MetAxis { from: at, len: 1, fixed: true, source: 0, target: step });
                continue;
            }
            let partner = open.iter().position(|other| same_axis(&other.axis, &axis.axis, source, target));
            let Some(partner) = partner else {
                // Every coordinate holds the same.
                if !axis.axis.broadcast {
                    return None;
                }
                let (from, len) = (axis.from, axis.len);
                meeting.axes.push(MetAxis { from, len, fixed: false, source: 0, target: step });
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
            meeting.target_offset = meeting.target_offset.checked_add(skipped(from, axis.from, step)?)?;
            meeting.source_offset = meeting.source_offset.checked_add(skipped(from, partner.from, own)?)?;
            meeting.axes.push(MetAxis { from, len: to - from, fixed: false, source: own, target: step });
        }
        for axis in open {
            let at = match self.fixed(&axis.axis) {
                Some(at) => at,
                None if axis.axis.broadcast => axis.from,
                None => return None,
            };
            let Some(at) = within(axis, at) else { return Some(None) };
            let step = self.source_step(axis)?;
            meeting.source_offset = meeting.source_offset.checked_add(at.checked_mul(step)?)?;
        }
        Some(Some(meeting))
    }

    /// No axes yet, at the first elements of both boxes.
    fn origin(&self) -> Option<Meeting> {
        let mut meeting = Meeting {
            axes: Vec::new(),
            source_offset: usize::try_from(self.tensor.offset).ok()?,
            target_offset: 0,
        };
        for (dim, start) in self.source.starts.iter().enumerate() {
            let step = usize::try_from(self.tensor.strides[dim].checked_mul(*start)?).ok()?;
            meeting.source_offset = meeting.source_offset.checked_add(step)?;
        }
        for (dim, start) in self.target.starts.iter().enumerate() {
            meeting.target_offset = meeting.target_offset.checked_add(self.target_step(dim, *start)?)?;
        }
        Some(meeting)
    }

    /// The coordinate, counted from 0, of an axis that a name fixes.
    fn fixed(&self, axis: &AxisUse) -> Option<u64> {
        let (_, at) = self.key.iter().find(|(a, _)| *a == axis.axis)?;
        let (from, _) = self.binding.range(axis.axis)?;
        at.checked_sub(from)
    }
}

impl StridedCopy {
    pub(super) fn push(&mut self, len: u64, source: usize, target: usize) -> Option<()> {
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
