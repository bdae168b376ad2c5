//! Rotary position embedding (RoFormer, arXiv:2104.09864).

use std::ops::Range;

use candle_core::{D, DType, Device, Result, Tensor, bail};

/// Which elements of a head are turned together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairs {
    /// Element `i` with `i + dim / 2`: GPT-NeoX, Llama in Hugging Face's form.
    Halves,
    /// Element `2 i` with `2 i + 1`: GPT-J, Llama in Meta's form.
    Interleaved,
}

/// Positions whose angles are kept; those of later ones are computed when they are asked for.
const KEPT: usize = 1 << 15;

/// Cosines and sines of positions, `[positions dim/2]` each.
#[derive(Clone, Debug)]
pub struct Rotary {
    cos: Tensor,
    sin: Tensor,
    /// In radians per position, one a pair.
    frequencies: Vec<f32>,
    positions: usize,
    pairs: Pairs,
}

impl Rotary {
    /// The table for the first `dim` elements of each head, turned by `position * theta^(-2 i / dim)`.
    ///
    /// # Errors
    /// Where `dim` is odd or 0.
    pub fn new(
        dim: usize,
        positions: usize,
        theta: f64,
        pairs: Pairs,
        device: &Device,
        dtype: DType,
    ) -> Result<Rotary> {
        Rotary::scaled(dim, positions, theta, 1.0, pairs, device, dtype)
    }

    /// The same with positions divided by `interpolation`.
    ///
    /// # Errors
    /// As [`new`](Rotary::new).
    pub fn scaled(
        dim: usize,
        positions: usize,
        theta: f64,
        interpolation: f64,
        pairs: Pairs,
        device: &Device,
        dtype: DType,
    ) -> Result<Rotary> {
        if dim == 0 || !dim.is_multiple_of(2) {
            bail!("rotary embedding turns pairs, but {dim} elements are to be turned");
        }
        let frequencies: Vec<f32> = (0..dim / 2)
            .map(|i| 1.0 / (theta as f32).powf((2 * i) as f32 / dim as f32) / interpolation as f32)
            .collect();
        Rotary::of_frequencies(&frequencies, positions, pairs, device, dtype)
    }

    /// The table for frequencies in radians per position, one a pair: for models that scale them.
    ///
    /// # Errors
    /// Of candle.
    pub fn of_frequencies(
        frequencies: &[f32],
        positions: usize,
        pairs: Pairs,
        device: &Device,
        dtype: DType,
    ) -> Result<Rotary> {
        let [cos, sin] = table(frequencies, 0..positions.min(KEPT), device, dtype)?;
        Ok(Rotary { cos, sin, frequencies: frequencies.to_vec(), positions, pairs })
    }

    /// Turns `x [batch heads seq head_dim]`, whose first token is at position `offset`.
    ///
    /// # Errors
    /// Where heads are smaller than what is turned, or the model ends before the last position.
    pub fn forward(&self, x: &Tensor, offset: usize) -> Result<Tensor> {
        let (_, _, seq, head_dim) = x.dims4()?;
        let (dim, positions) = (2 * self.frequencies.len(), self.positions);
        let end = match offset.checked_add(seq) {
            Some(end) if end <= positions => end,
            _ => bail!("the model has {positions} positions, but {seq} tokens are to follow {offset}"),
        };
        if head_dim < dim {
            bail!("heads of {head_dim} elements are smaller than the {dim} that are turned");
        }
        let [cos, sin] = if end <= self.cos.dim(0)? {
            [self.cos.narrow(0, offset, seq)?, self.sin.narrow(0, offset, seq)?]
        } else {
            table(&self.frequencies, offset..end, self.cos.device(), self.cos.dtype())?
        };
        let turned = x.narrow(D::Minus1, 0, dim)?.contiguous()?;
        let turned = match self.pairs {
            Pairs::Halves => candle_nn::rotary_emb::rope(&turned, &cos, &sin)?,
            Pairs::Interleaved => candle_nn::rotary_emb::rope_i(&turned, &cos, &sin)?,
        };
        if head_dim == dim {
            return Ok(turned);
        }
        Tensor::cat(&[&turned, &x.narrow(D::Minus1, dim, head_dim - dim)?.contiguous()?], D::Minus1)
    }
}

/// Cosines and sines of positions. Angles are in f32 and computed on the processor, as the reference implementations
/// have them.
fn table(frequencies: &[f32], positions: Range<usize>, device: &Device, dtype: DType) -> Result<[Tensor; 2]> {
    let table = |f: fn(f32) -> f32| {
        let angles = positions.clone().flat_map(|p| frequencies.iter().map(move |w| p as f32 * w));
        let values: Vec<f32> = angles.map(f).collect();
        Tensor::from_vec(values, (positions.len(), frequencies.len()), &Device::Cpu)?
            .to_dtype(dtype)?
            .to_device(device)
    };
    Ok([table(f32::cos)?, table(f32::sin)?])
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Result, Tensor};

    use super::{Pairs, Rotary};

    #[test]
    fn pairs_are_turned_by_their_angles() -> Result<()> {
        let (heads, seq, head_dim, dim, offset, theta) = (2, 3, 10, 6, 4, 100.0f64);
        let values: Vec<f32> =
            (0..heads * seq * head_dim).map(|i| (i * 13 % 37) as f32 * 0.1 - 1.5).collect();
        let x = Tensor::from_slice(&values, (1, heads, seq, head_dim), &Device::Cpu)?;
        for pairs in [Pairs::Halves, Pairs::Interleaved] {
            let rotary = Rotary::new(dim, 9, theta, pairs, &Device::Cpu, DType::F32)?;
            let y = rotary.forward(&x, offset)?.flatten_all()?.to_vec1::<f32>()?;
            let mut expected: Vec<f64> = values.iter().map(|x| f64::from(*x)).collect();
            for row in 0..heads * seq {
                for i in 0..dim / 2 {
                    let angle = (offset + row % seq) as f64 * theta.powf(-2.0 * i as f64 / dim as f64);
                    let (a, b) = match pairs {
                        Pairs::Halves => (i, i + dim / 2),
                        Pairs::Interleaved => (2 * i, 2 * i + 1),
                    };
                    let (a, b) = (row * head_dim + a, row * head_dim + b);
                    let (x, y) = (expected[a], expected[b]);
                    expected[a] = x * angle.cos() - y * angle.sin();
                    expected[b] = x * angle.sin() + y * angle.cos();
                }
            }
            for (y, e) in y.iter().zip(&expected) {
                assert!((f64::from(*y) - e).abs() < 1e-5, "{pairs:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn odd_sizes_and_late_positions_are_refused() -> Result<()> {
        let new = |dim| Rotary::new(dim, 9, 1e4, Pairs::Halves, &Device::Cpu, DType::F32);
        assert!(new(5).is_err_and(|e| e.to_string().contains("turns pairs, but 5")));
        let x = Tensor::zeros((1, 1, 3, 4), DType::F32, &Device::Cpu)?;
        assert!(new(4)?.forward(&x, 7).is_err_and(|e| e.to_string().contains("3 tokens are to follow 7")));
        assert!(new(6)?.forward(&x, 0).is_err_and(|e| e.to_string().contains("smaller than the 6")));
        Ok(())
    }
}
