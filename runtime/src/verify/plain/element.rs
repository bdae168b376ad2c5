//! One element read, and two compared, in plain arithmetic.
//!
//! What a cast or a step gives is not computed bit by bit: an element is right that is as near to the exact value as its
//! dtype allows. Between right and wrong is what rounding alone can tell apart.

use half::{bf16, f16};

use crate::engine::Tolerance;
use crate::{Checkpoint, DType};

use super::parameters::Place;

/// What a side holds at some coordinates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    dtype: DType,
    /// Its bits, where it is stored so and not made of several.
    bits: Option<u64>,
    value: f64,
}

/// Whether two elements are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Same,
    Differs,
    /// They are so near that it depends on the rounding.
    Unsure,
}

impl Element {
    pub(super) fn read(checkpoint: &Checkpoint, place: Place) -> Option<Element> {
        let tensor = &checkpoint.tensors()[place.tensor];
        let size = tensor.dtype.size();
        let at = usize::try_from(place.element).ok()?.checked_mul(size)?;
        let bytes = checkpoint.bytes(tensor).get(at..)?.get(..size)?;
        let mut wide = [0; 8];
        wide[..size].copy_from_slice(bytes);
        let bits = u64::from_le_bytes(wide);
        Some(Element { dtype: tensor.dtype, bits: Some(bits), value: value(tensor.dtype, bits) })
    }

    /// Sum or mean of elements.
    pub(super) fn joined(all: &[Element], mean: bool) -> Option<Element> {
        let first = all.first()?;
        let sum: f64 = all.iter().map(|element| element.value).sum();
        let value = if mean { sum / all.len() as f64 } else { sum };
        Some(Element { dtype: first.dtype, bits: None, value })
    }

    pub(super) fn same_bits(&self, other: &Element) -> bool {
        (self.dtype, self.bits, self.value.to_bits()) == (other.dtype, other.bits, other.value.to_bits())
    }

    /// Whether `other` is what this element becomes: times `scale`, plus `offset`, in the other's dtype.
    pub(super) fn becomes(
        &self,
        other: &Element,
        (scale, offset): (f64, f64),
        tolerance: Tolerance,
    ) -> Verdict {
        let as_it_is = (scale, offset) == (1.0, 0.0);
        if let (Some(own), Some(bits)) = (self.bits, other.bits)
            && self.dtype == other.dtype
            && as_it_is
        {
            let same = own == bits;
            if same || tolerance.is_exact() || !self.dtype.is_float() {
                return if same { Verdict::Same } else { Verdict::Differs };
            }
        }
        let exact = self.value * scale + offset;
        let stored = other.value;
        if exact.is_nan() || stored.is_nan() || !exact.is_finite() || !stored.is_finite() {
            let same = (exact.is_nan() && stored.is_nan()) || exact == stored;
            return if same { Verdict::Same } else { Verdict::Unsure };
        }
        if exact == 0.0 && stored == 0.0 {
            let same = exact.is_sign_negative() == stored.is_sign_negative();
            return if same { Verdict::Same } else { Verdict::Unsure };
        }
        let half = spacing(stored, other.dtype) / 2.0;
        let plain = as_it_is && self.bits.is_some() && other.bits.is_some();
        // Steps and sums are rounded on their way, each time in the larger of what goes in.
        let slack = if plain {
            half * 1e-6
        } else {
            let largest = (self.value * scale).abs().max(offset.abs()).max(stored.abs());
            4.0 * half + largest * 1e-6
        };
        let apart = (exact - stored).abs();
        let allowed = tolerance.absolute + tolerance.relative * stored.abs();
        if apart <= (half - slack).max(0.0) || apart + half + slack <= allowed || (plain && apart == 0.0) {
            Verdict::Same
        } else if apart > allowed + half + slack {
            Verdict::Differs
        } else {
            Verdict::Unsure
        }
    }

    pub(super) fn show(&self) -> String {
        match (self.dtype.is_float(), self.bits) {
            (false, Some(bits)) => signed(self.dtype, bits).to_string(),
            _ => format!("{:?}", self.value),
        }
    }
}

fn signed(dtype: DType, bits: u64) -> i64 {
    match dtype {
        DType::U8 | DType::Bool => i64::from(bits as u8),
        DType::I8 => i64::from(bits as u8 as i8),
        DType::I16 => i64::from(bits as u16 as i16),
        DType::I32 => i64::from(bits as u32 as i32),
        _ => bits as i64,
    }
}

fn value(dtype: DType, bits: u64) -> f64 {
    match dtype {
        DType::F64 => f64::from_bits(bits),
        DType::F32 => f64::from(f32::from_bits(bits as u32)),
        DType::F16 => f16::from_bits(bits as u16).to_f64(),
        DType::BF16 => bf16::from_bits(bits as u16).to_f64(),
        // The upper half of a 16-bit float.
        DType::F8E5M2 => f16::from_bits((bits as u16) << 8).to_f64(),
        DType::F8E4M3 => e4m3(bits as u8),
        _ => signed(dtype, bits) as f64,
    }
}

/// An 8-bit float with four bits of exponent: no infinities, and all ones are no number.
fn e4m3(bits: u8) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 3 & 15), f64::from(bits & 7));
    let magnitude = match (exponent, bits & 7) {
        (15, 7) => f64::NAN,
        (0, _) => fraction * 2f64.powi(-9),
        _ => (8.0 + fraction) * 2f64.powi(exponent - 10),
    };
    if bits & 0x80 == 0 { magnitude } else { -magnitude }
}

/// How far the neighbours of a value are from it.
fn spacing(value: f64, dtype: DType) -> f64 {
    let (fraction, least) = match dtype {
        DType::F64 => (52, -1022),
        DType::F32 => (23, -126),
        DType::F16 => (10, -14),
        DType::BF16 => (7, -126),
        DType::F8E4M3 => (3, -6),
        DType::F8E5M2 => (2, -14),
        _ => return 0.0,
    };
    let exponent = if value == 0.0 { least } else { (value.abs().log2().floor() as i32).max(least) };
    2f64.powi(exponent - fraction)
}

#[cfg(test)]
mod tests {
    use super::{Element, Verdict, value};
    use crate::DType;
    use crate::engine::Tolerance;

    fn of(dtype: DType, bits: u64) -> Element {
        Element { dtype, bits: Some(bits), value: value(dtype, bits) }
    }

    #[test]
    fn a_cast_is_right_where_nothing_is_nearer() {
        let exact = Tolerance::default();
        let x = of(DType::F32, u64::from(1.2345f32.to_bits()));
        let near = half::bf16::from_f32(1.2345).to_bits();
        let step = |bits: u16| x.becomes(&of(DType::BF16, u64::from(bits)), (1.0, 0.0), exact);
        assert_eq!(step(near), Verdict::Same);
        assert_eq!((step(near + 1), step(near - 1)), (Verdict::Differs, Verdict::Differs));
    }

    #[test]
    fn eight_bits_are_read_as_the_formats_say() {
        let all = [(0x00, 0.0), (0x01, 2f64.powi(-9)), (0x38, 1.0), (0x7e, 448.0), (0xb8, -1.0)];
        for (bits, expected) in all {
            assert_eq!(value(DType::F8E4M3, bits), expected, "{bits:#x}");
        }
        assert!(value(DType::F8E4M3, 0x7f).is_nan());
        assert_eq!(value(DType::F8E5M2, 0x3c), 1.0);
    }

    #[test]
    fn steps_are_the_same_up_to_their_rounding() {
        let [one, other] = [0.1f32, 1.1].map(|x| of(DType::F32, u64::from(x.to_bits())));
        assert_ne!(one.becomes(&other, (1.0, 1.0), Tolerance::default()), Verdict::Differs);
        assert_eq!(one.becomes(&other, (1.0, 1.1), Tolerance::default()), Verdict::Differs);
    }
}
