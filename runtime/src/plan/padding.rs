//! Rows of padding in targets: how many, and what they hold.
//!
//! A row of padding is one coordinate of the padding arm, for all coordinates of the axes outside of the sum that the arm
//! is of. Its last and its mean are taken over all real arms of that sum, at the same coordinates outside.

use std::ops::Range;

use transship_grammar as grammar;

use grammar::{
    BoxAxis, Code, Diagnostic, Diagnostics, Factor, Fill as FillRule, LayoutBox, Padding, Replicas,
};

use super::found::{Found, matching};
use super::pair::{Common, Meeting, MetAxis, Pair};
use super::pieces::{Instance, LayoutSizes, Pieces, StoredPart, engine_affine, with_labels};
use crate::bind::Binding;
use crate::engine::{Affine, Content, Fill, Mean, Region, Rows};
use crate::{DType, Tensor};

/// How many rows of padding a dimension gets: the config value that has the name of the padding's label. `None` where
/// nothing says.
pub(super) fn target_padding(binding: &Binding<'_>, factor: &Factor) -> Result<Option<u64>, Box<Diagnostic>> {
    let arm = factor.padding().and_then(|sum| sum.arms.iter().find(|arm| arm.pad));
    let field = arm.and_then(|arm| Some((arm, binding.mapping.field_named(&arm.label)?)));
    let Some((arm, field)) = field else { return Ok(None) };
    let Some(value) = binding.value(field) else { return Ok(None) };
    let rows = value.as_integer().and_then(|rows| u64::try_from(rows).ok());
    rows.map(Some).ok_or_else(|| {
        let name = &arm.label;
        let message = format!("`{name}` is {value}, which is no number of rows");
        let diagnostic = Diagnostic::error(Code::PaddingRows, arm.span, message, "this many rows of padding");
        Box::new(
            diagnostic
                .help(format!("correct what gives `{name}`, or set it with `--set {name}=N`, 0 for none")),
        )
    })
}

/// Most bytes of a tensor with padding: 16 TiB, the largest file of ext4. Nothing is that long but by a wrong config
/// value.
pub(super) const LARGEST_PADDED: u64 = 1 << 44;

pub(super) fn bytes_of(shape: &[u64], dtype: DType) -> u64 {
    shape.iter().fold(dtype.size() as u64, |bytes, size| bytes.saturating_mul(*size))
}

/// A tensor that no file can hold because of its padding.
pub(super) fn too_much_padding(layout: &grammar::Layout, pads: &[u64], shape: &[u64]) -> Diagnostic {
    let padded = layout.dims.iter().zip(pads).filter_map(|(dim, rows)| Some((dim.padding()?, *rows)));
    let arm = padded.max_by_key(|(_, rows)| *rows);
    let arm = arm.and_then(|(sum, rows)| Some((sum.arms.iter().find(|arm| arm.pad)?, rows)));
    let (name, span, rows) =
        arm.map_or(("", layout.span, 0), |(arm, rows)| (arm.label.as_str(), arm.span, rows));
    let message =
        format!("`{name}` is {rows}, which makes a tensor of shape {shape:?}, larger than files can be");
    Diagnostic::error(Code::PaddingRows, span, message, "this many rows of padding")
        .help(format!("correct what gives `{name}`, or set it with `--set {name}=N`, 0 for none"))
}

impl<'a> Instance<'_, 'a> {
    /// Fills one box of padding as the rule says.
    pub(super) fn fill_padding(
        &self,
        found: &[Found<'a>],
        layout: &grammar::Layout,
        pads: &[u64],
        target: &LayoutBox,
        pieces: &mut Pieces<'a>,
        diagnostics: &mut Diagnostics,
    ) -> Option<()> {
        if target.pads.iter().any(|pad| pad.len == 0) || target.axes.iter().any(|axis| axis.len == 0) {
            return Some(());
        }
        let (dtype, fill) = match self.rule.fill {
            FillRule::Last | FillRule::Mean => {
                let real = self.real_boxes(layout, pads, target);
                if !real.is_empty() && self.rule.fill == FillRule::Mean {
                    return self.fill_with_means(found, &real, target, pieces, diagnostics);
                }
                // Of several arms before the padding the last one ends where it begins.
                let starts =
                    |b: &&LayoutBox| target.pads.iter().map(|pad| b.starts[pad.dim]).collect::<Vec<_>>();
                if let Some(real) = real.iter().max_by_key(starts) {
                    let last =
                        with_rows_of(real, target, |axis| axis.from + axis.len - 1..axis.from + axis.len);
                    return self.copy_box(found, &last, &target.pads, pieces, diagnostics);
                }
                (pieces.dtype, Fill::Constant(0.0))
            }
            FillRule::Normal(seed, std) => (pieces.dtype, Fill::Normal { seed, std }),
            FillRule::Zeros => (pieces.dtype, Fill::Constant(0.0)),
        };
        if matches!(fill, Fill::Normal { .. }) && !dtype.is_float() {
            diagnostics.push(self.no_floats(dtype));
            return None;
        }
        let region = region(target, &pieces.strides)?;
        pieces.contents.push(Content::Fill { region, fill });
        Some(())
    }

    /// The boxes of the whole parameter that have rows where `target` has rows of padding.
    fn real_boxes(&self, layout: &grammar::Layout, pads: &[u64], target: &LayoutBox) -> Vec<LayoutBox> {
        let (binding, key, part) = (self.binding, self.key, StoredPart::Whole);
        let boxes =
            layout.boxes(&LayoutSizes { binding, key, pads: pads.to_vec(), part }).unwrap_or_default();
        let padded = target.pads.iter().filter_map(|pad| {
            let sum = layout.dims[pad.dim].padding()?;
            Some((sum.key(), &sum.arms.iter().find(|arm| arm.pad)?.label))
        });
        let padded: Vec<_> = padded.collect();
        let same = |b: &LayoutBox| {
            target.labels.iter().all(|(of, label)| {
                padded.iter().any(|(sum, pad)| sum == of && *pad == label) || b.labels.get(of) == Some(label)
            })
        };
        let rows = |b: &LayoutBox| {
            target.pads.iter().all(|pad| row_axes(b, target, pad).all(|at| b.axes[at].len > 0))
        };
        boxes.into_iter().filter(|b| b.pads.is_empty() && same(b) && rows(b)).collect()
    }

    /// Every row of padding as the mean of all real rows.
    fn fill_with_means(
        &self,
        found: &[Found<'a>],
        real: &[LayoutBox],
        target: &LayoutBox,
        pieces: &mut Pieces<'a>,
        diagnostics: &mut Diagnostics,
    ) -> Option<()> {
        let outside = target.axes.len();
        let mut parts = Vec::new();
        for real in real {
            let whole = with_rows_of(real, target, |axis| axis.from..axis.from + axis.len);
            for (f, shard, held) in matching(found, with_labels(&whole.labels, self.entry)) {
                let steps = engine_affine(f.stored.affine.to(pieces.affine));
                let replicas = held.read(shard.tensor, self.rule.replicas);
                for (replica, (tensor, source)) in replicas.enumerate() {
                    if let Some(dtype) =
                        [pieces.dtype, tensor.dtype].into_iter().find(|dtype| !dtype.is_float())
                    {
                        diagnostics.push(self.no_floats(dtype));
                        return None;
                    }
                    let (binding, key, target, strides) = (self.binding, &f.key, &whole, &pieces.strides);
                    let pair = Pair { binding, key, tensor, source, target, strides, repeated: &[] };
                    match pair.meeting() {
                        Common::Some(meeting) => {
                            parts.push(self.mean_part((tensor, replica), meeting, outside, steps));
                        }
                        Common::Nothing => {}
                        Common::Unaddressable => {
                            diagnostics.push(self.unaddressable(tensor));
                            return None;
                        }
                    }
                }
            }
        }
        for cell in cells(&parts) {
            let content = self.mean_of_cell(&parts, &cell, target, pieces);
            pieces.contents.push(content?);
        }
        Some(())
    }

    /// The rows that a stored box has in common with the target. Of a sum each row counts once, and so do its steps'
    /// constants, however many replicas it is the sum of.
    fn mean_part(
        &self,
        (tensor, replica): (&Tensor, usize),
        meeting: Meeting,
        axes_outside: usize,
        steps: Option<Affine>,
    ) -> MeanPart<'a> {
        let again = self.rule.replicas == Replicas::Sum && replica > 0;
        let affine = steps.map(|steps| if again { Affine { offset: 0.0, ..steps } } else { steps });
        let mut outside = meeting.axes;
        let rows = outside.split_off(axes_outside);
        let source = self.binding.checkpoint.bytes(tensor);
        MeanPart {
            dtype: tensor.dtype,
            affine,
            counts: !again,
            source,
            offset: meeting.source_offset,
            outside,
            rows,
        }
    }

    /// The means at these coordinates outside of the padding, along which all parts either go on or do not begin.
    fn mean_of_cell(
        &self,
        parts: &[MeanPart<'a>],
        cell: &[Range<u64>],
        target: &LayoutBox,
        pieces: &Pieces<'a>,
    ) -> Option<Content<'a>> {
        let mut here = target.clone();
        for (axis, range) in here.axes.iter_mut().zip(cell) {
            here.starts[axis.dim] =
                here.starts[axis.dim].checked_add((range.start - axis.from).checked_mul(axis.step)?)?;
            (axis.from, axis.len) = (range.start, range.end - range.start);
        }
        let (mut all, mut divisor) = (Vec::new(), 0);
        for part in parts.iter().filter(|part| part.covers(cell)) {
            let before = all.len();
            part.push_rows(cell, target.pads.len(), &mut all)?;
            if part.counts {
                divisor += all[before..].iter().map(|rows| rows.count).sum::<usize>();
            }
        }
        let fill = Fill::Mean(Mean { rows: all, divisor });
        Some(Content::Fill { region: region(&here, &pieces.strides)?, fill })
    }

    fn no_floats(&self, dtype: DType) -> Diagnostic {
        let what = if self.rule.fill == FillRule::Mean { "a mean" } else { "noise" };
        Diagnostic::error(
            Code::FillUndefined,
            self.rule.span,
            format!("padding of {dtype} elements cannot be {what}"),
            "by this rule",
        )
        .note(format!("in {}", self.binding.checkpoint.file()))
        .help("`fill zeros` and `fill last` are for every dtype")
    }
}

/// Rows of one tensor that a mean is taken over.
struct MeanPart<'a> {
    dtype: DType,
    /// Its steps, and the target's backwards.
    affine: Option<Affine>,
    /// Whether its rows count among those that the mean is divided by.
    counts: bool,
    source: &'a [u8],
    /// The element at the first of all coordinates.
    offset: usize,
    /// The axes outside of the padding.
    outside: Vec<MetAxis>,
    /// The axes of the rows.
    rows: Vec<MetAxis>,
}

impl MetAxis {
    fn range(&self) -> Range<u64> {
        self.from..self.from.saturating_add(self.len)
    }
}

impl<'a> MeanPart<'a> {
    fn covers(&self, cell: &[Range<u64>]) -> bool {
        let both = self.outside.iter().map(MetAxis::range).zip(cell);
        both.into_iter().all(|(own, cell)| own.start <= cell.start && cell.end <= own.end)
    }

    /// Its rows at the coordinates of a cell, in a region that has `repeated` axes before those of the cell.
    fn push_rows(&self, cell: &[Range<u64>], repeated: usize, all: &mut Vec<Rows<'a>>) -> Option<()> {
        let mut first = self.offset;
        let mut strides = vec![0; repeated];
        for (axis, range) in self.outside.iter().zip(cell) {
            let skipped = usize::try_from(range.start - axis.from).ok()?;
            first = first.checked_add(skipped.checked_mul(axis.source)?)?;
            strides.push(axis.source);
        }
        let (count, step, others) = match self.rows.split_last() {
            Some((last, others)) => (usize::try_from(last.len).ok()?, last.source, others),
            None => (1, 0, [].as_slice()),
        };
        let mut offsets = vec![first];
        for axis in others {
            let len = usize::try_from(axis.len).ok()?;
            offsets = offsets.iter().flat_map(|at| (0..len).map(move |n| at + n * axis.source)).collect();
        }
        all.extend(offsets.into_iter().map(|offset| Rows {
            dtype: self.dtype,
            affine: self.affine,
            source: self.source,
            offset,
            count,
            step,
            strides: strides.clone(),
        }));
        Some(())
    }
}

/// The boxes into which the ends of all parts cut the coordinates outside of the padding.
fn cells(parts: &[MeanPart<'_>]) -> Vec<Vec<Range<u64>>> {
    let axes = parts.first().map_or(0, |part| part.outside.len());
    let mut all: Vec<Vec<Range<u64>>> = vec![Vec::new()];
    for at in 0..axes {
        let ranges = parts.iter().map(|part| part.outside[at].range());
        let mut ends: Vec<u64> = ranges.flat_map(|range| [range.start, range.end]).collect();
        ends.sort_unstable();
        ends.dedup();
        let ranges: Vec<Range<u64>> = ends.windows(2).map(|pair| pair[0]..pair[1]).collect();
        let crossed = all.iter().flat_map(|cell| {
            ranges.iter().map(move |range| [cell.as_slice(), std::slice::from_ref(range)].concat())
        });
        all = crossed.collect();
    }
    all.retain(|cell| parts.iter().any(|part| part.covers(cell)));
    all
}

/// The axes of a real box that `target` has padding instead of.
fn row_axes<'b>(
    real: &'b LayoutBox,
    target: &LayoutBox,
    pad: &Padding,
) -> impl Iterator<Item = usize> + use<'b> {
    let of_dim = |axes: &[BoxAxis]| axes.iter().filter(|axis| axis.dim == pad.dim).count();
    let (before, all) = (of_dim(&target.axes[..pad.before]), of_dim(&target.axes));
    let own = of_dim(&real.axes).saturating_sub(all);
    let dim = pad.dim;
    let axes = real.axes.iter().enumerate().filter(move |(_, axis)| axis.dim == dim).map(|(at, _)| at);
    axes.skip(before).take(own)
}

/// A box that lies where the padding does, of the elements that `real` has in these rows; their axes come last.
fn with_rows_of(real: &LayoutBox, target: &LayoutBox, rows: impl Fn(&BoxAxis) -> Range<u64>) -> LayoutBox {
    let of_rows: Vec<usize> = target.pads.iter().flat_map(|pad| row_axes(real, target, pad)).collect();
    let outside = real.axes.iter().enumerate().filter(|(at, _)| !of_rows.contains(at));
    // What tells two uses of an axis apart may be seen in the whole alone.
    let outside =
        outside.zip(&target.axes).map(|((_, real), own)| BoxAxis { axis: real.axis.clone(), ..own.clone() });
    let mut axes: Vec<BoxAxis> = outside.collect();
    for at in of_rows {
        let range = rows(&real.axes[at]);
        let axis = real.axes[at].clone();
        // The target has one row for all of them.
        axes.push(BoxAxis { from: range.start, len: range.end - range.start, step: 0, ..axis });
    }
    LayoutBox { labels: real.labels.clone(), axes, starts: target.starts.clone(), pads: Vec::new() }
}

/// The elements of a box of padding, its rows outermost.
fn region(target: &LayoutBox, strides: &[usize]) -> Option<Region> {
    let step = |dim: usize, step: u64| strides[dim].checked_mul(usize::try_from(step).ok()?);
    let mut region = Region { shape: Vec::new(), offset: 0, strides: Vec::new() };
    for (dim, start) in target.starts.iter().enumerate() {
        region.offset = region.offset.checked_add(step(dim, *start)?)?;
    }
    for rows in &target.pads {
        region.shape.push(usize::try_from(rows.len).ok()?);
        region.strides.push(step(rows.dim, rows.step)?);
    }
    for axis in &target.axes {
        region.shape.push(usize::try_from(axis.len).ok()?);
        region.strides.push(step(axis.dim, axis.step)?);
    }
    Some(region)
}
