//! Elements that are made rather than copied.

use std::sync::OnceLock;

use super::float::{BLOCK, decode_f64, encode_f64};
use super::kernel::copy_part;
use super::nest::{Loop, LoopNest, Part, each_element, elements, split};
use super::normal::standard_normal;
use super::strided::{elements_in, row_major};
use super::{Affine, Convert, CopyError, Scratch, StridedCopy};
use crate::DType;
use crate::engine::convert::through_dense;

/// A box of a target tensor. Strides and the offset count elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Elements along each axis.
    pub shape: Vec<usize>,
    /// The element at multi-index 0.
    pub offset: usize,
    /// Elements from one index of an axis to the next, per axis.
    pub strides: Vec<usize>,
}

impl Region {
    /// All of a row-major tensor.
    #[must_use]
    pub fn whole(shape: &[usize]) -> Region {
        Region { shape: shape.to_vec(), offset: 0, strides: row_major(shape) }
    }
}

/// What a region is filled with.
#[derive(Clone, Debug, PartialEq)]
pub enum Fill<'a> {
    /// One value, which the element type must hold: an integer for integers, 0 or 1 for `bool`; floats round.
    Constant(f64),
    /// Ones on and below the diagonal of the last two axes, zeros above it.
    Tril,
    /// The index along the last axis.
    Arange,
    /// The mean of rows.
    Mean(Mean<'a>),
    /// `std` times standard normal values, each a function of the seed and of its row-major index in the region.
    /// The sequence is SplitMix64 as a counter through the quantile function AS 241, in f64.
    Normal {
        /// Which sequence.
        seed: u64,
        /// The standard deviation.
        std: f64,
    },
}

/// The mean over rows of one or more sources, or their sum, added up in f64 in the order given and rounded once.
///
/// Over the rows of one source it gives padding its value; over sources of one row each, that of replicas which
/// have drifted apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Mean<'a> {
    /// What is added up.
    pub rows: Vec<Rows<'a>>,
    /// What the sum is divided by: the number of all rows for their mean, 1 for the sum itself.
    pub divisor: usize,
}

/// Rows of one source. At multi-index `i` of the region, row `r` has element `offset + r * step + i · strides`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows<'a> {
    /// The type of the elements, which f64 must hold.
    pub dtype: DType,
    /// Arithmetic on each element before it is added, in f64.
    pub affine: Option<Affine>,
    /// Little-endian elements.
    pub source: &'a [u8],
    /// The element of row 0 at multi-index 0.
    pub offset: usize,
    /// Number of rows.
    pub count: usize,
    /// Elements from one row to the next.
    pub step: usize,
    /// Elements from one index of an axis of the region to the next, per axis; 0 repeats.
    pub strides: Vec<usize>,
}

/// A checked fill. The source side of its nest is the row-major index in the region.
#[derive(Debug)]
pub(super) struct PreparedFill<'a> {
    dtype: DType,
    shape: Vec<usize>,
    kind: Kind<'a>,
}

#[derive(Debug)]
enum Kind<'a> {
    /// The encoded element.
    Constant([u8; 8]),
    Tril,
    Arange,
    Mean(PreparedMean<'a>),
    Normal {
        seed: u64,
        std: f64,
    },
}

#[derive(Debug)]
struct PreparedMean<'a> {
    mean: Mean<'a>,
    /// Row-major strides of the region without its last axis.
    outer: Vec<usize>,
    /// The means along the last axis where all other axes repeat them: found once, used for each row of padding.
    repeated: Option<OnceLock<Vec<f64>>>,
}

/// Longest row of means that is kept, in elements.
const KEPT_ROW: usize = 1 << 17;

/// Elements made at once through the scratch.
const PIECE: usize = 8192;

impl<'a> PreparedFill<'a> {
    /// Checks a fill of a region of a tensor with so many elements.
    pub(super) fn new(
        region: &Region,
        fill: &Fill<'a>,
        dtype: DType,
        target_length: usize,
    ) -> Result<(LoopNest, PreparedFill<'a>), CopyError> {
        let mut copy = StridedCopy {
            source_strides: vec![0; region.shape.len()],
            shape: region.shape.clone(),
            source_offset: 0,
            target_offset: region.offset,
            target_strides: region.strides.clone(),
        };
        let count = copy.elements()?;
        if count != 0 {
            copy.source_strides = row_major(&region.shape);
        }
        let nest = copy.prepare(count, target_length)?;
        let last = region.shape.last().copied().unwrap_or(1);
        let kind = match fill {
            Fill::Constant(value) => Kind::Constant(encode_one(*value, dtype)?),
            Fill::Tril if region.shape.len() < 2 => {
                return Err(CopyError::Triangle { shape: region.shape.clone() });
            }
            Fill::Tril => Kind::Tril,
            Fill::Arange => {
                encode_one(last.saturating_sub(1) as f64, dtype)?;
                Kind::Arange
            }
            Fill::Mean(mean) => Kind::Mean(PreparedMean::new(mean, dtype, &region.shape, count)?),
            Fill::Normal { seed, std } => {
                float(dtype)?;
                Kind::Normal { seed: *seed, std: *std }
            }
        };
        Ok((nest, PreparedFill { dtype, shape: region.shape.clone(), kind }))
    }

    /// Makes the elements of a part of the nest.
    pub(super) fn fill_part(&self, part: Part<'_>, target: &mut [u8], scratch: &mut Scratch) {
        let size = self.dtype.size();
        if let Kind::Constant(element) = &self.kind {
            let loops: Vec<Loop> = part.loops.iter().map(|axis| Loop { source: 0, ..*axis }).collect();
            return copy_part(Part { source: 0, loops: &loops, ..part }, size, &element[..size], target);
        }
        split(part, PIECE, &mut |piece| {
            let count = elements(piece.loops);
            let mut values = std::mem::take(&mut scratch.values);
            values.clear();
            values.resize(count, 0.0);
            self.values_of(piece, &mut values);
            scratch.written.resize((PIECE * size).max(scratch.written.len()), 0);
            let dense = &mut scratch.written[..count * size];
            encode_f64(self.dtype, &values, dense);
            let (_, unpack) = through_dense(piece);
            copy_part(Part { source: 0, target: piece.target, loops: &unpack }, size, dense, target);
            scratch.values = values;
        });
    }

    /// Values of a part in loop order, runs of consecutive indices at once.
    fn values_of(&self, part: Part<'_>, values: &mut [f64]) {
        let (run, outer) = match part.loops.split_last() {
            Some((&Loop { count, source: 1, .. }, outer)) => (count, outer),
            _ => (1, part.loops),
        };
        let mut runs = values.chunks_exact_mut(run);
        each_element(Part { loops: outer, ..part }, &mut |index, _| {
            let run = runs.next().expect("bug: more runs than the part has elements");
            self.values_from(index, run);
        });
    }

    /// Values at consecutive row-major indices.
    fn values_from(&self, first: usize, values: &mut [f64]) {
        let last = self.shape.last().copied().unwrap_or(1);
        let indices = first..first + values.len();
        let set = |values: &mut [f64], value: &dyn Fn(usize) -> f64| {
            values.iter_mut().zip(indices).for_each(|(slot, index)| *slot = value(index));
        };
        match &self.kind {
            Kind::Constant(_) => unreachable!("bug: constants are copied, not made one by one"),
            Kind::Tril => {
                let rows = self.shape[self.shape.len() - 2];
                set(values, &|index| if index % last <= index / last % rows { 1.0 } else { 0.0 });
            }
            Kind::Arange => set(values, &|index| (index % last) as f64),
            Kind::Normal { seed, std } => set(values, &|index| std * standard_normal(*seed, index as u64)),
            Kind::Mean(mean) => mean.values_from(first, last, values),
        }
    }
}

impl<'a> PreparedMean<'a> {
    fn new(
        mean: &Mean<'a>,
        dtype: DType,
        shape: &[usize],
        count: usize,
    ) -> Result<PreparedMean<'a>, CopyError> {
        float(dtype)?;
        let mut total = 0usize;
        for rows in &mean.rows {
            Convert::cast(rows.dtype, DType::F64).check()?;
            let mut over_rows = shape.to_vec();
            over_rows.push(rows.count);
            let mut strides = rows.strides.clone();
            strides.push(rows.step);
            let axes = over_rows.len();
            let reads = StridedCopy {
                target_strides: vec![0; axes],
                shape: over_rows,
                source_offset: rows.offset,
                source_strides: strides,
                target_offset: 0,
            };
            reads.prepare_overlapping(elements_in(rows.source.len(), rows.dtype)?, 1)?;
            total = total.checked_add(rows.count).ok_or(CopyError::Overflow { shape: shape.to_vec() })?;
        }
        if total == 0 || mean.divisor == 0 {
            return Err(CopyError::EmptyMean);
        }
        let outer_axes = shape.len().saturating_sub(1);
        let outer = if count == 0 { vec![0; outer_axes] } else { row_major(&shape[..outer_axes]) };
        let repeats =
            mean.rows.iter().all(|rows| rows.strides[..outer_axes].iter().all(|&stride| stride == 0));
        let keep = repeats && shape.last().is_none_or(|&last| last <= KEPT_ROW);
        Ok(PreparedMean { mean: mean.clone(), outer, repeated: keep.then(OnceLock::new) })
    }

    fn values_from(&self, first: usize, last: usize, values: &mut [f64]) {
        let mut first = first;
        let mut rest = values;
        while !rest.is_empty() {
            let column = first % last;
            let (run, after) = rest.split_at_mut(rest.len().min(last - column));
            if let Some(kept) = &self.repeated {
                let row = kept.get_or_init(|| {
                    let mut row = vec![0.0; last];
                    self.sum_row(0, 0, &mut row);
                    row
                });
                run.copy_from_slice(&row[column..column + run.len()]);
            } else {
                self.sum_row(first / last, column, run);
            }
            first += run.len();
            rest = after;
        }
    }

    /// The means at consecutive indices along the last axis; `outer` is the row-major index of the other axes.
    fn sum_row(&self, outer: usize, column: usize, sums: &mut [f64]) {
        // Added to a negative zero everything stays what it is, itself too.
        sums.fill(-0.0);
        for rows in &self.mean.rows {
            let (dtype, size) = (rows.dtype, rows.dtype.size());
            let (along, steps) = match rows.strides.split_last() {
                Some((along, steps)) => (*along, steps),
                None => (0, [].as_slice()),
            };
            let mut start = rows.offset + column * along;
            let mut index = outer;
            for (stride, step) in self.outer.iter().zip(steps) {
                start += index / stride * step;
                index %= stride;
            }
            for row in 0..rows.count {
                let start = start + row * rows.step;
                if along == 1 {
                    let mut at = start;
                    for sums in sums.chunks_mut(BLOCK) {
                        let mut values = [0.0; BLOCK];
                        let values = &mut values[..sums.len()];
                        decode_f64(dtype, &rows.source[at * size..(at + sums.len()) * size], values);
                        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += rows.term(*value));
                        at += sums.len();
                    }
                } else {
                    for (index, sum) in sums.iter_mut().enumerate() {
                        let at = (start + index * along) * size;
                        let mut value = [0.0];
                        decode_f64(dtype, &rows.source[at..at + size], &mut value);
                        *sum += rows.term(value[0]);
                    }
                }
            }
        }
        sums.iter_mut().for_each(|sum| *sum /= self.mean.divisor as f64);
    }
}

impl Rows<'_> {
    /// What an element adds to the sum.
    fn term(&self, value: f64) -> f64 {
        let Some(Affine { scale, offset }) = self.affine else { return value };
        // As in a conversion, what changes nothing is left out, so that negative zeros stay.
        let scaled = if scale == 1.0 { value } else { value * scale };
        if offset == 0.0 { scaled } else { scaled + offset }
    }
}

fn float(dtype: DType) -> Result<(), CopyError> {
    if dtype.is_float() { Ok(()) } else { Err(CopyError::Arithmetic { dtype }) }
}

/// One element, little-endian in the first bytes.
fn encode_one(value: f64, dtype: DType) -> Result<[u8; 8], CopyError> {
    let mut bytes = [0; 8];
    if dtype.is_float() {
        encode_f64(dtype, &[value], &mut bytes[..dtype.size()]);
        return Ok(bytes);
    }
    let (smallest, beyond) = match dtype {
        DType::Bool => (0.0, 2.0),
        DType::U8 => (0.0, 256.0),
        signed => {
            let beyond = 2f64.powi(8 * signed.size() as i32 - 1);
            (-beyond, beyond)
        }
    };
    if value.fract() != 0.0 || !(smallest..beyond).contains(&value) {
        return Err(CopyError::Value { dtype, value });
    }
    Ok((value as i64).to_le_bytes())
}
