//! Where the elements of a side's parameters lie: each element of a stored tensor as coordinates on named axes.

use transship_grammar as grammar;

use grammar::{Captures, Code, Diagnostic, Diagnostics, Entry, LayoutBox, Mapping, Part, Stored};

use crate::bind::{Binding, Key, full_name};
use crate::plan::{LayoutSizes, StoredPart};

/// A parameter of one side, as a config lays it out.
pub(super) struct Parameter {
    /// Its name in a file.
    pub(super) name: String,
    /// The name with axes in braces.
    pub(super) template: String,
    /// The coordinates in its name.
    pub(super) key: Key,
    /// The labels that its name stands for.
    pub(super) labels: Vec<String>,
    /// Sizes, outermost first.
    pub(super) shape: Vec<u64>,
    /// The boxes of its layout, padding left out; none where the mapping does not say it.
    boxes: Option<Vec<LayoutBox>>,
}

/// A part of a parameter whose elements are addressed by axes: all coordinates of all of them.
pub(super) struct Region {
    /// The label that singles it out, where not all parts of the parameter have the same axes.
    pub(super) label: Option<String>,
    /// The axes in the order of memory, outermost first.
    pub(super) axes: Vec<RegionAxis>,
    /// The element at coordinates that are all 0.
    pub(super) start: u64,
}

/// An axis of a region.
pub(super) struct RegionAxis {
    /// Its name; of the axis of parts `(q | k | v)`.
    pub(super) name: String,
    /// The labels of its coordinates, where it is the axis of parts.
    pub(super) labels: Vec<String>,
    /// How far each coordinate lies from the first, in elements.
    pub(super) offsets: Vec<u64>,
}

impl Region {
    pub(super) fn lens(&self) -> Vec<u64> {
        self.axes.iter().map(|a| a.offsets.len() as u64).collect()
    }

    /// The row-major place in its tensor of the element at `coordinates`.
    pub(super) fn place(&self, coordinates: &[u64]) -> u64 {
        let offset = |(axis, at): (&RegionAxis, &u64)| {
            usize::try_from(*at).ok().and_then(|at| axis.offsets.get(at)).copied().unwrap_or(0)
        };
        self.start + self.axes.iter().zip(coordinates).map(offset).sum::<u64>()
    }

    /// Coordinates as a reader writes them: `q, heads 1, head_dim 0`.
    pub(super) fn show(&self, coordinates: &[u64]) -> String {
        let mut words: Vec<String> = self.label.iter().cloned().collect();
        for (axis, at) in self.axes.iter().zip(coordinates) {
            let label = usize::try_from(*at).ok().and_then(|i| axis.labels.get(i));
            words.push(label.cloned().unwrap_or_else(|| format!("{} {at}", axis.name)));
        }
        words.join(", ")
    }
}

/// Every parameter of the side that a config is bound to, in the order of the mapping's rules, names of one rule by
/// their numbers.
pub(super) fn parameters(binding: &Binding<'_>) -> Result<Vec<Parameter>, Diagnostics> {
    let mapping = binding.mapping();
    let side = binding.from();
    let mut diagnostics = Diagnostics::new(&mapping.source);
    let mut all = Vec::new();
    for rule in mapping.rules.iter().filter(|r| binding.may_hold(&r.guard)) {
        for entry in &rule.sides[side.index()] {
            let stored = &entry.stored[0];
            for key in binding.keys(&stored.name).into_iter().filter(|k| binding.holds(&rule.guard, k)) {
                match parameter(binding, entry, stored, key) {
                    Some(parameter) => all.push(parameter),
                    None => diagnostics.push(Diagnostic::error(
                        Code::UnknownValue,
                        stored.span,
                        format!("the shape of `{}` is not known", mapping.display_template(&stored.name)),
                        "the config leaves one of its axes without a size",
                    )),
                }
            }
        }
    }
    if diagnostics.has_errors() { Err(diagnostics) } else { Ok(all) }
}

fn parameter(binding: &Binding<'_>, entry: &Entry, stored: &Stored, key: Key) -> Option<Parameter> {
    let mapping = binding.mapping();
    let stars = stored.name.parts.iter().filter(|p| matches!(p, Part::Star | Part::DoubleStar));
    let holes =
        Captures { indices: key.clone(), stars: stars.map(|_| "x".to_owned()).collect(), ranks: Vec::new() };
    let name = full_name(mapping, binding.from(), &stored.name, &holes)?;
    let shown = mapping.display_template(&stored.name);
    let root = full_name(mapping, binding.from(), &grammar::Template::default(), &Captures::default())?;
    let template = match shown.strip_prefix('/') {
        Some(absolute) => absolute.to_owned(),
        None => format!("{root}{shown}"),
    };
    let labels: Vec<String> = entry.labels.iter().map(|(_, label)| label.clone()).collect();
    let (shape, boxes) = match binding.layout(stored, &key) {
        None if stored.layouts.is_empty() => (vec![2, 3], None),
        None => return None,
        Some(layout) => {
            let sizes = LayoutSizes { binding, key: &key, pads: Vec::new(), part: StoredPart::Whole };
            let shape = layout.shape(&sizes)?;
            let boxes: Vec<LayoutBox> =
                layout.boxes(&sizes)?.into_iter().filter(|b| b.pads.is_empty()).collect();
            (shape, Some(boxes))
        }
    };
    Some(Parameter { name, template, key, labels, shape, boxes })
}

impl Parameter {
    /// Its elements, by named axes.
    pub(super) fn regions(&self, mapping: &Mapping) -> Vec<Region> {
        match &self.boxes {
            Some(boxes) => regions(mapping, &strides(&self.shape), boxes),
            None => vec![as_it_lies(&self.shape)],
        }
    }
}

/// A tensor of which no layout is said: its dimensions are the axes.
fn as_it_lies(shape: &[u64]) -> Region {
    let strides = strides(shape);
    let axes = shape.iter().zip(strides).enumerate().map(|(dim, (size, stride))| RegionAxis {
        name: format!("dimension {dim}"),
        labels: Vec::new(),
        offsets: (0..*size).map(|at| at * stride).collect(),
    });
    Region { label: None, axes: axes.collect(), start: 0 }
}

fn strides(shape: &[u64]) -> Vec<u64> {
    let mut strides = vec![1u64; shape.len()];
    for dim in (1..shape.len()).rev() {
        strides[dim - 1] = strides[dim].saturating_mul(shape[dim]);
    }
    strides
}

/// One region with an axis of parts where all boxes have the same axes, or one for each box.
fn regions(mapping: &Mapping, strides: &[u64], boxes: &[LayoutBox]) -> Vec<Region> {
    let label = |b: &LayoutBox| b.labels.values().cloned().collect::<Vec<_>>().join(" ");
    let all: Vec<(String, Region)> = boxes.iter().map(|b| (label(b), region(mapping, strides, b))).collect();
    let same = |(_, r): &(String, Region)| {
        r.axes.iter().map(|a| (&a.name, &a.offsets)).eq(all[0].1.axes.iter().map(|a| (&a.name, &a.offsets)))
    };
    if all.len() < 2 {
        return all.into_iter().map(|(_, region)| region).collect();
    }
    if !all.iter().all(same) {
        return all.into_iter().map(|(label, region)| Region { label: Some(label), ..region }).collect();
    }
    let labels: Vec<String> = all.iter().map(|(label, _)| label.clone()).collect();
    let start = all.iter().map(|(_, r)| r.start).min().unwrap_or(0);
    let offsets: Vec<u64> = all.iter().map(|(_, r)| r.start - start).collect();
    let mut axes: Vec<RegionAxis> = all.into_iter().next().map(|(_, r)| r.axes).unwrap_or_default();
    let step = offsets.iter().copied().filter(|o| *o > 0).min().unwrap_or(0);
    let at = axes.iter().position(|a| a.offsets.get(1).is_some_and(|o| *o < step)).unwrap_or(axes.len());
    axes.insert(at, RegionAxis { name: format!("({})", labels.join(" | ")), labels, offsets });
    vec![Region { label: None, axes, start }]
}

fn region(mapping: &Mapping, strides: &[u64], b: &LayoutBox) -> Region {
    let start = b.starts.iter().zip(strides).map(|(start, stride)| start * stride).sum();
    let mut axes: Vec<RegionAxis> = b
        .axes
        .iter()
        .map(|axis| {
            let name = &mapping.axis(axis.axis.axis).name;
            let role = axis.axis.role.as_ref().filter(|role| *role != name);
            RegionAxis {
                name: role.map_or_else(|| name.clone(), |role| format!("{role}:{name}")),
                labels: Vec::new(),
                offsets: (0..axis.len).map(|at| at * axis.step * strides[axis.dim]).collect(),
            }
        })
        .collect();
    // Outermost first; axes of one coordinate lie anywhere.
    axes.sort_by_key(|a| std::cmp::Reverse(a.offsets.get(1).copied().unwrap_or(0)));
    Region { label: None, axes, start }
}
