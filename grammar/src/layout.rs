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

    /// In a sum with one real arm the label does what a role does: `(rows: vocab | pad: _)` and `rows:vocab`. It is the
    /// role of the arm's axis where there is one, broadcasts aside, since these say nothing about an element.
    fn give_role<'a>(&self, arm: &Arm, axes: impl Iterator<Item = &'a mut AxisUse>) {
        if arm.pad || self.real_arms().count() != 1 {
            return;
        }
        let mut axes = axes.filter(|axis| !axis.broadcast);
        if let (Some(only), None) = (axes.next(), axes.next()) {
            only.role.get_or_insert_with(|| arm.label.clone());
        }
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
    /// The rows of padding, where it is padding, for each dimension; they are none of its axes.
    pub pads: Vec<Padding>,
}

/// Rows of padding in a box. The box starts at the first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    /// The stored dimension they are in.
    pub dim: usize,
    /// How many rows of the padding lie before these, on other ranks.
    pub from: u64,
    /// How many there are.
    pub len: u64,
    /// How far one row is from the next along the dimension.
    pub step: u64,
    /// How many of the box's axes are outside of the padding and written before it.
    pub before: usize,
}

/// An axis of a box.
#[derive(Clone, Debug, PartialEq)]
pub struct BoxAxis {
    /// The axis, its role and the rest of what the layout says of it.
    pub axis: AxisUse,
    /// The first coordinate; 0 but where ranks or chunks hold a part of the axis.
    pub from: u64,
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

/// Sizes for the axes of a layout, and which part of it is meant. Sizes are in elements; `None` where a size is not
/// known.
pub trait Sizes {
    /// The number of coordinates of an axis.
    fn axis(&self, axis: &AxisUse) -> Option<u64>;
    /// The size of the padding arm of a stored dimension, which has one at most.
    fn pad(&self, dim: usize) -> u64;
    /// The number of a rank along a rank axis, and how many there are.
    fn rank(&self, _rank: RankId) -> (u64, u64) {
        (0, 1)
    }
    /// The first and one past the last element of a dimension that are meant, where a chunk holds only these.
    fn window(&self, _dim: usize) -> Option<(u64, u64)> {
        None
    }
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

    /// The rank axes that it is distributed over, as often as they are written.
    #[must_use]
    pub fn ranks(&self) -> Vec<RankId> {
        let mut all = Vec::new();
        self.dims.iter().for_each(|dim| dim.collect_ranks(&mut all));
        all
    }

    /// How many boxes it has: its sums multiply.
    #[must_use]
    pub fn box_count(&self) -> usize {
        self.dims.iter().fold(1, |count, dim| count.saturating_mul(dim.box_count()))
    }

    /// How many axes and labels its boxes have, all together and at most.
    pub(crate) fn cost(&self) -> usize {
        let labels: usize = self.sums().iter().map(|sum| sum.arms.len()).sum();
        self.box_count().saturating_mul(1 + self.axes().len() + labels)
    }

    /// The boxes, sizes left open.
    #[must_use]
    pub fn symbolic_boxes(&self) -> Vec<SymbolicBox> {
        let one = SymbolicBox { labels: Labels::new(), axes: Vec::new(), pad: false };
        self.dims.iter().fold(vec![one], |all, dim| cross(&all, &dim.distribute()))
    }

    /// The stored shape; `None` where a size is not known or the product overflows.
    #[must_use]
    pub fn shape(&self, sizes: &dyn Sizes) -> Option<Vec<u64>> {
        self.dims.iter().enumerate().map(|(dim, factor)| factor.len(sizes, dim)).collect()
    }

    /// The boxes of the part that `sizes` means, the whole by default; `None` where a size is not known or
    /// overflows.
    #[must_use]
    pub fn boxes(&self, sizes: &dyn Sizes) -> Option<Vec<Box>> {
        self.place(sizes).ok().map(|placed| placed.boxes)
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

    fn collect_ranks(&self, all: &mut Vec<RankId>) {
        match self {
            Factor::Axis(axis) => all.extend(&axis.ranks),
            Factor::Unit => {}
            Factor::Product(factors, ranks) => {
                all.extend(ranks);
                factors.iter().for_each(|f| f.collect_ranks(all));
            }
            Factor::Sum(sum) => {
                all.extend(&sum.ranks);
                sum.arms.iter().flat_map(|a| &a.factors).for_each(|f| f.collect_ranks(all));
            }
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
        self.share(axis, &Size::default(), &|_| 1).0
    }

    /// Its size on one rank, as a polynomial and what that is divided by, where padding has `pad` rows and `count` is
    /// the number of ranks along some rank axes. Parts may be distributed over different ones.
    #[must_use]
    pub fn share(
        &self,
        axis: &dyn Fn(&AxisUse) -> Size,
        pad: &Size,
        count: &dyn Fn(&[RankId]) -> u64,
    ) -> (Size, u64) {
        let product = |factors: &[Factor]| {
            factors.iter().fold((Size::constant(1), 1u64), |(size, by), factor| {
                let (own, own_by) = factor.share(axis, pad, count);
                (size.times(&own), by.saturating_mul(own_by))
            })
        };
        let over = |(size, by): (Size, u64), ranks: &[RankId]| (size, by.saturating_mul(count(ranks)));
        match self {
            Factor::Axis(a) => (axis(a), count(&a.ranks)),
            Factor::Unit => (Size::constant(1), 1),
            Factor::Product(factors, ranks) => over(product(factors), ranks),
            Factor::Sum(sum) => {
                let arms = sum.arms.iter();
                let arms = arms.map(|arm| if arm.pad { (pad.clone(), 1) } else { product(&arm.factors) });
                over(arms.fold((Size::default(), 1), |all, arm| sum_of_fractions(&all, &arm)), &sum.ranks)
            }
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

    /// Distributes over sums.
    fn distribute(&self) -> Vec<SymbolicBox> {
        let one = |axes, pad| SymbolicBox { labels: Labels::new(), axes, pad };
        match self {
            Factor::Axis(axis) => vec![one(vec![axis.clone()], false)],
            Factor::Product(factors, _) => distribute_product(factors),
            Factor::Unit => vec![one(Vec::new(), false)],
            Factor::Sum(sum) => {
                let arms = sum.arms.iter().flat_map(|arm| {
                    let inner =
                        if arm.pad { vec![one(Vec::new(), true)] } else { distribute_product(&arm.factors) };
                    inner.into_iter().map(move |mut part| {
                        part.labels.extend(sum.choice(arm));
                        sum.give_role(arm, part.axes.iter_mut());
                        part
                    })
                });
                arms.collect()
            }
        }
    }
}

/// Both over the least number that both denominators divide.
fn sum_of_fractions((a, by_a): &(Size, u64), (b, by_b): &(Size, u64)) -> (Size, u64) {
    let divisor = greatest_common_divisor(*by_a, *by_b).max(1);
    let times = |size: &Size, by: u64| size.times(&Size::constant(i64::try_from(by).unwrap_or(i64::MAX)));
    let sum = times(a, by_b / divisor).plus(&times(b, by_a / divisor));
    (sum, (by_a / divisor).saturating_mul(*by_b))
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

fn product_len(factors: &[Factor], sizes: &dyn Sizes, dim: usize) -> Option<u64> {
    factors.iter().try_fold(1u64, |p, f| p.checked_mul(f.len(sizes, dim)?))
}

fn distribute_product(factors: &[Factor]) -> Vec<SymbolicBox> {
    let one = SymbolicBox { labels: Labels::new(), axes: Vec::new(), pad: false };
    factors.iter().fold(vec![one], |all, factor| cross(&all, &factor.distribute()))
}

/// All combinations of parts of two factors, the first outermost.
fn cross(outer: &[SymbolicBox], inner: &[SymbolicBox]) -> Vec<SymbolicBox> {
    let mut all = Vec::with_capacity(outer.len().saturating_mul(inner.len()));
    for a in outer {
        for b in inner {
            let mut part = a.clone();
            part.labels.extend(b.labels.clone());
            part.axes.extend(b.axes.iter().cloned());
            part.pad |= b.pad;
            all.push(part);
        }
    }
    all
}

mod place;

pub use place::{Placed, Unplaced};

#[cfg(test)]
mod tests;
