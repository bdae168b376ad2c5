//! Correctly rounded conversions between the float formats, and integers as numbers.
//!
//! Narrowing rounds to nearest, ties to even, once. What is too large becomes infinite, or NaN in the one format
//! without infinities, as torch does. NaN stays NaN and keeps its sign; 16-bit formats keep the upper payload bits.

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::DType;

/// A binary float format of at most 16 bits.
struct Narrow {
    mantissa_bits: u32,
    bias: i32,
    /// The largest finite magnitude.
    largest: u32,
    /// What lies beyond it: infinity, or NaN where there is no infinity.
    beyond: u32,
    /// The magnitude of a NaN without payload.
    nan: u32,
    /// Whether the upper payload bits of a wider NaN are kept.
    payload: bool,
    sign: u32,
}

const F16: Narrow = Narrow {
    mantissa_bits: 10,
    bias: 15,
    largest: 0x7BFF,
    beyond: 0x7C00,
    nan: 0x7E00,
    payload: true,
    sign: 0x8000,
};
const BF16: Narrow = Narrow {
    mantissa_bits: 7,
    bias: 127,
    largest: 0x7F7F,
    beyond: 0x7F80,
    nan: 0x7FC0,
    payload: true,
    sign: 0x8000,
};
const F8E4M3: Narrow =
    Narrow { mantissa_bits: 3, bias: 7, largest: 0x7E, beyond: 0x7F, nan: 0x7F, payload: false, sign: 0x80 };
const F8E5M2: Narrow =
    Narrow { mantissa_bits: 2, bias: 15, largest: 0x7B, beyond: 0x7C, nan: 0x7F, payload: false, sign: 0x80 };

/// Rounds to the format; the result is its bit pattern.
fn narrow(value: f64, format: &Narrow) -> u32 {
    const MANTISSA: u32 = f64::MANTISSA_DIGITS - 1;
    let bits = value.to_bits();
    let sign = if value.is_sign_negative() { format.sign } else { 0 };
    let fraction = bits & ((1 << MANTISSA) - 1);
    if value.is_nan() {
        let payload = if format.payload { (fraction >> (MANTISSA - format.mantissa_bits)) as u32 } else { 0 };
        return sign | format.nan | payload;
    }
    let exponent = ((bits >> MANTISSA) & 0x7FF) as i32;
    if exponent == 0 {
        // Zeros, and subnormals far below half of any smallest value here.
        return sign;
    }
    let exponent = exponent - 1023 + format.bias;
    let significand = fraction | (1 << MANTISSA);
    let below_normal = (1 - exponent).max(0) as u32;
    let shift = MANTISSA - format.mantissa_bits + below_normal;
    if shift > MANTISSA + 1 {
        return sign;
    }
    let kept = significand >> shift;
    let rest = significand & ((1 << shift) - 1);
    let half = 1u64 << (shift - 1);
    let round_up = rest > half || (rest == half && kept & 1 == 1);
    // The implicit bit of a normal number adds the last one to the exponent, and so does a carry.
    let exponent_field = ((exponent.max(1) - 1) as u64) << format.mantissa_bits;
    let magnitude = exponent_field + kept + u64::from(round_up);
    if magnitude > u64::from(format.largest) { sign | format.beyond } else { sign | magnitude as u32 }
}

const F8E4M3_VALUES: [f32; 256] = eight_bit_values(3, 7, false);
const F8E5M2_VALUES: [f32; 256] = eight_bit_values(2, 15, true);

const fn eight_bit_values(mantissa_bits: u32, bias: u32, infinity: bool) -> [f32; 256] {
    let mut values = [0.0; 256];
    let mut code = 0;
    while code < 256 {
        let magnitude = code as u32 & 0x7F;
        let sign = (code as u32 & 0x80) << 24;
        let exponent = magnitude >> mantissa_bits;
        let mantissa = magnitude & ((1 << mantissa_bits) - 1);
        let top = 0x7F >> mantissa_bits;
        let special = if infinity { exponent == top } else { magnitude == 0x7F };
        let bits = if special {
            0x7F80_0000 | (mantissa << (23 - mantissa_bits))
        } else if exponent == 0 {
            // A multiple of the smallest subnormal, exact in binary32.
            let unit = f32::from_bits((127 + 1 - bias - mantissa_bits) << 23);
            (mantissa as f32 * unit).to_bits()
        } else {
            ((exponent + 127 - bias) << 23) | (mantissa << (23 - mantissa_bits))
        };
        values[code] = f32::from_bits(sign | bits);
        code += 1;
    }
    values
}

/// Elements handled at once through the stack.
pub(super) const BLOCK: usize = 512;

/// Reads up to `BLOCK` elements of any float type but `F64`, exactly.
pub(super) fn decode_f32(dtype: DType, source: &[u8], values: &mut [f32]) {
    match dtype {
        DType::F32 => each(source, values, f32::from_le_bytes),
        DType::F16 => {
            let mut halves = [f16::ZERO; BLOCK];
            let halves = &mut halves[..values.len()];
            each(source, halves, f16::from_le_bytes);
            halves.convert_to_f32_slice(values);
        }
        DType::BF16 => {
            each(source, values, |bytes| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16));
        }
        DType::F8E4M3 => each(source, values, |[code]| F8E4M3_VALUES[usize::from(code)]),
        DType::F8E5M2 => each(source, values, |[code]| F8E5M2_VALUES[usize::from(code)]),
        _ => unreachable!("bug: {dtype} is not decoded to f32"),
    }
}

/// Reads up to `BLOCK` elements of any type that f64 holds, exactly.
pub(super) fn decode_f64(dtype: DType, source: &[u8], values: &mut [f64]) {
    match dtype {
        DType::F64 => return each(source, values, f64::from_le_bytes),
        DType::I32 => return each(source, values, |bytes| f64::from(i32::from_le_bytes(bytes))),
        DType::I16 => return each(source, values, |bytes| f64::from(i16::from_le_bytes(bytes))),
        DType::I8 => return each(source, values, |bytes| f64::from(i8::from_le_bytes(bytes))),
        DType::U8 => return each(source, values, |[byte]| f64::from(byte)),
        DType::Bool => return each(source, values, |[byte]| if byte == 0 { 0.0 } else { 1.0 }),
        _ => {}
    }
    let mut singles = [0.0f32; BLOCK];
    let singles = &mut singles[..values.len()];
    decode_f32(dtype, source, singles);
    for (value, single) in values.iter_mut().zip(singles) {
        *value = f64::from(*single);
    }
}

/// Writes up to `BLOCK` values as any float type but `F64`, each rounded once.
pub(super) fn encode_f32(dtype: DType, values: &[f32], target: &mut [u8]) {
    match dtype {
        DType::F32 => put(values, target, f32::to_le_bytes),
        DType::F16 => {
            let mut halves = [f16::ZERO; BLOCK];
            let halves = &mut halves[..values.len()];
            halves.convert_from_f32_slice(values);
            put(halves, target, f16::to_le_bytes);
        }
        DType::BF16 => put(values, target, |value| round_bf16(value).to_le_bytes()),
        DType::F8E4M3 => put(values, target, |value| [narrow(f64::from(value), &F8E4M3) as u8]),
        DType::F8E5M2 => put(values, target, |value| [narrow(f64::from(value), &F8E5M2) as u8]),
        _ => unreachable!("bug: {dtype} is not encoded from f32"),
    }
}

/// Writes values as any type: rounded once to a float; of integers only values that the type has are given.
pub(super) fn encode_f64(dtype: DType, values: &[f64], target: &mut [u8]) {
    match dtype {
        DType::F64 => put(values, target, f64::to_le_bytes),
        DType::F32 => put(values, target, |value| (value as f32).to_le_bytes()),
        DType::F16 => put(values, target, |value| (narrow(value, &F16) as u16).to_le_bytes()),
        DType::BF16 => put(values, target, |value| (narrow(value, &BF16) as u16).to_le_bytes()),
        DType::F8E4M3 => put(values, target, |value| [narrow(value, &F8E4M3) as u8]),
        DType::F8E5M2 => put(values, target, |value| [narrow(value, &F8E5M2) as u8]),
        integer => {
            let size = integer.size();
            for (value, bytes) in values.iter().zip(target.chunks_exact_mut(size)) {
                // Two's complement: the low bytes of an i64 are the narrower integer.
                bytes.copy_from_slice(&(*value as i64).to_le_bytes()[..size]);
            }
        }
    }
}

fn round_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let upper = (bits >> 16) as u16;
    if value.is_nan() {
        // Without the quiet bit a payload of lower bits alone would become an infinity.
        return upper | 0x40;
    }
    ((bits.wrapping_add(0x7FFF + u32::from(upper & 1))) >> 16) as u16
}

fn each<T, const N: usize>(source: &[u8], values: &mut [T], decode: impl Fn([u8; N]) -> T) {
    let (elements, _) = source.as_chunks::<N>();
    for (value, bytes) in values.iter_mut().zip(elements) {
        *value = decode(*bytes);
    }
}

fn put<T: Copy, const N: usize>(values: &[T], target: &mut [u8], encode: impl Fn(T) -> [u8; N]) {
    let (elements, _) = target.as_chunks_mut::<N>();
    for (bytes, value) in elements.iter_mut().zip(values) {
        *bytes = encode(*value);
    }
}
