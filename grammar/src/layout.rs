//! The layout algebra: products, labelled sums and padding, distributed into boxes.
//!
//! A layout says where an element with given coordinates lies in a stored tensor. Distributed over its
//! sums it is a set of boxes; each is a rectangle of elements that named axes address with one stride each.

use std::collections::BTreeMap;

use crate::mapping::{AxisId, RankId};
use crate::size::Size;
use crate::source::Span;

/// How one parameter lies in memory: one factor per stored dimension, outermost first.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// The stored dimensions.
    pub dims: Vec<Factor>,
    /// Where it is written.
    pub span: Span,
}

/// A stored dimension, or a factor of one.
#[derive(Clone, Debug, PartialEq)]
pub enum Factor {
    /// A named axis.
    Axis(AxisUse),
    /// `(a b)`: one dimension of size a·b, `a` outermost, and the ranks the whole is distributed over.
    Product(Vec<Factor>, Vec<RankId>),
    /// `(q: a | k: b)`: one dimension, the arms one after the other.
    Sum(Sum),
    /// `1`.
    Unit,
}

/// An axis as a layout uses it.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisUse {
    /// Which axis.
    pub axis: AxisId,
    /// The index that its size depends on: `layer` in `groups[layer]`.
    pub by: Option<AxisId>,
    /// What tells it from another use of the same axis.
    pub role: Option<String>,
    /// Rank axes it is distributed over in blocks, the nearest to the axis first.
    pub ranks: Vec<RankId>,
    /// `*axis`: all coordinates hold the same value.
    pub broadcast: bool,
    /// Where it is written.
    pub span: Span,
}

/// A concatenation of labelled arms.
#[derive(Clone, Debug, PartialEq)]
pub struct Sum {
    /// In the order they are stored.
    pub arms: Vec<Arm>,
    /// Rank axes that the whole is distributed over in blocks.
    pub ranks: Vec<RankId>,
    /// Where it is written.
    pub span: Span,
}

/// One part of a concatenation.
#[derive(Clone, Debug, PartialEq)]
pub struct Arm {
    /// Its label.
    pub label: String,
    /// Its factors, outermost first; none for an arm of one unit.
    pub factors: Vec<Factor>,
    /// `_`: padding, whatever is left.
    pub pad: bool,
    /// Where it is written.
    pub span: Span,
}

impl Sum {
    /// What this sum is known by: the labels of its arms, padding aside, sorted. Fewer than two labels make
    /// no sum, since nothing is chosen.
    #[must_use]
    pub fn key(&self) -> Vec<String> {
        let mut labels: Vec<String> = self.real_arms().map(|a| a.label.clone()).collect();
        labels.sort_unstable();
        labels
    }

    /// The arms that hold elements of the parameter.
    pub fn real_arms(&self) -> impl Iterator<Item = &Arm> {
        self.arms.iter().filter(|a| !a.pad)
    }

    /// The label of each choice that an arm of this sum makes; a single real arm chooses nothing.
    fn choice(&self, arm: &Arm) -> Option<(Vec<String>, String)> {
        let key = self.key();
        (arm.pad || key.len() > 1).then(|| (key, arm.label.clone()))
    }
}

/// Labels that single out a box: for each sum, known by its set of labels, the one chosen.
pub type Labels = BTreeMap<Vec<String>, String>;

/// A rectangle of elements of a stored tensor, for given sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct Box {
    /// Which arm of each sum it lies in.
    pub labels: Labels,
    /// Its axes, outermost first.
    pub axes: Vec<BoxAxis>,
    /// Where it starts along each stored dimension.
    pub starts: Vec<u64>,
    /// Whether it is padding. It then starts at the first row of padding; the rows are none of its axes, and
    /// [`Sizes::pad`] says how many there are.
    pub pad: bool,
}

/// An axis of a box.
#[derive(Clone, Debug, PartialEq)]
pub struct BoxAxis {
    /// The axis, its role and the rest of what the layout says of it.
    pub axis: AxisUse,
    /// How many coordinates.
    pub len: u64,
    /// The stored dimension it is a factor of.
    pub dim: usize,
    /// How far one step goes along that dimension.
    pub step: u64,
}

/// A box of which only labels and axes are known; enough to pair the sides of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct SymbolicBox {
    /// Which arm of each sum it lies in.
    pub labels: Labels,
    /// Its axes, outermost first.
    pub axes: Vec<AxisUse>,
    /// Whether it is padding.
    pub pad: bool,
}

/// Sizes for the axes of a layout. Sizes are in elements; `None` where a size is not known.
pub trait Sizes {
    /// The number of coordinates of an axis.
    fn axis(&self, axis: &AxisUse) -> Option<u64>;
    /// The size of the padding arm of a stored dimension, which has one at most.
    fn pad(&self, dim: usize) -> u64;
}

impl Layout {
    /// The axes in it, outermost first, those inside sums and padding included.
    #[must_use]
    pub fn axes(&self) -> Vec<&AxisUse> {
        let mut all = Vec::new();
        self.dims.iter().for_each(|d| d.collect_axes(&mut all));
        all
    }

    /// The sums in it, outermost first.
    #[must_use]
    pub fn sums(&self) -> Vec<&Sum> {
        let mut all = Vec::new();
        self.dims.iter().for_each(|d| d.collect_sums(&mut all));
        all
    }

    /// How many boxes it has: its sums multiply.
    #[must_use]
    pub fn box_count(&self) -> usize {
        self.dims.iter().fold(1, |count, dim| count.saturating_mul(dim.box_count()))
    }

    /// The boxes, sizes left open.
    #[must_use]
    pub fn symbolic_boxes(&self) -> Vec<SymbolicBox> {
        let all = self
            .dims
            .iter()
            .fold(vec![Partial::default()], |acc, dim| cross(&acc, &dim.distribute(&mut |_| 1).1));
        all.into_iter()
            .map(|p| SymbolicBox {
                labels: p.labels,
                axes: p.axes.into_iter().map(|(axis, ..)| axis).collect(),
                pad: p.pad,
            })
            .collect()
    }

    /// The stored shape; `None` where a size is not known or the product overflows.
    #[must_use]
    pub fn shape(&self, sizes: &dyn Sizes) -> Option<Vec<u64>> {
        self.dims.iter().enumerate().map(|(dim, factor)| factor.len(sizes, dim)).collect()
    }

    /// The boxes for given sizes; `None` where a size is not known or overflows.
    #[must_use]
    pub fn boxes(&self, sizes: &dyn Sizes) -> Option<Vec<Box>> {
        let mut all = vec![Box { labels: Labels::new(), axes: Vec::new(), starts: Vec::new(), pad: false }];
        for (dim, factor) in self.dims.iter().enumerate() {
            factor.len(sizes, dim)?;
            let mut size = |f: &Factor| f.len(sizes, dim).unwrap_or(0);
            let (_, parts) = factor.distribute(&mut size);
            let mut next = Vec::with_capacity(all.len() * parts.len());
            for b in &all {
                for part in &parts {
                    let mut b = b.clone();
                    b.labels.extend(part.labels.clone());
                    b.pad |= part.pad;
                    b.starts.push(part.start);
                    for (axis, step) in &part.axes {
                        let len = sizes.axis(axis)?;
                        b.axes.push(BoxAxis { axis: axis.clone(), len, dim, step: *step });
                    }
                    next.push(b);
                }
            }
            all = next;
        }
        Some(all)
    }
}

impl Factor {
    fn collect_axes<'a>(&'a self, all: &mut Vec<&'a AxisUse>) {
        match self {
            Factor::Axis(axis) => all.push(axis),
            Factor::Product(factors, _) => factors.iter().for_each(|f| f.collect_axes(all)),
            Factor::Sum(sum) => {
                sum.arms.iter().flat_map(|a| &a.factors).for_each(|f| f.collect_axes(all));
            }
            Factor::Unit => {}
        }
    }

    fn collect_sums<'a>(&'a self, all: &mut Vec<&'a Sum>) {
        match self {
            Factor::Product(factors, _) => factors.iter().for_each(|f| f.collect_sums(all)),
            Factor::Sum(sum) => {
                all.push(sum);
                sum.arms.iter().flat_map(|a| &a.factors).for_each(|f| f.collect_sums(all));
            }
            Factor::Axis(_) | Factor::Unit => {}
        }
    }

    fn box_count(&self) -> usize {
        let product =
            |factors: &[Factor]| factors.iter().fold(1usize, |n, f| n.saturating_mul(f.box_count()));
        match self {
            Factor::Axis(_) | Factor::Unit => 1,
            Factor::Product(factors, _) => product(factors),
            Factor::Sum(sum) => sum.arms.iter().fold(0, |n, arm| n.saturating_add(product(&arm.factors))),
        }
    }

    /// Its size as a polynomial, padding counted as nothing.
    #[must_use]
    pub fn size(&self, axis: &dyn Fn(&AxisUse) -> Size) -> Size {
        let product =
            |factors: &[Factor]| factors.iter().fold(Size::constant(1), |p, f| p.times(&f.size(axis)));
        match self {
            Factor::Axis(a) => axis(a),
            Factor::Product(factors, _) => product(factors),
            Factor::Sum(sum) => {
                sum.real_arms().fold(Size::default(), |s, arm| s.plus(&product(&arm.factors)))
            }
            Factor::Unit => Size::constant(1),
        }
    }

    /// Whether a padding arm is in it, and by how many elements the dimension grows with each row of padding.
    pub fn padding<'a>(&'a self) -> Option<&'a Sum> {
        let mut sums = Vec::new();
        self.collect_sums(&mut sums);
        sums.into_iter().find(|s: &&'a Sum| s.arms.iter().any(|a| a.pad))
    }

    fn len(&self, sizes: &dyn Sizes, dim: usize) -> Option<u64> {
        match self {
            Factor::Axis(axis) => sizes.axis(axis),
            Factor::Product(factors, _) => product_len(factors, sizes, dim),
            Factor::Sum(sum) => sum.arms.iter().try_fold(0u64, |total, arm| {
                let len = if arm.pad { sizes.pad(dim) } else { product_len(&arm.factors, sizes, dim)? };
                total.checked_add(len)
            }),
            Factor::Unit => Some(1),
        }
    }

    /// Distributes over sums. Returns the size of this factor and its parts, steps in units of the factor.
    fn distribute(&self, len: &mut dyn FnMut(&Factor) -> u64) -> (u64, Vec<Partial>) {
        match self {
            Factor::Axis(axis) => {
                let part = Partial { axes: vec![(axis.clone(), 1)], ..Partial::default() };
                (len(self), vec![part])
            }
            Factor::Product(factors, _) => distribute_product(factors, len),
            Factor::Unit => (1, vec![Partial::default()]),
            Factor::Sum(sum) => {
                let total = len(self);
                let mut start = 0u64;
                let mut parts = Vec::new();
                let real: u64 = sum.real_arms().map(|a| distribute_product(&a.factors, len).0).sum();
                for arm in &sum.arms {
                    let (arm_len, inner) = if arm.pad {
                        (total.saturating_sub(real), vec![Partial { pad: true, ..Partial::default() }])
                    } else {
                        distribute_product(&arm.factors, len)
                    };
                    for mut part in inner {
                        part.labels.extend(sum.choice(arm));
                        part.start = part.start.saturating_add(start);
                        part.name_by_label(sum, arm);
                        parts.push(part);
                    }
                    start = start.saturating_add(arm_len);
                }
                (total, parts)
            }
        }
    }
}

fn product_len(factors: &[Factor], sizes: &dyn Sizes, dim: usize) -> Option<u64> {
    factors.iter().try_fold(1u64, |p, f| p.checked_mul(f.len(sizes, dim)?))
}

fn distribute_product(factors: &[Factor], len: &mut dyn FnMut(&Factor) -> u64) -> (u64, Vec<Partial>) {
    let mut size = 1u64;
    let mut parts = vec![Partial::default()];
    for factor in factors.iter().rev() {
        let (factor_len, inner) = factor.distribute(len);
        let scaled: Vec<Partial> = inner.iter().map(|p| p.scaled(size)).collect();
        parts = cross(&scaled, &parts);
        size = size.saturating_mul(factor_len);
    }
    (size, parts)
}

/// A box in the making, along one stored dimension.
#[derive(Clone, Debug, Default)]
struct Partial {
    labels: Labels,
    axes: Vec<(AxisUse, u64)>,
    start: u64,
    pad: bool,
}

impl Partial {
    fn scaled(&self, by: u64) -> Partial {
        let mut part = self.clone();
        part.start = part.start.saturating_mul(by);
        part.axes.iter_mut().for_each(|(_, step)| *step = step.saturating_mul(by));
        part
    }

    /// In a sum with one real arm the label does what a role does: `(rows: vocab | pad: _)` and `rows:vocab`.
    fn name_by_label(&mut self, sum: &Sum, arm: &Arm) {
        if arm.pad || sum.real_arms().count() > 1 {
            return;
        }
        if let [(axis, _)] = self.axes.as_mut_slice() {
            axis.role.get_or_insert_with(|| arm.label.clone());
        }
    }
}

/// All combinations of parts of two factors, the first outermost.
fn cross(outer: &[Partial], inner: &[Partial]) -> Vec<Partial> {
    let mut all = Vec::with_capacity(outer.len() * inner.len());
    for a in outer {
        for b in inner {
            let mut part = a.clone();
            part.labels.extend(b.labels.clone());
            part.axes.extend(b.axes.iter().cloned());
            part.start = part.start.saturating_add(b.start);
            part.pad |= b.pad;
            all.push(part);
        }
    }
    all
}

#[cfg(test)]
mod tests;
