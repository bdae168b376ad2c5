//! Tokens that go to experts.

use candle_core::{D, DType, Result, Tensor, bail};

/// Tokens and their weights, expert by expert.
#[derive(Clone, Debug)]
pub struct Routed {
    experts: Vec<(Vec<u32>, Vec<f32>)>,
}

impl Routed {
    /// Tokens by what was chosen for them: `indices` of u32 and `weights`, both `[… chosen]`, among `count` experts.
    ///
    /// Which experts run is decided on the host: both are read from the device.
    ///
    /// # Errors
    /// Where their shapes differ or an index is not below `count`.
    pub fn of(indices: &Tensor, weights: &Tensor, count: usize) -> Result<Routed> {
        if indices.dims() != weights.dims() {
            bail!("indices of {:?} and weights of {:?} do not go together", indices.dims(), weights.dims());
        }
        let indices = indices.to_dtype(DType::U32)?.contiguous()?.flatten_to(D::Minus2)?.to_vec2::<u32>()?;
        let weights = weights.to_dtype(DType::F32)?.contiguous()?.flatten_to(D::Minus2)?.to_vec2::<f32>()?;
        let mut experts = vec![(Vec::new(), Vec::new()); count];
        for (token, (indices, weights)) in (0u32..).zip(indices.iter().zip(&weights)) {
            for (index, weight) in indices.iter().zip(weights) {
                let expert = usize::try_from(*index).ok().and_then(|index| experts.get_mut(index));
                let Some((tokens, parts)) = expert else {
                    bail!("expert {index} of {count} was chosen");
                };
                tokens.push(token);
                parts.push(*weight);
            }
        }
        Ok(Routed { experts })
    }

    /// Sends tokens, each of `inputs [batch seq …]`, through their experts, and adds up what comes back by its weight.
    ///
    /// `expert` gets an expert's number and, of each input, its tokens `[1 some …]` in one piece, and gives `[1 some …]`
    /// back; experts without tokens do not run. The result is `[batch seq …]`.
    ///
    /// # Errors
    /// Where no token has an expert, and those of `expert`.
    pub fn combine<const N: usize>(
        &self,
        inputs: [&Tensor; N],
        expert: impl Fn(usize, [Tensor; N]) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let Some(first) = inputs.first() else { bail!("experts are given nothing") };
        let (batch, seq) = (first.dim(0)?, first.dim(1)?);
        let flat: Vec<Tensor> =
            inputs.iter().map(|x| x.contiguous()?.flatten(0, 1)).collect::<Result<_>>()?;
        let mut sum: Option<Tensor> = None;
        for (number, (tokens, weights)) in self.experts.iter().enumerate() {
            if tokens.is_empty() {
                continue;
            }
            let tokens = Tensor::new(tokens.as_slice(), first.device())?;
            let mut own = Vec::with_capacity(N);
            for x in &flat {
                own.push(x.index_select(&tokens, 0)?.unsqueeze(0)?);
            }
            let Ok(own) = <[Tensor; N]>::try_from(own) else { bail!("experts are given other inputs") };
            let out = expert(number, own)?.squeeze(0)?;
            let weights = Tensor::new(weights.as_slice(), out.device())?.to_dtype(out.dtype())?;
            let out = out.broadcast_mul(&weights.unsqueeze(1)?)?;
            let so_far = match sum {
                Some(sum) => sum,
                None => Tensor::zeros((batch * seq, out.dim(1)?), out.dtype(), out.device())?,
            };
            sum = Some(so_far.index_add(&tokens, &out, 0)?);
        }
        match sum {
            Some(sum) => {
                let width = sum.dim(1)?;
                sum.reshape((batch, seq, width))
            }
            None => bail!("there is no token to send to an expert"),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Result, Tensor};

    use super::Routed;
    use crate::nn::{Activation, Linear, softmax, top_k};

    const HIDDEN: usize = 4;
    const FFN: usize = 3;
    const EXPERTS: usize = 5;
    const TOP: usize = 2;

    fn matrix(rows: usize, columns: usize, seed: usize) -> Result<Tensor> {
        let values: Vec<f32> =
            (0..rows * columns).map(|i| ((i * 31 + seed * 17) % 29) as f32 * 0.1 - 1.4).collect();
        Tensor::from_vec(values, (rows, columns), &Device::Cpu)
    }

    fn times(x: &[f64], w: &[Vec<f32>]) -> Vec<f64> {
        (0..w[0].len()).map(|o| x.iter().zip(w).map(|(x, row)| x * f64::from(row[o])).sum()).collect()
    }

    /// What a gated expert makes of a token, in f64.
    fn by_hand(token: &[f64], up: &[Vec<f32>], down: &[Vec<f32>]) -> Vec<f64> {
        let up = times(token, up);
        let gated: Vec<f64> = (0..FFN).map(|i| up[i] / (1.0 + (-up[i]).exp()) * up[FFN + i]).collect();
        times(&gated, down)
    }

    /// Weights by a softmax over the chosen alone, as Mixtral has them, and over all before the choice.
    #[test]
    fn tokens_go_to_their_experts() -> Result<()> {
        let (batch, seq) = (2, 6);
        let x = matrix(batch * seq, HIDDEN, 40)?.reshape((batch, seq, HIDDEN))?;
        let route = matrix(HIDDEN, EXPERTS, 1)?;
        let up: Vec<Tensor> = (0..EXPERTS).map(|e| matrix(HIDDEN, 2 * FFN, 50 + e)).collect::<Result<_>>()?;
        let down: Vec<Tensor> = (0..EXPERTS).map(|e| matrix(FFN, HIDDEN, 90 + e)).collect::<Result<_>>()?;
        for over_chosen in [true, false] {
            let scores = Linear::new(route.t()?, None)?.forward(&x)?;
            let (weights, indices) = if over_chosen {
                let (chosen, indices) = top_k(&scores, TOP)?;
                (softmax(&chosen)?, indices)
            } else {
                top_k(&softmax(&scores)?, TOP)?
            };
            let y = Routed::of(&indices, &weights, EXPERTS)?.combine([&x], |e, [tokens]| {
                assert_eq!((tokens.dims()[0], tokens.dims()[2]), (1, HIDDEN));
                let gated = Activation::Silu.gated(&Linear::new(up[e].t()?, None)?.forward(&tokens)?)?;
                Linear::new(down[e].t()?, None)?.forward(&gated)
            })?;
            assert_eq!(y.dims(), x.dims());
            let y = y.flatten_to(1)?.to_vec2::<f32>()?;
            for (token, y) in x.flatten_to(1)?.to_vec2::<f32>()?.iter().zip(&y) {
                let token: Vec<f64> = token.iter().map(|x| f64::from(*x)).collect();
                let scores = times(&token, &route.to_vec2::<f32>()?);
                let mut order: Vec<usize> = (0..EXPERTS).collect();
                order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
                let among = if over_chosen { &order[..TOP] } else { &order[..] };
                let sum: f64 = among.iter().map(|e| scores[*e].exp()).sum();
                let mut expected = vec![0.0; HIDDEN];
                for e in &order[..TOP] {
                    let out = by_hand(&token, &up[*e].to_vec2()?, &down[*e].to_vec2()?);
                    expected.iter_mut().zip(out).for_each(|(s, o)| *s += o * scores[*e].exp() / sum);
                }
                for (y, e) in y.iter().zip(&expected) {
                    assert!((f64::from(*y) - e).abs() < 1e-4, "{over_chosen}: {y} for {e}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn choices_that_do_not_fit_are_refused() -> Result<()> {
        let weights = Tensor::new(&[[[0.5f32, 0.5]]], &Device::Cpu)?;
        let indices = Tensor::new(&[[[0u32, 5]]], &Device::Cpu)?;
        let error = Routed::of(&indices, &weights, 5).expect_err("there are 5").to_string();
        assert!(error.contains("expert 5 of 5 was chosen"), "{error}");
        assert!(Routed::of(&indices.narrow(2, 0, 1)?, &weights, 5).is_err());
        assert!(Routed::of(&indices, &weights, 6).is_ok());
        Ok(())
    }
}
