//! Norms over the last dimension.

use candle_core::{DType, Result, Tensor, bail};

/// `(x - mean) / sqrt(variance + eps) * weight + bias`; without a bias where the model has none.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// A norm of `weight [dim]` and `bias [dim]`.
    ///
    /// # Errors
    /// Where the shapes differ.
    pub fn new(weight: Tensor, bias: Option<Tensor>, eps: f64) -> Result<LayerNorm> {
        let width = weight.dims1()?;
        let bias = match bias {
            Some(bias) => bias,
            None => weight.zeros_like()?,
        };
        if bias.dims() != [width] {
            bail!("a norm over {width} elements has a bias of {:?}", bias.dims());
        }
        Ok(LayerNorm { weight, bias, eps })
    }

    /// `x [… dim]` to the same shape; means and variances are in f32. A last dimension of several times `dim`, such as
    /// heads side by side, is normed part by part.
    ///
    /// # Errors
    /// Where the last dimension is no multiple of `dim`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        in_f32_if_wide(x, &[&self.weight, &self.bias], |x, parameters| {
            candle_nn::ops::layer_norm(x, parameters[0], parameters[1], self.eps as f32)
        })
    }
}

/// `x / sqrt(mean(x²) + eps) * weight`.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    weight: Tensor,
    eps: f64,
}

impl RmsNorm {
    /// A norm of `weight [dim]`.
    ///
    /// # Errors
    /// Where it has other than one dimension.
    pub fn new(weight: Tensor, eps: f64) -> Result<RmsNorm> {
        weight.dims1()?;
        Ok(RmsNorm { weight, eps })
    }

    /// `x [… dim]` to the same shape; the mean is in f32. A last dimension of several times `dim`, such as heads side by
    /// side, is normed part by part.
    ///
    /// # Errors
    /// Where the last dimension is no multiple of `dim`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        in_f32_if_wide(x, &[&self.weight], |x, parameters| {
            candle_nn::ops::rms_norm(x, parameters[0], self.eps as f32)
        })
    }
}

/// The kernels know floats of at most 32 bits.
fn in_f32_if_wide(
    x: &Tensor,
    parameters: &[&Tensor],
    norm: impl Fn(&Tensor, &[&Tensor]) -> Result<Tensor>,
) -> Result<Tensor> {
    let x = x.contiguous()?;
    let (Some(width), Some(last)) = (parameters.first().map(|p| p.elem_count()), x.dims().last()) else {
        bail!("a norm takes no scalar");
    };
    if width != *last && width > 0 && last.is_multiple_of(width) {
        let shape = x.shape().clone();
        let parts = x.reshape(((), width))?;
        return in_f32_if_wide(&parts, parameters, norm)?.reshape(shape);
    }
    if x.dtype() != DType::F64 {
        return norm(&x, parameters);
    }
    let narrow: Vec<Tensor> = parameters.iter().map(|p| p.to_dtype(DType::F32)).collect::<Result<_>>()?;
    norm(&x.to_dtype(DType::F32)?, &narrow.iter().collect::<Vec<_>>())?.to_dtype(DType::F64)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Result, Tensor};

    use super::{LayerNorm, RmsNorm};

    #[test]
    fn norms_compute_their_formulas() -> Result<()> {
        let (rows, width, eps) = (3, 10, 1e-5);
        let values: Vec<f64> =
            (0..rows * width).map(|i| f64::from((i * 17 % 31) as u32) * 0.2 - 3.0).collect();
        let x = Tensor::from_slice(&values, (1, rows, width), &Device::Cpu)?;
        let weight: Vec<f64> = (0..width).map(|i| 0.5 + i as f64 * 0.1).collect();
        let bias: Vec<f64> = (0..width).map(|i| i as f64 * 0.05 - 0.2).collect();
        for dtype in [DType::F32, DType::F64] {
            let tensor = |v: &[f64]| Tensor::new(v, &Device::Cpu)?.to_dtype(dtype);
            let x = x.to_dtype(dtype)?;
            let full = LayerNorm::new(tensor(&weight)?, Some(tensor(&bias)?), eps)?.forward(&x)?;
            let bare = LayerNorm::new(tensor(&weight)?, None, eps)?.forward(&x)?;
            let root = RmsNorm::new(tensor(&weight)?, eps)?.forward(&x)?;
            let read = |t: Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
            let (full, bare, root) = (read(full)?, read(bare)?, read(root)?);
            for (row, x) in values.chunks(width).enumerate() {
                let mean = x.iter().sum::<f64>() / width as f64;
                let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
                let square = x.iter().map(|x| x * x).sum::<f64>() / width as f64;
                for (at, value) in x.iter().enumerate() {
                    let normal = (value - mean) / (variance + eps).sqrt() * weight[at];
                    let i = row * width + at;
                    assert!((bare[i] - normal).abs() < 1e-5);
                    assert!((full[i] - normal - bias[at]).abs() < 1e-5);
                    assert!((root[i] - value / (square + eps).sqrt() * weight[at]).abs() < 1e-5);
                }
            }
        }
        Ok(())
    }
}
