//! A layout over tensor ranks as its text means it: how an index into what one rank stores is taken apart, and nothing
//! more.

use std::collections::BTreeMap;

/// Which element of a parameter: a number for each axis, a label for each sum.
pub(super) type Coordinate = BTreeMap<String, String>;

/// A number of a tensor rank, and how many there are.
pub(super) type Rank = (u64, u64);

#[derive(Clone, Debug)]
pub(super) enum Factor {
    Axis {
        name: String,
        /// What tells it from padding beside it.
        role: Option<String>,
        len: u64,
        split: bool,
    },
    /// Every coordinate along it holds the same.
    Broadcast {
        name: String,
        len: u64,
    },
    Unit,
    Product {
        factors: Vec<Factor>,
        split: bool,
    },
    Sum(Sum),
}

#[derive(Clone, Debug)]
pub(super) struct Sum {
    /// What it is known by; nothing where one arm alone is no padding.
    pub(super) key: Option<String>,
    pub(super) arms: Vec<(String, Vec<Factor>)>,
    /// Label and rows of an arm of padding, which is the last.
    pub(super) pad: Option<(String, u64)>,
    pub(super) split: bool,
}

const WHOLE: Rank = (0, 1);

fn share(len: u64, split: bool, rank: Rank) -> (u64, u64) {
    let count = if split { rank.1 } else { 1 };
    assert_eq!(len % count, 0, "{len} over {count} ranks");
    (if split { rank.0 * (len / count) } else { 0 }, len / count)
}

impl Factor {
    /// Elements that one rank stores along this factor.
    pub(super) fn size(&self, rank: Rank) -> u64 {
        match self {
            Factor::Axis { len, split, .. } => share(*len, *split, rank).1,
            Factor::Broadcast { len, .. } => *len,
            Factor::Unit => 1,
            Factor::Product { factors, split: true } => share(size(factors, WHOLE), true, rank).1,
            Factor::Product { factors, split: false } => size(factors, rank),
            Factor::Sum(sum) if sum.split => share(sum.size(WHOLE), true, rank).1,
            Factor::Sum(sum) => sum.size(rank),
        }
    }

    /// Takes an index along what one rank stores apart; false where it is in padding.
    fn decode(&self, index: u64, rank: Rank, at: &mut Coordinate) -> bool {
        match self {
            Factor::Axis { name, len, split, .. } => {
                at.insert(name.clone(), (share(*len, *split, rank).0 + index).to_string());
                true
            }
            Factor::Broadcast { .. } | Factor::Unit => true,
            Factor::Product { factors, split: true } => {
                decode(factors, share(size(factors, WHOLE), true, rank).0 + index, WHOLE, at)
            }
            Factor::Product { factors, split: false } => decode(factors, index, rank, at),
            Factor::Sum(sum) if sum.split => {
                sum.decode(share(sum.size(WHOLE), true, rank).0 + index, WHOLE, at)
            }
            Factor::Sum(sum) => sum.decode(index, rank, at),
        }
    }

    pub(super) fn text(&self) -> String {
        let at = |split: &bool| if *split { "@tp" } else { "" };
        match self {
            Factor::Axis { name, role, split, .. } => {
                let role = role.as_ref().map_or_else(String::new, |role| format!("{role}:"));
                format!("{role}{name}{}", at(split))
            }
            Factor::Broadcast { name, .. } => format!("*{name}"),
            Factor::Unit => "1".to_owned(),
            Factor::Product { factors, split } => format!("({}){}", texts(factors), at(split)),
            Factor::Sum(sum) => format!("{}{}", sum.text(), at(&sum.split)),
        }
    }

    /// Whether a part of it, or all, is distributed.
    pub(super) fn is_split(&self) -> bool {
        match self {
            Factor::Axis { split, .. } => *split,
            Factor::Broadcast { .. } | Factor::Unit => false,
            Factor::Product { factors, split } => *split || factors.iter().any(Factor::is_split),
            Factor::Sum(sum) => {
                sum.split || sum.arms.iter().flat_map(|(_, factors)| factors).any(Factor::is_split)
            }
        }
    }

    pub(super) fn has_broadcast(&self) -> bool {
        match self {
            Factor::Broadcast { .. } => true,
            Factor::Axis { .. } | Factor::Unit => false,
            Factor::Product { factors, .. } => factors.iter().any(Factor::has_broadcast),
            Factor::Sum(sum) => sum.arms.iter().flat_map(|(_, factors)| factors).any(Factor::has_broadcast),
        }
    }
}

impl Sum {
    fn size(&self, rank: Rank) -> u64 {
        let arms: u64 = self.arms.iter().map(|(_, factors)| size(factors, rank)).sum();
        arms + self.pad.as_ref().map_or(0, |(_, rows)| *rows)
    }

    fn decode(&self, index: u64, rank: Rank, at: &mut Coordinate) -> bool {
        let mut start = 0;
        for (label, factors) in &self.arms {
            let len = size(factors, rank);
            if index < start + len {
                at.extend(self.key.iter().map(|key| (key.clone(), label.clone())));
                return decode(factors, index - start, rank, at);
            }
            start += len;
        }
        // Which row of padding it is matters where padding holds what the last row does, which ends here.
        at.insert("padding".to_owned(), (index - start).to_string());
        false
    }

    fn text(&self) -> String {
        let arms = self.arms.iter().map(|(label, factors)| match factors.as_slice() {
            [] => label.clone(),
            factors => format!("{label}: {}", texts(factors)),
        });
        let pad = self.pad.iter().map(|(label, _)| format!("{label}: _"));
        format!("({})", arms.chain(pad).collect::<Vec<_>>().join(" | "))
    }
}

fn size(factors: &[Factor], rank: Rank) -> u64 {
    factors.iter().map(|factor| factor.size(rank)).product()
}

pub(super) fn texts(factors: &[Factor]) -> String {
    factors.iter().map(Factor::text).collect::<Vec<_>>().join(" ")
}

/// The last factor is the innermost.
fn decode(factors: &[Factor], index: u64, rank: Rank, at: &mut Coordinate) -> bool {
    let (mut rest, mut real) = (index, true);
    for factor in factors.iter().rev() {
        let len = factor.size(rank);
        real &= factor.decode(rest % len, rank, at);
        rest /= len;
    }
    real
}

/// The shape of what one rank stores.
pub(super) fn shape(dims: &[Factor], rank: Rank) -> Vec<u64> {
    dims.iter().map(|dim| dim.size(rank)).collect()
}

/// What lies at each index of what one rank stores, row-major: the coordinates, and whether it is no padding.
pub(super) fn elements(dims: &[Factor], rank: Rank) -> Vec<(Coordinate, bool)> {
    let count = size(dims, rank);
    let one = |index| {
        let mut at = Coordinate::new();
        let real = decode(dims, index, rank, &mut at);
        (at, real)
    };
    (0..count).map(one).collect()
}
