//! Random mappings: rules with what can meet in one, over random numbers of ranks.

use std::collections::BTreeMap;

use super::layout::{Factor, Sum, texts};

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

/// Numbers of ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) tp: u64,
    pub(super) pp: u64,
    pub(super) vpp: u64,
}

pub(super) const ONE: Counts = Counts { tp: 1, pp: 1, vpp: 1 };

/// Layers of every model; all numbers of stages divide them.
pub(super) const LAYERS: u64 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Element {
    BF16,
    F16,
    F32,
    F64,
}

/// What copies on several ranks become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replicas {
    Equal,
    First,
    Mean,
    Sum,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    Zeros,
    Last,
    Mean,
    Normal,
}

/// The value that both sides share is the stored one of the left, times `scale`, plus `offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) text: &'static str,
    pub(super) scale: f64,
    pub(super) offset: f64,
}

const STEPS: [Step; 4] = [
    Step { text: "", scale: 1.0, offset: 0.0 },
    Step { text: " + 1", scale: 1.0, offset: 1.0 },
    Step { text: " * 2", scale: 2.0, offset: 0.0 },
    Step { text: " * 2 - 3", scale: 2.0, offset: -3.0 },
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    Everywhere,
    First,
    Last,
}

/// A parameter of the right side: all of the rule's, or what a label singles out.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Sum and label.
    pub(super) label: Option<(String, String)>,
    pub(super) dims: Vec<Factor>,
    /// What it is stored in where the right side is read.
    pub(super) element: Element,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// A layout on both sides.
    Laid { left: Vec<Factor>, right: Vec<Entry> },
    /// A renaming of tensors with these ends of their names and these shapes.
    Renamed(Vec<(&'static str, Vec<u64>)>),
}

#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) number: usize,
    pub(super) kind: Kind,
    /// Whether it stands for one parameter of each layer.
    pub(super) layered: bool,
    /// Whether the right side has all layers in one tensor.
    pub(super) stacked: bool,
    pub(super) home: Home,
    pub(super) replicas: Replicas,
    pub(super) fill: Fill,
    pub(super) step: Step,
    pub(super) element: Element,
    /// By rank: how its copy lies in its storage, and in what it is stored.
    pub(super) strides: Vec<usize>,
    pub(super) elements: Vec<Element>,
    /// Whether a copy is tied to it: on the last stage of the left, in the file of the right.
    pub(super) tied: [bool; 2],
}

/// How the left checkpoint is stored that a conversion begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// A torch file for each rank.
    Ranks(Counts),
    /// Arrays of chunks, the sizes of which follow from a number.
    Chunks(u64),
}

#[derive(Debug)]
pub(super) struct Case {
    pub(super) rules: Vec<Rule>,
    pub(super) sizes: BTreeMap<String, u64>,
    pub(super) input: Input,
    /// What is written from the right, and what that is split into.
    pub(super) written: Counts,
    pub(super) split: Counts,
    /// Whether the left parameters lie under the second of the roots that are declared.
    pub(super) second_root: bool,
    pub(super) several_roots: bool,
}

struct Generator<'c> {
    choices: Choices<'c>,
    sizes: BTreeMap<String, u64>,
}

impl Case {
    pub(super) fn of(bytes: &[u8]) -> Case {
        let mut generator = Generator { choices: Choices(bytes.iter()), sizes: BTreeMap::new() };
        let several_roots = generator.choices.one_in(5);
        let chunks = generator.choices.one_in(3);
        let mut counts = [generator.counts(), generator.counts(), generator.counts()];
        let second_root = several_roots && generator.choices.one_in(2);
        if several_roots {
            counts.iter_mut().for_each(|counts| counts.vpp = 1);
        }
        let seed = generator.choices.below(256) as u64;
        let input = if chunks && !second_root { Input::Chunks(seed) } else { Input::Ranks(counts[0]) };
        let rules = (0..1 + generator.choices.below(3)).map(|number| generator.rule(number)).collect();
        Case {
            rules,
            sizes: generator.sizes,
            input,
            written: counts[1],
            split: counts[2],
            second_root,
            several_roots,
        }
    }

    /// The mapping.
    pub(super) fn text(&self) -> String {
        let sizes = self.sizes.keys().map(|name| format!("    {name} = args.{name} <=> {name}\n"));
        let fields: String = sizes.chain(["    layers = args.layers <=> layers\n".to_owned()]).collect();
        let roots = if self.several_roots { "model, other" } else { "model{vpp}" };
        let vpp = if self.several_roots { "" } else { "    rank vpp = args.vpp else 1\n" };
        let side = format!(
            "side a {{\n    format torch\n    documents args\n    parameters {roots}\n    rank tp = args.tp else 1\n    \
             rank pp = args.pp else 1\n{vpp}}}\n"
        );
        let rules: String = self.rules.iter().map(|rule| rule.text(self)).collect();
        format!("mapping random : a <=> b\n\n{side}\nconfig {{\n{fields}}}\n\n{rules}")
    }
}

impl Rule {
    /// The name on the left without its root, of a layer as its rank counts it.
    pub(super) fn left_name(&self, layer: Option<&str>) -> String {
        match (layer, &self.kind) {
            (Some(layer), Kind::Laid { .. }) => format!("layers.{layer}.p{}", self.number),
            (Some(layer), Kind::Renamed(_)) => format!("layers.{layer}.n{}", self.number),
            (None, Kind::Laid { .. }) => format!("p{}", self.number),
            (None, Kind::Renamed(_)) => format!("n{}", self.number),
        }
    }

    pub(super) fn right_name(&self, layer: Option<&str>, label: Option<&str>) -> String {
        let own = match (&self.kind, label) {
            (Kind::Laid { .. }, None) => format!("q{}", self.number),
            (Kind::Laid { .. }, Some(label)) => format!("q{}.{label}", self.number),
            (Kind::Renamed(_), _) => format!("m{}", self.number),
        };
        layer.filter(|_| !self.stacked).map_or_else(|| own.clone(), |layer| format!("h.{layer}.{own}"))
    }

    fn text(&self, case: &Case) -> String {
        let index = if case.several_roots { "{layer@pp}" } else { "{layer@vpp@pp}" };
        let (here, there) = (self.layered.then_some(index), self.layered.then_some("{layer}"));
        let Kind::Laid { left, right } = &self.kind else {
            return format!("{}.**  <=>  {}.**\n", self.left_name(here), self.right_name(there, None));
        };
        let right: Vec<String> = right
            .iter()
            .map(|entry| {
                let label = entry.label.as_ref().map(|(_, label)| label.as_str());
                let before = label.map_or_else(String::new, |label| format!("{label}: "));
                format!("{before}{} [{}]", self.right_name(there, label), texts(&entry.dims))
            })
            .collect();
        let right = if right.len() > 1 { format!("{{ {} }}", right.join("\n  ")) } else { right.concat() };
        let padded = left.iter().any(is_padded);
        let fill = match self.fill {
            Fill::Last if padded => "  fill last",
            Fill::Mean if padded => "  fill mean",
            Fill::Normal if padded => "  fill normal(7)",
            _ => "",
        };
        let replicas = match self.replicas {
            Replicas::Equal => "",
            Replicas::First => "  replicas first",
            Replicas::Mean => "  replicas mean",
            Replicas::Sum => "  replicas sum",
        };
        let home = match self.home {
            Home::Everywhere => "",
            Home::First => "  on pp.first",
            Home::Last => "  on pp.last",
        };
        let mut text = format!(
            "{} [{}]{}\n    <=>  {right}{fill}{replicas}{home}\n",
            self.left_name(here),
            texts(left),
            self.step.text
        );
        if self.tied[0] {
            text.push_str(&format!("tie a: c{0} = p{0} on pp.last\n", self.number));
        }
        if self.tied[1] {
            text.push_str(&format!("tie b: d{0} = q{0}\n", self.number));
        }
        text
    }
}

pub(super) fn is_padded(factor: &Factor) -> bool {
    match factor {
        Factor::Product { factors, .. } => factors.iter().any(is_padded),
        Factor::Sum(sum) => sum.pad.is_some() || sum.arms.iter().flat_map(|(_, all)| all).any(is_padded),
        Factor::Axis { .. } | Factor::Broadcast { .. } | Factor::Unit => false,
    }
}

impl Generator<'_> {
    fn counts(&mut self) -> Counts {
        let (tp, pp) = (1 + self.choices.below(2) as u64, 1 + self.choices.below(2) as u64);
        let vpp = if pp > 1 { 1 + self.choices.below(2) as u64 } else { 1 };
        Counts { tp, pp, vpp }
    }

    /// Lengths that two ranks can share where `even`.
    fn axis(&mut self, even: bool) -> Factor {
        let lengths: &[u64] = if even { &[2, 4, 6] } else { &[3, 2, 5, 4] };
        let len = lengths[self.choices.below(lengths.len())];
        let name = format!("x{}", self.sizes.len());
        self.sizes.insert(name.clone(), len);
        Factor::Axis { name, role: None, len, split: false }
    }

    fn element(&mut self) -> Element {
        [Element::F32, Element::F16, Element::BF16, Element::F64][self.choices.below(4)]
    }

    fn rule(&mut self, number: usize) -> Rule {
        let layered = self.choices.one_in(2);
        let element = self.element();
        let mut rule = Rule {
            number,
            kind: Kind::Renamed(Vec::new()),
            layered,
            stacked: false,
            home: Home::Everywhere,
            replicas: Replicas::Equal,
            fill: Fill::Zeros,
            step: STEPS[0],
            element,
            strides: (0..8).map(|_| self.choices.below(3)).collect(),
            elements: vec![element; 8],
            tied: [false; 2],
        };
        if self.choices.one_in(4) {
            let shape = |own: &mut Self| (0..1 + own.choices.below(2)).map(|_| own.size()).collect();
            rule.kind = Kind::Renamed(vec![("weight", shape(self)), ("sub.bias", shape(self))]);
            return rule;
        }
        let items = self.items(number);
        let left = self.left(&items, number, &mut rule);
        rule.stacked = layered && self.choices.one_in(3);
        let right = self.right(&items, &left, &rule);
        let split = left.iter().any(Factor::is_split);
        rule.step = STEPS[self.choices.below(STEPS.len())];
        if !layered {
            rule.home = [Home::Everywhere, Home::First, Home::Last][self.choices.below(3)];
        }
        let replicated = !split || (!layered && rule.home == Home::Everywhere);
        if replicated && self.choices.one_in(2) {
            rule.replicas = [Replicas::First, Replicas::Mean, Replicas::Sum][self.choices.below(3)];
        }
        if matches!(rule.replicas, Replicas::Mean | Replicas::Sum) && self.choices.one_in(3) {
            rule.elements = (0..8).map(|_| self.element()).collect();
        }
        let alone = right.len() == 1 && !layered && rule.replicas == Replicas::Equal;
        rule.tied = [alone && rule.home == Home::First, alone && self.choices.one_in(3)];
        rule.kind = Kind::Laid { left, right };
        rule
    }

    fn size(&mut self) -> u64 {
        1 + self.choices.below(5) as u64
    }

    /// Axes, and perhaps a sum whose arms are of one unit or have an axis of their own.
    fn items(&mut self, number: usize) -> Vec<Factor> {
        let mut items: Vec<Factor> = (0..1 + self.choices.below(2)).map(|at| self.axis(at == 0)).collect();
        if self.choices.one_in(2) {
            let labels = ["q", "k", "v"].map(|label| format!("{label}{number}"));
            let count = 2 + self.choices.below(2);
            let arms = labels[..count].iter().map(|label| {
                let own = if self.choices.one_in(3) { vec![self.axis(true)] } else { Vec::new() };
                (label.clone(), own)
            });
            let arms = arms.collect();
            items.push(Factor::Sum(Sum { key: Some(format!("sum{number}")), arms, pad: None, split: false }));
        }
        items
    }

    fn left(&mut self, items: &[Factor], number: usize, rule: &mut Rule) -> Vec<Factor> {
        let mut items = items.to_vec();
        self.choices.shuffle(&mut items);
        if self.choices.one_in(3) {
            let at = self.choices.below(items.len());
            if let Factor::Axis { name, len, .. } = items[at].clone() {
                let split = self.choices.one_in(4) && len % 2 == 0;
                let label = format!("pad{number}");
                // What is shared has an even number of rows.
                let rows = 2 * (1 + self.choices.below(2) as u64) + len % 2;
                self.sizes.insert(label.clone(), rows);
                let arm = Factor::Axis { name, role: None, len, split };
                let arms = vec![(format!("r{number}"), vec![arm])];
                items[at] = Factor::Sum(Sum { key: None, arms, pad: Some((label, rows)), split: false });
                rule.fill = [Fill::Last, Fill::Zeros, Fill::Mean, Fill::Normal][self.choices.below(4)];
            }
        }
        if self.choices.one_in(4) {
            let name = format!("b{}", self.sizes.len());
            self.sizes.insert(name.clone(), 2);
            let at = self.choices.below(items.len() + 1);
            items.insert(at, Factor::Broadcast { name, len: 2 });
        }
        match self.choices.below(4) {
            // One axis over ranks, or an arm alone.
            1 => self.split_axis(&mut items),
            2 => self.split_arm(&mut items),
            _ => {}
        }
        let mut dims = self.group(items);
        if self.choices.one_in(2) && !dims.iter().any(Factor::is_split) {
            self.split_dim(&mut dims);
        }
        if self.choices.one_in(6) {
            let at = self.choices.below(dims.len() + 1);
            dims.insert(at, Factor::Unit);
        }
        dims
    }

    fn split_axis(&mut self, items: &mut [Factor]) {
        if items.iter().any(Factor::is_split) {
            return;
        }
        let mut even = items.iter_mut().filter_map(|item| match item {
            Factor::Axis { len, split, .. } if *len % 2 == 0 => Some(split),
            _ => None,
        });
        if let Some(split) = even.next() {
            *split = true;
        }
    }

    fn split_arm(&mut self, items: &mut [Factor]) {
        if items.iter().any(Factor::is_split) {
            return;
        }
        let sums = items.iter_mut().filter_map(|item| match item {
            Factor::Sum(sum) if sum.key.is_some() => Some(sum),
            _ => None,
        });
        let mut axes = sums.flat_map(|sum| &mut sum.arms).filter_map(|(_, factors)| factors.first_mut());
        if let Some(Factor::Axis { split, .. }) = axes.next() {
            *split = true;
        }
    }

    /// A whole dimension over ranks.
    fn split_dim(&mut self, dims: &mut [Factor]) {
        let at = self.choices.below(dims.len());
        let even = dims[at].size((0, 1)).is_multiple_of(2);
        match &mut dims[at] {
            Factor::Product { split, .. } | Factor::Axis { split, .. } => *split = even,
            Factor::Sum(sum) => sum.split = even,
            Factor::Broadcast { .. } | Factor::Unit => {}
        }
    }

    fn right(&mut self, items: &[Factor], left: &[Factor], rule: &Rule) -> Vec<Entry> {
        let mut items: Vec<Factor> = items.to_vec();
        // An axis beside padding is told by its role.
        let padded: Vec<String> = left.iter().flat_map(padded_axes).collect();
        for item in &mut items {
            if let Factor::Axis { name, role, .. } = item
                && padded.contains(name)
            {
                *role = Some(format!("r{}", rule.number));
            }
        }
        if rule.stacked {
            items.push(Factor::Axis { name: "layer".to_owned(), role: None, len: LAYERS, split: false });
        }
        self.choices.shuffle(&mut items);
        let sum = items.iter().position(|item| matches!(item, Factor::Sum(_)));
        if let Some(at) = sum
            && self.choices.one_in(2)
        {
            let Factor::Sum(Sum { key, arms, .. }) = items.remove(at) else { unreachable!("a sum") };
            let unlike = self.choices.one_in(3);
            return arms
                .into_iter()
                .map(|(label, own)| {
                    let all = [items.clone(), own].concat();
                    let element = if unlike { self.element() } else { rule.element };
                    Entry { label: key.clone().map(|key| (key, label)), dims: self.group(all), element }
                })
                .collect();
        }
        vec![Entry { label: None, dims: self.group(items), element: rule.element }]
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
            _ => Factor::Product { factors: group, split: false },
        });
        joined.collect()
    }
}

fn padded_axes(factor: &Factor) -> Vec<String> {
    match factor {
        Factor::Product { factors, .. } => factors.iter().flat_map(padded_axes).collect(),
        Factor::Sum(sum) if sum.pad.is_some() => sum
            .arms
            .iter()
            .flat_map(|(_, factors)| factors)
            .filter_map(|factor| match factor {
                Factor::Axis { name, .. } => Some(name.clone()),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}
