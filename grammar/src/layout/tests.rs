//! The boxes of random layouts against an indexer that goes the other way: it takes each stored index apart, one factor
//! after the other, and never distributes anything.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A factor without names; [`Namer`] gives it distinct axes and labels.
#[derive(Clone, Debug)]
enum Shape {
    Axis {
        len: u64,
        broadcast: bool,
    },
    Unit,
    Product(Vec<Shape>),
    /// The arms, and before which of them padding of so many rows stands.
    Sum(Vec<Vec<Shape>>, Option<(usize, u64)>),
}

fn shape() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        6 => (1..=4u64, prop::bool::weighted(0.2)).prop_map(|(len, broadcast)| Shape::Axis { len, broadcast }),
        1 => Just(Shape::Unit),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let arm = prop_oneof![1 => Just(Vec::new()), 4 => vec(inner.clone(), 1..=2)];
        let pad = prop::option::of((0..4usize, 0..=3u64));
        prop_oneof![
            vec(inner, 1..=3).prop_map(Shape::Product),
            (vec(arm, 1..=3), pad).prop_map(|(arms, pad)| Shape::Sum(arms, pad)),
        ]
    })
}

#[derive(Debug, Default)]
struct TestSizes {
    axes: Vec<u64>,
    /// The rows of padding of each stored dimension that has any.
    pads: BTreeMap<usize, u64>,
}

impl Sizes for TestSizes {
    fn axis(&self, axis: &AxisUse) -> Option<u64> {
        self.axes.get(axis.axis.0 as usize).copied()
    }

    fn pad(&self, dim: usize) -> u64 {
        self.pads.get(&dim).copied().unwrap_or(0)
    }
}

#[derive(Default)]
struct Namer {
    sizes: TestSizes,
    labels: usize,
    dim: usize,
}

impl Namer {
    fn factor(&mut self, shape: &Shape) -> Factor {
        let span = Span::default();
        match shape {
            Shape::Unit => Factor::Unit,
            Shape::Axis { len, broadcast } => {
                let axis = AxisId(u32::try_from(self.sizes.axes.len()).unwrap());
                self.sizes.axes.push(*len);
                let broadcast = *broadcast;
                Factor::Axis(AxisUse { axis, by: None, role: None, ranks: Vec::new(), broadcast, span })
            }
            Shape::Product(factors) => {
                Factor::Product(factors.iter().map(|f| self.factor(f)).collect(), Vec::new())
            }
            Shape::Sum(arms, pad) => {
                let mut named: Vec<Arm> = arms
                    .iter()
                    .map(|factors| Arm {
                        label: self.label(),
                        factors: factors.iter().map(|f| self.factor(f)).collect(),
                        pad: false,
                        span,
                    })
                    .collect();
                // A stored dimension has one padding arm at most.
                if let Some((at, rows)) = pad
                    && !self.sizes.pads.contains_key(&self.dim)
                {
                    self.sizes.pads.insert(self.dim, *rows);
                    let arm = Arm { label: self.label(), factors: Vec::new(), pad: true, span };
                    named.insert((*at).min(named.len()), arm);
                }
                Factor::Sum(Sum { arms: named, ranks: Vec::new(), span })
            }
        }
    }

    fn label(&mut self) -> String {
        self.labels += 1;
        format!("l{}", self.labels)
    }
}

fn layout() -> impl Strategy<Value = (Layout, TestSizes)> {
    vec(shape(), 0..=3).prop_map(|shapes| {
        let mut namer = Namer::default();
        let mut dims = Vec::new();
        for (dim, shape) in shapes.iter().enumerate() {
            namer.dim = dim;
            dims.push(namer.factor(shape));
        }
        (Layout { dims, span: Span::default() }, namer.sizes)
    })
}

// ------------------------------------------------------------------ the naive indexer

/// What an element of a stored tensor is.
#[derive(Clone, Debug, Default, PartialEq)]
struct Element {
    labels: Labels,
    /// Axis, role and coordinate, outermost first.
    coordinates: Vec<(AxisId, Option<String>, u64)>,
    /// For each dimension with padding that it lies in, the row of padding.
    pads: Vec<(usize, u64)>,
}

fn naive_len(factor: &Factor, sizes: &TestSizes, dim: usize) -> u64 {
    let product = |factors: &[Factor]| factors.iter().map(|f| naive_len(f, sizes, dim)).product::<u64>();
    match factor {
        Factor::Unit => 1,
        Factor::Axis(axis) => sizes.axes[axis.axis.0 as usize],
        Factor::Product(factors, _) => product(factors),
        Factor::Sum(sum) => {
            sum.arms.iter().map(|a| if a.pad { sizes.pads[&dim] } else { product(&a.factors) }).sum()
        }
    }
}

/// Adds to `element` what index `at` along `factor` says of it.
fn naive_decode(factor: &Factor, sizes: &TestSizes, dim: usize, at: u64, element: &mut Element) {
    match factor {
        Factor::Unit => {}
        Factor::Axis(axis) => element.coordinates.push((axis.axis, axis.role.clone(), at)),
        Factor::Product(factors, _) => naive_decode_product(factors, sizes, dim, at, element),
        Factor::Sum(sum) => {
            let real: Vec<&Arm> = sum.arms.iter().filter(|a| !a.pad).collect();
            let mut key: Vec<String> = real.iter().map(|a| a.label.clone()).collect();
            key.sort();
            let mut at = at;
            for arm in &sum.arms {
                let whole = Factor::Sum(Sum { arms: vec![arm.clone()], ..sum.clone() });
                let len = naive_len(&whole, sizes, dim);
                if at >= len {
                    at -= len;
                    continue;
                }
                if arm.pad || real.len() > 1 {
                    element.labels.insert(key, arm.label.clone());
                }
                if arm.pad {
                    element.pads.push((dim, at));
                    return;
                }
                let before = element.coordinates.len();
                naive_decode_product(&arm.factors, sizes, dim, at, element);
                let inside = Layout { dims: arm.factors.clone(), span: Span::default() };
                let copied: Vec<AxisId> =
                    inside.axes().into_iter().filter(|a| a.broadcast).map(|a| a.axis).collect();
                let mut own: Vec<_> = element.coordinates[before..]
                    .iter_mut()
                    .filter(|(axis, ..)| !copied.contains(axis))
                    .collect();
                if let ([one], [(_, role, _)]) = (real.as_slice(), own.as_mut_slice()) {
                    role.get_or_insert_with(|| one.label.clone());
                }
                return;
            }
            panic!("index {at} is outside of {factor:?}");
        }
    }
}

fn naive_decode_product(factors: &[Factor], sizes: &TestSizes, dim: usize, at: u64, element: &mut Element) {
    let mut inner: u64 = factors.iter().map(|f| naive_len(f, sizes, dim)).product();
    let mut at = at;
    for factor in factors {
        inner /= naive_len(factor, sizes, dim);
        naive_decode(factor, sizes, dim, at / inner, element);
        at %= inner;
    }
}

/// All tuples below the given lengths, the last one fastest.
fn tuples(lens: &[u64]) -> Vec<Vec<u64>> {
    lens.iter().fold(vec![Vec::new()], |all, len| {
        all.iter().flat_map(|t| (0..*len).map(move |i| [t.as_slice(), &[i]].concat())).collect()
    })
}

// ------------------------------------------------------------------ what boxes say

/// The elements of a box and where each is stored.
fn elements_of(b: &Box) -> Vec<(Vec<u64>, Element)> {
    let mut lens: Vec<u64> = b.axes.iter().map(|a| a.len).collect();
    lens.extend(b.pads.iter().map(|pad| pad.len));
    let element = |tuple: Vec<u64>| {
        let (coordinates, rows) = tuple.split_at(b.axes.len());
        let mut position = b.starts.clone();
        for (axis, at) in b.axes.iter().zip(coordinates) {
            position[axis.dim] += axis.step * at;
        }
        for (pad, row) in b.pads.iter().zip(rows) {
            position[pad.dim] += pad.step * row;
        }
        let named = |(axis, at): (&BoxAxis, &u64)| (axis.axis.axis, axis.axis.role.clone(), axis.from + *at);
        let coordinates = b.axes.iter().zip(coordinates).map(named).collect();
        let pads = b.pads.iter().zip(rows).map(|(pad, row)| (pad.dim, pad.from + row)).collect();
        (position, Element { labels: b.labels.clone(), coordinates, pads })
    };
    tuples(&lens).into_iter().map(element).collect()
}

/// Sizes with a part of each dimension.
struct Windowed<'t> {
    sizes: &'t TestSizes,
    windows: &'t [(u64, u64)],
}

impl Sizes for Windowed<'_> {
    fn axis(&self, axis: &AxisUse) -> Option<u64> {
        self.sizes.axis(axis)
    }

    fn pad(&self, dim: usize) -> u64 {
        self.sizes.pad(dim)
    }

    fn window(&self, dim: usize) -> Option<(u64, u64)> {
        Some(self.windows[dim])
    }
}

/// A range of each stored dimension, within its length.
fn windows(shape: &[u64], seed: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let range = |(len, (a, b)): (&u64, &(u64, u64))| {
        let (a, b) = (a % (len + 1), b % (len + 1));
        (a.min(b), a.max(b))
    };
    shape.iter().zip(seed.iter().cycle()).map(range).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn boxes_and_the_naive_indexer_agree_on_every_element((layout, sizes) in layout()) {
        let shape: Vec<u64> =
            layout.dims.iter().enumerate().map(|(dim, factor)| naive_len(factor, &sizes, dim)).collect();
        prop_assert_eq!(layout.shape(&sizes), Some(shape.clone()));
        prop_assume!(shape.iter().product::<u64>() <= 20_000);

        let boxes = layout.boxes(&sizes).unwrap();
        let mut found: BTreeMap<Vec<u64>, Element> = BTreeMap::new();
        for b in &boxes {
            for (position, element) in elements_of(b) {
                prop_assert_eq!(!b.pads.is_empty(), !element.pads.is_empty());
                prop_assert_eq!(found.insert(position.clone(), element), None, "covered twice: {:?}", position);
            }
        }
        for position in tuples(&shape) {
            let mut expected = Element::default();
            for (dim, (factor, at)) in layout.dims.iter().zip(&position).enumerate() {
                naive_decode(factor, &sizes, dim, *at, &mut expected);
            }
            prop_assert_eq!(found.remove(&position), Some(expected), "at {:?}", position);
        }
        prop_assert!(found.is_empty(), "outside of the tensor: {:?}", found);
    }

    #[test]
    fn a_window_holds_the_elements_that_the_whole_has_there(
        (layout, sizes) in layout(),
        seed in proptest::collection::vec((0..1000u64, 0..1000u64), 1..5),
    ) {
        let shape = layout.shape(&sizes).unwrap();
        prop_assume!(shape.iter().product::<u64>() <= 20_000);
        let windows = windows(&shape, &seed);
        let part = Windowed { sizes: &sizes, windows: &windows };
        let placed = layout.place(&part).unwrap();
        let lens: Vec<u64> = windows.iter().map(|(from, to)| to - from).collect();
        prop_assert_eq!(&placed.shape, &lens);
        let mut found: BTreeMap<Vec<u64>, Element> = BTreeMap::new();
        for b in &placed.boxes {
            for (position, element) in elements_of(b) {
                prop_assert_eq!(found.insert(position.clone(), element), None, "covered twice: {:?}", position);
            }
        }
        for position in tuples(&lens) {
            let mut expected = Element::default();
            for (dim, factor) in layout.dims.iter().enumerate() {
                naive_decode(factor, &sizes, dim, windows[dim].0 + position[dim], &mut expected);
            }
            prop_assert_eq!(found.remove(&position), Some(expected), "at {:?}", position);
        }
        prop_assert!(found.is_empty(), "outside of the window: {:?}", found);
    }

    #[test]
    fn boxes_with_sizes_and_without_are_the_same((layout, sizes) in layout()) {
        let with = layout.boxes(&sizes).unwrap().into_iter().map(|b| {
            let axes: Vec<AxisUse> = b.axes.into_iter().map(|a| a.axis).collect();
            SymbolicBox { labels: b.labels, axes, pad: !b.pads.is_empty() }
        });
        prop_assert_eq!(with.collect::<Vec<SymbolicBox>>(), layout.symbolic_boxes());
    }
}

#[test]
fn a_size_that_overflows_or_is_not_known_gives_no_boxes() {
    let mut namer = Namer::default();
    let axis = |len| Shape::Axis { len, broadcast: false };
    let square = namer.factor(&Shape::Product(vec![axis(1 << 32), axis(1 << 32)]));
    let layout = Layout { dims: vec![square], span: Span::default() };
    assert_eq!(layout.shape(&namer.sizes), None);
    assert_eq!(layout.boxes(&namer.sizes), None);
    namer.sizes.axes.pop();
    assert_eq!(layout.shape(&namer.sizes), None);
    assert_eq!(layout.boxes(&namer.sizes), None);
}
