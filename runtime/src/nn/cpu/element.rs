//! Elements that kernels read, widened to f32.

use candle_core::{CpuStorage, Result, WithDType};
use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};

use super::LANES;

/// An element type of floats; arithmetic is in f32.
pub(in crate::nn) trait Element: WithDType + Send + Sync {
    /// The elements of a storage of this type.
    fn slice(storage: &CpuStorage) -> Result<&[Self]> {
        storage.as_slice::<Self>()
    }

    /// A block, widened.
    fn load(block: &[Self; LANES]) -> [f32; LANES];

    /// One element, widened.
    fn widen(self) -> f32;

    /// A storage of elements that were computed.
    fn store(values: Vec<f32>) -> CpuStorage;
}

impl Element for f32 {
    #[inline(always)]
    fn load(block: &[f32; LANES]) -> [f32; LANES] {
        *block
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    fn store(values: Vec<f32>) -> CpuStorage {
        CpuStorage::F32(values)
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn load(block: &[bf16; LANES]) -> [f32; LANES] {
        std::array::from_fn(|lane| f32::from_bits(u32::from(block[lane].to_bits()) << 16))
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    fn store(values: Vec<f32>) -> CpuStorage {
        CpuStorage::BF16(values.into_iter().map(bf16::from_f32).collect())
    }
}

impl Element for f16 {
    #[inline(always)]
    fn load(block: &[f16; LANES]) -> [f32; LANES] {
        let mut wide = [0.0; LANES];
        block.convert_to_f32_slice(&mut wide);
        wide
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32()
    }

    fn store(values: Vec<f32>) -> CpuStorage {
        CpuStorage::F16(values.into_iter().map(f16::from_f32).collect())
    }
}

/// A block of a slice that was cut to the right length.
#[inline(always)]
pub(super) fn block<T>(slice: &[T]) -> &[T; LANES] {
    slice.try_into().expect("bug: a block of another length")
}
