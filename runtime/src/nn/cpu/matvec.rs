//! The product of one row with a matrix: what a linear layer is while tokens come one by one. It takes as long as
//! reading the matrix.

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, bail};
use half::{bf16, f16};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::element::block;
use super::{Element, LANES, contiguous, tasks};

/// Rows of the matrix that are read side by side: so many streams keep the memory busy. Rows are often a multiple of
/// 4 KiB, so that they meet in the same lines of the first cache: eight of them, which is as many as it keeps, take
/// twice as long.
const STREAMS: usize = 6;

/// `W x` for `W [out in]` and `x` of one row: `[… in]` to `[… out]`.
pub(in crate::nn) struct MatVec;

impl MatVec {
    fn product<T: Element>(
        x: (&CpuStorage, &Layout),
        weight: (&CpuStorage, &Layout),
    ) -> Result<(CpuStorage, Shape)> {
        let row: Vec<f32> = contiguous::<T>(NAME, x.0, x.1)?.iter().map(|x| x.widen()).collect();
        let (outputs, inputs) = weight.1.shape().dims2()?;
        if inputs != row.len() {
            bail!("a row of {} elements meets a matrix [out in] of {outputs} x {inputs}", row.len());
        }
        let out = scalar_products(contiguous::<T>(NAME, weight.0, weight.1)?, &row, outputs);
        let mut shape = x.1.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = outputs;
        }
        Ok((T::store(out), Shape::from(shape)))
    }
}

const NAME: &str = "matrix-vector product";

impl CustomOp2 for MatVec {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        match w {
            CpuStorage::F32(_) => MatVec::product::<f32>((x, lx), (w, lw)),
            CpuStorage::BF16(_) => MatVec::product::<bf16>((x, lx), (w, lw)),
            CpuStorage::F16(_) => MatVec::product::<f16>((x, lx), (w, lw)),
            _ => bail!("{} of elements that are no floats of at most 32 bits", self.name()),
        }
    }
}

impl MatVec {
    /// Whether there is a kernel for the type.
    pub(in crate::nn) fn takes(dtype: DType) -> bool {
        matches!(dtype, DType::F32 | DType::BF16 | DType::F16)
    }
}

/// A scalar product for each row of the matrix; each is the same whatever the number of threads.
fn scalar_products<T: Element>(matrix: &[T], row: &[f32], outputs: usize) -> Vec<f32> {
    let mut out = vec![0.0; outputs];
    if outputs == 0 || row.is_empty() {
        return out;
    }
    // Tasks of more than one per thread, so that a thread that is held up leaves its share to the others.
    let rows = outputs.div_ceil(4 * tasks(matrix.len())).next_multiple_of(STREAMS);
    let arch = Arch::new();
    out.par_chunks_mut(rows).zip(matrix.par_chunks(rows * row.len())).for_each(|(out, matrix)| {
        arch.dispatch(ScalarProducts { matrix, row, out });
    });
    out
}

struct ScalarProducts<'a, T> {
    matrix: &'a [T],
    row: &'a [f32],
    out: &'a mut [f32],
}

impl<T: Element> WithSimd for ScalarProducts<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = self.row.len();
        let row_at = |at: usize| &self.matrix[at * width..(at + 1) * width];
        // Each stream is a run of rows of its own.
        let run = self.out.len() / STREAMS;
        for at in 0..run {
            let rows: [&[T]; STREAMS] = std::array::from_fn(|stream| row_at(stream * run + at));
            for (stream, sum) in products(simd, &rows, self.row).into_iter().enumerate() {
                self.out[stream * run + at] = sum;
            }
        }
        for at in STREAMS * run..self.out.len() {
            [self.out[at]] = products(simd, &[row_at(at)], self.row);
        }
    }
}

/// Vectors are stated: left to itself, the compiler takes lanes out of unlike rows.
#[inline(always)]
fn products<S: Simd, T: Element, const N: usize>(simd: S, rows: &[&[T]; N], row: &[f32]) -> [f32; N] {
    let width = row.len();
    let rows: [&[T]; N] = std::array::from_fn(|at| &rows[at][..width]);
    let whole = width - width % LANES;
    let mut sums = [simd.splat_f32s(0.0); N];
    for at in (0..whole).step_by(LANES) {
        let (xs, _) = S::as_simd_f32s(&row[at..at + LANES]);
        for (row, sum) in rows.iter().zip(&mut sums) {
            let weights = T::load(block(&row[at..at + LANES]));
            let (weights, _) = S::as_simd_f32s(&weights);
            for (x, weight) in xs.iter().zip(weights) {
                *sum = simd.mul_add_f32s(*x, *weight, *sum);
            }
        }
    }
    std::array::from_fn(|at| {
        let rest: f32 = (whole..width).map(|i| row[i] * rows[at][i].widen()).sum();
        simd.reduce_sum_f32s(sums[at]) + rest
    })
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Result, Tensor};

    use super::MatVec;

    /// Sizes around the blocks and streams, with square ones.
    const SIZES: [(usize, usize); 8] =
        [(1, 1), (3, 5), (8, 16), (16, 16), (17, 33), (64, 250), (250, 64), (400, 257)];

    fn noise(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1u32 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn products_are_those_of_the_definition() -> Result<()> {
        for (inputs, outputs) in SIZES {
            for dtype in [DType::F32, DType::BF16, DType::F16] {
                let weight = Tensor::from_vec(noise(inputs * outputs, 7), (outputs, inputs), &Device::Cpu)?;
                let weight = weight.to_dtype(dtype)?;
                let x = Tensor::from_vec(noise(inputs, 3), (1, 1, inputs), &Device::Cpu)?.to_dtype(dtype)?;
                let (w, row) = (
                    weight.to_dtype(DType::F64)?.to_vec2::<f64>()?,
                    x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?,
                );
                let expected: Vec<f64> =
                    w.iter().map(|w| w.iter().zip(&row).map(|(w, x)| w * x).sum()).collect();
                let tolerance = if dtype == DType::F32 { 1e-5 } else { 2e-2 };
                let y = x.apply_op2_no_bwd(&weight, &MatVec)?;
                assert_eq!(y.dims(), [1, 1, outputs]);
                let y = y.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
                for (y, e) in y.iter().zip(&expected) {
                    assert!(
                        (y - e).abs() <= tolerance * (1.0 + e.abs()),
                        "{inputs} x {outputs} {dtype:?}: {y} for {e}"
                    );
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_row_of_another_length_is_refused() -> Result<()> {
        let weight = Tensor::zeros((6, 4), DType::F32, &Device::Cpu)?;
        let x = Tensor::zeros((1, 6), DType::F32, &Device::Cpu)?;
        let error = x.apply_op2_no_bwd(&weight, &MatVec).expect_err("6 is not 4");
        assert!(
            error.to_string().contains("a row of 6 elements meets a matrix [out in] of 6 x 4"),
            "{error}"
        );
        Ok(())
    }
}
