//! Softmax over scores of which only a part counts, in place.

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, bail};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use super::exponential::exp;
use super::{LANES, tasks};

/// The softmax of `scale` times each row of scores in f32, `[… queries keys]`.
///
/// With `causal`, row `i` takes its first `keys - queries + i + 1` scores alone, and the others become 0: queries are
/// the last of the positions that keys have. Rows come in groups of `queries`.
pub(in crate::nn) struct CausalSoftmax {
    pub(in crate::nn) scale: f32,
    pub(in crate::nn) queries: usize,
    pub(in crate::nn) causal: bool,
}

impl InplaceOp1 for CausalSoftmax {
    fn name(&self) -> &'static str {
        "softmax of scores"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (Some((start, end)), CpuStorage::F32(values)) = (layout.contiguous_offsets(), storage) else {
            bail!("{} is in place over f32 that lie one after the other", self.name());
        };
        let keys = layout.dims().last().copied().unwrap_or(0);
        if keys == 0 {
            return Ok(());
        }
        if self.queries == 0 || (self.causal && keys < self.queries) {
            bail!("{} queries cannot be the last of {keys} positions", self.queries);
        }
        let rows = (end - start) / keys;
        let rows_per_task = rows.div_ceil(4 * tasks(end - start)).max(1);
        let arch = Arch::new();
        let chunks = values[start..end].par_chunks_mut(rows_per_task * keys).enumerate();
        chunks.for_each(|(task, chunk)| {
            for (at, row) in chunk.chunks_exact_mut(keys).enumerate() {
                let query = (task * rows_per_task + at) % self.queries;
                let seen = if self.causal { keys - self.queries + query + 1 } else { keys };
                let (seen, hidden) = row.split_at_mut(seen);
                arch.dispatch(Row { scale: self.scale, row: seen });
                hidden.fill(0.0);
            }
        });
        Ok(())
    }
}

struct Row<'a> {
    scale: f32,
    row: &'a mut [f32],
}

impl NullaryFnOnce for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        softmax(self.row, self.scale);
    }
}

/// The softmax of `scale` times a row, in place. Where all is minus infinity nothing counts: zeros. One that is not a
/// number leaves none in the row.
#[inline(always)]
pub(super) fn softmax(row: &mut [f32], scale: f32) {
    let mut most = [f32::NEG_INFINITY; LANES];
    let mut blocks = row.chunks_exact_mut(LANES);
    for block in &mut blocks {
        for lane in 0..LANES {
            block[lane] *= scale;
            most[lane] = most[lane].max(block[lane]);
        }
    }
    let mut largest = most.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for x in blocks.into_remainder() {
        *x *= scale;
        largest = largest.max(*x);
    }
    // `max` passes over what is not a number.
    if largest == f32::NEG_INFINITY {
        let fill = if row.iter().any(|x| x.is_nan()) { f32::NAN } else { 0.0 };
        row.fill(fill);
        return;
    }
    let mut sums = [0.0f32; LANES];
    let mut blocks = row.chunks_exact_mut(LANES);
    for block in &mut blocks {
        for lane in 0..LANES {
            block[lane] = exp(block[lane] - largest);
            sums[lane] += block[lane];
        }
    }
    let mut sum: f32 = sums.iter().sum();
    for x in blocks.into_remainder() {
        *x = exp(*x - largest);
        sum += *x;
    }
    let factor = 1.0 / sum;
    for x in row {
        *x *= factor;
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Result, Tensor};

    use super::CausalSoftmax;

    #[test]
    fn rows_see_what_came_before() -> Result<()> {
        for (queries, keys) in [(1, 1), (3, 3), (2, 5), (5, 37), (1, 40)] {
            let count = 2 * 3 * queries * keys;
            let values: Vec<f32> = (0..count).map(|i| ((i * 37) % 101) as f32 * 0.3 - 15.0).collect();
            for causal in [true, false] {
                let scores = Tensor::from_slice(&values, (2, 3 * queries, keys), &Device::Cpu)?;
                scores.inplace_op1(&CausalSoftmax { scale: 0.25, queries, causal })?;
                let rows = scores.reshape(((), keys))?.to_vec2::<f32>()?;
                for (at, row) in rows.iter().enumerate() {
                    let seen = if causal { keys - queries + at % queries + 1 } else { keys };
                    let raw = &values[at * keys..][..seen];
                    let sum: f64 = raw.iter().map(|x| f64::from(x * 0.25).exp()).sum();
                    for (key, p) in row.iter().enumerate() {
                        let expected = raw.get(key).map_or(0.0, |x| f64::from(x * 0.25).exp() / sum);
                        assert!((f64::from(*p) - expected).abs() < 1e-6, "{queries} {keys} {at} {key}");
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn rows_of_nothing_are_zeros() -> Result<()> {
        let scores = Tensor::new(&[[f32::NEG_INFINITY; 20]], &Device::Cpu)?;
        scores.inplace_op1(&CausalSoftmax { scale: 1.0, queries: 1, causal: false })?;
        assert_eq!(scores.to_vec2::<f32>()?, [[0.0; 20]]);
        Ok(())
    }

    #[test]
    fn what_is_not_a_number_stays_so() -> Result<()> {
        let (nan, never) = (f32::NAN, f32::NEG_INFINITY);
        // In a block and in what is left over.
        for width in [3, 16, 20] {
            for (at, rest) in [(0, nan), (width - 1, never), (0, never), (0, 1.0), (width - 1, 1.0)] {
                let mut row = vec![rest; width];
                row[at] = nan;
                let scores = Tensor::from_vec(row, (1, width), &Device::Cpu)?;
                scores.inplace_op1(&CausalSoftmax { scale: 0.5, queries: 1, causal: false })?;
                let row = scores.flatten_all()?.to_vec1::<f32>()?;
                assert!(row.iter().all(|x| x.is_nan()), "{width} {at} {rest}: {row:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn more_queries_than_keys_are_refused() -> Result<()> {
        let scores = Tensor::new(&[[1f32, 2.0]], &Device::Cpu)?;
        let error = scores.inplace_op1(&CausalSoftmax { scale: 1.0, queries: 3, causal: true });
        assert!(error.is_err_and(|e| e.to_string().contains("3 queries cannot be the last of 2 positions")));
        Ok(())
    }
}
