//! Linear layers.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::cpu::{AddBias, MatVec};

/// `y = W x + b`.
///
/// The weight is `[out in]`. Where it lies in one piece so, a product with one row, which is what a token costs, takes
/// as long as reading it; products with many rows are as fast either way.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// A layer of `weight [out in]` and `bias [out]`.
    ///
    /// # Errors
    /// Where the shapes do not go together.
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Result<Linear> {
        let (outputs, _) = weight.dims2()?;
        if let Some(bias) = &bias
            && bias.dims() != [outputs]
        {
            bail!("a layer of {outputs} outputs has a bias of {:?}", bias.dims());
        }
        Ok(Linear { weight, bias })
    }

    /// The same layer with nothing added.
    #[must_use]
    pub fn without_bias(self) -> Linear {
        Linear { bias: None, ..self }
    }

    /// The weight `[out in]`.
    #[must_use]
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias `[out]`.
    #[must_use]
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// `x [… in]` to `[… out]`.
    ///
    /// # Errors
    /// Where the last dimension of `x` is not `in`, or the dtypes differ.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.product(x)?;
        let Some(bias) = &self.bias else { return Ok(y) };
        if matches!(y.device(), Device::Cpu) && y.dtype() == DType::F32 && bias.dtype() == DType::F32 {
            // Nothing else has the product.
            y.inplace_op2(bias, &AddBias)?;
            return Ok(y);
        }
        y.broadcast_add(bias)
    }

    fn product(&self, x: &Tensor) -> Result<Tensor> {
        let Some((&inputs, outer)) = x.dims().split_last() else {
            bail!("a linear layer takes no scalar");
        };
        let rows: usize = outer.iter().product();
        if rows == 1 && self.has_kernel() && x.dtype() == self.weight.dtype() {
            return x.contiguous()?.apply_op2_no_bwd(&self.weight, &MatVec);
        }
        // One product of matrices whatever the batch: kernels for batches of one weight are slower.
        let mut shape = outer.to_vec();
        shape.push(self.weight.dim(0)?);
        x.contiguous()?.reshape((rows, inputs))?.matmul(&self.weight.t()?)?.reshape(shape)
    }

    fn has_kernel(&self) -> bool {
        // Accelerate has a product with one row of its own for f32.
        let own = !cfg!(feature = "accelerate") || self.weight.dtype() != DType::F32;
        let takes = MatVec::takes(self.weight.dtype()) && self.weight.is_contiguous();
        matches!(self.weight.device(), Device::Cpu) && takes && own
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Result, Tensor};

    use super::Linear;

    fn counted(shape: (usize, usize)) -> Result<Tensor> {
        let values: Vec<f32> = (0..shape.0 * shape.1).map(|i| ((i * 7) % 23) as f32 * 0.1 - 1.0).collect();
        Tensor::from_vec(values, shape, &Device::Cpu)
    }

    #[test]
    fn one_row_and_many_agree() -> Result<()> {
        for (inputs, outputs) in [(5, 7), (6, 6), (40, 24)] {
            let weight = counted((inputs, outputs))?;
            let bias = counted((1, outputs))?.squeeze(0)?;
            let view = Linear::new(weight.t()?, Some(bias.clone()))?;
            let whole = Linear::new(weight.t()?.contiguous()?, Some(bias.clone()))?;
            let x = counted((3, inputs))?;
            let w = weight.to_vec2::<f32>()?;
            let b = bias.to_vec1::<f32>()?;
            for layer in [&view, &whole] {
                let all = layer.forward(&x.unsqueeze(0)?)?.squeeze(0)?.to_vec2::<f32>()?;
                for (at, row) in x.to_vec2::<f32>()?.iter().enumerate() {
                    let one =
                        layer.forward(&x.narrow(0, at, 1)?.unsqueeze(0)?)?.flatten_all()?.to_vec1::<f32>()?;
                    for out in 0..outputs {
                        let expected: f32 = b[out] + (0..inputs).map(|i| row[i] * w[i][out]).sum::<f32>();
                        assert!((all[at][out] - expected).abs() < 1e-4);
                        assert!((one[out] - expected).abs() < 1e-4);
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn inputs_in_pieces_are_taken_too() -> Result<()> {
        let layer = Linear::new(counted((3, 4))?, None)?;
        let x = counted((4, 2))?.t()?;
        let (view, copy) = (layer.forward(&x)?, layer.forward(&x.contiguous()?)?);
        assert_eq!(view.to_vec2::<f32>()?, copy.to_vec2::<f32>()?);
        let wide = counted((1, 8))?.narrow(1, 2, 4)?;
        assert_eq!(layer.forward(&wide)?.to_vec2::<f32>()?, layer.forward(&wide.copy()?)?.to_vec2::<f32>()?);
        Ok(())
    }

    #[test]
    fn a_bias_of_another_width_is_refused() -> Result<()> {
        let error =
            Linear::new(counted((3, 4))?, Some(counted((1, 4))?.squeeze(0)?)).expect_err("4 is not 3");
        assert!(error.to_string().contains("a layer of 3 outputs has a bias of [4]"), "{error}");
        Ok(())
    }
}
