//! A layout as its text means it: how a stored index is taken apart, and nothing more.

use std::collections::BTreeMap;

/// Which element of the parameter: a number for each axis, a label for each sum.
pub(super) type Coordinate = BTreeMap<String, String>;

#[derive(Clone, Debug)]
pub(super) enum Factor {
    Axis {
        name: String,
        role: Option<String>,
        len: u64,
    },
    /// Every coordinate along it holds the same.
    Broadcast {
        name: String,
        len: u64,
    },
    Unit,
    Product(Vec<Factor>),
    Sum(Sum),
}

#[derive(Clone, Debug)]
pub(super) struct Sum {
    /// What it is known by; nothing where it has one arm that is no padding, which chooses nothing.
    pub(super) key: Option<String>,
    /// Label and factors of each arm.
    pub(super) arms: Vec<(String, Vec<Factor>)>,
    /// Before which arm so many rows of padding stand.
    pub(super) pad: Option<(usize, u64)>,
}

/// Parameters of one name and one layout.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The coordinates that it is the parameter of, where a label in front of it says so: sum and label.
    pub(super) label: Option<(String, String)>,
    /// Parts of the name, joined by dots.
    pub(super) name: Vec<Part>,
    pub(super) dims: Vec<Factor>,
}

#[derive(Clone, Debug)]
pub(super) enum Part {
    Text(String),
    /// The number of an axis, so much added.
    Index {
        axis: String,
        len: u64,
        shift: u64,
    },
    /// A word for each label of a sum.
    Labels {
        key: String,
        words: Vec<(String, String)>,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) entries: Vec<Entry>,
}

impl Factor {
    pub(super) fn size(&self) -> u64 {
        match self {
            Factor::Axis { len, .. } | Factor::Broadcast { len, .. } => *len,
            Factor::Unit => 1,
            Factor::Product(factors) => factors.iter().map(Factor::size).product(),
            Factor::Sum(sum) => {
                sum.pad.map_or(0, |(_, rows)| rows)
                    + sum.arms.iter().map(|(_, factors)| size(factors)).sum::<u64>()
            }
        }
    }

    /// Takes an index along this factor apart; false where it is in padding.
    fn decode(&self, index: u64, at: &mut Coordinate) -> bool {
        match self {
            Factor::Axis { name, role, .. } => {
                let key = role.as_ref().map_or_else(|| name.clone(), |role| format!("{role}:{name}"));
                at.insert(key, index.to_string());
                true
            }
            Factor::Broadcast { .. } | Factor::Unit => true,
            Factor::Product(factors) => decode(factors, index, at),
            Factor::Sum(sum) => sum.decode(index, at),
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Factor::Axis { name, role: None, .. } => name.clone(),
            Factor::Axis { name, role: Some(role), .. } => format!("{role}:{name}"),
            Factor::Broadcast { name, .. } => format!("*{name}"),
            Factor::Unit => "1".to_owned(),
            Factor::Product(factors) => format!("({})", texts(factors)),
            Factor::Sum(sum) => sum.text(),
        }
    }

    fn without_padding(&self) -> Factor {
        let all = |factors: &[Factor]| factors.iter().map(Factor::without_padding).collect();
        match self {
            Factor::Product(factors) => Factor::Product(all(factors)),
            Factor::Sum(sum) => Factor::Sum(Sum {
                key: sum.key.clone(),
                arms: sum.arms.iter().map(|(label, factors)| (label.clone(), all(factors))).collect(),
                pad: None,
            }),
            other => other.clone(),
        }
    }
}

impl Sum {
    fn decode(&self, index: u64, at: &mut Coordinate) -> bool {
        let mut start = 0;
        for (number, (label, factors)) in self.arms.iter().enumerate() {
            if let Some((before, rows)) = self.pad
                && before == number
            {
                if index < start + rows {
                    return false;
                }
                start += rows;
            }
            let len = size(factors);
            if index < start + len {
                if let Some(key) = &self.key {
                    at.insert(key.clone(), label.clone());
                }
                return decode(factors, index - start, at);
            }
            start += len;
        }
        false
    }

    fn text(&self) -> String {
        let mut arms: Vec<String> = self
            .arms
            .iter()
            .map(|(label, factors)| match factors.as_slice() {
                [] => label.clone(),
                // The label of a lone arm is the role of its axis.
                [Factor::Axis { name, role: Some(role), .. }] if role == label => format!("{label}: {name}"),
                factors => format!("{label}: {}", texts(factors)),
            })
            .collect();
        if let Some((before, _)) = self.pad {
            arms.insert(before, "pad: _".to_owned());
        }
        format!("({})", arms.join(" | "))
    }
}

fn size(factors: &[Factor]) -> u64 {
    factors.iter().map(Factor::size).product()
}

fn texts(factors: &[Factor]) -> String {
    factors.iter().map(Factor::text).collect::<Vec<_>>().join(" ")
}

/// The last factor is the innermost.
fn decode(factors: &[Factor], index: u64, at: &mut Coordinate) -> bool {
    let mut rest = index;
    let mut real = true;
    for factor in factors.iter().rev() {
        real &= factor.decode(rest % factor.size(), at);
        rest /= factor.size();
    }
    real
}

impl Entry {
    pub(super) fn elements(&self) -> u64 {
        size(&self.dims)
    }

    /// What lies at an index into the row-major elements; nothing where that is padding.
    pub(super) fn coordinate(&self, flat: u64, fixed: &Coordinate) -> Option<Coordinate> {
        let mut at = fixed.clone();
        at.extend(self.label.clone());
        decode(&self.dims, flat, &mut at).then_some(at)
    }

    /// All stored names, each with the coordinates that it fixes.
    pub(super) fn names(&self) -> Vec<(String, Coordinate)> {
        let mut names = vec![(String::new(), Coordinate::new())];
        for part in &self.name {
            let ways: Vec<(String, Option<(String, String)>)> = match part {
                Part::Text(text) => vec![(text.clone(), None)],
                Part::Index { axis, len, shift } => (0..*len)
                    .map(|n| ((n + shift).to_string(), Some((axis.clone(), n.to_string()))))
                    .collect(),
                Part::Labels { key, words } => words
                    .iter()
                    .map(|(label, word)| (word.clone(), Some((key.clone(), label.clone()))))
                    .collect(),
            };
            names = names
                .iter()
                .flat_map(|(name, fixed)| {
                    ways.iter().map(move |(text, coordinate)| {
                        let dot = if name.is_empty() { "" } else { "." };
                        let mut fixed = fixed.clone();
                        fixed.extend(coordinate.clone());
                        (format!("{name}{dot}{text}"), fixed)
                    })
                })
                .collect();
        }
        names
    }

    pub(super) fn text(&self) -> String {
        let parts: Vec<String> = self
            .name
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Index { axis, shift: 0, .. } => format!("{{{axis}}}"),
                Part::Index { axis, shift, .. } => format!("{{{axis} + {shift}}}"),
                Part::Labels { words, .. } => {
                    let words: Vec<String> =
                        words.iter().map(|(label, word)| format!("{label}: {word}")).collect();
                    format!("{{{}}}", words.join(", "))
                }
            })
            .collect();
        format!("{} [{}]", parts.join("."), texts(&self.dims))
    }
}

impl Side {
    pub(super) fn without_padding(&self) -> Side {
        let mut side = self.clone();
        for entry in &mut side.entries {
            entry.dims = entry.dims.iter().map(Factor::without_padding).collect();
        }
        side
    }

    /// One parameter, or several in braces with their labels.
    pub(super) fn text(&self) -> String {
        let entries: Vec<String> = self
            .entries
            .iter()
            .map(|entry| match &entry.label {
                Some((_, label)) => format!("{label}: {}", entry.text()),
                None => entry.text(),
            })
            .collect();
        match self.entries.as_slice() {
            [entry] if entry.label.is_none() => entries.concat(),
            _ => format!("{{ {} }}", entries.join("\n  ")),
        }
    }
}
