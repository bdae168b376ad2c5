//! Models that are given a whole text: experts, choices, functions and joins, an encoder.

use transship::nn::{DType, Device, Result, Tensor};

use super::corpus::{choices, encoder, experts, functions, unread};
use super::reference::{
    Rows, Turn, Weights, activation, add, assert_close, attention, rms_norm, rotary, settings, silu, softmax,
    times,
};
use super::{FFN, HEAD_DIM, HEADS, HIDDEN, LAYERS, SIZES, TEXTS, VOCAB};

fn ids() -> Result<Tensor> {
    Tensor::new(&TEXTS, &Device::Cpu)
}

const EXPERTS: usize = 4;

fn experts_by_hand(weights: &Weights, ids: &[u32], chosen: usize) -> Rows {
    let mut xs = weights.rows("wte.weight", ids, HIDDEN);
    for layer in 0..LAYERS {
        for x in &mut xs {
            let score = softmax(&times(&weights.get(&format!("layers.{layer}.router")), x));
            let mut order: Vec<usize> = (0..EXPERTS).collect();
            order.sort_by(|a, b| score[*b].total_cmp(&score[*a]));
            let mut mixed = vec![0.0; HIDDEN];
            for expert in &order[..chosen] {
                let name = format!("layers.{layer}.experts.{expert}");
                let both = weights.linear(&format!("{name}.fc1"), x);
                let inner: Vec<f64> = (0..FFN).map(|i| silu(both[i]) * both[FFN + i]).collect();
                let out = weights.linear(&format!("{name}.fc2"), &inner);
                mixed = mixed.iter().zip(out).map(|(mixed, out)| mixed + score[*expert] * out).collect();
            }
            *x = add(x, &mixed);
        }
    }
    xs
}

#[test]
fn experts_compute_what_is_written() -> Result<()> {
    let mut weights = Weights::default();
    weights.add("wte.weight", &[VOCAB, HIDDEN], 1.0);
    for layer in 0..LAYERS {
        weights.add(&format!("layers.{layer}.router"), &[EXPERTS, HIDDEN], 0.5);
        for expert in 0..EXPERTS {
            let name = format!("layers.{layer}.experts.{expert}");
            weights.add(&format!("{name}.fc1.weight"), &[2 * FFN, HIDDEN], 0.5);
            weights.add(&format!("{name}.fc2.weight"), &[HIDDEN, FFN], 0.5);
        }
    }
    // Two are chosen where the config does not say.
    for (set, chosen) in [(None, 2), (Some(("chosen", "1")), 1), (Some(("chosen", "3")), 3)] {
        let mut all = SIZES.to_vec();
        all.push(("experts", "4"));
        all.extend(set);
        let checkpoint = weights.checkpoint();
        let model =
            experts::model::M::load(&checkpoint, &settings(&all), &Device::Cpu, DType::F32).expect("a model");
        let y = model.forward(&ids()?)?;
        let expected = TEXTS.map(|text| experts_by_hand(&weights, &text, chosen));
        assert_close(&y, &expected, &format!("{chosen} experts"));
    }
    Ok(())
}

/// What is decided by config.
struct Choice {
    tied: bool,
    era: &'static str,
    rope: &'static str,
    width: Option<usize>,
    act: &'static str,
}

impl Choice {
    fn gain(&self) -> &'static str {
        if self.era == "0" { "old" } else { "new" }
    }

    fn weights(&self) -> Weights {
        let mut weights = Weights::default();
        weights.add("wte.weight", &[VOCAB, HIDDEN], 1.0);
        weights.add("q.weight", &[HIDDEN, HIDDEN], 0.5);
        weights.add("o.weight", &[HIDDEN, HIDDEN], 0.5);
        weights.add(self.gain(), &[HIDDEN], 1.0);
        if !self.tied {
            weights.add("head", &[VOCAB, HIDDEN], 0.5);
        }
        weights
    }

    /// The rotation, where there is one.
    fn turn(&self) -> Option<Turn> {
        let whole = Turn { base: 100.0, width: HEAD_DIM, interleaved: false, interpolation: 1.0 };
        match (self.rope, self.width) {
            ("half", _) => Some(whole),
            ("neighbours", None) => Some(Turn { interleaved: true, ..whole }),
            ("neighbours", Some(width)) => {
                Some(Turn { interleaved: true, width, interpolation: 2.0, ..whole })
            }
            _ => None,
        }
    }

    fn by_hand(&self, weights: &Weights, ids: &[u32]) -> Rows {
        let gain = weights.get(self.gain());
        let mut xs = weights.rows("wte.weight", ids, HIDDEN);
        for x in &mut xs {
            x.iter_mut().zip(&gain).for_each(|(x, gain)| *x *= gain);
        }
        let mut zs: Rows = xs.iter().map(|x| weights.linear("q", x)).collect();
        for (position, z) in zs.iter_mut().enumerate() {
            if let Some(turn) = self.turn() {
                rotary(z, HEAD_DIM, position, &turn);
            } else if self.rope != "none" {
                z.iter_mut().for_each(|z| *z = activation(self.act, *z));
            }
        }
        let scale = 1.0 / (HEAD_DIM as f64).sqrt();
        let seen = attention([&zs, &zs, &zs], HEADS, scale, |_, _| true);
        let head = weights.get(if self.tied { "wte.weight" } else { "head" });
        xs.iter().zip(&seen).map(|(x, seen)| times(&head, &add(x, &weights.linear("o", seen)))).collect()
    }

    fn check(&self) -> Result<()> {
        let weights = self.weights();
        let width = self.width.map(|width| width.to_string());
        let tied = self.tied.to_string();
        let mut all = SIZES.to_vec();
        all.extend([("tied", tied.as_str()), ("era", self.era), ("rope", self.rope)]);
        all.extend([("theta", "100.0"), ("act", self.act)]);
        all.extend(width.as_deref().map(|width| ("width", width)));
        let checkpoint = weights.checkpoint();
        let model =
            choices::model::M::load(&checkpoint, &settings(&all), &Device::Cpu, DType::F32).expect("a model");
        let case = format!("{tied} {} {} {width:?} {}", self.era, self.rope, self.act);
        let logits = model.forward(&ids()?)?;
        assert_close(&logits, &TEXTS.map(|text| self.by_hand(&weights, &text)), &case);
        Ok(())
    }
}

#[test]
fn every_choice_computes_its_own_arm() -> Result<()> {
    let turns = [("none", None), ("half", None), ("half", Some(4)), ("neighbours", None)];
    for (rope, width) in turns.into_iter().chain([("neighbours", Some(4)), ("neighbours", Some(6))]) {
        for (tied, era) in [(true, "0"), (false, "0"), (true, "1"), (false, "3")] {
            Choice { tied, era, rope, width, act: "gelu_new" }.check()?;
        }
    }
    for act in ["gelu_new", "gelu", "silu", "relu", "relu2", "tanh", "sigmoid", "quick_gelu"] {
        Choice { tied: false, era: "1", rope: "of another kind", width: None, act }.check()?;
    }
    Ok(())
}

fn functions_by_hand(weights: &Weights, ids: &[u32]) -> Rows {
    let mut xs = weights.rows("wte.weight", ids, HIDDEN);
    for layer in 0..LAYERS {
        for x in &mut xs {
            let name = |of: &str| format!("layers.{layer}.mlp.{of}");
            let scaled: Vec<f64> = x.iter().map(|x| x / (layer as f64 + 1.0).sqrt()).collect();
            let mut both: Vec<f64> = weights.linear(&name("gate"), &scaled).into_iter().map(silu).collect();
            both.extend(weights.linear(&name("up"), &scaled));
            *x = add(x, &weights.linear(&name("down"), &both));
        }
    }
    xs
}

#[test]
fn functions_and_joins_compute_what_is_written() -> Result<()> {
    // The second has square matrices.
    for ffn in [FFN, HIDDEN] {
        let mut weights = Weights::default();
        weights.add("wte.weight", &[VOCAB, HIDDEN], 1.0);
        for layer in 0..LAYERS {
            weights.add(&format!("layers.{layer}.mlp.gate.weight"), &[ffn, HIDDEN], 0.5);
            weights.add(&format!("layers.{layer}.mlp.up.weight"), &[ffn, HIDDEN], 0.5);
            weights.add(&format!("layers.{layer}.mlp.down.weight"), &[HIDDEN, 2 * ffn], 0.5);
        }
        let size = ffn.to_string();
        let mut all = SIZES.to_vec();
        all.retain(|(name, _)| *name != "ffn");
        all.push(("ffn", &size));
        let checkpoint = weights.checkpoint();
        let model = functions::model::M::load(&checkpoint, &settings(&all), &Device::Cpu, DType::F32)
            .expect("a model");
        let y = model.forward(&ids()?)?;
        assert_close(&y, &TEXTS.map(|text| functions_by_hand(&weights, &text)), &size);
    }
    Ok(())
}

const KINDS: [[u32; 7]; 2] = [[0, 1, 2, 3, 3, 1, 0], [2, 2, 0, 1, 3, 0, 1]];
const MASK: [[u32; 7]; 2] = [[1, 1, 1, 1, 1, 0, 0], [0, 1, 1, 0, 1, 1, 1]];

fn encoder_weights(bias: bool) -> Weights {
    let mut weights = Weights::default();
    weights.add("words.weight", &[VOCAB, HIDDEN], 1.0);
    weights.add("kinds.weight", &[4, HIDDEN], 1.0);
    for name in ["ln.weight", "gain", "old.0.scale", "old.1.scale"] {
        weights.add(name, &[HIDDEN], 1.0);
    }
    for name in ["q", "o", "pool"] {
        weights.add(&format!("{name}.weight"), &[HIDDEN, HIDDEN], 0.5);
        if bias {
            weights.add(&format!("{name}.bias"), &[HIDDEN], 0.5);
        }
    }
    weights
}

fn encoder_by_hand(weights: &Weights, ids: &[u32], kinds: &[u32], mask: &[u32]) -> Rows {
    let kinds = weights.rows("kinds.weight", kinds, HIDDEN);
    let words = weights.rows("words.weight", ids, HIDDEN);
    let xs: Rows = words.iter().zip(&kinds).map(|(word, kind)| add(word, kind)).collect();
    let (norm, gain) = (weights.get("ln.weight"), weights.get("gain"));
    let zs: Rows = xs.iter().map(|x| weights.linear("q", &rms_norm(x, &norm, 0.1))).collect();
    let seen = attention([&zs, &zs, &zs], HEADS, 1.0 / (HEAD_DIM as f64).sqrt(), |_, j| mask[j] != 0);
    let xs: Rows = xs.iter().zip(&seen).map(|(x, seen)| add(x, &weights.linear("o", seen))).collect();
    let first: Vec<f64> = xs[0].iter().zip(&gain).map(|(x, gain)| x * gain).collect();
    let pooled = weights.linear("pool", &first);
    let one = |d: usize| {
        let sum: f64 = xs.iter().map(|x| x[d]).sum();
        let (last, mean) = (xs[xs.len() - 1][d], sum / xs.len() as f64);
        pooled[d].tanh() + last / 2.0 - mean * 2f64.sqrt() + sum
    };
    vec![(0..HIDDEN).map(one).collect()]
}

#[test]
fn encoders_compute_what_is_written() -> Result<()> {
    let (kinds, mask) = (Tensor::new(&KINDS, &Device::Cpu)?, Tensor::new(&MASK, &Device::Cpu)?);
    let options = settings(&[&SIZES[..], &[("epsilon", "0.1"), ("kinds", "4")]].concat());
    for bias in [true, false] {
        let weights = encoder_weights(bias);
        let checkpoint = weights.checkpoint();
        let model =
            encoder::model::M::load(&checkpoint, &options, &Device::Cpu, DType::F32).expect("a model");
        for (with_kinds, with_mask) in [(true, true), (true, false), (false, true), (false, false)] {
            let y = model.forward(&ids()?, with_kinds.then_some(&kinds), with_mask.then_some(&mask))?;
            assert_eq!(y.dims(), [2, HIDDEN]);
            let expected = [0, 1].map(|text| {
                let kinds = if with_kinds { KINDS[text] } else { [0; 7] };
                let mask = if with_mask { MASK[text] } else { [1; 7] };
                encoder_by_hand(&weights, &TEXTS[text], &kinds, &mask)
            });
            assert_close(&y, &expected, &format!("kinds {with_kinds}, mask {with_mask}, bias {bias}"));
        }
    }
    Ok(())
}

#[test]
fn values_that_nothing_reads_change_nothing() -> Result<()> {
    let mut weights = Weights::default();
    weights.add("wte.weight", &[VOCAB, HIDDEN], 1.0);
    let checkpoint = weights.checkpoint();
    let model =
        unread::model::M::load(&checkpoint, &settings(&SIZES), &Device::Cpu, DType::F32).expect("a model");
    let expected = TEXTS.map(|text| weights.rows("wte.weight", &text, HIDDEN));
    assert_close(&model.forward(&ids()?)?, &expected, "rows");
    Ok(())
}
