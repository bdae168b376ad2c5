//! Random parameters, and random ways to store them.

use std::collections::BTreeMap;

use super::layout::{Entry, Factor, Part, Side, Sum};

/// Decisions drawn from bytes; where they run out, the simplest one is taken, so that failures shrink.
struct Choices<'c>(std::slice::Iter<'c, u8>);

impl Choices<'_> {
    fn below(&mut self, count: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % count.max(1)
    }

    /// True in one of `count` cases.
    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == count - 1
    }

    fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in 1..list.len() {
            let other = at - self.below(at + 1);
            list.swap(at, other);
        }
    }
}

/// A part of the parameter, before it has a place.
#[derive(Clone, Debug)]
enum Item {
    Axis { name: String, role: Option<String>, len: u64 },
    Sum { key: String, arms: Vec<(String, Vec<Item>)> },
}

/// A parameter and how both sides store it.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) sides: [Side; 2],
    sizes: BTreeMap<String, u64>,
}

struct Generator<'c> {
    choices: Choices<'c>,
    sizes: BTreeMap<String, u64>,
    labels: usize,
    broadcasts: usize,
}

impl Case {
    pub(super) fn of(bytes: &[u8]) -> Case {
        let mut generator =
            Generator { choices: Choices(bytes.iter()), sizes: BTreeMap::new(), labels: 0, broadcasts: 0 };
        let mut items = generator.items(3, 2);
        if generator.choices.one_in(3) {
            items.extend(generator.square());
        }
        let mut left = generator.side(&items, "left");
        let right = generator.side(&items, "right");
        if generator.choices.one_in(2) {
            generator.pad(&mut left);
        }
        Case { sides: [left, right], sizes: generator.sizes }
    }

    /// The mapping.
    pub(super) fn text(&self) -> String {
        let fields: String =
            self.sizes.keys().map(|name| format!("    {name} = of_{name} <=> {name}_of\n")).collect();
        let [left, right] = self.sides.each_ref().map(Side::text);
        format!("mapping random : a <=> b\n\nconfig {{\n{fields}}}\n\n{left}\n    <=>  {right}\n")
    }

    /// Elements of the side that stores more.
    pub(super) fn elements(&self) -> u64 {
        let side = |side: &Side| side.entries.iter().map(|e| e.elements() * e.names().len() as u64).sum();
        self.sides.iter().map(side).max().unwrap_or(0)
    }

    /// The config of a side.
    pub(super) fn config(&self, side: usize) -> serde_json::Value {
        let place = |name: &String| if side == 0 { format!("of_{name}") } else { format!("{name}_of") };
        self.sizes.iter().map(|(name, len)| (place(name), serde_json::Value::from(*len))).collect()
    }
}

impl Generator<'_> {
    /// Lengths differ from one another as far as there are enough of them.
    fn axis(&mut self, role: Option<String>) -> Item {
        const LENGTHS: [u64; 7] = [2, 3, 5, 4, 7, 1, 6];
        let len = LENGTHS[(self.sizes.len() + self.choices.below(2)) % LENGTHS.len()];
        let name = format!("x{}", self.sizes.len());
        self.sizes.insert(name.clone(), len);
        Item::Axis { name, role, len }
    }

    /// Up to `most` items; sums may nest `depth` deep.
    fn items(&mut self, most: usize, depth: usize) -> Vec<Item> {
        let count = 1 + self.choices.below(most);
        (0..count)
            .map(|_| if depth > 0 && self.choices.one_in(3) { self.sum(depth) } else { self.axis(None) })
            .collect()
    }

    fn sum(&mut self, depth: usize) -> Item {
        let count = 2 + self.choices.below(2);
        let labels: Vec<String> = (self.labels..self.labels + count).map(|n| format!("l{n}")).collect();
        self.labels += count;
        let bare = self.choices.one_in(2);
        let arms = labels
            .iter()
            .map(|label| {
                let items =
                    if bare || self.choices.one_in(3) { Vec::new() } else { self.items(2, depth - 1) };
                (label.clone(), items)
            })
            .collect();
        Item::Sum { key: labels.join("|"), arms }
    }

    /// One axis twice, told apart by roles.
    fn square(&mut self) -> [Item; 2] {
        let Item::Axis { name, len, .. } = self.axis(None) else { unreachable!("an axis") };
        ["r0", "r1"].map(|role| Item::Axis { name: name.clone(), role: Some(role.to_owned()), len })
    }

    fn side(&mut self, items: &[Item], name: &str) -> Side {
        let mut items = items.to_vec();
        self.choices.shuffle(&mut items);
        let mut name = vec![Part::Text(name.to_owned())];
        self.move_to_name(&mut items, &mut name);
        let block = items.iter().position(|item| matches!(item, Item::Sum { .. }));
        if let Some(at) = block
            && self.choices.one_in(3)
        {
            let Item::Sum { key, mut arms } = items.remove(at) else { unreachable!("a sum") };
            self.choices.shuffle(&mut arms);
            let entries = arms.into_iter().map(|(label, arm)| {
                let all = [items.clone(), arm].concat();
                let name = [name.clone(), vec![Part::Text(format!("of_{label}"))]].concat();
                Entry { label: Some((key.clone(), label)), name, dims: self.dims(all) }
            });
            return Side { entries: entries.collect() };
        }
        Side { entries: vec![Entry { label: None, name, dims: self.dims(items) }] }
    }

    /// Gives some axes and bare labels a place in the name.
    fn move_to_name(&mut self, items: &mut Vec<Item>, name: &mut Vec<Part>) {
        let mut kept = Vec::new();
        for item in items.drain(..) {
            let part = match &item {
                Item::Axis { name, role: None, len } => Some(Part::Index {
                    axis: name.clone(),
                    len: *len,
                    shift: if self.choices.one_in(3) { 2 } else { 0 },
                }),
                Item::Sum { key, arms } if arms.iter().all(|(_, items)| items.is_empty()) => {
                    let words = arms.iter().map(|(label, _)| (label.clone(), format!("w_{label}"))).collect();
                    Some(Part::Labels { key: key.clone(), words })
                }
                _ => None,
            };
            match part {
                Some(part) if self.choices.one_in(4) => {
                    name.push(part);
                    name.push(Part::Text("of".to_owned()));
                }
                _ => kept.push(item),
            }
        }
        *items = kept;
    }

    /// Stored dimensions of these items, in any order and grouping.
    fn dims(&mut self, mut items: Vec<Item>) -> Vec<Factor> {
        self.choices.shuffle(&mut items);
        if self.choices.one_in(3) {
            self.sink(&mut items);
        }
        let mut factors: Vec<Factor> = items.into_iter().map(|item| self.factor(item)).collect();
        if self.choices.one_in(5) {
            let name = format!("b{}", self.broadcasts);
            self.broadcasts += 1;
            self.sizes.insert(name.clone(), 3);
            let at = self.choices.below(factors.len() + 1);
            factors.insert(at, Factor::Broadcast { name, len: 3 });
        }
        if self.choices.one_in(6) {
            let at = self.choices.below(factors.len() + 1);
            factors.insert(at, Factor::Unit);
        }
        self.group(factors)
    }

    /// Moves an axis that all arms of a sum share into each of them.
    fn sink(&mut self, items: &mut Vec<Item>) {
        let sum = items.iter().position(|item| matches!(item, Item::Sum { .. }));
        let axis = items.iter().position(|item| matches!(item, Item::Axis { role: None, .. }));
        let (Some(sum), Some(axis)) = (sum, axis) else { return };
        let shared = items[axis].clone();
        let Item::Sum { arms, .. } = &mut items[sum] else { return };
        for (_, arm) in arms {
            let at = self.choices.below(arm.len() + 1);
            arm.insert(at, shared.clone());
        }
        items.remove(axis);
    }

    fn factor(&mut self, item: Item) -> Factor {
        match item {
            Item::Axis { name, role, len } => Factor::Axis { name, role, len },
            Item::Sum { key, mut arms } => {
                self.choices.shuffle(&mut arms);
                let arms = arms.into_iter().map(|(label, mut items)| {
                    self.choices.shuffle(&mut items);
                    if self.choices.one_in(4) {
                        self.sink(&mut items);
                    }
                    let factors = items.into_iter().map(|item| self.factor(item)).collect();
                    (label, self.group(factors))
                });
                Factor::Sum(Sum { key: Some(key), arms: arms.collect(), pad: None })
            }
        }
    }

    /// Joins neighbours into products.
    fn group(&mut self, factors: Vec<Factor>) -> Vec<Factor> {
        let mut groups: Vec<Vec<Factor>> = Vec::new();
        for factor in factors {
            match groups.last_mut() {
                Some(last) if self.choices.one_in(2) => last.push(factor),
                _ => groups.push(vec![factor]),
            }
        }
        let joined = groups.into_iter().map(|mut group| match group.len() {
            1 => group.remove(0),
            _ => Factor::Product(group),
        });
        joined.collect()
    }

    /// Puts padding into one sum, or around one of two equal axes, of each parameter.
    fn pad(&mut self, side: &mut Side) {
        for entry in &mut side.entries {
            let mut places: Vec<&mut Factor> = Vec::new();
            for dim in &mut entry.dims {
                match dim {
                    Factor::Product(factors) => {
                        places.extend(factors.iter_mut().filter(|f| can_hold_padding(f)));
                    }
                    factor if can_hold_padding(factor) => places.push(factor),
                    _ => {}
                }
            }
            let at = self.choices.below(places.len());
            let Some(place) = places.into_iter().nth(at) else { continue };
            let rows = 1 + self.choices.below(3) as u64;
            if let Factor::Axis { role: Some(role), .. } = place {
                let arms = vec![(role.clone(), vec![place.clone()])];
                *place = Factor::Sum(Sum { key: None, arms, pad: Some((self.choices.below(2), rows)) });
            } else if let Factor::Sum(sum) = place {
                sum.pad = Some((self.choices.below(sum.arms.len() + 1), rows));
            }
        }
    }
}

fn can_hold_padding(factor: &Factor) -> bool {
    matches!(factor, Factor::Sum(_) | Factor::Axis { role: Some(_), .. })
}
