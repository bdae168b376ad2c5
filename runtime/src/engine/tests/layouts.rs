//! Random copies, and the naive indexer they are compared with.

use proptest::prelude::*;

use crate::engine::StridedCopy;

/// One side of a copy: strides, the offset, and the elements a buffer needs.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) strides: Vec<usize>,
    pub(super) offset: usize,
    pub(super) length: usize,
}

/// Axes in a random order in memory, some with gaps after them.
pub(super) fn side(shape: Vec<usize>) -> impl Strategy<Value = Side> {
    let rank = shape.len();
    let order = Just((0..rank).collect::<Vec<_>>()).prop_shuffle();
    let gaps = prop::collection::vec(prop_oneof![4 => Just(0usize), 1 => 1..4usize], rank);
    (order, gaps, 0..4usize, 0..4usize).prop_map(move |(order, gaps, offset, after)| {
        let mut strides = vec![0; rank];
        let mut step = 1;
        for &axis in &order {
            step += gaps[axis];
            strides[axis] = step;
            step *= shape[axis].max(1);
        }
        let reach: usize =
            shape.iter().zip(&strides).map(|(size, stride)| size.saturating_sub(1) * stride).sum();
        Side { strides, offset, length: offset + reach + 1 + after }
    })
}

/// Sizes that are pairwise different, equal, one or zero: few axes long enough for tiles, or many short ones.
pub(super) fn shape() -> impl Strategy<Value = Vec<usize>> {
    let plane = 100usize;
    prop_oneof![
        prop::collection::vec(1..7usize, 0..6),
        prop::collection::vec(1..plane, 2),
        prop::collection::vec(1..plane, 2).prop_map(|sizes| vec![sizes[0], 3, sizes[1]]),
        prop::collection::vec(1..plane, 2).prop_map(|sizes| vec![2, sizes[0], sizes[1]]),
        (1..plane).prop_map(|side| vec![side, side]),
        prop::collection::vec(0..3usize, 1..4),
    ]
}

/// A valid copy with the lengths of its two sides; some source axes are broadcast.
pub(super) fn strided_copy() -> impl Strategy<Value = (StridedCopy, usize, usize)> {
    shape()
        .prop_flat_map(|shape| {
            let broadcast = prop::collection::vec(prop::bool::weighted(0.1), shape.len());
            (side(shape.clone()), side(shape.clone()), broadcast, Just(shape))
        })
        .prop_map(|(source, target, broadcast, shape)| {
            let mut source_strides = source.strides;
            for (stride, _) in source_strides.iter_mut().zip(broadcast).filter(|(_, broadcast)| *broadcast) {
                *stride = 0;
            }
            let copy = StridedCopy {
                shape,
                source_offset: source.offset,
                source_strides,
                target_offset: target.offset,
                target_strides: target.strides,
            };
            (copy, source.length, target.length)
        })
}

/// Every multi-index of a shape, last axis fastest.
pub(super) fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    shape.iter().fold(vec![vec![]], |outer, &size| {
        outer
            .iter()
            .flat_map(|index| (0..size).map(move |last| [index.as_slice(), &[last]].concat()))
            .collect()
    })
}

/// Source and target element of every multi-index, in order.
pub(super) fn pairs(copy: &StridedCopy) -> Vec<(usize, usize)> {
    let at =
        |index: &[usize], strides: &[usize]| index.iter().zip(strides).map(|(i, s)| i * s).sum::<usize>();
    indices(&copy.shape)
        .iter()
        .map(|index| {
            let source = copy.source_offset + at(index, &copy.source_strides);
            (source, copy.target_offset + at(index, &copy.target_strides))
        })
        .collect()
}

/// Bytes in which neighbours differ, and elements of any size too.
pub(super) fn distinct_bytes(length: usize) -> Vec<u8> {
    (0..length as u32).map(|i| (i.wrapping_mul(0x9E37_79B1) >> 13) as u8).collect()
}
