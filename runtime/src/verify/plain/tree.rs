//! A layout as a tree of numbers, walked for one coordinate, or one element, at a time.
//!
//! A product counts in mixed radix, its last factor fastest; a sum lays its arms end to end; a rank holds one of equal
//! blocks of what it shares; padding is an arm like any other that holds nothing. Nothing else is known here: see the
//! [module](super) for what may not be used.

use transship_grammar as grammar;

use grammar::{Factor, RankId};

use super::names::{AxisName, Names};

/// A stored dimension, or a factor of one, with its sizes.
#[derive(Debug)]
pub(super) enum Node {
    Unit,
    Axis { name: AxisName, len: u64, ranks: Vec<RankId>, broadcast: bool },
    Product { factors: Vec<Node>, ranks: Vec<RankId> },
    Sum { sum: Option<u32>, arms: Vec<Arm>, ranks: Vec<RankId> },
}

#[derive(Debug)]
pub(super) struct Arm {
    label: u32,
    pad: bool,
    factors: Vec<Node>,
}

/// Which element of a parameter: a number along each axis, a label of each sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Coordinate {
    pub(super) axes: Vec<(AxisName, u64)>,
    pub(super) labels: Vec<(u32, u32)>,
    /// What the stars in a name stand for.
    pub(super) stars: Vec<String>,
}

impl Coordinate {
    /// The number along an axis. A role matters where the axis is there more than once.
    pub(super) fn along(&self, name: AxisName) -> Option<u64> {
        let mut same = self.axes.iter().filter(|(own, _)| own.axis == name.axis);
        let (first, second) = (same.next()?, same.next());
        if second.is_none() {
            return Some(first.1);
        }
        self.axes.iter().find(|(own, _)| *own == name).map(|(_, at)| *at)
    }

    pub(super) fn label(&self, sum: u32) -> Option<u32> {
        self.labels.iter().find(|(own, _)| *own == sum).map(|(_, label)| *label)
    }
}

/// One stored dimension as one rank has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk<'r> {
    /// Rows of padding in the dimension.
    pub(super) pad: u64,
    /// By rank axis, this rank's number and how many there are; nothing where the whole is meant.
    pub(super) ranks: Option<&'r [(u64, u64)]>,
}

impl Walk<'_> {
    fn whole(self) -> Walk<'static> {
        Walk { pad: self.pad, ranks: None }
    }

    fn rank(self, rank: RankId) -> (u64, u64) {
        self.ranks.and_then(|ranks| ranks.get(rank.index()).copied()).unwrap_or((0, 1))
    }

    fn shares(self, ranks: &[RankId]) -> bool {
        ranks.iter().any(|rank| self.rank(*rank).1 > 1)
    }

    /// This rank's block of `len` elements: where it begins, and its length. `None` where blocks are not equal.
    fn block(self, len: u64, ranks: &[RankId]) -> Option<(u64, u64)> {
        let (mut from, mut len) = (0, len);
        for rank in ranks {
            let (at, count) = self.rank(*rank);
            if count == 0 || len % count != 0 {
                return None;
            }
            len /= count;
            from += at * len;
        }
        Some((from, len))
    }
}

impl Node {
    /// The tree of a factor; `None` where a size is not known.
    pub(super) fn of(
        factor: &Factor,
        size: &dyn Fn(&grammar::AxisUse) -> Option<u64>,
        names: &mut Names,
    ) -> Option<Node> {
        Some(match factor {
            Factor::Unit => Node::Unit,
            Factor::Axis(axis) => Node::Axis {
                name: names.axis(axis.axis, axis.by, axis.role.as_deref()),
                len: size(axis)?,
                ranks: axis.ranks.clone(),
                broadcast: axis.broadcast,
            },
            Factor::Product(factors, ranks) => {
                Node::Product { factors: nodes(factors, size, names)?, ranks: ranks.clone() }
            }
            Factor::Sum(sum) => {
                let real: Vec<&grammar::Arm> = sum.arms.iter().filter(|arm| !arm.pad).collect();
                let mut labels: Vec<String> = real.iter().map(|arm| arm.label.clone()).collect();
                labels.sort_unstable();
                let id = (labels.len() > 1).then(|| names.sum(&labels));
                let mut arms = Vec::new();
                for arm in &sum.arms {
                    let mut factors = nodes(&arm.factors, size, names)?;
                    if !arm.pad && real.len() == 1 {
                        // `(rows: vocab | pad: _)` is the axis that the other side calls `rows:vocab`.
                        give_role(&mut factors, names.role(&arm.label));
                    }
                    arms.push(Arm { label: names.label(&arm.label), pad: arm.pad, factors });
                }
                Node::Sum { sum: id, arms, ranks: sum.ranks.clone() }
            }
        })
    }

    fn has_axes(&self) -> bool {
        match self {
            Node::Unit => false,
            Node::Axis { .. } => true,
            Node::Product { factors, .. } => factors.iter().any(Node::has_axes),
            Node::Sum { arms, .. } => arms.iter().flat_map(|arm| &arm.factors).any(Node::has_axes),
        }
    }

    /// How many coordinates it has in the whole parameter: copies along broadcasts and padding aside.
    pub(super) fn coordinates(&self) -> u64 {
        let product = |factors: &[Node]| factors.iter().map(Node::coordinates).fold(1, u64::saturating_mul);
        match self {
            Node::Unit | Node::Axis { broadcast: true, .. } => 1,
            Node::Axis { len, .. } => *len,
            Node::Product { factors, .. } => product(factors),
            Node::Sum { arms, .. } => {
                let real = arms.iter().filter(|arm| !arm.pad).map(|arm| product(&arm.factors));
                real.fold(0, u64::saturating_add)
            }
        }
    }

    /// Elements; `None` where ranks cannot share them, or they are beyond counting.
    pub(super) fn len(&self, walk: Walk<'_>) -> Option<u64> {
        match self {
            Node::Unit => Some(1),
            Node::Axis { len, ranks, .. } => Some(walk.block(*len, ranks)?.1),
            Node::Product { factors, ranks } if walk.shares(ranks) => {
                Some(walk.block(product(factors, walk.whole())?, ranks)?.1)
            }
            Node::Product { factors, .. } => product(factors, walk),
            Node::Sum { arms, ranks, .. } if walk.shares(ranks) => {
                Some(walk.block(sum(arms, walk.whole())?, ranks)?.1)
            }
            Node::Sum { arms, .. } => sum(arms, walk),
        }
    }

    /// Where the element at `coordinate` lies along this factor: nowhere where the rank does not hold it, several
    /// times where it is repeated.
    pub(super) fn find(&self, coordinate: &Coordinate, walk: Walk<'_>) -> Option<Vec<u64>> {
        match self {
            Node::Unit => Some(vec![0]),
            Node::Axis { name, len, ranks, broadcast } => {
                let (from, len) = walk.block(*len, ranks)?;
                if *broadcast {
                    return Some((0..len).collect());
                }
                let at = coordinate.along(*name)?.checked_sub(from);
                Some(at.filter(|at| *at < len).into_iter().collect())
            }
            Node::Product { factors, ranks } if walk.shares(ranks) => {
                let whole = find_in(factors, coordinate, walk.whole())?;
                let block = walk.block(product(factors, walk.whole())?, ranks)?;
                Some(within(&whole, block))
            }
            Node::Product { factors, .. } => find_in(factors, coordinate, walk),
            Node::Sum { arms, ranks, .. } if walk.shares(ranks) => {
                let whole = self.find_in_arm(coordinate, walk.whole())?;
                let block = walk.block(sum(arms, walk.whole())?, ranks)?;
                Some(within(&whole, block))
            }
            Node::Sum { .. } => self.find_in_arm(coordinate, walk),
        }
    }

    fn find_in_arm(&self, coordinate: &Coordinate, walk: Walk<'_>) -> Option<Vec<u64>> {
        let Node::Sum { sum, arms, .. } = self else { return None };
        let label = match sum {
            Some(sum) => Some(coordinate.label(*sum)?),
            None => None,
        };
        let mut start = 0;
        for arm in arms {
            if !arm.pad && label.is_none_or(|label| label == arm.label) {
                let own = find_in(&arm.factors, coordinate, walk)?;
                return Some(own.into_iter().map(|at| start + at).collect());
            }
            start += arm.len(walk)?;
        }
        None
    }

    /// What lies at `index` along this factor, added to `coordinate`; false where that is padding.
    pub(super) fn read(&self, index: u64, walk: Walk<'_>, coordinate: &mut Coordinate) -> Option<bool> {
        match self {
            Node::Unit => Some(true),
            Node::Axis { name, len, ranks, broadcast } => {
                if !*broadcast {
                    coordinate.axes.push((*name, walk.block(*len, ranks)?.0 + index));
                }
                Some(true)
            }
            Node::Product { factors, ranks } if walk.shares(ranks) => {
                let (from, _) = walk.block(product(factors, walk.whole())?, ranks)?;
                read_in(factors, from + index, walk.whole(), coordinate)
            }
            Node::Product { factors, .. } => read_in(factors, index, walk, coordinate),
            Node::Sum { arms, ranks, .. } if walk.shares(ranks) => {
                let (from, _) = walk.block(sum(arms, walk.whole())?, ranks)?;
                self.read_arm(from + index, walk.whole(), coordinate)
            }
            Node::Sum { .. } => self.read_arm(index, walk, coordinate),
        }
    }

    fn read_arm(&self, index: u64, walk: Walk<'_>, coordinate: &mut Coordinate) -> Option<bool> {
        let Node::Sum { sum, arms, .. } = self else { return None };
        let mut start = 0;
        for arm in arms {
            let len = arm.len(walk)?;
            if index < start + len {
                if arm.pad {
                    return Some(false);
                }
                coordinate.labels.extend(sum.map(|sum| (sum, arm.label)));
                return read_in(&arm.factors, index - start, walk, coordinate);
            }
            start += len;
        }
        None
    }

    /// Places along this factor at which something begins or ends: a block, an arm, padding.
    pub(super) fn edges(&self, walk: Walk<'_>) -> Vec<u64> {
        let Some(len) = self.len(walk).filter(|len| *len > 0) else { return Vec::new() };
        let mut edges = vec![0, len - 1];
        match self {
            Node::Unit | Node::Axis { .. } => {}
            Node::Product { factors, ranks } if walk.shares(ranks) => {
                let block = product(factors, walk.whole()).and_then(|all| walk.block(all, ranks));
                let whole = edges_in(factors, walk.whole());
                edges.extend(block.into_iter().flat_map(|block| within(&whole, block)));
            }
            Node::Product { factors, .. } => edges.extend(edges_in(factors, walk)),
            Node::Sum { arms, ranks, .. } if walk.shares(ranks) => {
                let block = sum(arms, walk.whole()).and_then(|all| walk.block(all, ranks));
                let whole = edges_of(arms, walk.whole());
                edges.extend(block.into_iter().flat_map(|block| within(&whole, block)));
            }
            Node::Sum { arms, .. } => edges.extend(edges_of(arms, walk)),
        }
        edges.retain(|at| *at < len);
        edges.sort_unstable();
        edges.dedup();
        edges
    }

    /// The axes in it with their lengths, broadcast ones aside; each once.
    pub(super) fn add_axes(&self, all: &mut Vec<(AxisName, u64)>) {
        match self {
            Node::Axis { name, len, broadcast: false, .. } => {
                if !all.iter().any(|(own, _)| own == name) {
                    all.push((*name, *len));
                }
            }
            Node::Unit | Node::Axis { .. } => {}
            Node::Product { factors, .. } => factors.iter().for_each(|factor| factor.add_axes(all)),
            Node::Sum { arms, .. } => {
                arms.iter().flat_map(|arm| &arm.factors).for_each(|factor| factor.add_axes(all));
            }
        }
    }

    /// Whether padding is in it.
    pub(super) fn is_padded(&self) -> bool {
        match self {
            Node::Unit | Node::Axis { .. } => false,
            Node::Product { factors, .. } => factors.iter().any(Node::is_padded),
            Node::Sum { arms, .. } => {
                arms.iter().any(|arm| arm.pad || arm.factors.iter().any(Node::is_padded))
            }
        }
    }
}

impl Arm {
    fn len(&self, walk: Walk<'_>) -> Option<u64> {
        if self.pad { Some(walk.pad) } else { product(&self.factors, walk) }
    }
}

fn nodes(
    factors: &[Factor],
    size: &dyn Fn(&grammar::AxisUse) -> Option<u64>,
    names: &mut Names,
) -> Option<Vec<Node>> {
    factors.iter().map(|factor| Node::of(factor, size, names)).collect()
}

/// A label as the role of the one axis that stands beside it.
fn give_role(factors: &mut [Node], role: u32) {
    let mut with_axes = factors.iter_mut().filter(|factor| factor.has_axes());
    let (Some(only), None) = (with_axes.next(), with_axes.next()) else { return };
    match only {
        Node::Axis { name, .. } if name.role == 0 => name.role = role,
        Node::Product { factors, .. } => give_role(factors, role),
        Node::Sum { arms, .. } => arms.iter_mut().for_each(|arm| give_role(&mut arm.factors, role)),
        Node::Unit | Node::Axis { .. } => {}
    }
}

fn product(factors: &[Node], walk: Walk<'_>) -> Option<u64> {
    factors.iter().try_fold(1u64, |product, factor| product.checked_mul(factor.len(walk)?))
}

fn sum(arms: &[Arm], walk: Walk<'_>) -> Option<u64> {
    arms.iter().try_fold(0u64, |sum, arm| sum.checked_add(arm.len(walk)?))
}

/// Those of `places` that lie in a block, counted from where it begins.
fn within(places: &[u64], (from, len): (u64, u64)) -> Vec<u64> {
    let own = places.iter().filter_map(|at| at.checked_sub(from));
    own.filter(|at| *at < len).collect()
}

/// Mixed radix: the last factor is the fastest.
fn find_in(factors: &[Node], coordinate: &Coordinate, walk: Walk<'_>) -> Option<Vec<u64>> {
    let mut places = vec![0];
    let mut step = 1;
    for factor in factors.iter().rev() {
        let own = factor.find(coordinate, walk)?;
        places = own.iter().flat_map(|at| places.iter().map(move |rest| at * step + rest)).collect();
        step *= factor.len(walk)?;
    }
    Some(places)
}

fn read_in(factors: &[Node], index: u64, walk: Walk<'_>, coordinate: &mut Coordinate) -> Option<bool> {
    let (mut rest, mut real) = (index, true);
    for factor in factors.iter().rev() {
        let len = factor.len(walk).filter(|len| *len > 0)?;
        real &= factor.read(rest % len, walk, coordinate)?;
        rest /= len;
    }
    (rest == 0).then_some(real)
}

fn edges_in(factors: &[Node], walk: Walk<'_>) -> Vec<u64> {
    let (mut edges, mut step) = (Vec::new(), 1u64);
    for factor in factors.iter().rev() {
        for at in factor.edges(walk) {
            edges.extend([at * step, at * step + step - 1]);
        }
        step = step.saturating_mul(factor.len(walk).unwrap_or(0));
    }
    edges
}

fn edges_of(arms: &[Arm], walk: Walk<'_>) -> Vec<u64> {
    let (mut edges, mut start) = (Vec::new(), 0u64);
    for arm in arms {
        let Some(len) = arm.len(walk) else { break };
        let inner = if arm.pad { vec![0, len.saturating_sub(1)] } else { edges_in(&arm.factors, walk) };
        edges.extend(inner.into_iter().chain([0, len.saturating_sub(1)]).map(|at| start + at));
        start += len;
    }
    edges
}
