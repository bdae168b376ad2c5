//! Activations by the names that configs give them.

use candle_core::{Device, Result, Tensor, bail};

use super::cpu::{Activate, Gate, Pointwise};

/// A function of one element between two layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x Φ(x)` with the error function: `gelu` of transformers.
    Gelu,
    /// The tanh form of it: `gelu_new`, `gelu_fast` and `gelu_pytorch_tanh` of transformers.
    GeluTanh,
    /// `x σ(1.702 x)`: `quick_gelu` of transformers.
    QuickGelu,
    /// `x σ(x)`: `silu` or `swish`.
    Silu,
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)²`: `relu2` of transformers.
    SquaredRelu,
    /// The hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
}

impl Activation {
    /// Every name that [`named`](Activation::named) knows, as `hidden_act` and `activation_function` of a `config.json`
    /// have them.
    pub const NAMES: [(&'static str, Activation); 15] = [
        ("gelu", Activation::Gelu),
        ("gelu_python", Activation::Gelu),
        ("gelu_new", Activation::GeluTanh),
        ("gelu_fast", Activation::GeluTanh),
        ("gelu_pytorch_tanh", Activation::GeluTanh),
        ("gelu_tanh", Activation::GeluTanh),
        ("quick_gelu", Activation::QuickGelu),
        ("gelu_quick", Activation::QuickGelu),
        ("silu", Activation::Silu),
        ("swish", Activation::Silu),
        ("relu", Activation::Relu),
        ("relu2", Activation::SquaredRelu),
        ("relu_squared", Activation::SquaredRelu),
        ("tanh", Activation::Tanh),
        ("sigmoid", Activation::Sigmoid),
    ];

    /// The activation that a config calls `name`.
    ///
    /// # Errors
    /// Where no activation has that name.
    pub fn named(name: &str) -> Result<Activation> {
        match Activation::NAMES.iter().find(|(known, _)| *known == name) {
            Some((_, activation)) => Ok(*activation),
            None => {
                let names: Vec<&str> = Activation::NAMES.iter().map(|(name, _)| *name).collect();
                bail!("no activation is called `{name}`; known are {}", names.join(", "))
            }
        }
    }

    /// The function of each element, in `x`'s shape.
    ///
    /// # Errors
    /// Of candle.
    pub fn forward(self, x: &Tensor) -> Result<Tensor> {
        if let Some(pointwise) = self.on_cpu(x) {
            return x.contiguous()?.apply_op1_no_bwd(&Activate(pointwise));
        }
        match self {
            Activation::Gelu => x.gelu_erf(),
            Activation::GeluTanh => x.gelu(),
            Activation::QuickGelu => x * sigmoid(&(x * 1.702)?)?,
            Activation::Silu => x.silu(),
            Activation::Relu => x.relu(),
            Activation::SquaredRelu => x.relu()?.sqr(),
            Activation::Tanh => x.tanh(),
            Activation::Sigmoid => sigmoid(x),
        }
    }

    /// `f(gate) * up` of `x [… 2 ffn]`, which holds the gate first: `[… ffn]`.
    ///
    /// # Errors
    /// Where the last dimension is odd.
    pub fn gated(self, x: &Tensor) -> Result<Tensor> {
        let width = x.dim(candle_core::D::Minus1)?;
        if !width.is_multiple_of(2) {
            bail!("a gate and what it gates have one width, but together they have {width}");
        }
        if let Some(pointwise) = self.on_cpu(x) {
            return x.contiguous()?.apply_op1_no_bwd(&Gate(pointwise));
        }
        let part = |at: usize| x.narrow(candle_core::D::Minus1, at * (width / 2), width / 2)?.contiguous();
        self.forward(&part(0)?)? * part(1)?
    }

    /// The kernel of our own, where it is faster than candle's.
    fn on_cpu(self, x: &Tensor) -> Option<Pointwise> {
        let pointwise = match self {
            Activation::GeluTanh => Pointwise::GeluTanh,
            Activation::QuickGelu => Pointwise::QuickGelu,
            Activation::Silu => Pointwise::Silu,
            _ => return None,
        };
        (matches!(x.device(), Device::Cpu) && Pointwise::takes(x.dtype())).then_some(pointwise)
    }
}

/// `1 / (1 + e^-x)`, a custom operation in candle-nn that wants its elements in one piece.
fn sigmoid(x: &Tensor) -> Result<Tensor> {
    candle_nn::ops::sigmoid(&x.contiguous()?)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Result, Tensor};

    use super::Activation;

    fn expected(activation: Activation, x: f64) -> f64 {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        match activation {
            // Φ by Simpson's rule over the density, independent of any erf.
            Activation::Gelu => {
                let (low, steps) = (-12.0, 20_000);
                let step = (x - low) / f64::from(steps);
                let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
                let sum: f64 = (0..=steps)
                    .map(|i| {
                        let weight = if i == 0 || i == steps {
                            1.0
                        } else if i % 2 == 1 {
                            4.0
                        } else {
                            2.0
                        };
                        weight * density(low + f64::from(i) * step)
                    })
                    .sum();
                x * sum * step / 3.0
            }
            Activation::GeluTanh => {
                let root = (2.0 / std::f64::consts::PI).sqrt();
                0.5 * x * (1.0 + (root * (x + 0.044715 * x.powi(3))).tanh())
            }
            Activation::QuickGelu => x * sigmoid(1.702 * x),
            Activation::Silu => x * sigmoid(x),
            Activation::Relu => x.max(0.0),
            Activation::SquaredRelu => x.max(0.0).powi(2),
            Activation::Tanh => x.tanh(),
            Activation::Sigmoid => sigmoid(x),
        }
    }

    #[test]
    fn every_name_computes_its_formula() -> Result<()> {
        let xs: Vec<f32> = (-60..=60).map(|i| i as f32 * 0.13).collect();
        for (name, _) in Activation::NAMES {
            let activation = Activation::named(name)?;
            for dtype in [DType::F32, DType::BF16, DType::F16] {
                let x = Tensor::new(xs.as_slice(), &Device::Cpu)?.to_dtype(dtype)?;
                let y = activation.forward(&x)?;
                assert_eq!(y.dtype(), dtype);
                let tolerance = if dtype == DType::F32 { 2e-6 } else { 1e-2 };
                let rows = x.to_dtype(DType::F64)?.to_vec1::<f64>()?;
                for (x, y) in rows.into_iter().zip(y.to_dtype(DType::F64)?.to_vec1::<f64>()?) {
                    let e = expected(activation, x);
                    assert!((y - e).abs() <= tolerance * (1.0 + e.abs()), "{name}({x}) = {y}, not {e}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn gates_multiply_what_follows_them() -> Result<()> {
        for (rows, ffn) in [(1, 3), (2, 20), (5, 5), (300, 130)] {
            let values: Vec<f32> = (0..rows * 2 * ffn).map(|i| ((i * 29) % 83) as f32 * 0.05 - 2.0).collect();
            let x = Tensor::from_slice(&values, (rows, 2 * ffn), &Device::Cpu)?;
            for activation in [Activation::Silu, Activation::Gelu, Activation::GeluTanh] {
                let y = activation.gated(&x)?.to_vec2::<f32>()?;
                for (row, y) in values.chunks(2 * ffn).zip(&y) {
                    assert_eq!(y.len(), ffn);
                    for at in [0, ffn / 2, ffn - 1] {
                        let e = expected(activation, f64::from(row[at])) * f64::from(row[ffn + at]);
                        assert!((f64::from(y[at]) - e).abs() < 1e-5, "{activation:?} {rows} {ffn} {at}");
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn unknown_names_are_refused_with_the_known_ones() {
        let error = Activation::named("gelu_neu").expect_err("no such activation").to_string();
        assert!(error.contains("`gelu_neu`; known are gelu, gelu_python, gelu_new"), "{error}");
    }
}
