//! Comparison of two boxes, bit by bit.

use super::nest::{Loop, Part, each_element};
use super::strided::elements_in;
use super::{CopyError, StridedCopy};
use crate::DType;

/// Compares the source side of `copy` in `left` with its target side in `right`, both of `dtype`, bit by bit.
///
/// The result is the first multi-index of the copy's shape, last axis fastest, at which they differ. Strides of 0
/// are allowed on both sides.
///
/// # Errors
/// If the copy does not fit either side.
pub fn equal(
    copy: &StridedCopy,
    dtype: DType,
    left: &[u8],
    right: &[u8],
) -> Result<Option<Vec<usize>>, CopyError> {
    let size = dtype.size();
    let nest = copy.prepare_overlapping(elements_in(left.len(), dtype)?, elements_in(right.len(), dtype)?)?;
    let (run, outer) = match nest.loops.split_last() {
        Some((&Loop { count, source: 1, target: 1 }, outer)) => (count, outer),
        _ => (1, nest.loops.as_slice()),
    };
    let mut same = true;
    each_element(Part { source: nest.source, target: nest.target, loops: outer }, &mut |a, b| {
        same = same && left[a * size..(a + run) * size] == right[b * size..(b + run) * size];
    });
    Ok(if same { None } else { first_difference(copy, size, left, right) })
}

/// In the order of the shape, which a fused and sorted nest no longer has.
fn first_difference(copy: &StridedCopy, size: usize, left: &[u8], right: &[u8]) -> Option<Vec<usize>> {
    let mut index = vec![0; copy.shape.len()];
    loop {
        let at = |offset: usize, strides: &[usize]| {
            (offset + index.iter().zip(strides).map(|(i, stride)| i * stride).sum::<usize>()) * size
        };
        let a = at(copy.source_offset, &copy.source_strides);
        let b = at(copy.target_offset, &copy.target_strides);
        if left[a..a + size] != right[b..b + size] {
            return Some(index);
        }
        let axis = (0..index.len()).rev().find(|&axis| index[axis] + 1 < copy.shape[axis])?;
        index[axis] += 1;
        index[axis + 1..].fill(0);
    }
}
