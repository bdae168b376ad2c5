//! Rows of padding in targets: how many, and what they hold.

use transship_grammar as grammar;

use grammar::{BoxAxis, Diagnostics, Factor, Fill as FillRule, LayoutBox, Padding};

use super::found::Found;
use super::pieces::{Instance, LayoutSizes, Pieces, StoredPart};
use crate::bind::Binding;
use crate::engine::{Content, Fill, Mean, Region, Rows};

/// How many rows of padding a dimension gets: the config value that has the name of the padding's label.
pub(super) fn target_padding(binding: &Binding<'_>, factor: &Factor) -> Option<u64> {
    let label = &factor.padding()?.arms.iter().find(|arm| arm.pad)?.label;
    let field = binding.mapping.field_named(label)?;
    u64::try_from(binding.value(field)?.as_integer()?).ok()
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
        if target.pads.iter().any(|pad| pad.len == 0) {
            return Some(());
        }
        match (self.rule.fill, target.pads.as_slice()) {
            (FillRule::Last, [rows]) => {
                let last = last_row(self.real_box(layout, pads, target, *rows)?, target, *rows);
                self.copy_box(found, &last, Some(*rows), pieces, &mut Vec::new(), diagnostics)
            }
            (FillRule::Mean, [rows]) => {
                let real = self.real_box(layout, pads, target, *rows)?;
                let fill = self.mean_row(found, real, target, *rows, pieces)?;
                pieces.contents.push(fill);
                Some(())
            }
            (FillRule::Normal(seed, std), _) => {
                let region = region(target, &pieces.strides)?;
                pieces.contents.push(Content::Fill { region, fill: Fill::Normal { seed, std } });
                Some(())
            }
            _ => {
                let region = region(target, &pieces.strides)?;
                pieces.contents.push(Content::Fill { region, fill: Fill::Constant(0.0) });
                Some(())
            }
        }
    }

    /// The box before the padding, in the whole parameter.
    fn real_box(
        &self,
        layout: &grammar::Layout,
        pads: &[u64],
        target: &LayoutBox,
        rows: Padding,
    ) -> Option<LayoutBox> {
        let sum = layout.dims[rows.dim].padding()?;
        let (key, pad) = (sum.key(), sum.arms.iter().find(|arm| arm.pad)?);
        let sizes = LayoutSizes {
            binding: self.binding,
            key: self.key,
            pads: pads.to_vec(),
            part: StoredPart::Whole,
        };
        let boxes = layout.boxes(&sizes)?;
        let same = |b: &&LayoutBox| {
            b.pads.is_empty()
                && target
                    .labels
                    .iter()
                    .all(|(of, label)| *of == key && *label == pad.label || b.labels.get(of) == Some(label))
        };
        // Of several arms before the padding the last one ends where it begins.
        boxes.iter().filter(same).max_by_key(|b| b.starts[rows.dim]).cloned()
    }

    /// Every row of padding as the mean of the rows before it, which `whole` has.
    fn mean_row(
        &self,
        found: &[Found<'a>],
        whole: LayoutBox,
        target: &LayoutBox,
        rows: Padding,
        pieces: &Pieces<'a>,
    ) -> Option<Content<'a>> {
        let mut real = target.clone();
        real.pads.clear();
        real.labels = whole.labels;
        let others = real.axes.len();
        // The rows are the outermost axis of what the padding repeats, so that they can be summed over.
        let mut along = whole.axes.into_iter().filter(|axis| axis.dim == rows.dim);
        real.axes.extend(along.next());
        if along.next().is_some() {
            return None;
        }
        let copies = self.copies(found, &real, pieces);
        let (mut all, mut shape) = (Vec::new(), Vec::new());
        for (copy, source, dtype) in copies {
            let last = others.min(copy.shape.len().checked_sub(1)?);
            let mut strides = vec![0];
            strides.extend(&copy.source_strides[..last]);
            shape = copy.shape[..last].to_vec();
            all.push(Rows {
                dtype,
                affine: None,
                source,
                offset: copy.source_offset,
                count: copy.shape[last],
                step: copy.source_strides[last],
                strides,
            });
        }
        let mut region = region(target, &pieces.strides)?;
        if region.shape.get(1..) != Some(&shape[..]) {
            return None;
        }
        region.shape[0] = usize::try_from(rows.len).ok()?;
        let divisor = all.iter().map(|rows| rows.count).sum();
        Some(Content::Fill { region, fill: Fill::Mean(Mean { rows: all, divisor }) })
    }
}

/// A box that lies where the padding does, of the elements of the last row of `real`.
fn last_row(real: LayoutBox, target: &LayoutBox, rows: Padding) -> LayoutBox {
    let mut last = target.clone();
    last.pads.clear();
    last.labels = real.labels;
    last.axes.extend(real.axes.into_iter().filter(|axis| axis.dim == rows.dim).map(|axis| BoxAxis {
        from: (axis.from + axis.len).saturating_sub(1),
        len: 1,
        ..axis
    }));
    last
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
