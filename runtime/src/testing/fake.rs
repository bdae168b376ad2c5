//! Checkpoints whose elements are all different numbers: which tensor, and which of its elements.

use transship_grammar as grammar;

use grammar::{Code, Diagnostic, Diagnostics, Mapping, SideId};

use super::places::parameters;
use crate::bind::{Binding, Setting};
use crate::engine::{Convert, StridedCopy, copy};
use crate::{Array, Checkpoint, DType};

/// The code of the first element. Smaller numbers are left to what a mapping makes: masks, positions.
const FIRST: u64 = 1000;

/// Whole numbers below this are exact in f32.
const EXACT_IN_F32: u64 = 1 << 24;

/// The most bytes that a checkpoint for tests may have.
const LARGEST: u64 = 1 << 30;

/// A checkpoint of one side of a mapping in memory, sizes by `settings`.
///
/// Elements are numbered from 1000 through all tensors in their order. They are f32, or f64 where f32 has not enough
/// whole numbers. A parameter whose layout the mapping does not say is 2 by 3;
/// a star of a name is `x`.
///
/// # Errors
/// Where the config contradicts the mapping, leaves a size open, or makes more than a GiB.
pub fn fake(mapping: &Mapping, settings: &[Setting], side: SideId) -> Result<Checkpoint, Diagnostics> {
    let binding = Binding::of_config(mapping, settings, side)?;
    let parameters = parameters(&binding)?;
    let wrong = |message: String| {
        let mut diagnostics = Diagnostics::new(&mapping.source);
        diagnostics.push(Diagnostic::without_place(Code::WrongCheckpoint, message));
        diagnostics
    };
    let mut total = 0u64;
    for parameter in &parameters {
        let elements = parameter.shape.iter().try_fold(1u64, |n, size| n.checked_mul(*size));
        total = elements
            .and_then(|n| total.checked_add(n))
            .filter(|n| n.saturating_mul(8) <= LARGEST)
            .ok_or_else(|| {
                wrong(format!(
                    "`{}` makes the checkpoint too large for a test; give smaller sizes",
                    parameter.name
                ))
            })?;
    }
    let dtype = if total < EXACT_IN_F32 - FIRST { DType::F32 } else { DType::F64 };
    let mut next = FIRST;
    let mut arrays = Vec::with_capacity(parameters.len());
    for parameter in parameters {
        let elements: u64 = parameter.shape.iter().product();
        let bytes = numbers(dtype, next..next + elements);
        next += elements;
        let array = Array::new(dtype, &parameter.shape, bytes).map_err(|error| wrong(error.to_string()))?;
        arrays.push((parameter.name, array));
    }
    let name = format!("fake {}", mapping.side(side).name);
    Checkpoint::in_memory(&name, arrays).map_err(|error| wrong(error.to_string()))
}

fn numbers(dtype: DType, range: std::ops::Range<u64>) -> Vec<u8> {
    match dtype {
        DType::F32 => range.flat_map(|n| (n as f32).to_le_bytes()).collect(),
        _ => range.flat_map(|n| (n as f64).to_le_bytes()).collect(),
    }
}

/// What the numbers of a [`fake`] checkpoint stand for.
#[derive(Clone, Debug)]
pub struct Codes {
    /// First number, name and shape of each tensor that has elements.
    tensors: Vec<(u64, String, Vec<u64>)>,
    end: u64,
}

impl Codes {
    /// The codes of a checkpoint that [`fake`] made.
    #[must_use]
    pub fn of(checkpoint: &Checkpoint) -> Codes {
        let mut end = FIRST;
        let mut tensors = Vec::new();
        for tensor in checkpoint.tensors().iter().filter(|t| t.elements() > 0) {
            tensors.push((end, tensor.name.clone(), tensor.shape.clone()));
            end = end.saturating_add(tensor.elements());
        }
        Codes { tensors, end }
    }

    /// Whether elements of a type hold codes without rounding them.
    pub(super) fn fit(dtype: DType) -> bool {
        matches!(dtype, DType::F32 | DType::F64 | DType::I32 | DType::I64)
    }

    /// The code that an element holds, if it is one.
    #[must_use]
    pub fn code(&self, element: f64) -> Option<u64> {
        // Larger numbers have no exact f64, and no checkpoint for tests has as many elements.
        let inside = element >= FIRST as f64 && element < self.end as f64 && element.fract() == 0.0;
        inside.then_some(element as u64)
    }

    /// The tensor and the coordinates, outermost first, of the element that `code` numbers.
    #[must_use]
    pub fn origin(&self, code: u64) -> Option<(&str, Vec<u64>)> {
        if code >= self.end {
            return None;
        }
        let at = self.tensors.partition_point(|(start, ..)| *start <= code).checked_sub(1)?;
        let (start, name, shape) = &self.tensors[at];
        Some((name, coordinates(code - start, shape)))
    }

    /// Where an element comes from, as a reader writes it: `layers.0.weight[1, 2]`, or the number that it is.
    #[must_use]
    pub fn show(&self, element: f64) -> String {
        match self.code(element).and_then(|code| self.origin(code)) {
            Some((name, at)) => format!("{name}{at:?}"),
            None => element.to_string(),
        }
    }
}

/// Coordinates of a row-major index.
pub(super) fn coordinates(mut index: u64, shape: &[u64]) -> Vec<u64> {
    let mut at = vec![0; shape.len()];
    for (place, size) in at.iter_mut().zip(shape).rev() {
        let size = (*size).max(1);
        *place = index % size;
        index /= size;
    }
    at
}

/// The elements of an array, row-major, as numbers. Whole numbers beyond 2⁵³ are rounded.
pub(super) fn elements(array: &Array) -> Vec<f64> {
    let Ok(bytes) = array.bytes() else { return Vec::new() };
    let chunks = |size: usize| bytes.chunks_exact(size);
    match array.dtype() {
        DType::F64 => chunks(8).map(|b| f64::from_le_bytes(fixed(b))).collect(),
        DType::F32 => chunks(4).map(|b| f64::from(f32::from_le_bytes(fixed(b)))).collect(),
        DType::I64 => chunks(8).map(|b| i64::from_le_bytes(fixed(b)) as f64).collect(),
        DType::I32 => chunks(4).map(|b| f64::from(i32::from_le_bytes(fixed(b)))).collect(),
        DType::I16 => chunks(2).map(|b| f64::from(i16::from_le_bytes(fixed(b)))).collect(),
        DType::I8 => chunks(1).map(|b| f64::from(i8::from_le_bytes(fixed(b)))).collect(),
        DType::U8 | DType::Bool => bytes.iter().map(|b| f64::from(*b)).collect(),
        small => widened(small, &bytes),
    }
}

fn widened(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    let count = bytes.len() / dtype.size();
    let whole = StridedCopy::run(count);
    let mut wide = vec![0; count * 8];
    match copy(&whole, &Convert::cast(dtype, DType::F64), bytes, &mut wide) {
        Ok(()) => wide.chunks_exact(8).map(|b| f64::from_le_bytes(fixed(b))).collect(),
        Err(_) => Vec::new(),
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("bug: a chunk of another size")
}
