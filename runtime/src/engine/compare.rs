//! Comparison of two boxes bit by bit, and of two tensors element by element.

use super::float::{decode_f32, decode_f64};
use super::nest::{Loop, Part, each_element};
use super::strided::elements_in;
use super::{CopyError, PreparedTensor, Scratch, StridedCopy};
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

/// How far two elements may be apart and count as equal: `|a - b| <= absolute + relative * |b|`. Where both are 0,
/// elements are equal that have the same bits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tolerance {
    /// In units of the elements.
    pub absolute: f64,
    /// As a part of the second element's magnitude.
    pub relative: f64,
}

/// What a comparison of two tensors of one shape and dtype found.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Differences {
    /// Elements that count as different.
    pub(crate) count: u64,
    /// The largest difference of any two elements; infinite where one alone is no number.
    pub(crate) largest: f64,
    /// The first element that is different, in row-major order.
    pub(crate) first: Option<usize>,
    /// What the two hold there, as text.
    pub(crate) values: Option<[String; 2]>,
}

impl Tolerance {
    /// Whether only the same bits are equal.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.absolute == 0.0 && self.relative == 0.0
    }

    fn admits(&self, one: f64, other: f64) -> bool {
        // Infinities of one sign are equal, and so are two that are no numbers.
        one == other
            || (one.is_nan() && other.is_nan())
            || (one - other).abs() <= self.absolute + self.relative * other.abs() && other.is_finite()
    }
}

/// Bytes of either tensor that are made at once.
const WINDOW: usize = 1 << 20;

/// Compares two tensors of one shape and dtype through small buffers; `progress` is called with the bytes compared.
///
/// # Errors
/// If the two do not have the same shape and dtype.
pub(crate) fn differences(
    dtype: DType,
    [one, other]: [&PreparedTensor<'_>; 2],
    tolerance: Tolerance,
    progress: &dyn Fn(u64),
) -> Result<Differences, CopyError> {
    let size = dtype.size();
    let mut found = Differences::default();
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let mut scratch = Scratch::default();
    let mut first = 0;
    while first * size < other.bytes() {
        let bytes = WINDOW.min(other.bytes() - first * size);
        left.resize(bytes, 0);
        right.resize(bytes, 0);
        one.write_range(first, &mut left, &mut scratch)?;
        let right = match other.stored(first, bytes) {
            Some(stored) => stored,
            None => {
                other.write_range(first, &mut right, &mut scratch)?;
                right.as_slice()
            }
        };
        if left != right {
            found.add(dtype, first, [&left, right], tolerance);
        }
        progress(bytes as u64);
        first += bytes / size;
    }
    Ok(found)
}

impl Differences {
    fn add(&mut self, dtype: DType, first: usize, [left, right]: [&[u8]; 2], tolerance: Tolerance) {
        let size = dtype.size();
        for (at, (a, b)) in left.chunks_exact(size).zip(right.chunks_exact(size)).enumerate() {
            if a == b {
                continue;
            }
            let apart = match numbers(dtype, a, b) {
                Some((x, y)) => {
                    let apart = (x - y).abs();
                    let apart = if apart.is_nan() { f64::INFINITY } else { apart };
                    self.largest = self.largest.max(if x.is_nan() && y.is_nan() { 0.0 } else { apart });
                    tolerance.is_exact() || !tolerance.admits(x, y)
                }
                None => true,
            };
            if !apart {
                continue;
            }
            self.count += 1;
            if self.first.is_none() {
                self.first = Some(first + at);
                self.values = Some([shown(dtype, a, b), shown(dtype, b, a)]);
            }
        }
    }
}

/// Two floats as numbers; integers have no tolerance.
fn numbers(dtype: DType, a: &[u8], b: &[u8]) -> Option<(f64, f64)> {
    if !dtype.is_float() {
        return None;
    }
    let mut values = [0.0; 2];
    decode_f64(dtype, &[a, b].concat(), &mut values);
    Some((values[0], values[1]))
}

/// An element as text, with its bits where those alone tell it from the other.
fn shown(dtype: DType, bytes: &[u8], other: &[u8]) -> String {
    let text = |bytes: &[u8]| {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let unsigned = u64::from_le_bytes(wide);
        let unused = 64 - 8 * bytes.len() as u32;
        match dtype {
            DType::F64 => format!("{:?}", f64::from_le_bytes(wide)),
            _ if dtype.is_float() => {
                let mut value = [0.0];
                decode_f32(dtype, bytes, &mut value);
                format!("{:?}", value[0])
            }
            DType::U8 | DType::Bool => unsigned.to_string(),
            _ => ((unsigned << unused) as i64 >> unused).to_string(),
        }
    };
    let own = text(bytes);
    if own != text(other) {
        return own;
    }
    let bits: String = bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect();
    format!("{own} (bits {bits})")
}
