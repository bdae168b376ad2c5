//! The decoder: from either side's file, at once and token by token.

use transship::nn::{CausalLm, DType, Device, Result, Tensor};

use super::corpus::decoder::{b_model, m_model};
use super::reference::{Rows, Weights, add, assert_close, attention, layer_norm, settings, times};
use super::{HEAD_DIM, HEADS, HIDDEN, LAYERS, SIZES, TEXTS, VOCAB};

const POSITIONS: usize = 9;

/// Rows of the table on the left, which pads it.
const PADDED: usize = 13;

/// How a side stores the decoder.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    A,
    B,
}

impl Side {
    /// Names of the blocks, and of the norm and the two projections in each.
    fn names(self) -> [&'static str; 4] {
        match self {
            Side::A => ["layers", "ln", "qkv", "proj"],
            Side::B => ["h", "ln_1", "c_attn", "c_proj"],
        }
    }

    fn weights(self, bias: bool) -> Weights {
        let [blocks, ln, qkv, proj] = self.names();
        let mut weights = Weights::default();
        // Small, so that what is added to the variance shows.
        let rows = if self == Side::A { PADDED } else { VOCAB };
        weights.add("wte.weight", &[rows, HIDDEN], 0.2);
        weights.add("wpe.weight", &[POSITIONS, HIDDEN], 0.2);
        for layer in 0..LAYERS {
            let mut add = |name: String, shape: &[usize]| {
                weights.add(&format!("{blocks}.{layer}.{name}"), shape, 0.5);
            };
            let matrix = |out: usize| if self == Side::A { [out, HIDDEN] } else { [HIDDEN, out] };
            add(format!("{ln}.weight"), &[HIDDEN]);
            if bias {
                add(format!("{ln}.bias"), &[HIDDEN]);
            }
            add(format!("{qkv}.weight"), &matrix(3 * HIDDEN));
            add(format!("{qkv}.bias"), &[3 * HIDDEN]);
            add(format!("{proj}.weight"), &matrix(HIDDEN));
            add(format!("{proj}.bias"), &[HIDDEN]);
        }
        weights
    }

    /// `x · weight + bias` with the side's order of the weight's axes.
    fn linear(self, weights: &Weights, name: &str, x: &[f64]) -> Vec<f64> {
        if self == Side::A {
            return weights.linear(name, x);
        }
        let (weight, bias) = (weights.get(&format!("{name}.weight")), weights.get(&format!("{name}.bias")));
        let out = bias.len();
        (0..out).map(|o| bias[o] + (0..x.len()).map(|i| x[i] * weight[i * out + o]).sum::<f64>()).collect()
    }

    /// The part `0` (queries), `1` (keys) or `2` (values) of what a token's projection gives, heads side by side.
    fn part(self, qkv: &[f64], part: usize) -> Vec<f64> {
        let start = |head: usize| match self {
            Side::A => (head * 3 + part) * HEAD_DIM,
            Side::B => (part * HEADS + head) * HEAD_DIM,
        };
        (0..HEADS).flat_map(|head| qkv[start(head)..][..HEAD_DIM].to_vec()).collect()
    }

    fn by_hand(self, weights: &Weights, ids: &[u32]) -> Rows {
        let [blocks, ln, qkv, proj] = self.names();
        let epsilon = if self == Side::A { 0.01 } else { 1e-6 };
        let mut xs = weights.rows("wte.weight", ids, HIDDEN);
        let places = weights.get("wpe.weight");
        for (x, place) in xs.iter_mut().zip(places.chunks(HIDDEN)) {
            *x = add(x, place);
        }
        for layer in 0..LAYERS {
            let name = |of: &str| format!("{blocks}.{layer}.{of}");
            let gain = weights.get(&name(&format!("{ln}.weight")));
            let bias = weights.find(&name(&format!("{ln}.bias")));
            let projected = |x: &Vec<f64>| {
                self.linear(weights, &name(qkv), &layer_norm(x, &gain, bias.as_deref(), epsilon))
            };
            let all: Rows = xs.iter().map(projected).collect();
            let [q, k, v] = [0, 1, 2].map(|part| all.iter().map(|x| self.part(x, part)).collect::<Rows>());
            let scale = 1.0 / (HEAD_DIM as f64).sqrt();
            let seen = attention([&q, &k, &v], HEADS, scale, |i, j| j <= i);
            for (x, seen) in xs.iter_mut().zip(&seen) {
                *x = add(x, &self.linear(weights, &name(proj), seen));
            }
        }
        let head = weights.get("wte.weight");
        xs.iter().map(|x| times(&head[..VOCAB * HIDDEN], x)).collect()
    }

    fn load(self, weights: &Weights) -> Box<dyn CausalLm> {
        let own = [("epsilon", "0.01"), ("positions", "9")];
        let options = settings(&[&SIZES[..], &own].concat());
        let (checkpoint, device) = (weights.checkpoint(), Device::Cpu);
        match self {
            Side::A => {
                Box::new(m_model::M::load(&checkpoint, &options, &device, DType::F32).expect("a model"))
            }
            Side::B => {
                Box::new(b_model::B::load(&checkpoint, &options, &device, DType::F32).expect("a model"))
            }
        }
    }
}

#[test]
fn decoders_compute_what_is_written_at_once_and_step_by_step() -> Result<()> {
    let ids = Tensor::new(&TEXTS, &Device::Cpu)?;
    for (side, bias) in [(Side::A, true), (Side::A, false), (Side::B, true), (Side::B, false)] {
        let weights = side.weights(bias);
        let mut model = side.load(&weights);
        assert_eq!((model.vocab(), model.positions()), (VOCAB, Some(POSITIONS)));
        let whole = model.forward(&ids, 0)?;
        assert_eq!(whole.dims(), [2, 7, VOCAB]);
        let case = if side == Side::A { "a" } else { "b" };
        assert_close(&whole, &TEXTS.map(|text| side.by_hand(&weights, &text)), case);
        for prompt in [1, 4] {
            model.clear_kv_cache();
            let mut parts = vec![model.forward(&ids.narrow(1, 0, prompt)?, 0)?];
            for at in prompt..7 {
                parts.push(model.forward(&ids.narrow(1, at, 1)?, at)?);
            }
            let difference = (Tensor::cat(&parts, 1)? - &whole)?.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!(difference < 1e-5, "{case}: {difference}");
        }
        model.clear_kv_cache();
        let last = (model.forward_last(&ids, 0)? - whole.narrow(1, 6, 1)?)?;
        assert!(last.abs()?.max_all()?.to_scalar::<f32>()? < 1e-5, "{case}");
    }
    Ok(())
}
