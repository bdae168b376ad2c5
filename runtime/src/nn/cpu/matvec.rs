//! The product of one row with a matrix: what a linear layer is while tokens come one by one. It takes as long as
//! reading the matrix.

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, bail};
use half::{bf16, f16};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use super::element::block;
use super::{Element, LANES, contiguous, tasks};

/// Rows of the matrix that are read side by side: so many streams keep the memory busy.
const STREAMS: usize = 8;

/// Which of a matrix's dimensions is the outer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nn) enum Order {
    /// `[in out]`.
    InOut,
    /// `[out in]`.
    OutIn,
}

/// `x · W` for `x` of one row: `[… in]` to `[… out]`.
pub(in crate::nn) struct MatVec {
    pub(in crate::nn) order: Order,
}

impl MatVec {
    fn product<T: Element>(
        &self,
        x: (&CpuStorage, &Layout),
        weight: (&CpuStorage, &Layout),
    ) -> Result<(CpuStorage, Shape)> {
        let row: Vec<f32> = contiguous::<T>(self.name(), x.0, x.1)?.iter().map(|x| x.widen()).collect();
        let (outer, inner) = weight.1.shape().dims2()?;
        let matrix = contiguous::<T>(self.name(), weight.0, weight.1)?;
        let out = match self.order {
            Order::InOut if outer == row.len() => in_out(matrix, &row, inner),
            Order::OutIn if inner == row.len() => out_in(matrix, &row, outer),
            order => bail!("a row of {} elements meets a {order:?} matrix of {outer} x {inner}", row.len()),
        };
        let mut shape = x.1.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = out.len();
        }
        Ok((T::store(out), Shape::from(shape)))
    }
}

impl CustomOp2 for MatVec {
    fn name(&self) -> &'static str {
        "matrix-vector product"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        match w {
            CpuStorage::F32(_) => self.product::<f32>((x, lx), (w, lw)),
            CpuStorage::BF16(_) => self.product::<bf16>((x, lx), (w, lw)),
            CpuStorage::F16(_) => self.product::<f16>((x, lx), (w, lw)),
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

/// `[in out]`: rows are scaled and added up, each task's into a row of its own that stays in the cache.
///
/// There are as many tasks as threads, so the last bits of the sums depend on the number of threads, though never on
/// which of them is first. More tasks would write and add up more rows of sums.
fn in_out<T: Element>(matrix: &[T], row: &[f32], width: usize) -> Vec<f32> {
    if width == 0 || row.is_empty() {
        return vec![0.0; width];
    }
    let rows = row.len().div_ceil(tasks(matrix.len())).next_multiple_of(STREAMS);
    let arch = Arch::new();
    let sum = |mut left: Vec<f32>, right: Vec<f32>| {
        left.iter_mut().zip(right).for_each(|(l, r)| *l += r);
        left
    };
    let parts: Vec<Vec<f32>> = matrix
        .par_chunks(rows * width)
        .zip(row.par_chunks(rows))
        .map(|(matrix, row)| {
            let mut sums = vec![0.0; width];
            arch.dispatch(ScaledRows { matrix, row, sums: &mut sums });
            sums
        })
        .collect();
    // In the order of the rows, so that the result does not depend on which thread was first.
    parts.into_iter().reduce(sum).unwrap_or_default()
}

struct ScaledRows<'a, T> {
    matrix: &'a [T],
    row: &'a [f32],
    sums: &'a mut [f32],
}

impl<T: Element> NullaryFnOnce for ScaledRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let width = self.sums.len();
        let mut bands = self.matrix.chunks_exact(STREAMS * width);
        let mut factors = self.row.chunks_exact(STREAMS);
        for (band, factors) in (&mut bands).zip(&mut factors) {
            let mut rows = band.chunks_exact(width);
            let rows: [&[T]; STREAMS] = std::array::from_fn(|_| rows.next().unwrap_or_default());
            let factors: [f32; STREAMS] = std::array::from_fn(|at| factors[at]);
            add_rows(&rows, &factors, self.sums);
        }
        for (row, factor) in bands.remainder().chunks_exact(width).zip(factors.remainder()) {
            add_rows(&[row], &[*factor], self.sums);
        }
    }
}

#[inline(always)]
fn add_rows<T: Element, const N: usize>(rows: &[&[T]; N], factors: &[f32; N], sums: &mut [f32]) {
    let width = sums.len();
    let rows: [&[T]; N] = std::array::from_fn(|at| &rows[at][..width]);
    let whole = width - width % LANES;
    for at in (0..whole).step_by(LANES) {
        let sums: &mut [f32; LANES] =
            (&mut sums[at..at + LANES]).try_into().expect("bug: a block of another length");
        for (row, factor) in rows.iter().zip(factors) {
            let weights = T::load(block(&row[at..at + LANES]));
            for lane in 0..LANES {
                sums[lane] = factor.mul_add(weights[lane], sums[lane]);
            }
        }
    }
    for at in whole..width {
        for (row, factor) in rows.iter().zip(factors) {
            sums[at] = factor.mul_add(row[at].widen(), sums[at]);
        }
    }
}

/// `[out in]`: a scalar product for each row.
fn out_in<T: Element>(matrix: &[T], row: &[f32], height: usize) -> Vec<f32> {
    let mut out = vec![0.0; height];
    if height == 0 || row.is_empty() {
        return out;
    }
    // Tasks of more than one per thread, so that a thread that is held up leaves its share to the others.
    let rows = height.div_ceil(4 * tasks(matrix.len())).next_multiple_of(STREAMS);
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

impl<T: Element> NullaryFnOnce for ScalarProducts<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let width = self.row.len();
        let mut bands = self.matrix.chunks_exact(STREAMS * width);
        let mut outs = self.out.chunks_exact_mut(STREAMS);
        for (band, out) in (&mut bands).zip(&mut outs) {
            let mut rows = band.chunks_exact(width);
            let rows: [&[T]; STREAMS] = std::array::from_fn(|_| rows.next().unwrap_or_default());
            out.copy_from_slice(&products(&rows, self.row));
        }
        for (row, out) in bands.remainder().chunks_exact(width).zip(outs.into_remainder()) {
            [*out] = products(&[row], self.row);
        }
    }
}

#[inline(always)]
fn products<T: Element, const N: usize>(rows: &[&[T]; N], row: &[f32]) -> [f32; N] {
    let width = row.len();
    let rows: [&[T]; N] = std::array::from_fn(|at| &rows[at][..width]);
    // Half a block for each row leaves the sums of eight rows in registers.
    const HALF: usize = LANES / 2;
    let mut sums = [[0.0f32; HALF]; N];
    let whole = width - width % LANES;
    for at in (0..whole).step_by(LANES) {
        let x = block(&row[at..at + LANES]);
        for (row, sums) in rows.iter().zip(&mut sums) {
            let weights = T::load(block(&row[at..at + LANES]));
            for lane in 0..HALF {
                sums[lane] = x[lane].mul_add(weights[lane], sums[lane]);
            }
            for lane in 0..HALF {
                sums[lane] = x[lane + HALF].mul_add(weights[lane + HALF], sums[lane]);
            }
        }
    }
    std::array::from_fn(|at| {
        let rest: f32 = (whole..width).map(|i| row[i] * rows[at][i].widen()).sum();
        sums[at].iter().sum::<f32>() + rest
    })
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Result, Tensor};

    use super::{MatVec, Order};

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
                let weight = Tensor::from_vec(noise(inputs * outputs, 7), (inputs, outputs), &Device::Cpu)?;
                let weight = weight.to_dtype(dtype)?;
                let x = Tensor::from_vec(noise(inputs, 3), (1, 1, inputs), &Device::Cpu)?.to_dtype(dtype)?;
                let (w, row) = (
                    weight.to_dtype(DType::F64)?.to_vec2::<f64>()?,
                    x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?,
                );
                let expected: Vec<f64> =
                    (0..outputs).map(|o| (0..inputs).map(|i| row[i] * w[i][o]).sum()).collect();
                let turned = weight.t()?.contiguous()?;
                let tolerance = if dtype == DType::F32 { 1e-5 } else { 2e-2 };
                for (order, weight) in [(Order::InOut, &weight), (Order::OutIn, &turned)] {
                    let y = x.apply_op2_no_bwd(weight, &MatVec { order })?;
                    assert_eq!(y.dims(), [1, 1, outputs]);
                    let y = y.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
                    for (y, e) in y.iter().zip(&expected) {
                        assert!(
                            (y - e).abs() <= tolerance * (1.0 + e.abs()),
                            "{inputs} x {outputs} {order:?} {dtype:?}: {y} for {e}"
                        );
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_row_of_another_length_is_refused() -> Result<()> {
        let weight = Tensor::zeros((4, 6), DType::F32, &Device::Cpu)?;
        let x = Tensor::zeros((1, 6), DType::F32, &Device::Cpu)?;
        let error = x.apply_op2_no_bwd(&weight, &MatVec { order: Order::InOut }).expect_err("6 is not 4");
        assert!(error.to_string().contains("a row of 6 elements meets a InOut matrix of 4 x 6"), "{error}");
        Ok(())
    }
}
