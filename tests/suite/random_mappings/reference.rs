//! What both sides hold, worked out element by element from the text of the layouts.

use std::collections::BTreeMap;

use super::case::{Case, Counts, Element, Entry, Fill, Home, Input, Kind, LAYERS, ONE, Replicas, Rule};
use super::layout::{Coordinate, Factor, Rank, elements, shape};

/// A tensor: its elements row-major, where they are known.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Held {
    pub(super) element: Element,
    pub(super) shape: Vec<u64>,
    pub(super) values: Vec<Option<f64>>,
    /// How it lies in its storage.
    pub(super) strides: usize,
}

/// Tensors by the directory of their rank and their name.
pub(super) type Side = BTreeMap<(String, String), Held>;

/// What a left checkpoint is: one that a run left, or what is written from the right, or from the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    Run,
    Written,
    Resplit,
}

/// A rank's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    tp: u64,
    pp: u64,
    vpp: u64,
}

/// The widest of several element types: two halves of unlike range are both held by a whole.
pub(super) fn widest(all: &[Element]) -> Element {
    let both = all.contains(&Element::F16) && all.contains(&Element::BF16);
    let most = all.iter().copied().max().unwrap_or(Element::F32);
    if both { most.max(Element::F32) } else { most }
}

impl Case {
    /// The value that both sides share. All are held exactly by every element type.
    fn value(rule: &Rule, layer: Option<u64>, at: &Coordinate) -> f64 {
        let mut number = 17 * rule.number as u64 + 5 * layer.unwrap_or(0);
        for (axis, own) in at.iter().filter(|(axis, _)| *axis != "layer") {
            for byte in axis.bytes().chain(own.bytes()) {
                number = number.wrapping_mul(131).wrapping_add(u64::from(byte)) % 1_000_003;
            }
        }
        (number % 251) as f64
    }

    /// The right side: what is made of the left one, or what is read.
    pub(super) fn right(&self, made: bool) -> Side {
        let mut side = Side::new();
        for rule in &self.rules {
            let layers: Vec<Option<u64>> = match (rule.layered, rule.stacked) {
                (true, false) => (0..LAYERS).map(Some).collect(),
                _ => vec![None],
            };
            for layer in layers {
                let number = layer.map(|layer| layer.to_string());
                let mut add = |name: String, held: Held| side.insert((String::new(), name), held);
                match &rule.kind {
                    Kind::Renamed(ends) => {
                        for (end, shape) in ends {
                            let name = format!("{}.{end}", rule.right_name(number.as_deref(), None));
                            add(name, renamed(rule, layer, end, shape));
                        }
                    }
                    Kind::Laid { right, .. } => {
                        for entry in right {
                            let held = self.right_entry(rule, entry, layer, made);
                            let label = entry.label.as_ref().map(|(_, label)| label.as_str());
                            if rule.tied[1] && !made {
                                add(format!("d{}", rule.number), held.clone());
                            }
                            add(rule.right_name(number.as_deref(), label), held);
                        }
                    }
                }
            }
        }
        side
    }

    fn right_entry(&self, rule: &Rule, entry: &Entry, layer: Option<u64>, made: bool) -> Held {
        let values = elements(&entry.dims, (0, 1)).into_iter().map(|(mut at, _)| {
            at.extend(entry.label.clone());
            let layer = layer.or_else(|| at.get("layer").and_then(|layer| layer.parse().ok()));
            Some(Case::value(rule, layer, &at))
        });
        let element = if made { self.read_element(rule) } else { entry.element };
        Held { element, shape: shape(&entry.dims, (0, 1)), values: values.collect(), strides: 0 }
    }

    /// What the left parameters of a rule are read as.
    fn read_element(&self, rule: &Rule) -> Element {
        let counts = match self.input {
            Input::Ranks(counts) => counts,
            Input::Chunks(_) => ONE,
        };
        let places = homes(rule, rule.layered.then_some(0), counts);
        let (_, copies) = copies(rule, &places, places[0]);
        match rule.replicas {
            Replicas::Mean | Replicas::Sum => widest(&rule.elements[..copies]),
            Replicas::Equal | Replicas::First => rule.element,
        }
    }

    /// The left side over some ranks.
    pub(super) fn left(&self, counts: Counts, maker: Maker) -> Side {
        let mut side = Side::new();
        for rule in &self.rules {
            let layers: Vec<Option<u64>> =
                if rule.layered { (0..LAYERS).map(Some).collect() } else { vec![None] };
            for layer in layers {
                let places = homes(rule, layer, counts);
                for (number, place) in places.iter().enumerate() {
                    let copies = copies(rule, &places, *place);
                    let local = layer.map(|layer| layer % (LAYERS / (counts.pp * counts.vpp)));
                    let name = rule.left_name(local.map(|layer| layer.to_string()).as_deref());
                    let root = self.root(*place, counts, maker);
                    let directory = directory(*place, counts);
                    let mut add = |name: String, held: Held| {
                        side.insert((directory.clone(), format!("{root}.{name}")), held);
                    };
                    match &rule.kind {
                        Kind::Renamed(ends) => {
                            for (end, shape) in ends {
                                let held = renamed(rule, layer, end, shape);
                                let strides = rule.strides[number % 8];
                                add(format!("{name}.{end}"), Held { strides, ..held });
                            }
                        }
                        Kind::Laid { left, right } => {
                            let rank = (place.tp, counts.tp);
                            let held = self.left_tensor(rule, left, layer, rank, copies, maker);
                            let element = match (maker, rule.replicas) {
                                (Maker::Run, Replicas::Mean | Replicas::Sum) => rule.elements[copies.0],
                                (Maker::Run, _) => rule.element,
                                (Maker::Resplit, _) => self.read_element(rule),
                                (Maker::Written, _) => {
                                    widest(&right.iter().map(|entry| entry.element).collect::<Vec<_>>())
                                }
                            };
                            add(name, Held { element, strides: rule.strides[number % 8], ..held });
                        }
                    }
                }
                self.add_tied(rule, counts, maker, &mut side);
            }
        }
        side
    }

    /// A copy of a parameter of the first stage, on the last.
    fn add_tied(&self, rule: &Rule, counts: Counts, maker: Maker, side: &mut Side) {
        if !rule.tied[0] || counts.pp == 1 {
            return;
        }
        for tp in 0..counts.tp {
            let first = Place { tp, pp: 0, vpp: 0 };
            let last = Place { tp, pp: counts.pp - 1, vpp: counts.vpp - 1 };
            let name = format!("{}.{}", self.root(first, counts, maker), rule.left_name(None));
            let held = side[&(directory(first, counts), name)].clone();
            let copy = format!("{}.c{}", self.root(last, counts, maker), rule.number);
            side.insert((directory(last, counts), copy), held);
        }
    }

    fn root(&self, place: Place, counts: Counts, maker: Maker) -> String {
        match (self.second_root && maker != Maker::Written, counts.vpp) {
            (true, _) => "other".to_owned(),
            (false, 1) => "model".to_owned(),
            (false, _) => format!("model{}", place.vpp),
        }
    }

    /// What one rank holds of a parameter; `copy` is which copy it is, of how many.
    fn left_tensor(
        &self,
        rule: &Rule,
        dims: &[Factor],
        layer: Option<u64>,
        rank: Rank,
        (copy, copies): (usize, usize),
        maker: Maker,
    ) -> Held {
        let stored = |at: &Coordinate| (Case::value(rule, layer, at) - rule.step.offset) / rule.step.scale;
        let drift = |value: f64| match (maker, rule.replicas) {
            (_, Replicas::Equal) | (Maker::Written | Maker::Resplit, Replicas::First | Replicas::Mean) => {
                value
            }
            (Maker::Run, Replicas::First) => value + copy as f64,
            // An even number of copies lies by turns above and below; an odd one's last is the mean.
            (Maker::Run, Replicas::Mean) if copy + 1 == copies && copies % 2 == 1 => value,
            (Maker::Run, Replicas::Mean) => value + if copy % 2 == 0 { 1.0 } else { -1.0 },
            (Maker::Run, Replicas::Sum) if copy == 0 => value - (copies as f64 - 1.0),
            (Maker::Run, Replicas::Sum) => 1.0,
            (Maker::Written | Maker::Resplit, Replicas::Sum) if copy == 0 => value,
            (Maker::Written | Maker::Resplit, Replicas::Sum) => 0.0,
        };
        let values = elements(dims, rank).into_iter().enumerate().map(|(flat, (at, real))| {
            if real {
                return Some(drift(stored(&at)));
            }
            match maker {
                Maker::Run => Some(-1.0 - (flat % 50) as f64),
                Maker::Written | Maker::Resplit => self.padding(rule, dims, &at, &stored).map(drift),
            }
        });
        let values = values.collect();
        Held { element: rule.element, shape: shape(dims, rank), values, strides: 0 }
    }

    /// What padding holds that is written; nothing where it is noise.
    fn padding(
        &self,
        rule: &Rule,
        dims: &[Factor],
        at: &Coordinate,
        stored: &dyn Fn(&Coordinate) -> f64,
    ) -> Option<f64> {
        let (axis, len) = dims.iter().find_map(padded_axis)?;
        let row = |number: u64| {
            let mut row = at.clone();
            row.remove("padding");
            row.insert(axis.clone(), number.to_string());
            stored(&row)
        };
        match rule.fill {
            Fill::Zeros => Some(0.0),
            Fill::Last => Some(row(len - 1)),
            Fill::Mean => Some((0..len).map(row).sum::<f64>() / len as f64),
            Fill::Normal => None,
        }
    }

    /// The left side as arrays are cut out of it: whole, and not of ranks.
    pub(super) fn whole(&self) -> Side {
        self.left(ONE, Maker::Run)
    }
}

fn padded_axis(factor: &Factor) -> Option<(String, u64)> {
    match factor {
        Factor::Product { factors, .. } => factors.iter().find_map(padded_axis),
        Factor::Sum(sum) if sum.pad.is_some() => match &sum.arms[0].1[..] {
            [Factor::Axis { name, len, .. }] => Some((name.clone(), *len)),
            _ => None,
        },
        _ => None,
    }
}

fn renamed(rule: &Rule, layer: Option<u64>, end: &str, shape: &[u64]) -> Held {
    let count: u64 = shape.iter().product();
    let value = |flat: u64| {
        let at = Coordinate::from([(end.to_owned(), flat.to_string())]);
        Some(Case::value(rule, layer, &at))
    };
    Held { element: rule.element, shape: shape.to_vec(), values: (0..count).map(value).collect(), strides: 0 }
}

/// The ranks that hold a parameter of a layer, or of none, in the order of their files.
fn homes(rule: &Rule, layer: Option<u64>, counts: Counts) -> Vec<Place> {
    let mut all = Vec::new();
    for tp in 0..counts.tp {
        for pp in 0..counts.pp {
            for vpp in 0..counts.vpp {
                let here = match (layer, rule.home) {
                    // The first virtual stage of every rank comes before the second of any.
                    (Some(layer), _) => layer / (LAYERS / (counts.pp * counts.vpp)) == vpp * counts.pp + pp,
                    (None, Home::Everywhere) => true,
                    (None, Home::First) => (pp, vpp) == (0, 0),
                    (None, Home::Last) => (pp, vpp) == (counts.pp - 1, counts.vpp - 1),
                };
                if here {
                    all.push(Place { tp, pp, vpp });
                }
            }
        }
    }
    all
}

/// Which copy of its part a rank holds, and how many copies of it there are.
fn copies(rule: &Rule, places: &[Place], place: Place) -> (usize, usize) {
    let split = match &rule.kind {
        Kind::Laid { left, .. } => left.iter().any(Factor::is_split),
        Kind::Renamed(_) => false,
    };
    let same: Vec<Place> = places.iter().copied().filter(|own| !split || own.tp == place.tp).collect();
    (same.iter().position(|own| *own == place).expect("it is one of them"), same.len())
}

pub(super) fn directory_name(tp: u64, pp: u64, counts: Counts) -> String {
    if counts.pp > 1 { format!("mp_rank_{tp:02}_{pp:03}") } else { format!("mp_rank_{tp:02}") }
}

fn directory(place: Place, counts: Counts) -> String {
    directory_name(place.tp, place.pp, counts)
}
