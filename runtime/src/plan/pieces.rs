//! One target tensor as strided copies: boxes of both sides paired, coordinates in names fixed.

use std::collections::HashSet;

use transship_grammar as grammar;

use grammar::{
    AxisUse, Captures, Code, Diagnostic, Diagnostics, Entry, Labels, LayoutBox, Rule, Sizes, Stored,
};

use super::tensors::{Target, check_convert, no_name, restrict, target_dtype};
use super::{Check, PlanOptions, Source};
use crate::Tensor;
use crate::bind::{Binding, Key, full_name};
use crate::engine::{Affine, Content, Convert, StridedCopy, TargetTensor, row_major};

/// A target of a rule at given coordinates of the indices in its name.
pub(super) struct Instance<'i, 'a> {
    pub(super) binding: &'i Binding<'a>,
    pub(super) options: &'i PlanOptions,
    pub(super) number: usize,
    pub(super) rule: &'a Rule,
    pub(super) entry: &'a Entry,
    pub(super) key: &'i Key,
}

/// Sizes of a layout's axes at given coordinates.
pub(crate) struct LayoutSizes<'i, 'a> {
    pub(crate) binding: &'i Binding<'a>,
    pub(crate) key: &'i Key,
    /// Padding of each dimension; none where absent.
    pub(crate) pads: Vec<u64>,
}

impl Sizes for LayoutSizes<'_, '_> {
    fn axis(&self, axis: &AxisUse) -> Option<u64> {
        self.binding.axis_len(axis, self.key)
    }

    fn pad(&self, dim: usize) -> u64 {
        self.pads.get(dim).copied().unwrap_or(0)
    }
}

/// A stored tensor of the source side that takes part.
struct Found<'a> {
    tensor: &'a Tensor,
    number: usize,
    stored: &'a Stored,
    boxes: Vec<LayoutBox>,
    /// Whether some of it is padding.
    padded: bool,
    /// All coordinates that are fixed by names, on either side.
    key: Key,
}

impl<'a> Instance<'_, 'a> {
    /// The target, or nothing where the rule is optional and its parameters are absent.
    pub(super) fn plan(
        &self,
        checks: &mut Vec<Check<'a>>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Target<'a>> {
        let binding = self.binding;
        let to = &self.entry.stored[0];
        let mut found = Vec::new();
        for entry in 0..self.rule.sides[binding.from.index()].len() {
            self.find(entry, &mut found, diagnostics);
        }
        let first = found.first()?;
        let own = found.iter().map(|f| f.tensor.dtype).max_by_key(|d| (d.is_float(), d.size()))?;
        let dtype = target_dtype(binding, self.options, to.dtype.as_deref(), own);
        let sizes = LayoutSizes { binding, key: &first.key, pads: Vec::new() };
        let layout = binding.layout(to, &first.key);
        let laid_out = layout.and_then(|l| Some((l.shape(&sizes)?, l.boxes(&sizes)?)));
        let Some((shape, boxes)) = laid_out else {
            diagnostics.push(self.unknown_shape(to));
            return None;
        };
        let dims: Vec<usize> = shape.iter().map(|n| usize::try_from(*n).unwrap_or(usize::MAX)).collect();
        let strides = row_major(&dims);
        let mut contents = Vec::new();
        let mut sources: Vec<Source> = Vec::new();
        let mut described = HashSet::new();
        for target in boxes.iter().filter(|b| b.pads.is_empty()) {
            let labels = with_labels(&target.labels, self.entry);
            for f in &found {
                for source in f.boxes.iter().filter(|b| b.pads.is_empty() && b.labels == labels) {
                    let affine = engine_affine(f.stored.affine.to(to.affine));
                    let convert = Convert { from: f.tensor.dtype, to: dtype, affine };
                    if !check_convert(&convert, self.rule, f.tensor, diagnostics) {
                        return None;
                    }
                    let Some(copy) = self.pair(f, source, target, &strides) else {
                        diagnostics.push(self.unpaired(f));
                        return None;
                    };
                    self.check_broadcast(f, source, &copy, checks);
                    if described.insert(f.number) {
                        sources.push(describe(f, &copy, &convert));
                    }
                    let bytes = binding.checkpoint.bytes(f.tensor);
                    contents.push(Content::Copy { copy, source: bytes, convert });
                }
            }
        }
        let holes = Captures { indices: self.key.clone(), stars: Vec::new(), ..Captures::default() };
        let Some(name) = full_name(binding.mapping, binding.to(), &to.name, &holes) else {
            diagnostics.push(no_name(binding, to, self.key));
            return None;
        };
        self.check_covered(&name, &shape, &contents, diagnostics);
        let order = found.iter().map(|f| f.number).min().unwrap_or(usize::MAX);
        Some(Target { order, tensor: TargetTensor { name, dtype, shape, contents }, sources })
    }

    /// Stored tensors of one entry of the source side: one, or one for each coordinate of the indices in its
    /// name that the target has in memory.
    fn find(&self, entry_number: usize, found: &mut Vec<Found<'a>>, diagnostics: &mut Diagnostics) {
        let binding = self.binding;
        let entry = &self.rule.sides[binding.from.index()][entry_number];
        let template = &entry.stored[0].name;
        for key in binding.keys_with(template, self.key) {
            let claim = (self.number, entry_number, restrict(&key, template));
            let Some((number, era)) = binding.claims.entries.get(&claim) else { continue };
            let tensor = &binding.checkpoint.tensors()[*number];
            let stored = &entry.stored[*era];
            let mut all = [self.key.clone(), key].concat();
            all.sort_unstable();
            all.dedup();
            let Some(layout) = binding.layout(stored, &all) else {
                diagnostics.push(self.unknown_shape(stored));
                continue;
            };
            let sized = layout.shape(&LayoutSizes { binding, key: &all, pads: Vec::new() });
            if sized.is_none() {
                diagnostics.push(self.unknown_shape(stored));
                continue;
            }
            let Some(pads) = self.pads(layout, tensor, &all) else {
                diagnostics.push(self.uneven_padding(layout, tensor));
                continue;
            };
            let padded = pads.iter().any(|n| *n > 0);
            let sizes = LayoutSizes { binding, key: &all, pads };
            let Some(mut boxes) = layout.boxes(&sizes) else {
                diagnostics.push(self.unknown_shape(stored));
                continue;
            };
            boxes.iter_mut().for_each(|b| b.labels = with_labels(&b.labels, entry));
            found.push(Found { tensor, number: *number, stored, boxes, padded, key: all });
        }
    }

    /// How much padding each stored dimension has; `None` where what is left over does not come out even.
    fn pads(&self, layout: &grammar::Layout, tensor: &Tensor, key: &Key) -> Option<Vec<u64>> {
        let with = |pad: u64| {
            let pads = vec![pad; layout.dims.len()];
            layout.shape(&LayoutSizes { binding: self.binding, key, pads })
        };
        let (none, one) = (with(0)?, with(1)?);
        let dims = tensor.shape.iter().zip(none.iter().zip(&one));
        dims.map(|(stored, (none, one))| match (stored.checked_sub(*none)?, one - none) {
            (0, _) => Some(0),
            (left, step) if step > 0 && left % step == 0 => Some(left / step),
            _ => None,
        })
        .collect()
    }

    /// The copy between two boxes.
    fn pair(
        &self,
        f: &Found<'a>,
        source: &LayoutBox,
        target: &LayoutBox,
        strides: &[usize],
    ) -> Option<StridedCopy> {
        let mut copy = StridedCopy {
            shape: Vec::new(),
            source_offset: usize::try_from(f.tensor.offset).ok()?,
            source_strides: Vec::new(),
            target_offset: 0,
            target_strides: Vec::new(),
        };
        let source_stride =
            |dim: usize, step: u64| usize::try_from(f.tensor.strides[dim].checked_mul(step)?).ok();
        let target_stride = |dim: usize, step: u64| strides[dim].checked_mul(usize::try_from(step).ok()?);
        for (dim, start) in source.starts.iter().enumerate() {
            copy.source_offset += source_stride(dim, *start)?;
        }
        for (dim, start) in target.starts.iter().enumerate() {
            copy.target_offset += target_stride(dim, *start)?;
        }
        let mut open: Vec<usize> = (0..source.axes.len()).collect();
        for axis in &target.axes {
            let target_step = target_stride(axis.dim, axis.step)?;
            if let Some(at) = self.fixed(&axis.axis, &f.key) {
                copy.target_offset += at.checked_mul(target_step)?;
                continue;
            }
            let partner =
                open.iter().position(|i| same_axis(&source.axes[*i].axis, &axis.axis, source, target));
            let stride = match partner {
                Some(at) => {
                    let partner = &source.axes[open.remove(at)];
                    source_stride(partner.dim, partner.step)?
                }
                // Every coordinate holds the same.
                None if axis.axis.broadcast => 0,
                None => return None,
            };
            copy.shape.push(usize::try_from(axis.len).ok()?);
            copy.source_strides.push(stride);
            copy.target_strides.push(target_step);
        }
        for i in open {
            let axis = &source.axes[i];
            let at = match self.fixed(&axis.axis, &f.key) {
                Some(at) => at,
                None if axis.axis.broadcast => 0,
                None => return None,
            };
            copy.source_offset += at.checked_mul(source_stride(axis.dim, axis.step)?)?;
        }
        Some(copy)
    }

    /// The place in memory of an axis whose coordinate a name fixes.
    fn fixed(&self, axis: &AxisUse, key: &Key) -> Option<usize> {
        let (_, at) = key.iter().find(|(a, _)| *a == axis.axis)?;
        let (from, _) = self.binding.range(axis.axis)?;
        usize::try_from(at.checked_sub(from)?).ok()
    }

    /// Copies along a broadcast axis must all be what the first one is, which is the one that is taken.
    fn check_broadcast(
        &self,
        f: &Found<'a>,
        source: &LayoutBox,
        copy: &StridedCopy,
        checks: &mut Vec<Check<'a>>,
    ) {
        let copies: Vec<&grammar::BoxAxis> =
            source.axes.iter().filter(|a| a.axis.broadcast && a.len > 1).collect();
        let Some(first) = copies.first() else { return };
        let sizes: Option<Vec<(usize, usize)>> = copies
            .iter()
            .map(|a| {
                let step = f.tensor.strides[a.dim].checked_mul(a.step)?;
                Some((usize::try_from(a.len).ok()?, usize::try_from(step).ok()?))
            })
            .collect();
        // Sizes of a tensor that is mapped fit memory.
        let Some(sizes) = sizes else { return };
        let names: Vec<String> =
            copies.iter().map(|a| format!("`{}`", self.binding.mapping.axis(a.axis.axis).name)).collect();
        let with = |own: &[usize], more: Vec<usize>| [own, more.as_slice()].concat();
        let bytes = self.binding.checkpoint.bytes(f.tensor);
        checks.push(Check {
            copy: StridedCopy {
                shape: with(&copy.shape, sizes.iter().map(|(len, _)| *len).collect()),
                source_offset: copy.source_offset,
                source_strides: with(&copy.source_strides, vec![0; sizes.len()]),
                target_offset: copy.source_offset,
                target_strides: with(&copy.source_strides, sizes.iter().map(|(_, step)| *step).collect()),
            },
            dtype: f.tensor.dtype,
            left: bytes,
            right: bytes,
            code: Code::BroadcastDiffers,
            message: format!(
                "the copies of `{}` along {} are not all the same",
                f.tensor.name,
                names.join(" and ")
            ),
            span: first.axis.span,
            file: self.binding.checkpoint.file(),
        });
    }

    /// Parts that are absent leave elements without a source.
    fn check_covered(
        &self,
        name: &str,
        shape: &[u64],
        contents: &[Content<'_>],
        diagnostics: &mut Diagnostics,
    ) {
        let elements: u64 = shape.iter().fold(1, |n, size| n.saturating_mul(*size));
        let copied = contents.iter().fold(0u64, |sum, content| match content {
            Content::Copy { copy, .. } => {
                let count = copy.shape.iter().fold(1u64, |n, size| n.saturating_mul(*size as u64));
                sum.saturating_add(count)
            }
            Content::Fill { .. } => sum,
        });
        if copied < elements {
            diagnostics.push(
                Diagnostic::error(
                    Code::MissingParameter,
                    self.rule.span,
                    format!("`{name}` has {elements} elements, but the parameters that are there hold {copied} of them"),
                    "some of what this rule puts together is absent",
                )
                .note(format!("in {}", self.binding.checkpoint.file()))
                .help("parameters that may be absent are absent together; the checkpoint may be incomplete"),
            );
        }
    }

    fn unpaired(&self, f: &Found<'a>) -> Diagnostic {
        Diagnostic::error(
            Code::ShapeMismatch,
            self.rule.span,
            format!(
                "`{}` cannot be laid out by this rule: its sizes are beyond what can be addressed",
                f.tensor.name
            ),
            "by this rule",
        )
    }

    fn unknown_shape(&self, to: &Stored) -> Diagnostic {
        Diagnostic::error(
            Code::UnknownValue,
            to.span,
            "the shape of this parameter is not known",
            "not all of its axes have a size",
        )
        .help("give the sizes with `--set NAME=VALUE`")
    }

    fn uneven_padding(&self, layout: &grammar::Layout, tensor: &Tensor) -> Diagnostic {
        Diagnostic::error(
            Code::ShapeMismatch,
            layout.span,
            format!("`{}` has shape {:?}, whose padding does not come out even", tensor.name, tensor.shape),
            "by this layout",
        )
    }
}

fn describe(f: &Found<'_>, copy: &StridedCopy, convert: &Convert) -> Source {
    let mut steps = steps(copy, convert);
    if f.boxes.len() > 1 {
        let parts: Vec<String> =
            f.boxes.iter().filter(|b| b.pads.is_empty()).flat_map(|b| b.labels.values().cloned()).collect();
        if !parts.is_empty() {
            steps.insert(0, format!("taken apart into {}", parts.join(", ")));
        }
        if f.padded {
            steps.push("padding left out".to_owned());
        }
    }
    Source { name: f.tensor.name.clone(), steps }
}

fn with_labels(labels: &Labels, entry: &Entry) -> Labels {
    let mut all = labels.clone();
    all.extend(entry.labels.iter().cloned());
    all
}

/// Whether two uses of an axis are the same coordinate. A role matters where the axis is there more than once.
fn same_axis(a: &AxisUse, b: &AxisUse, in_a: &LayoutBox, in_b: &LayoutBox) -> bool {
    if (a.axis, a.by) != (b.axis, b.by) || a.broadcast || b.broadcast {
        return false;
    }
    let several = |b: &LayoutBox| {
        let same = |x: &&grammar::BoxAxis| !x.axis.broadcast && (x.axis.axis, x.axis.by) == (a.axis, a.by);
        b.axes.iter().filter(same).count() > 1
    };
    !(several(in_a) || several(in_b)) || a.role == b.role
}

pub(super) fn engine_affine(affine: grammar::Affine) -> Option<Affine> {
    (affine != grammar::Affine::IDENTITY).then_some(Affine { scale: affine.scale, offset: affine.offset })
}

/// What a copy does, in words.
pub(super) fn steps(copy: &StridedCopy, convert: &Convert) -> Vec<String> {
    let mut axes: Vec<(usize, usize)> = copy
        .target_strides
        .iter()
        .zip(&copy.source_strides)
        .zip(&copy.shape)
        .filter(|(_, len)| **len > 1)
        .map(|((t, s), _)| (*t, *s))
        .collect();
    axes.sort_unstable_by(|a, b| b.cmp(a));
    let mut steps = Vec::new();
    if axes.iter().any(|(_, source)| *source == 0) {
        steps.push("repeated".to_owned());
    }
    if axes.windows(2).any(|pair| pair[0].1 < pair[1].1 && pair[0].1 != 0) {
        steps.push("axes reordered".to_owned());
    }
    if let Some(Affine { scale, offset }) = convert.affine {
        steps.push(format!("times {scale} plus {offset}"));
    }
    if convert.from != convert.to {
        steps.push(format!("{} to {}", convert.from, convert.to));
    }
    steps
}
