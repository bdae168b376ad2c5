//! Rules: which parameter becomes which, and how each side stores it.

use super::{Guard, RankId, SideId};
use crate::layout::Layout;
use crate::source::Span;
use crate::template::Template;

/// Which way a rule goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    Both,
    /// Only to this side.
    To(SideId),
}

impl Direction {
    /// Whether it goes to `side`.
    #[must_use]
    pub fn goes_to(self, side: SideId) -> bool {
        match self {
            Direction::Both => true,
            Direction::To(only) => only == side,
        }
    }
}

/// A parameter, or several, and what it is on the other side.
#[derive(Clone, Debug)]
pub struct Rule {
    /// When it holds.
    pub guard: Guard,
    /// Which way it goes.
    pub direction: Direction,
    /// What each side stores.
    pub sides: [Vec<Entry>; 2],
    /// Whether it may be absent as a whole.
    pub optional: bool,
    /// What padding is filled with.
    pub fill: Fill,
    /// Which ranks hold it.
    pub on: Option<(RankId, RankEnd)>,
    /// What to do with replicas that differ.
    pub replicas: Replicas,
    /// Where it is written.
    pub span: Span,
}

/// A parameter of one side of a rule.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The coordinates that its name fixes in sums.
    pub labels: Vec<(Vec<String>, String)>,
    /// The ways it is stored in different eras, at least one; see [`Entry::written`].
    pub stored: Vec<Stored>,
}

impl Entry {
    /// The way that is written: the first, unless the condition of another holds.
    pub fn written(&self, holds: impl Fn(&Guard) -> bool) -> &Stored {
        let conditional = self.stored.iter().find(|way| way.written_when.as_ref().is_some_and(&holds));
        conditional.unwrap_or(&self.stored[0])
    }
}

/// One way to store a parameter.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its name.
    pub name: Template,
    /// Its layout, by the choices it depends on; empty where it is taken as it lies.
    pub layouts: Vec<(Guard, Layout)>,
    /// What is done to each element to get the value that both sides share.
    pub affine: Affine,
    /// The dtype it is written in, where it differs from the side's.
    pub dtype: Option<String>,
    /// When it is written in place of the first way of its entry; never where absent. What it asks has no index.
    pub written_when: Option<Guard>,
    /// Where it is written.
    pub span: Span,
}

/// `value = stored * scale + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Never zero.
    pub scale: f64,
    /// In units of the value.
    pub offset: f64,
}

impl Affine {
    /// Leaves elements as they are.
    pub const IDENTITY: Affine = Affine { scale: 1.0, offset: 0.0 };

    /// What takes an element stored like `self` to one stored like `target`.
    #[must_use]
    pub fn to(self, target: Affine) -> Affine {
        Affine { scale: self.scale / target.scale, offset: (self.offset - target.offset) / target.scale }
    }
}

/// What padding holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// Zeros.
    Zeros,
    /// The last row before the padding.
    Last,
    /// The mean of all rows.
    Mean,
    /// Normally distributed noise: seed and standard deviation.
    Normal(u64, f64),
}

/// An end of a rank axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RankEnd {
    /// Rank 0.
    First,
    /// The last rank.
    Last,
}

/// How copies on several ranks become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replicas {
    /// They must be equal.
    Equal,
    /// The first is taken.
    First,
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
}
