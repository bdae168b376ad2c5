//! Rotary position embedding (RoFormer, arXiv:2104.09864).

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{D, DType, Device, Result, Tensor, bail};

/// Which elements of a head are turned together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairs {
    /// Element `i` with `i + dim / 2`: GPT-NeoX, Llama in Hugging Face's form.
    Halves,
    /// Element `2 i` with `2 i + 1`: GPT-J, Llama in Meta's form.
    Interleaved,
}

/// Positions that a table has at first; it doubles as they come.
const FIRST: usize = 256;

/// Positions that f32 tells apart.
const EXACT: usize = 1 << 24;

/// Elements of a head at most, far above those of any model: a width comes out of a config.
const WIDEST: usize = 1 << 16;

/// Turns heads by the cosines and sines of their positions. Clones share one table.
#[derive(Clone, Debug)]
pub struct Rotary {
    /// Cosines and sines, `[some dim/2]` each, of the first positions.
    table: Arc<Mutex<[Tensor; 2]>>,
    /// In radians per position, one a pair.
    frequencies: Arc<[f32]>,
    positions: usize,
    pairs: Pairs,
}

impl Rotary {
    /// The table for the first `dim` elements of each head, turned by `position * theta^(-2 i / dim)`.
    ///
    /// # Errors
    /// Where `dim` is odd, 0, or more than any head has.
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
        if dim > WIDEST {
            bail!(
                "rotary embedding is to turn {dim} elements of each head, but no head has more than {WIDEST}"
            );
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
        let table = table(frequencies, positions.min(FIRST), device, dtype)?;
        Ok(Rotary { table: Arc::new(Mutex::new(table)), frequencies: frequencies.into(), positions, pairs })
    }

    /// Turns `x [batch heads seq head_dim]`, whose first token is at position `offset`.
    ///
    /// # Errors
    /// Where heads are smaller than what is turned, `x` is of another dtype than the table, or the model ends before the
    /// last position.
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
        let [cos, sin] = self.angles(offset, end)?;
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

    /// Cosines and sines of the positions from `start` to `end`, by a table that grows to hold them.
    fn angles(&self, start: usize, end: usize) -> Result<[Tensor; 2]> {
        if end > EXACT {
            bail!("position {end} is too late for rotary embedding, whose angles are in f32");
        }
        // A table is replaced as a whole, so that a panic elsewhere leaves a good one.
        let mut kept = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if kept[0].dim(0)? < end {
            let rows = end.next_power_of_two().min(self.positions);
            *kept = table(&self.frequencies, rows, kept[0].device(), kept[0].dtype())?;
        }
        Ok([kept[0].narrow(0, start, end - start)?, kept[1].narrow(0, start, end - start)?])
    }
}

/// Cosines and sines of so many positions, from angles in f32. Both are rounded to the model's dtype, as Megatron-LM
/// and transformers have them.
fn table(frequencies: &[f32], positions: usize, device: &Device, dtype: DType) -> Result<[Tensor; 2]> {
    let table = |f: fn(f32) -> f32| {
        let angles = (0..positions).flat_map(|p| frequencies.iter().map(move |w| p as f32 * w));
        let values: Vec<f32> = angles.map(f).collect();
        Tensor::from_vec(values, (positions, frequencies.len()), &Device::Cpu)?
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
        // Positions of the first table, over its end, and past several doublings.
        for (offset, positions) in [(4, 9), (255, 300), (1500, usize::MAX), (297, 300)] {
            turned_by_hand(offset, positions)?;
        }
        Ok(())
    }

    fn turned_by_hand(offset: usize, positions: usize) -> Result<()> {
        let (heads, seq, head_dim, dim, theta) = (2, 3, 10, 6, 100.0f64);
        let values: Vec<f32> =
            (0..heads * seq * head_dim).map(|i| (i * 13 % 37) as f32 * 0.1 - 1.5).collect();
        let x = Tensor::from_slice(&values, (1, heads, seq, head_dim), &Device::Cpu)?;
        for pairs in [Pairs::Halves, Pairs::Interleaved] {
            let rotary = Rotary::new(dim, positions, theta, pairs, &Device::Cpu, DType::F32)?;
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
                assert!((f64::from(*y) - e).abs() < 1e-5 + 1e-6 * offset as f64, "{pairs:?} at {offset}");
            }
        }
        Ok(())
    }

    #[test]
    fn clones_share_a_table_that_grows() -> Result<()> {
        let rotary = Rotary::new(4, 1000, 1e4, Pairs::Halves, &Device::Cpu, DType::BF16)?;
        let other = rotary.clone();
        let rows = |r: &Rotary| r.table.lock().expect("no thread panicked")[0].dim(0);
        assert_eq!(rows(&rotary)?, 256);
        let x = Tensor::zeros((1, 1, 2, 4), DType::BF16, &Device::Cpu)?;
        for (offset, expected) in [(254, 256), (255, 512), (0, 512), (600, 1000), (998, 1000)] {
            assert_eq!(rotary.forward(&x, offset)?.dtype(), DType::BF16);
            assert_eq!((rows(&rotary)?, rows(&other)?), (expected, expected), "after {offset}");
        }
        let endless = Rotary::new(4, usize::MAX, 1e4, Pairs::Halves, &Device::Cpu, DType::BF16)?;
        let error = endless.forward(&x, 1 << 24).expect_err("it is too late").to_string();
        assert!(error.contains("too late for rotary embedding"), "{error}");
        Ok(())
    }

    #[test]
    fn odd_sizes_and_late_positions_are_refused() -> Result<()> {
        let new = |dim| Rotary::new(dim, 9, 1e4, Pairs::Halves, &Device::Cpu, DType::F32);
        assert!(new(5).is_err_and(|e| e.to_string().contains("turns pairs, but 5")));
        assert!(new(1 << 40).is_err_and(|e| e.to_string().contains("no head has more than 65536")));
        let x = Tensor::zeros((1, 1, 3, 4), DType::F32, &Device::Cpu)?;
        assert!(new(4)?.forward(&x, 7).is_err_and(|e| e.to_string().contains("3 tokens are to follow 7")));
        assert!(new(6)?.forward(&x, 0).is_err_and(|e| e.to_string().contains("smaller than the 6")));
        Ok(())
    }
}
