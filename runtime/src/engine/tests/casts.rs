//! Casts against tables of all values of the narrow formats.

use proptest::prelude::*;

use super::layouts::{pairs, strided_copy};
use crate::DType;
use crate::engine::{Affine, Convert, CopyError, StridedCopy, copy, count_changed};

const NARROW: [DType; 4] = [DType::F16, DType::BF16, DType::F8E4M3, DType::F8E5M2];
const FLOATS: [DType; 6] = [DType::F64, DType::F32, DType::F16, DType::BF16, DType::F8E4M3, DType::F8E5M2];

/// Casts contiguous bytes.
fn cast(convert: Convert, source: &[u8]) -> Vec<u8> {
    let count = source.len() / convert.from.size();
    let run = StridedCopy::run(count);
    let mut target = vec![0; count * convert.to.size()];
    copy(&run, &convert, source, &mut target).unwrap();
    target
}

fn from_f64s(values: &[f64], to: DType) -> Vec<u32> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    codes(to, &cast(Convert::cast(DType::F64, to), &bytes))
}

fn from_f32s(values: &[f32], to: DType) -> Vec<u32> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    codes(to, &cast(Convert::cast(DType::F32, to), &bytes))
}

fn codes(dtype: DType, bytes: &[u8]) -> Vec<u32> {
    let code = |element: &[u8]| element.iter().rev().fold(0, |code, byte| code << 8 | u32::from(*byte));
    bytes.chunks_exact(dtype.size()).map(code).collect()
}

fn bytes_of_codes(dtype: DType, codes: impl Iterator<Item = u32>) -> Vec<u8> {
    codes.flat_map(|code| code.to_le_bytes()[..dtype.size()].to_vec()).collect()
}

/// Mantissa bits, exponent bias, and the first magnitude that is not finite.
fn format(dtype: DType) -> (u32, i32, u32) {
    match dtype {
        DType::F16 => (10, 15, 0x7C00),
        DType::BF16 => (7, 127, 0x7F80),
        DType::F8E4M3 => (3, 7, 0x7F),
        DType::F8E5M2 => (2, 15, 0x7C),
        _ => unreachable!(),
    }
}

/// The value of a finite magnitude, by the definition of the format.
fn value(dtype: DType, magnitude: u32) -> f64 {
    let (mantissa_bits, bias, _) = format(dtype);
    let mantissa = f64::from(magnitude & ((1 << mantissa_bits) - 1)) / f64::from(1u32 << mantissa_bits);
    let exponent = (magnitude >> mantissa_bits) as i32;
    if exponent == 0 { mantissa * 2f64.powi(1 - bias) } else { (1.0 + mantissa) * 2f64.powi(exponent - bias) }
}

fn sign_bit(dtype: DType) -> u32 {
    1 << (8 * dtype.size() - 1)
}

/// The magnitude nearest to a positive value, by search in the table of all values.
fn nearest(dtype: DType, positive: f64) -> u32 {
    let (_, _, infinite) = format(dtype);
    // One past the largest finite value stands for what is beyond it.
    let above =
        (0..=infinite).collect::<Vec<_>>().partition_point(|&code| value(dtype, code) < positive) as u32;
    if above == 0 {
        return 0;
    }
    let below = above - 1;
    if above > infinite {
        return infinite;
    }
    let (to_below, to_above) = (positive - value(dtype, below), value(dtype, above) - positive);
    if to_below < to_above || (to_below == to_above && below.is_multiple_of(2)) { below } else { above }
}

#[test]
fn all_narrow_values_widen_exactly() {
    for from in NARROW {
        let (_, _, infinite) = format(from);
        let all = 0..1u32 << (8 * from.size());
        for to in [DType::F32, DType::F64] {
            let widened = cast(Convert::cast(from, to), &bytes_of_codes(from, all.clone()));
            for (code, bytes) in all.clone().zip(widened.chunks_exact(to.size())) {
                let found = match to {
                    DType::F32 => f64::from(f32::from_le_bytes(bytes.try_into().unwrap())),
                    _ => f64::from_le_bytes(bytes.try_into().unwrap()),
                };
                let magnitude = code & !sign_bit(from);
                assert_eq!(found.is_sign_negative(), code & sign_bit(from) != 0, "{from} {code:#x}");
                if magnitude < infinite {
                    assert_eq!(found.abs(), value(from, magnitude), "{from} {code:#x}");
                } else if magnitude == infinite && from != DType::F8E4M3 {
                    assert!(found.is_infinite(), "{from} {code:#x}");
                } else {
                    assert!(found.is_nan(), "{from} {code:#x}");
                }
            }
        }
    }
}

#[test]
fn narrowing_rounds_to_nearest_even_around_every_value() {
    for to in NARROW {
        let (_, _, infinite) = format(to);
        let mut values = Vec::new();
        let mut expected = Vec::new();
        for code in 0..infinite {
            let (here, next) = (value(to, code), value(to, code + 1));
            let tie = f64::midpoint(here, next);
            let even = code + code % 2;
            for (value, rounded) in [
                (here, code),
                (here.next_up(), code),
                (tie.next_down(), code),
                (tie, even),
                (tie.next_up(), code + 1),
                (next.next_down(), code + 1),
            ] {
                values.extend([value, -value]);
                expected.extend([rounded, rounded | sign_bit(to)]);
            }
        }
        assert_eq!(from_f64s(&values, to), expected, "{to} from f64");

        // Ties and values are exact in f32, their f64 neighbours are not.
        let exact = |value: f64| f64::from(value as f32) == value;
        let pairs = values.iter().zip(&expected).filter(|(value, _)| exact(**value));
        let (values, expected): (Vec<f32>, Vec<u32>) =
            pairs.map(|(value, code)| (*value as f32, *code)).unzip();
        assert!(values.len() >= 4 * infinite as usize);
        assert_eq!(from_f32s(&values, to), expected, "{to} from f32");
    }
}

#[test]
fn narrowing_from_f64_rounds_once() {
    // Just above a tie of binary16, and within half a unit of that tie in binary32.
    let value = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
    assert_eq!(from_f64s(&[value], DType::F16), [0x3C01]);
    assert_eq!(from_f64s(&[1.0 + 2f64.powi(-8) + 2f64.powi(-40)], DType::BF16), [0x3F81]);
}

#[test]
fn special_values() {
    let specials = [f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300, 5e-324, -5e-324, -0.0];
    assert_eq!(from_f64s(&specials, DType::F16), [0x7C00, 0xFC00, 0x7C00, 0xFC00, 0, 0x8000, 0x8000]);
    assert_eq!(from_f64s(&specials, DType::BF16), [0x7F80, 0xFF80, 0x7F80, 0xFF80, 0, 0x8000, 0x8000]);
    assert_eq!(from_f64s(&specials, DType::F8E5M2), [0x7C, 0xFC, 0x7C, 0xFC, 0, 0x80, 0x80]);
    assert_eq!(from_f64s(&specials, DType::F8E4M3), [0x7F, 0xFF, 0x7F, 0xFF, 0, 0x80, 0x80]);
    // 464 is half way from the largest value, 448, to the first beyond.
    assert_eq!(from_f32s(&[448.0, 464.0, 464.01, f32::INFINITY], DType::F8E4M3), [0x7E, 0x7E, 0x7F, 0x7F]);
    for to in NARROW {
        let (_, _, infinite) = format(to);
        let first_nan = if to == DType::F8E4M3 { infinite } else { infinite + 1 };
        for code in from_f64s(&[f64::NAN, -f64::NAN, f64::from_bits(0x7FF0_0000_0000_0001)], to) {
            assert!(code & !sign_bit(to) >= first_nan, "{to} {code:#x}");
        }
        for code in from_f32s(&[f32::NAN, -f32::NAN, f32::from_bits(0x7F80_0001)], to) {
            assert!(code & !sign_bit(to) >= first_nan, "{to} {code:#x}");
        }
    }
}

#[test]
fn one_type_without_arithmetic_keeps_every_bit() {
    for dtype in DType::ALL {
        let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        assert_eq!(cast(Convert::bits(dtype), &all), all);
    }
}

#[test]
fn undefined_conversions_are_errors() {
    let error = Convert::cast(DType::F32, DType::I32).check().unwrap_err();
    assert_eq!(
        error.to_string(),
        "no cast from f32 to i32 is defined; casts are between floats, or to a type that holds every value"
    );
    assert!(matches!(Convert::cast(DType::I8, DType::U8).check(), Err(CopyError::Cast { .. })));
    assert!(matches!(Convert::cast(DType::I32, DType::F32).check(), Err(CopyError::Cast { .. })));
    let affine = Some(Affine { scale: 1.0, offset: 1.0 });
    let error = Convert { affine, ..Convert::bits(DType::I64) }.check().unwrap_err();
    assert_eq!(error.to_string(), "no arithmetic is defined on i64; an affine and a mean need floats");
    for from in FLOATS {
        for to in FLOATS {
            assert_eq!(Convert { from, to, affine }.check(), Ok(()));
        }
    }
}

#[test]
fn affines_are_computed_in_f32_and_rounded_once() {
    let plus_one = |from, to| Convert { from, to, affine: Some(Affine { scale: 1.0, offset: 1.0 }) };
    // 1 + 2^-9 is no bf16, and it ties between 1 and 1 + 2^-7 only if rounded before the sum.
    let bf16 = (2f32.powi(-9).to_bits() >> 16) as u16;
    let sum = cast(plus_one(DType::BF16, DType::F32), &bf16.to_le_bytes());
    assert_eq!(f32::from_le_bytes(sum.try_into().unwrap()), 1.0 + 2f32.powi(-9));
    let sum = cast(plus_one(DType::BF16, DType::BF16), &bf16.to_le_bytes());
    assert_eq!(sum, 0x3F80u16.to_le_bytes());
    let double = cast(plus_one(DType::F64, DType::F64), &1e-12f64.to_le_bytes());
    assert_eq!(f64::from_le_bytes(double.try_into().unwrap()), 1.0 + 1e-12);
    // f32 keeps 2^-30 only where f64 is one of the sides.
    let small = 2f32.powi(-30);
    let single = cast(plus_one(DType::F32, DType::F32), &small.to_le_bytes());
    assert_eq!(f32::from_le_bytes(single.try_into().unwrap()), 1.0);
    let double = cast(plus_one(DType::F32, DType::F64), &small.to_le_bytes());
    assert_eq!(f64::from_le_bytes(double.try_into().unwrap()), 1.0 + 2f64.powi(-30));
}

#[test]
fn neutral_affines_keep_negative_zero() {
    let scale = Convert { affine: Some(Affine { scale: 2.0, offset: 0.0 }), ..Convert::bits(DType::F32) };
    assert_eq!(cast(scale, &(-0.0f32).to_le_bytes()), (-0.0f32).to_le_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 500 }))]

    #[test]
    fn narrowing_finds_the_nearest_value(bits in any::<u32>(), low in any::<u32>(), to in prop::sample::select(&NARROW)) {
        let single = f32::from_bits(bits);
        prop_assume!(single.is_finite());
        let sign = if single.is_sign_negative() { sign_bit(to) } else { 0 };
        let expected = |magnitude: f64| sign | nearest(to, magnitude);
        prop_assert_eq!(from_f32s(&[single], to), [expected(f64::from(single.abs()))]);
        let double = f64::from_bits(f64::from(single).to_bits() ^ u64::from(low & 0x1FFF_FFFF));
        prop_assert_eq!(from_f64s(&[double], to), [expected(double.abs())]);
    }

    #[test]
    fn casts_go_where_copies_go(
        (described, source_length, target_length) in strided_copy(),
        from in prop::sample::select(&FLOATS),
        to in prop::sample::select(&FLOATS),
        affine in prop::option::of(Just(Affine { scale: -0.5, offset: 3.0 })),
    ) {
        let convert = Convert { from, to, affine };
        // Small integers are exact in every format, also halved and with 3 added.
        let values: Vec<f64> = (0..source_length).map(|i| f64::from((i % 8) as u32 * 2) - 6.0).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let source = cast(Convert::cast(DType::F64, from), &bytes);
        let zero = vec![0; target_length * to.size()];
        let mut target = zero.clone();
        copy(&described, &convert, &source, &mut target).unwrap();
        let mut expected = vec![0.0; target_length];
        for (read, write) in pairs(&described) {
            expected[write] = affine.map_or(values[read], |affine| affine.scale * values[read] + affine.offset);
        }
        let found = cast(Convert::cast(to, DType::F64), &target);
        let found: Vec<f64> = found.chunks_exact(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect();
        prop_assert_eq!(found, expected);
    }
}

/// Every pattern of narrow types, and ends of the wide one.
#[test]
fn integers_become_types_that_hold_them() {
    for from in [DType::Bool, DType::U8, DType::I8, DType::I16, DType::I32] {
        let numbers: Vec<i64> = match from {
            DType::Bool => vec![0, 1],
            DType::U8 => (0..=255).collect(),
            DType::I8 => (-128..=127).collect(),
            DType::I16 => (-32768..=32767).collect(),
            _ => vec![i64::from(i32::MIN), -1, 0, (1 << 24) + 1, i64::from(i32::MAX)],
        };
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()[..from.size()].to_vec()).collect();
        for to in DType::ALL.into_iter().filter(|to| to.holds(from) && *to != from) {
            let there = cast(Convert::cast(from, to), &bytes);
            let wide = if to.is_float() {
                cast(Convert::cast(to, DType::F64), &there)
            } else {
                cast(Convert::cast(to, DType::I64), &there)
            };
            let expected: Vec<u8> = match to.is_float() {
                true => numbers.iter().flat_map(|n| (*n as f64).to_le_bytes()).collect(),
                false => numbers.iter().flat_map(|n| n.to_le_bytes()).collect(),
            };
            assert_eq!(wide, expected, "{from} to {to}");
        }
    }
}

#[test]
fn elements_that_steps_do_not_bring_back_are_counted() {
    // 1 + 2^-8 is halfway between two of bf16; 0.5 and 3 come back, and so does what is no number.
    let values = [2f32.powi(-8), 0.5, 3.0, f32::NAN, f32::INFINITY, 2f32.powi(-20), -0.0];
    let halves: Vec<u8> = values.iter().flat_map(|x| ((x.to_bits() >> 16) as u16).to_le_bytes()).collect();
    let step = |from, to, offset| Convert { from, to, affine: Some(Affine { scale: 1.0, offset }) };
    let count = |wide| {
        let [there, back] = [step(DType::BF16, wide, 1.0), step(wide, DType::BF16, -1.0)];
        let copy = StridedCopy { source_strides: vec![1], ..StridedCopy::run(values.len()) };
        count_changed(&copy, [&there, &back], &halves).unwrap()
    };
    assert_eq!(count(DType::BF16), 2);
    assert_eq!(count(DType::F32), 0, "in f32 all come back");
    let stepped = StridedCopy { shape: vec![2], source_strides: vec![5], ..StridedCopy::run(2) };
    let [there, back] = [step(DType::BF16, DType::BF16, 1.0), step(DType::BF16, DType::BF16, -1.0)];
    let found = count_changed(&stepped, [&there, &back], &halves).unwrap();
    assert_eq!(found, 2, "of the first and the sixth");
}
