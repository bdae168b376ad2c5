//! Copies, their validation, their restriction and their comparison.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::layouts::{distinct_bytes, indices, pairs, strided_copy};
use crate::DType;
use crate::engine::nest::{each_element, elements, split};
use crate::engine::{Convert, CopyError, StridedCopy, copy, equal};

const SIZES: [DType; 4] = [DType::U8, DType::BF16, DType::F32, DType::F64];

fn naive_copy(copy: &StridedCopy, size: usize, source: &[u8], target: &mut [u8]) {
    for (read, write) in pairs(copy) {
        target[write * size..][..size].copy_from_slice(&source[read * size..][..size]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 1000 }))]

    #[test]
    fn copies_match_the_naive_indexer(
        (described, source_length, target_length) in strided_copy(),
        dtype in prop::sample::select(&SIZES),
        shift in 0..9usize,
    ) {
        let size = dtype.size();
        let source = distinct_bytes(shift + source_length * size);
        let source = &source[shift..];
        let mut expected = vec![0xAA; shift + target_length * size];
        let mut found = expected.clone();
        naive_copy(&described, size, source, &mut expected[shift..]);
        copy(&described, &Convert::bits(dtype), source, &mut found[shift..]).unwrap();
        prop_assert!(expected == found);
    }

    #[test]
    fn restriction_is_the_elements_in_the_range(
        (described, source_length, target_length) in strided_copy(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let nest = described.prepare(source_length, target_length).unwrap();
        let mut expected: Vec<(usize, usize)> = pairs(&described);
        expected.sort_unstable_by_key(|pair| pair.1);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(target_length + 1)).collect();
        cuts.extend([0, target_length]);
        cuts.sort_unstable();
        let mut found = Vec::new();
        for range in cuts.windows(2) {
            let before = found.len();
            let mut parts = 0;
            nest.within(range[0], range[1], &mut |part| {
                parts += 1;
                each_element(part, &mut |source, target| found.push((source, target)));
            });
            prop_assert!(found[before..].iter().all(|pair| (range[0]..range[1]).contains(&pair.1)));
            prop_assert!(parts <= 2 * nest.loops.len().max(1));
        }
        found.sort_unstable_by_key(|pair| pair.1);
        prop_assert_eq!(expected, found);
    }

    #[test]
    fn splitting_keeps_every_element((described, source_length, target_length) in strided_copy(), limit in 1..300usize) {
        let nest = described.prepare(source_length, target_length).unwrap();
        let mut found = Vec::new();
        nest.within(0, target_length, &mut |part| split(part, limit, &mut |piece| {
            assert!(elements(piece.loops) <= limit);
            each_element(piece, &mut |source, target| found.push((source, target)));
        }));
        let mut expected = pairs(&described);
        expected.sort_unstable_by_key(|pair| pair.1);
        found.sort_unstable_by_key(|pair| pair.1);
        prop_assert_eq!(expected, found);
    }

    #[test]
    fn any_strides_are_judged_and_cut_rightly(
        axes in prop::collection::vec((0..4usize, 0..9usize), 0..4),
        offset in 0..3usize,
        range in (0..30usize, 0..30usize),
    ) {
        let (shape, strides): (Vec<usize>, Vec<usize>) = axes.into_iter().unzip();
        let copy = StridedCopy {
            source_strides: vec![1; shape.len()],
            shape,
            source_offset: 0,
            target_offset: offset,
            target_strides: strides,
        };
        let all = pairs(&copy);
        let targets: HashSet<usize> = all.iter().map(|pair| pair.1).collect();
        match copy.prepare(100, 100) {
            Ok(nest) => {
                prop_assert_eq!(targets.len(), all.len());
                let mut expected: Vec<_> = all.into_iter().filter(|pair| (range.0..range.1).contains(&pair.1)).collect();
                let mut found = Vec::new();
                nest.within(range.0, range.1, &mut |part| {
                    each_element(part, &mut |source, target| found.push((source, target)));
                });
                expected.sort_unstable();
                found.sort_unstable();
                prop_assert_eq!(expected, found);
            }
            Err(error) => {
                prop_assert!(matches!(error, CopyError::Overlap { .. }), "{}", error);
                prop_assert!(targets.len() < all.len());
            }
        }
    }

    #[test]
    fn swapping_sides_is_the_inverse((described, source_length, target_length) in strided_copy()) {
        prop_assume!(described.source_strides.iter().zip(&described.shape).all(|(&stride, &size)| stride != 0 || size < 2));
        let inverse = StridedCopy {
            shape: described.shape.clone(),
            source_offset: described.target_offset,
            source_strides: described.target_strides.clone(),
            target_offset: described.source_offset,
            target_strides: described.source_strides.clone(),
        };
        let source = distinct_bytes(2 * source_length);
        let mut there = vec![0; 2 * target_length];
        copy(&described, &Convert::bits(DType::F16), &source, &mut there).unwrap();
        let mut back = source.clone();
        for (read, _) in pairs(&described) {
            back[2 * read..][..2].fill(0);
        }
        copy(&inverse, &Convert::bits(DType::F16), &there, &mut back).unwrap();
        prop_assert!(source == back);
    }

    #[test]
    fn comparison_finds_the_first_difference(
        (described, source_length, target_length) in strided_copy(),
        dtype in prop::sample::select(&SIZES),
        changes in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    ) {
        let size = dtype.size();
        let left = distinct_bytes(source_length * size);
        let mut right = vec![0; target_length * size];
        copy(&described, &Convert::bits(dtype), &left, &mut right).unwrap();
        for change in changes {
            right[change.index(target_length * size)] ^= 0x10;
        }
        let expected = indices(&described.shape).into_iter().zip(pairs(&described)).find(|(_, (a, b))| {
            left[a * size..][..size] != right[b * size..][..size]
        });
        prop_assert_eq!(equal(&described, dtype, &left, &right).unwrap(), expected.map(|(index, _)| index));
    }
}

#[test]
fn transposes_of_every_tile_remainder() {
    for dtype in SIZES {
        let size = dtype.size();
        let line = 64 / size;
        for rows in [1, line - 1, line, line + 1, 2 * line + 3] {
            for columns in [1, line - 1, line, 2 * line, 3 * line - 1] {
                let transpose = StridedCopy {
                    shape: vec![rows, columns],
                    source_offset: 0,
                    source_strides: vec![columns, 1],
                    target_offset: 0,
                    target_strides: vec![1, rows],
                };
                let source = distinct_bytes(rows * columns * size);
                let (mut expected, mut found) = (vec![0; source.len()], vec![0; source.len()]);
                naive_copy(&transpose, size, &source, &mut expected);
                copy(&transpose, &Convert::bits(dtype), &source, &mut found).unwrap();
                assert!(expected == found, "{dtype} {rows} x {columns}");
            }
        }
    }
}

#[test]
fn axes_that_continue_each_other_are_one_loop() {
    let copy = StridedCopy {
        shape: vec![2, 1, 3, 5, 7],
        source_offset: 0,
        source_strides: vec![105, 9, 35, 7, 1],
        target_offset: 0,
        target_strides: vec![105, 4, 7, 21, 1],
    };
    let nest = copy.prepare(210, 210).unwrap();
    let steps: Vec<_> = nest.loops.iter().map(|axis| (axis.count, axis.source, axis.target)).collect();
    assert_eq!(steps, [(2, 105, 105), (5, 7, 21), (3, 35, 7), (7, 1, 1)]);
    let plain = StridedCopy { target_strides: vec![105, 4, 35, 7, 1], ..copy };
    let nest = plain.prepare(210, 210).unwrap();
    assert_eq!(nest.loops.len(), 1);
}

#[test]
fn invalid_copies_are_errors() {
    let good = StridedCopy {
        shape: vec![2, 3],
        source_offset: 1,
        source_strides: vec![3, 1],
        target_offset: 2,
        target_strides: vec![1, 2],
    };
    assert_eq!(good.check(7, 8), Ok(()));
    let shape = vec![2, 3];
    assert_eq!(good.check(6, 8), Err(CopyError::SourceBounds { shape: shape.clone(), last: 6, length: 6 }));
    assert_eq!(good.check(7, 7), Err(CopyError::TargetBounds { shape: shape.clone(), last: 7, length: 7 }));
    let overlap = StridedCopy { target_strides: vec![2, 1], ..good.clone() };
    assert_eq!(overlap.check(7, 8), Err(CopyError::Overlap { shape: shape.clone(), strides: vec![2, 1] }));
    let rank = StridedCopy { source_strides: vec![1], ..good.clone() };
    assert_eq!(rank.check(7, 8), Err(CopyError::Rank { axes: 2, source_strides: 1, target_strides: 2 }));
    let far = StridedCopy { source_strides: vec![usize::MAX, 2], ..good.clone() };
    assert_eq!(far.check(7, 8), Err(CopyError::Overflow { shape }));
    let huge = StridedCopy { shape: vec![usize::MAX, 3], ..good.clone() };
    assert!(matches!(huge.check(7, 8), Err(CopyError::Overflow { .. })));
    let nothing = StridedCopy { shape: vec![usize::MAX, 0], source_offset: usize::MAX, ..good };
    assert_eq!(nothing.check(0, 0), Ok(()));
}

#[test]
fn buffers_of_partial_elements_are_errors() {
    let one = StridedCopy {
        shape: vec![],
        source_offset: 0,
        source_strides: vec![],
        target_offset: 0,
        target_strides: vec![],
    };
    let error = copy(&one, &Convert::bits(DType::F32), &[0; 7], &mut [0; 4]).unwrap_err();
    assert_eq!(error.to_string(), "7 bytes are no whole number of f32 elements of 4 bytes");
}

#[test]
fn interleaved_but_distinct_targets_are_accepted() {
    // Offsets 0 2 4 and 3 5 7: no order of the axes is the order of the target.
    let copy_ = StridedCopy {
        shape: vec![2, 3],
        source_offset: 0,
        source_strides: vec![3, 1],
        target_offset: 0,
        target_strides: vec![3, 2],
    };
    let mut target = [0; 8];
    copy(&copy_, &Convert::bits(DType::U8), &[1, 2, 3, 4, 5, 6], &mut target).unwrap();
    assert_eq!(target, [1, 0, 2, 4, 3, 5, 0, 6]);
    let seen: BTreeMap<usize, usize> =
        pairs(&copy_).into_iter().map(|(source, target)| (target, source)).collect();
    assert_eq!(seen.len(), 6);
}
