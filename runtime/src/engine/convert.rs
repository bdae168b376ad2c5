//! Casts and affines, fused into the copy.

use super::float::{BLOCK, decode_f32, decode_f64, encode_f32, encode_f64};
use super::kernel::copy_part;
use super::nest::{Loop, Part, elements, split};
use super::strided::elements_in;
use super::{CopyError, Scratch, StridedCopy};
use crate::DType;

/// `scale * x + offset`, computed in f32, or in f64 where either side is f64 or a constant is no f32: a third as an
/// f32 is off by enough to show in every other product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// The factor.
    pub scale: f64,
    /// What is added to the product.
    pub offset: f64,
}

/// What happens to each element on its way.
///
/// One type without an affine is a copy of bits: NaN payloads, negative zeros and subnormals stay. Otherwise both
/// types are floats, or the one written holds every value of the one read; the value is read exactly, the affine
/// applied, and the result rounded once to the target type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Convert {
    /// The type read.
    pub from: DType,
    /// The type written.
    pub to: DType,
    /// Arithmetic in between.
    pub affine: Option<Affine>,
}

impl Convert {
    /// The copy of bits of one type.
    #[must_use]
    pub const fn bits(dtype: DType) -> Convert {
        Convert { from: dtype, to: dtype, affine: None }
    }

    /// The cast from one type to another.
    #[must_use]
    pub const fn cast(from: DType, to: DType) -> Convert {
        Convert { from, to, affine: None }
    }

    /// Whether bits are copied as they are.
    #[must_use]
    pub fn is_bits(&self) -> bool {
        self.from == self.to && self.affine.is_none()
    }

    /// Whether arithmetic, or reading an integer, needs f64.
    fn is_wide(&self) -> bool {
        let exact = |x: f64| f64::from(x as f32) == x;
        let constants = self.affine.is_none_or(|affine| exact(affine.scale) && exact(affine.offset));
        let floats = self.from.is_float() && self.to.is_float();
        !floats || self.from == DType::F64 || self.to == DType::F64 || !constants
    }

    /// Checks that the conversion is defined.
    ///
    /// # Errors
    /// If the types are not both floats and the one written does not hold every value of the one read, or if
    /// arithmetic is asked for on a type that is no float.
    pub fn check(&self) -> Result<(), CopyError> {
        let floats = self.from.is_float() && self.to.is_float();
        if !floats && !self.to.holds(self.from) {
            return Err(CopyError::Cast { from: self.from, to: self.to });
        }
        if self.affine.is_some() && !self.from.is_float() {
            return Err(CopyError::Arithmetic { dtype: self.from });
        }
        Ok(())
    }
}

/// Copies a whole box from one buffer into another.
///
/// `source` and `target` are little-endian elements of `convert.from` and `convert.to`, at any alignment.
///
/// # Errors
/// If the copy does not fit the buffers or the conversion is not defined. Then nothing is written.
pub fn copy(
    copy: &StridedCopy,
    convert: &Convert,
    source: &[u8],
    target: &mut [u8],
) -> Result<(), CopyError> {
    convert.check()?;
    let nest =
        copy.prepare(elements_in(source.len(), convert.from)?, elements_in(target.len(), convert.to)?)?;
    if nest.elements() != 0 {
        let part = Part { source: nest.source, target: nest.target, loops: &nest.loops };
        convert_part(part, convert, source, target, &mut Scratch::default());
    }
    Ok(())
}

/// Counts the elements of a box that a conversion and the one back do not bring back to the number they were.
///
/// # Errors
/// If the copy does not fit the source or a conversion is not defined.
pub(crate) fn count_changed(
    copy: &StridedCopy,
    [there, back]: [&Convert; 2],
    source: &[u8],
) -> Result<u64, CopyError> {
    there.check()?;
    back.check()?;
    // Only the source is read, in whatever order.
    let reads = StridedCopy { target_strides: vec![0; copy.shape.len()], target_offset: 0, ..copy.clone() };
    let nest = reads.prepare_overlapping(elements_in(source.len(), there.from)?, 1)?;
    if nest.elements() == 0 {
        return Ok(0);
    }
    let size = there.from.size();
    let (mut read, mut written, mut restored) = (Vec::new(), Vec::new(), Vec::new());
    let mut changed = 0;
    let whole = Part { source: nest.source, target: 0, loops: &nest.loops };
    split(whole, PIECE, &mut |piece| {
        let count = elements(piece.loops);
        read.resize(count * size, 0);
        written.resize(count * there.to.size(), 0);
        restored.resize(count * size, 0);
        let (pack, _) = through_dense(piece);
        copy_part(Part { source: piece.source, target: 0, loops: &pack }, size, source, &mut read);
        convert_run(there, &read, &mut written);
        convert_run(back, &written, &mut restored);
        changed += differing(there.from, &read, &restored);
    });
    Ok(changed)
}

/// Elements that are not the same number; any two that are no numbers are the same.
fn differing(dtype: DType, one: &[u8], other: &[u8]) -> u64 {
    let bytes = BLOCK * dtype.size();
    let blocks = one.chunks(bytes).zip(other.chunks(bytes)).map(|(one, other)| {
        let (mut left, mut right) = ([0.0f64; BLOCK], [0.0f64; BLOCK]);
        let count = one.len() / dtype.size();
        let (left, right) = (&mut left[..count], &mut right[..count]);
        decode_f64(dtype, one, left);
        decode_f64(dtype, other, right);
        let pairs = left.iter().zip(right.iter());
        pairs.filter(|(x, y)| x != y && !(x.is_nan() && y.is_nan())).count() as u64
    });
    blocks.sum()
}

/// Elements converted through the scratch at once: small enough for the second-level cache on both sides.
const PIECE: usize = 8192;

/// Runs at least this long are converted from where they lie.
const DIRECT_RUN: usize = 64;

/// Copies a part of a checked nest through a checked conversion.
pub(super) fn convert_part(
    part: Part<'_>,
    convert: &Convert,
    source: &[u8],
    target: &mut [u8],
    scratch: &mut Scratch,
) {
    if convert.is_bits() {
        return copy_part(part, convert.to.size(), source, target);
    }
    let (from, to) = (convert.from.size(), convert.to.size());
    if let Some((&Loop { count, source: 1, target: 1 }, outer)) = part.loops.split_last()
        && count >= DIRECT_RUN
    {
        return super::nest::each_element(Part { loops: outer, ..part }, &mut |read, write| {
            let run = &source[read * from..(read + count) * from];
            convert_run(convert, run, &mut target[write * to..(write + count) * to]);
        });
    }
    split(part, PIECE, &mut |piece| {
        let count = elements(piece.loops);
        scratch.read.resize(PIECE * from, 0);
        scratch.written.resize(PIECE * to, 0);
        let packed = &mut scratch.read[..count * from];
        let (pack, unpack) = through_dense(piece);
        copy_part(Part { source: piece.source, target: 0, loops: &pack }, from, source, packed);
        let converted = &mut scratch.written[..count * to];
        convert_run(convert, packed, converted);
        copy_part(Part { source: 0, target: piece.target, loops: &unpack }, to, converted, target);
    });
}

/// The loops from the source into a dense buffer in loop order, and from there to the target.
pub(super) fn through_dense(part: Part<'_>) -> (Vec<Loop>, Vec<Loop>) {
    let (mut pack, mut unpack) = (part.loops.to_vec(), part.loops.to_vec());
    let mut step = 1;
    for axis in (0..part.loops.len()).rev() {
        pack[axis].target = step;
        unpack[axis].source = step;
        step *= part.loops[axis].count;
    }
    (pack, unpack)
}

/// Converts contiguous elements.
fn convert_run(convert: &Convert, source: &[u8], target: &mut [u8]) {
    let (from, to) = (convert.from, convert.to);
    let blocks = source.chunks(BLOCK * from.size()).zip(target.chunks_mut(BLOCK * to.size()));
    if convert.is_wide() {
        for (source, target) in blocks {
            let mut values = [0.0f64; BLOCK];
            let values = &mut values[..source.len() / from.size()];
            decode_f64(from, source, values);
            if let Some(Affine { scale, offset }) = convert.affine {
                apply(values, scale, offset, |x, y| x * y, |x, y| x + y);
            }
            encode_f64(to, values, target);
        }
    } else {
        for (source, target) in blocks {
            let mut values = [0.0f32; BLOCK];
            let values = &mut values[..source.len() / from.size()];
            decode_f32(from, source, values);
            if let Some(Affine { scale, offset }) = convert.affine {
                apply(values, scale as f32, offset as f32, |x, y| x * y, |x, y| x + y);
            }
            encode_f32(to, values, target);
        }
    }
}

/// A factor of 1 and a summand of 0 are left out, so that they keep negative zeros.
fn apply<T: Copy + Default + PartialEq + From<u8>>(
    values: &mut [T],
    scale: T,
    offset: T,
    multiply: impl Fn(T, T) -> T,
    add: impl Fn(T, T) -> T,
) {
    if scale != T::from(1) {
        values.iter_mut().for_each(|value| *value = multiply(*value, scale));
    }
    if offset != T::default() {
        values.iter_mut().for_each(|value| *value = add(*value, offset));
    }
}
