//! Element types of stored tensors.

use std::fmt;

/// The element type of a stored tensor, little-endian in every format read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// IEEE 754 binary64.
    F64,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    BF16,
    /// Signed 64-bit integer.
    I64,
    /// Signed 32-bit integer.
    I32,
    /// Signed 16-bit integer.
    I16,
    /// Signed 8-bit integer.
    I8,
    /// Unsigned 8-bit integer.
    U8,
    /// One byte, 0 or 1.
    Bool,
    /// 8-bit float, 4 exponent bits, no infinities (OCP "E4M3", torch `float8_e4m3fn`).
    F8E4M3,
    /// 8-bit float, 5 exponent bits (OCP "E5M2", torch `float8_e5m2`).
    F8E5M2,
}

impl DType {
    /// Every element type, widest floats first.
    pub const ALL: [DType; 12] = [
        DType::F64,
        DType::F32,
        DType::F16,
        DType::BF16,
        DType::I64,
        DType::I32,
        DType::I16,
        DType::I8,
        DType::U8,
        DType::Bool,
        DType::F8E4M3,
        DType::F8E5M2,
    ];

    /// Bytes per element.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            DType::F64 | DType::I64 => 8,
            DType::F32 | DType::I32 => 4,
            DType::F16 | DType::BF16 | DType::I16 => 2,
            DType::I8 | DType::U8 | DType::Bool | DType::F8E4M3 | DType::F8E5M2 => 1,
        }
    }

    /// The name used in mappings, on the command line and in messages: `f32`, `bf16`, …
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            DType::F64 => "f64",
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::I64 => "i64",
            DType::I32 => "i32",
            DType::I16 => "i16",
            DType::I8 => "i8",
            DType::U8 => "u8",
            DType::Bool => "bool",
            DType::F8E4M3 => "f8_e4m3",
            DType::F8E5M2 => "f8_e5m2",
        }
    }

    /// The dtype called `name` in mappings and on the command line.
    #[must_use]
    pub fn from_name(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|d| d.name() == name)
    }

    /// Whether values have a fraction; among these any cast is defined.
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F64 | DType::F32 | DType::F16 | DType::BF16 | DType::F8E4M3 | DType::F8E5M2)
    }

    /// Whether every value of `other` is a value of this type, so that a cast to it changes none.
    #[must_use]
    pub fn holds(self, other: DType) -> bool {
        match (self.float_format(), other.float_format()) {
            (Some(own), Some(other)) => own.holds(&other),
            (Some(own), None) => own.significand >= other.integer_bits().0,
            (None, Some(_)) => false,
            (None, None) => {
                let ((bits, signed), (other_bits, other_signed)) =
                    (self.integer_bits(), other.integer_bits());
                bits >= other_bits && (signed || !other_signed)
            }
        }
    }

    /// The smallest type that holds every value of all of `dtypes`, in whatever order; `None` where there is none, as
    /// for a 64-bit integer beside a float, or without any `dtypes`.
    #[must_use]
    pub fn common(dtypes: &[DType]) -> Option<DType> {
        let (first, others) = dtypes.split_first()?;
        if others.iter().all(|other| other == first) {
            return Some(*first);
        }
        SMALLEST_FIRST.into_iter().find(|dtype| dtypes.iter().all(|other| dtype.holds(*other)))
    }

    /// Bits of an integer's magnitude, and whether it has a sign.
    const fn integer_bits(self) -> (u32, bool) {
        match self {
            DType::Bool => (1, false),
            DType::U8 => (8, false),
            signed => (8 * signed.size() as u32 - 1, true),
        }
    }

    const fn float_format(self) -> Option<FloatFormat> {
        let (significand, smallest, largest) = match self {
            DType::F64 => (53, -1074, 1023),
            DType::F32 => (24, -149, 127),
            DType::F16 => (11, -24, 15),
            DType::BF16 => (8, -133, 127),
            DType::F8E4M3 => (4, -9, 8),
            DType::F8E5M2 => (3, -16, 15),
            _ => return None,
        };
        Some(FloatFormat { significand, smallest, largest, infinite: !matches!(self, DType::F8E4M3) })
    }
}

/// Integers, then floats, so that integers among themselves stay integers. The two formats of eight bits have both
/// formats of 16 bits in common.
const SMALLEST_FIRST: [DType; 12] = [
    DType::Bool,
    DType::U8,
    DType::I8,
    DType::I16,
    DType::I32,
    DType::I64,
    DType::F8E4M3,
    DType::F8E5M2,
    DType::BF16,
    DType::F16,
    DType::F32,
    DType::F64,
];

/// What tells the values of a binary float format.
struct FloatFormat {
    /// Bits of the significand, with the implicit one.
    significand: u32,
    /// The exponent of the smallest subnormal.
    smallest: i32,
    /// The exponent of the largest finite value.
    largest: i32,
    infinite: bool,
}

impl FloatFormat {
    fn holds(&self, other: &FloatFormat) -> bool {
        self.significand >= other.significand
            && self.smallest <= other.smallest
            && self.largest >= other.largest
            && (self.infinite || !other.infinite)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::DType;

    #[test]
    fn the_common_type_holds_all_values_in_whatever_order() {
        use DType::{BF16, Bool, F8E4M3, F8E5M2, F16, F32, F64, I8, I16, I32, I64, U8};
        let cases: [(&[DType], Option<DType>); 17] = [
            (&[], None),
            (&[I64, I64], Some(I64)),
            (&[BF16, F16], Some(F32)),
            (&[BF16, F32], Some(F32)),
            (&[F16, F16, F32], Some(F32)),
            (&[F32, F64], Some(F64)),
            (&[F8E4M3, F8E5M2], Some(BF16)),
            (&[F8E4M3, F16], Some(F16)),
            (&[BF16, I8], Some(BF16)),
            (&[F16, U8], Some(F16)),
            (&[BF16, I16], Some(F32)),
            (&[F32, I32], Some(F64)),
            (&[F32, Bool], Some(F32)),
            (&[F64, I64], None),
            (&[BF16, I64], None),
            (&[U8, I8], Some(I16)),
            (&[Bool, I32, U8], Some(I32)),
        ];
        for (dtypes, expected) in cases {
            let mut reversed = dtypes.to_vec();
            reversed.reverse();
            assert_eq!(DType::common(dtypes), expected, "{dtypes:?}");
            assert_eq!(DType::common(&reversed), expected, "{reversed:?}");
        }
    }
}
