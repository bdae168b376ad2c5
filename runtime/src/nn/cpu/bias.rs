//! A bias added where a product lies.

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, bail};
use rayon::prelude::*;

use super::{contiguous, tasks};

/// `y [… out] += bias [out]`, in f32.
pub(in crate::nn) struct AddBias;

impl InplaceOp2 for AddBias {
    fn name(&self) -> &'static str {
        "bias"
    }

    fn cpu_fwd(&self, y: &mut CpuStorage, ly: &Layout, bias: &CpuStorage, lb: &Layout) -> Result<()> {
        let bias = contiguous::<f32>(self.name(), bias, lb)?;
        let (CpuStorage::F32(y), Some((start, end))) = (y, ly.contiguous_offsets()) else {
            bail!("a bias is added to f32 in one piece");
        };
        if ly.dims().last() != Some(&bias.len()) {
            bail!("a bias of {} elements meets {:?}", bias.len(), ly.dims());
        }
        let y = &mut y[start..end];
        if y.is_empty() {
            return Ok(());
        }
        let rows = (y.len() / bias.len()).div_ceil(4 * tasks(y.len()));
        y.par_chunks_mut(rows * bias.len()).for_each(|rows| {
            for row in rows.chunks_exact_mut(bias.len()) {
                row.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Result, Tensor};

    use super::AddBias;

    #[test]
    fn every_row_gets_the_bias() -> Result<()> {
        for (rows, width) in [(1, 5), (3, 1), (7, 7), (300, 129)] {
            let y = Tensor::arange(0f32, (rows * width) as f32, &Device::Cpu)?.reshape((1, rows, width))?;
            let bias = Tensor::arange(0f32, width as f32, &Device::Cpu)?.affine(0.5, -2.0)?;
            let expected = y.broadcast_add(&bias)?.flatten_all()?.to_vec1::<f32>()?;
            let sum = y.copy()?;
            sum.inplace_op2(&bias, &AddBias)?;
            assert_eq!(sum.flatten_all()?.to_vec1::<f32>()?, expected);
        }
        Ok(())
    }

    #[test]
    fn a_bias_of_another_width_is_refused() -> Result<()> {
        let y = Tensor::zeros((2, 6), DType::F32, &Device::Cpu)?;
        let error = y.inplace_op2(&Tensor::zeros(3, DType::F32, &Device::Cpu)?, &AddBias).expect_err("6");
        assert!(error.to_string().contains("a bias of 3 elements meets [2, 6]"), "{error}");
        Ok(())
    }
}
