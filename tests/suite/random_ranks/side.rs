//! A random stored dimension with parts that ranks share and parts that they do not, and the elements that it lists, one
//! by one.

use std::collections::BTreeMap;

/// Numbers that a seed gives (SplitMix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).expect("below a usize")
    }

    pub(super) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub(super) fn pick<'t, T>(&mut self, all: &'t [T]) -> &'t T {
        &all[self.below(all.len())]
    }
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    Axis {
        name: String,
        len: usize,
        split: bool,
        copies: bool,
    },
    /// Factors, the outermost first, and whether ranks share the whole.
    Product(Vec<Node>, bool),
    /// Labelled arms.
    Sum(Vec<(String, Vec<Node>)>, bool),
    /// So many rows, the arm with the label `pad`.
    Padding(usize),
}

/// An element of a list: coordinates along the axes that are no broadcast, the label of the arm where there are several,
/// and whether it is padding, which has coordinates along the axes outside of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cell {
    pub(super) at: BTreeMap<String, usize>,
    pub(super) label: Option<String>,
    pub(super) padding: bool,
}

impl Cell {
    pub(super) fn with(&self, inner: &Cell) -> Cell {
        let mut both = self.clone();
        both.at.extend(inner.at.clone());
        both.label = both.label.or_else(|| inner.label.clone());
        both.padding |= inner.padding;
        both
    }

    /// Whether a cell of the parameter is in a row that padding at `self` is made of.
    pub(super) fn is_beside(&self, real: &Cell) -> bool {
        !real.padding
            && self.at.iter().all(|(axis, at)| real.at.get(axis) == Some(at))
            && self.label.as_ref().is_none_or(|label| real.label.as_ref() == Some(label))
    }
}

/// The share of a rank, given by its number and how many there are; `None` where they cannot share evenly.
fn share<T>(all: Vec<T>, (rank, count): (usize, usize)) -> Option<Vec<T>> {
    let own = all.len().is_multiple_of(count).then_some(all.len() / count)?;
    Some(all.into_iter().skip(rank * own).take(own).collect())
}

impl Node {
    /// The elements that a rank stores, in order.
    pub(super) fn list(&self, rank: (usize, usize)) -> Option<Vec<Cell>> {
        let at = |of: bool| if of { rank } else { (0, 1) };
        match self {
            Node::Axis { name, len, split, copies } => {
                let cell = |n: usize| Cell {
                    at: if *copies { BTreeMap::new() } else { BTreeMap::from([(name.clone(), n)]) },
                    ..Cell::default()
                };
                share((0..*len).map(cell).collect(), at(*split))
            }
            Node::Product(factors, split) => {
                share(product(factors, if *split { (0, 1) } else { rank })?, at(*split))
            }
            Node::Sum(arms, split) => {
                let several = arms.iter().filter(|(label, _)| label != "pad").count() > 1;
                let mut all = Vec::new();
                for (label, factors) in arms {
                    let mut own = product(factors, if *split { (0, 1) } else { rank })?;
                    if several && label != "pad" {
                        own.iter_mut().for_each(|cell| cell.label = Some(label.clone()));
                    }
                    all.extend(own);
                }
                share(all, at(*split))
            }
            Node::Padding(rows) => Some(vec![Cell { padding: true, ..Cell::default() }; *rows]),
        }
    }

    pub(super) fn text(&self) -> String {
        let group = |inner: String, split: &bool| format!("({inner}){}", if *split { "@tp" } else { "" });
        match self {
            Node::Axis { name, split, copies, .. } => {
                format!("{}{name}{}", if *copies { "*" } else { "" }, if *split { "@tp" } else { "" })
            }
            Node::Product(factors, split) => group(texts(factors), split),
            Node::Sum(arms, split) => {
                let arms: Vec<String> =
                    arms.iter().map(|(label, factors)| format!("{label}: {}", texts(factors))).collect();
                group(arms.join(" | "), split)
            }
            Node::Padding(_) => "_".to_owned(),
        }
    }

    /// All axes with their sizes, those of one arm where a label is given.
    pub(super) fn axes(&self, label: Option<&str>) -> Vec<(String, usize, bool)> {
        match self {
            Node::Axis { name, len, copies, .. } => vec![(name.clone(), *len, *copies)],
            Node::Product(factors, _) => factors.iter().flat_map(|f| f.axes(label)).collect(),
            Node::Sum(arms, _) => {
                let several = arms.iter().filter(|(label, _)| label != "pad").count() > 1;
                let own = arms.iter().filter(|(arm, _)| !several || label.is_none_or(|label| label == arm));
                own.flat_map(|(_, factors)| factors).flat_map(|f| f.axes(label)).collect()
            }
            Node::Padding(_) => Vec::new(),
        }
    }
}

fn texts(factors: &[Node]) -> String {
    factors.iter().map(Node::text).collect::<Vec<_>>().join(" ")
}

fn product(factors: &[Node], rank: (usize, usize)) -> Option<Vec<Cell>> {
    let mut all = vec![Cell::default()];
    for factor in factors {
        let inner = factor.list(rank)?;
        all = all.iter().flat_map(|outer| inner.iter().map(move |inner| outer.with(inner))).collect();
    }
    Some(all)
}

/// A random dimension, with or without padding.
pub(super) fn dimension(random: &mut Random) -> Node {
    let whole = random.one_in(3);
    let count = 1 + random.below(3);
    let padding = |random: &mut Random| ("pad".to_owned(), vec![Node::Padding(random.below(4))]);
    let mut split = whole;
    let mut arms: Vec<(String, Vec<Node>)> = (0..count)
        .map(|arm| {
            let mut factors = axes(random, &format!("a{arm}"), &mut split);
            if count > 1 && arm == 0 && random.one_in(4) {
                let inner = vec![("rows".to_owned(), factors), padding(random)];
                factors = vec![Node::Sum(inner, false)];
            }
            (format!("l{arm}"), factors)
        })
        .collect();
    let nested = matches!(arms[0].1[..], [Node::Sum(..)]);
    if !nested && random.one_in(2) {
        arms.push(padding(random));
    }
    let (beside, outside) = (random.one_in(3), random.one_in(2));
    if arms.len() == 1 {
        return Node::Product(arms.remove(0).1, whole);
    }
    let sum = Node::Sum(arms, whole && !beside);
    if !beside {
        return sum;
    }
    // Either the sum's axes are shared, or the one beside it.
    let mut other = axes(random, "b", &mut split);
    if outside {
        other.push(sum);
    } else {
        other.insert(0, sum);
    }
    Node::Product(other, whole)
}

/// One or two factors; ranks share one of the parameter at most, and not all are broadcasts.
fn axes(random: &mut Random, name: &str, split: &mut bool) -> Vec<Node> {
    let count = 1 + random.below(2);
    let plain = random.below(count);
    let axis = |at: usize| {
        let copies = at != plain && random.one_in(2);
        let own = !*split && !copies && random.one_in(2);
        *split |= own;
        let len = if own { *random.pick(&[2, 4, 6]) } else { *random.pick(&[1, 2, 3, 4]) };
        Node::Axis { name: format!("{name}{at}"), len, split: own, copies }
    };
    (0..count).map(axis).collect()
}
