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

#[cfg(test)]
mod tests {
    use super::{Differences, Tolerance, differences};
    use crate::DType;
    use crate::engine::{Content, Convert, PreparedTensor, StridedCopy, TargetTensor};

    const EXACT: Tolerance = Tolerance { absolute: 0.0, relative: 0.0 };

    fn compared(dtype: DType, left: &[u8], right: &[u8], tolerance: Tolerance) -> Differences {
        let tensor = |source| TargetTensor {
            name: String::new(),
            dtype,
            shape: vec![(left.len() / dtype.size()) as u64],
            contents: vec![Content::Copy {
                copy: StridedCopy::run(left.len() / dtype.size()),
                source,
                convert: Convert::bits(dtype),
            }],
        };
        let prepared = |source| PreparedTensor::new(&tensor(source)).expect("it is whole");
        differences(dtype, [&prepared(left), &prepared(right)], tolerance, &|_| ()).expect("of one shape")
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn the_first_difference_is_found_behind_many_windows() {
        let left = vec![7u8; 3 << 20];
        let mut right = left.clone();
        right[(2 << 20) + 12] = 9;
        right[(2 << 20) + 44] = 1;
        let found = compared(DType::I32, &left, &right, Tolerance { absolute: 1e9, relative: 1.0 });
        assert_eq!((found.count, found.first), (2, Some((2 << 18) + 3)), "integers have no tolerance");
        assert_eq!(found.values, Some(["117901063".to_owned(), "117901065".to_owned()]));
        assert_eq!(compared(DType::I32, &left, &left, EXACT), Differences::default());
    }

    #[test]
    fn tolerances_are_of_values_and_exactness_is_of_bits() {
        let [left, right] = [floats(&[0.0, 1.0, 100.0, -2.0]), floats(&[-0.0, 1.5, 101.0, -2.0])];
        let within =
            |absolute, relative| compared(DType::F32, &left, &right, Tolerance { absolute, relative });
        let exact = within(0.0, 0.0);
        assert_eq!((exact.count, exact.first, exact.largest), (3, Some(0), 1.0));
        assert_eq!(exact.values, Some(["0.0".to_owned(), "-0.0".to_owned()]));
        assert_eq!((within(0.4, 0.0).count, within(0.4, 0.0).first), (2, Some(1)));
        assert_eq!((within(0.0, 0.01).count, within(0.0, 0.01).first), (1, Some(1)));
        assert_eq!((within(0.5, 0.01).count, within(1.0, 0.0).count), (0, 0));
    }

    #[test]
    fn what_is_no_number_equals_its_like_alone() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        let other_nan = f32::from_bits(nan.to_bits() | 1);
        let wide = Tolerance { absolute: 1.0, relative: 1.0 };
        let one = |a: f32, b: f32, tolerance| compared(DType::F32, &floats(&[a]), &floats(&[b]), tolerance);
        assert_eq!(one(nan, other_nan, wide).count, 0);
        let bits = one(nan, other_nan, EXACT);
        assert_eq!((bits.count, bits.largest), (1, 0.0));
        assert_eq!(bits.values, Some(["NaN (bits 7fc00000)".to_owned(), "NaN (bits 7fc00001)".to_owned()]));
        for (a, b) in [(nan, 1.0), (1.0, nan), (inf, 1.0), (1.0, inf), (inf, -inf)] {
            let found = one(a, b, wide);
            assert_eq!((found.count, found.largest), (1, f64::INFINITY), "{a} and {b}");
        }
        assert_eq!(one(inf, inf, EXACT).count, 0);
    }

    #[test]
    fn negative_integers_and_narrow_floats_are_shown_as_such() {
        let shown = |dtype, left: &[u8], right: &[u8]| compared(dtype, left, right, EXACT).values;
        assert_eq!(shown(DType::I8, &[0xff], &[2]), Some(["-1".to_owned(), "2".to_owned()]));
        assert_eq!(shown(DType::U8, &[0xff], &[2]), Some(["255".to_owned(), "2".to_owned()]));
        assert_eq!(shown(DType::BF16, &[0x80, 0x3f], &[0, 0x40]), Some(["1.0".to_owned(), "2.0".to_owned()]));
        let [one, two] = [1e300f64, -1e-300].map(f64::to_le_bytes);
        assert_eq!(shown(DType::F64, &one, &two), Some(["1e300".to_owned(), "-1e-300".to_owned()]));
    }
}
