//! Gated feed-forward layers, one of them or many that a router chooses from.

use candle_core::{D, DType, Result, Tensor, bail};

use super::{Activation, Linear};

/// `down(f(gate(x)) * up(x))`, gate and up as one product.
#[derive(Clone, Debug)]
pub struct GatedMlp {
    gate_up: Linear,
    down: Linear,
    activation: Activation,
}

impl GatedMlp {
    /// A layer of `gate_up [hidden 2*ffn]`, gate first, and `down [ffn hidden]`.
    ///
    /// # Errors
    /// Where the widths do not go together.
    pub fn new(gate_up: Linear, down: Linear, activation: Activation) -> Result<GatedMlp> {
        Ok(GatedMlp { gate_up, down, activation })
    }

    /// `x [… hidden]` to the same shape.
    ///
    /// # Errors
    /// Of candle.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.down.forward(&self.activation.gated(&self.gate_up.forward(x)?)?)
    }
}

/// How a router weighs the experts that it chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// Softmax over the chosen alone: Mixtral, and Megatron-Core's default.
    Chosen,
    /// Softmax over all, of which the chosen keep their parts: Megatron-Core's `moe_router_pre_softmax`.
    All,
}

/// Which experts each token goes to.
#[derive(Clone, Debug)]
pub struct Router {
    weight: Linear,
    top: usize,
    routing: Routing,
}

/// Tokens and their weights, expert by expert.
#[derive(Clone, Debug)]
pub struct Routed {
    experts: Vec<(Vec<u32>, Vec<f32>)>,
}

impl Router {
    /// A router of `weight [hidden experts]` that chooses `top` experts for each token.
    ///
    /// # Errors
    /// Where there are fewer experts than are to be chosen.
    pub fn new(weight: Linear, top: usize, routing: Routing) -> Result<Router> {
        Ok(Router { weight, top, routing })
    }

    /// Chooses experts for the tokens `x [tokens hidden]`. Among equal scores the first expert comes first.
    ///
    /// # Errors
    /// Where there are fewer experts than are to be chosen, or a score is not a number.
    pub fn route(&self, x: &Tensor) -> Result<Routed> {
        // Few numbers, and which experts run is decided on the host.
        let scores = self.weight.forward(x)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        let count = scores.first().map_or(0, Vec::len);
        if self.top == 0 || self.top > count {
            bail!("{} of {count} experts cannot be chosen", self.top);
        }
        let mut experts = vec![(Vec::new(), Vec::new()); count];
        for (token, scores) in scores.iter().enumerate() {
            if scores.iter().any(|s| s.is_nan()) {
                bail!("the router's scores are not numbers");
            }
            let mut order: Vec<usize> = (0..count).collect();
            order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
            let chosen = &order[..self.top];
            let largest = scores[chosen[0]];
            let part = |expert: usize| (scores[expert] - largest).exp();
            let sum: f32 = match self.routing {
                Routing::Chosen => chosen.iter().map(|e| part(*e)).sum(),
                Routing::All => (0..count).map(part).sum(),
            };
            let token = u32::try_from(token).map_err(candle_core::Error::wrap)?;
            for expert in chosen {
                experts[*expert].0.push(token);
                experts[*expert].1.push(part(*expert) / sum);
            }
        }
        Ok(Routed { experts })
    }
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

    /// Sends the tokens `x [… hidden]` through their experts, and adds up what comes back by its weight.
    ///
    /// `expert` gets an expert's number and its tokens `[some hidden]` in one piece; experts without tokens do not run.
    ///
    /// # Errors
    /// Those of `expert`.
    pub fn forward(&self, x: &Tensor, expert: impl Fn(usize, &Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let flat = x.contiguous()?.flatten_to(D::Minus2)?;
        let mut sum = flat.zeros_like()?;
        for (number, (tokens, weights)) in self.experts.iter().enumerate() {
            if tokens.is_empty() {
                continue;
            }
            let tokens = Tensor::new(tokens.as_slice(), x.device())?;
            let weights = Tensor::new(weights.as_slice(), x.device())?.to_dtype(x.dtype())?.unsqueeze(1)?;
            let out = expert(number, &flat.index_select(&tokens, 0)?)?.broadcast_mul(&weights)?;
            sum = sum.index_add(&tokens, &out, 0)?;
        }
        sum.reshape(x.shape())
    }
}

/// Experts with a router.
#[derive(Clone, Debug)]
pub struct Experts {
    router: Router,
    experts: Vec<GatedMlp>,
}

impl Experts {
    /// Experts in the order of the router's outputs.
    #[must_use]
    pub fn new(router: Router, experts: Vec<GatedMlp>) -> Experts {
        Experts { router, experts }
    }

    /// `x [… hidden]` to the same shape.
    ///
    /// # Errors
    /// Where the router has more outputs than there are experts.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let routed = self.router.route(&x.contiguous()?.flatten_to(D::Minus2)?)?;
        routed.forward(x, |number, tokens| match self.experts.get(number) {
            Some(expert) => expert.forward(tokens),
            None => bail!("the router chose expert {number} of {}", self.experts.len()),
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Result, Tensor};

    use super::{Experts, GatedMlp, Router, Routing};
    use crate::nn::{Activation, Linear};

    const HIDDEN: usize = 4;
    const FFN: usize = 3;
    const EXPERTS: usize = 5;

    fn matrix(rows: usize, columns: usize, seed: usize) -> Result<Tensor> {
        let values: Vec<f32> =
            (0..rows * columns).map(|i| ((i * 31 + seed * 17) % 29) as f32 * 0.1 - 1.4).collect();
        Tensor::from_vec(values, (rows, columns), &Device::Cpu)
    }

    fn times(x: &[f64], w: &[Vec<f32>]) -> Vec<f64> {
        (0..w[0].len()).map(|o| x.iter().zip(w).map(|(x, row)| x * f64::from(row[o])).sum()).collect()
    }

    #[test]
    fn tokens_go_to_their_experts() -> Result<()> {
        let (batch, seq, top) = (2, 6, 2);
        let x = matrix(batch * seq, HIDDEN, 40)?.reshape((batch, seq, HIDDEN))?;
        let route = matrix(HIDDEN, EXPERTS, 1)?;
        let weights: Vec<(Tensor, Tensor)> = (0..EXPERTS)
            .map(|e| Ok((matrix(HIDDEN, 2 * FFN, 50 + e)?, matrix(FFN, HIDDEN, 90 + e)?)))
            .collect::<Result<_>>()?;
        for routing in [Routing::Chosen, Routing::All] {
            let mlp = |(gate_up, down): &(Tensor, Tensor)| {
                let (gate_up, down) = (Linear::new(gate_up, None)?, Linear::new(down, None)?);
                GatedMlp::new(gate_up, down, Activation::Silu)
            };
            let router = Router::new(Linear::new(&route, None)?, top, routing)?;
            let experts = Experts::new(router, weights.iter().map(mlp).collect::<Result<_>>()?);
            let y = experts.forward(&x)?.flatten_to(1)?.to_vec2::<f32>()?;
            for (token, y) in x.flatten_to(1)?.to_vec2::<f32>()?.iter().zip(&y) {
                let token: Vec<f64> = token.iter().map(|x| f64::from(*x)).collect();
                let scores = times(&token, &route.to_vec2::<f32>()?);
                let mut order: Vec<usize> = (0..EXPERTS).collect();
                order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
                let among = if routing == Routing::Chosen { &order[..top] } else { &order[..] };
                let sum: f64 = among.iter().map(|e| scores[*e].exp()).sum();
                let mut expected = vec![0.0; HIDDEN];
                for e in &order[..top] {
                    let up = times(&token, &weights[*e].0.to_vec2::<f32>()?);
                    let gated: Vec<f64> =
                        (0..FFN).map(|i| up[i] / (1.0 + (-up[i]).exp()) * up[FFN + i]).collect();
                    let out = times(&gated, &weights[*e].1.to_vec2::<f32>()?);
                    expected.iter_mut().zip(out).for_each(|(s, o)| *s += o * scores[*e].exp() / sum);
                }
                for (y, e) in y.iter().zip(&expected) {
                    assert!((f64::from(*y) - e).abs() < 1e-4, "{routing:?}: {y} for {e}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn more_experts_than_there_are_cannot_be_chosen() -> Result<()> {
        let router = Router::new(Linear::new(&matrix(HIDDEN, 2, 1)?, None)?, 3, Routing::Chosen)?;
        let error = router.route(&matrix(1, HIDDEN, 1)?).expect_err("2 are there").to_string();
        assert!(error.contains("3 of 2 experts cannot be chosen"), "{error}");
        Ok(())
    }
}
