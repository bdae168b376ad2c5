//! Mistakes put into what the comparison pairs up, as a planner that is wrong would make them: each is noticed, though
//! the checkpoints agree with it.

use transship_grammar as grammar;

use grammar::{Code, Mapping, SideId, Source, check};

use super::{Verification, Verify, VerifyOptions};
use crate::engine::Content;
use crate::{Array, Checkpoint, DType};

const TEXT: &str = "mapping seam : a <=> b

config {
    heads = h_a <=> h_b
    dim   = d_a <=> d_b
}

qk [((q | k) heads) dim]  <=>  { q: q [heads dim]  k: k [dim heads] }
kept                      <=>  kept
";

const HEADS: usize = 12;
const DIM: usize = 12;

fn mapping() -> Mapping {
    check(&Source::new("seam.mapping", TEXT)).expect("it is right").0
}

fn checkpoint(name: &str, tensors: &[(&str, &[u64], Vec<f32>)]) -> Checkpoint {
    let array = |(name, shape, values): &(&str, &[u64], Vec<f32>)| {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        ((*name).to_owned(), Array::new(DType::F32, shape, bytes).expect("it fits"))
    };
    Checkpoint::in_memory(name, tensors.iter().map(array).collect()).expect("no name is there twice")
}

fn numbers(from: usize) -> Vec<f32> {
    (from..from + HEADS * DIM).map(|number| number as f32).collect()
}

fn turned(values: &[f32]) -> Vec<f32> {
    (0..HEADS * DIM).map(|at| values[at % HEADS * DIM + at / HEADS]).collect()
}

/// The two sides, whose q and k are these on the right.
fn sides(q: &[f32], k: &[f32]) -> [Checkpoint; 2] {
    let (heads, dim) = (HEADS as u64, DIM as u64);
    let kept = ("kept", &[5][..], vec![1.0, 2.0, 3.0, 4.0, 5.0]);
    let both = [numbers(0), numbers(1000)].concat();
    let left = checkpoint("left", &[("qk", &[2 * heads, dim], both), kept.clone()]);
    let right =
        checkpoint("right", &[("q", &[heads, dim], q.to_vec()), ("k", &[dim, heads], k.to_vec()), kept]);
    [left, right]
}

fn verified(
    [left, right]: &[Checkpoint; 2],
    thorough: bool,
    spoil: impl for<'a> FnOnce(&mut Verify<'a>),
) -> Verification {
    let mapping = mapping();
    let options = VerifyOptions { thorough, threads: 1, ..VerifyOptions::default() };
    let mut verify = Verify::new(&mapping, [left, right], [SideId::Left, SideId::Right], &options)
        .expect("they fit the mapping");
    spoil(&mut verify);
    verify.run(&|_| ())
}

fn codes(found: &Verification) -> Vec<Code> {
    found.disagreements.list().iter().map(|diagnostic| diagnostic.code).collect()
}

fn right() -> [Checkpoint; 2] {
    sides(&numbers(0), &turned(&numbers(1000)))
}

#[test]
fn what_is_right_is_found_the_same_twice() {
    for thorough in [false, true] {
        let found = verified(&right(), thorough, |_| ());
        assert!(found.holds(), "{found:?}");
        let all = (4 * HEADS * DIM + 10) as u64 + (2 * HEADS * DIM + 5) as u64;
        assert_eq!(found.looked_up == all, thorough, "{}", found.looked_up);
    }
}

/// Exchanges the strides of a part in both checkpoints' elements.
fn exchange_strides(verify: &mut Verify<'_>, parameter: usize) {
    let part = &mut verify.pairs.parameters[parameter].parts[0];
    let Some(Content::Copy { copy, .. }) = &mut part.first else { panic!("a copy") };
    copy.source_strides.reverse();
}

#[test]
fn strides_of_two_axes_exchanged_are_noticed_where_the_output_has_the_same_mistake() {
    // A square, so that nothing but the numbers shows it.
    let spoilt = sides(&turned(&numbers(0)), &turned(&numbers(1000)));
    assert_eq!(verified(&spoilt, false, |_| ()).differences.len(), 1);
    for thorough in [false, true] {
        let found = verified(&spoilt, thorough, |verify| exchange_strides(verify, 0));
        assert!(found.differences.is_empty(), "the comparison shares the mistake");
        let codes = codes(&found);
        assert!(
            codes.contains(&Code::PlacesDisagree) && codes.contains(&Code::VerdictsDisagree),
            "{codes:?}"
        );
        assert!(!found.holds());
    }
}

#[test]
fn boxes_exchanged_are_noticed_where_the_output_has_the_same_mistake() {
    let spoilt = sides(&numbers(1000), &turned(&numbers(0)));
    assert_eq!(verified(&spoilt, false, |_| ()).differences.len(), 2);
    let found = verified(&spoilt, false, |verify| {
        let offset = |verify: &mut Verify<'_>, parameter: usize, offset: usize| {
            let part = &mut verify.pairs.parameters[parameter].parts[0];
            let Some(Content::Copy { copy, .. }) = &mut part.first else { panic!("a copy") };
            copy.source_offset = offset;
        };
        offset(verify, 0, HEADS * DIM);
        offset(verify, 1, 0);
    });
    assert!(found.differences.is_empty(), "the comparison shares the mistake");
    assert!(codes(&found).contains(&Code::PlacesDisagree), "{:?}", found.disagreements);
}

#[test]
fn elements_left_out_are_counted() {
    let found = verified(&right(), false, |verify| {
        let parameter = &mut verify.pairs.parameters[1];
        let part = &mut parameter.parts[0];
        part.shape[0] -= 1;
        parameter.elements -= HEADS as u64;
        for content in part.first.iter_mut().chain([&mut part.second]) {
            let Content::Copy { copy, .. } = content else { panic!("a copy") };
            copy.shape[0] -= 1;
        }
    });
    assert!(found.differences.is_empty(), "the comparison shares the mistake");
    assert!(codes(&found).contains(&Code::ElementsUnreached), "{:?}", found.disagreements);
}

#[test]
fn a_comparison_of_something_else_is_noticed() {
    let other = right();
    // INPUT compared with itself says nothing of OUTPUT.
    let mut q = numbers(0);
    q[HEADS * DIM - 1] = -1.0;
    let spoilt = sides(&q, &turned(&numbers(1000)));
    let found = verified(&spoilt, false, |verify| {
        let parts = &mut verify.pairs.parameters[0].parts;
        let Content::Copy { source, .. } = &mut parts[0].second else { panic!("a copy") };
        let whole: Vec<u8> = numbers(0).iter().flat_map(|value| value.to_le_bytes()).collect();
        *source = Box::leak(whole.into_boxed_slice());
    });
    assert!(found.differences.is_empty(), "the comparison shares the mistake");
    assert_eq!(codes(&found), [Code::VerdictsDisagree], "{:?}", found.disagreements);
    // And the other way: what is the same is said to differ.
    let found = verified(&other, false, |verify| {
        let parts = &mut verify.pairs.parameters[0].parts;
        let Content::Copy { source, .. } = &mut parts[0].second else { panic!("a copy") };
        *source = Box::leak(vec![7u8; 4 * HEADS * DIM].into_boxed_slice());
    });
    assert_eq!(codes(&found), [Code::VerdictsDisagree], "{:?}", found.disagreements);
}

/// The second way of finding elements must not come to use the first.
#[test]
fn the_plain_way_uses_nothing_of_the_planned_one() {
    let sources = [
        include_str!("plain/mod.rs"),
        include_str!("plain/element.rs"),
        include_str!("plain/names.rs"),
        include_str!("plain/parameters.rs"),
        include_str!("plain/rule.rs"),
        include_str!("plain/sample.rs"),
        include_str!("plain/tree.rs"),
    ];
    let planned =
        [".place(&", ".boxes(", "LayoutBox", "StridedCopy", "LayoutSizes", "matching(", ".shape(&Layout"];
    for line in sources.iter().flat_map(|source| source.lines()).filter(|line| !line.starts_with("//!")) {
        let found = planned.iter().find(|word| line.contains(**word));
        assert!(found.is_none(), "{line}");
    }
}
