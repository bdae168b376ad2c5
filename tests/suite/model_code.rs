//! Operations of models in odd forms: that their code compiles without a warning, and computes what the mapping says.
#![deny(warnings, clippy::all)]

use transship::nn::{DType, Device, Result, Tensor};
use transship::port::PortError;
use transship::{Array, BindOptions, Checkpoint, Setting};

/// Heads in an order that attention does not take, a norm over a part of the axes, axes that only one operand has,
/// numbers on both sides of operators, and dimensions that go.
mod odd {
    use transship::Port;

    #[derive(Port)]
    #[port(
        inline = "mapping odd : a <=> b

config {
    hidden         = args.hidden  <=> hidden
    groups         = args.groups  <=> groups
    rep            = args.rep     <=> rep
    head_dim       = args.dim     <=> dim
    vocab          = args.vocab   <=> vocab
    layers         = args.layers  <=> layers
    epsilon: float = args.eps     <=> eps     else 1e-5
    theta: float   = args.theta   <=> theta
    turned: bool   = args.turned  <=> turned  else false
}

module norm(dim) : layer_norm    { weight [dim]     bias? [dim] }
module linear(out, in) : linear  { weight [out in] }

table.weight [vocab hidden]  <=>  wte.weight [vocab hidden]
blocks.{layer}  <=>  h.{layer}  {
    ask   : linear((rep groups head_dim), hidden)         <=>  q : linear((rep groups head_dim), hidden)
    tell  : linear((groups (k | v) head_dim), hidden)     <=>  kv : linear(((k | v) groups head_dim), hidden)
    each  : norm(head_dim)                                <=>  qn : norm(head_dim)
    gains [groups]                                        <=>  gain [groups]
    back  : linear(hidden, (rep groups head_dim))         <=>  o : linear(hidden, (rep groups head_dim))
}

model odd over b (tokens [batch seq] in vocab, weight? [batch seq]) -> y [batch seq hidden] {
    let x = wte.weight[tokens] * weight
    for layer in h {
        let (v, k) = layer.kv(x)
        let q = layer.qn(layer.q(x))
        let q = if turned { rotary(q, base: theta) } else { q }
        let seen = attention(q, k * layer.gain, v, causal)
        let x = x - 2 * layer.o(seen) / sqrt(layer + 1)
    }
    softmax(x, hidden) + mean(x, hidden) - 1 / (3 + first(x, seq) * first(x, seq))
}
",
        model
    )]
    pub(crate) struct Odd;
}

const SIZES: [(&str, usize); 6] =
    [("hidden", 5), ("groups", 2), ("rep", 3), ("head_dim", 4), ("vocab", 7), ("layers", 2)];

fn noise(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 1009.0 - 0.5).collect()
}

fn odd_weights() -> Vec<(String, Vec<u64>, Vec<f32>)> {
    let mut all = vec![("wte.weight".to_owned(), vec![7, 5], noise(35, 1))];
    for layer in 0..2 {
        let mut add = |name: &str, shape: &[u64]| {
            let count: u64 = shape.iter().product();
            let seed = 10 * layer + all.len();
            all.push((format!("h.{layer}.{name}"), shape.to_vec(), noise(count as usize, seed)));
        };
        add("q.weight", &[24, 5]);
        add("kv.weight", &[16, 5]);
        add("qn.weight", &[4]);
        add("qn.bias", &[4]);
        add("gain", &[2]);
        add("o.weight", &[5, 24]);
    }
    all
}

fn checkpoint() -> Checkpoint {
    let arrays = odd_weights().into_iter().map(|(name, shape, values)| {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        (name, Array::new(transship::DType::F32, &shape, bytes).expect("the bytes fit"))
    });
    Checkpoint::in_memory("odd", arrays.collect()).expect("a checkpoint")
}

fn settings() -> BindOptions {
    let settings =
        SIZES.iter().map(|(name, size)| Setting { name: (*name).to_owned(), value: size.to_string() });
    BindOptions { settings: settings.collect(), ..BindOptions::default() }
}

fn load(options: &BindOptions) -> std::result::Result<odd::odd::model::Odd, PortError> {
    odd::odd::model::Odd::load(&checkpoint(), options, &Device::Cpu, DType::F64)
}

/// The model by its text, in f64, one token of one text after the other.
fn by_hand(tokens: &[u32], scale: &[f64]) -> Vec<Vec<f64>> {
    let weights = odd_weights();
    let get = |name: &str| -> Vec<f64> {
        let (_, _, values) = weights.iter().find(|(n, ..)| n == name).expect("it is there");
        values.iter().map(|x| f64::from(*x)).collect()
    };
    let times = |w: &[f64], x: &[f64]| -> Vec<f64> {
        w.chunks(x.len()).map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum()).collect()
    };
    let table = get("wte.weight");
    let mut xs: Vec<Vec<f64>> = tokens
        .iter()
        .zip(scale)
        .map(|(token, scale)| table[*token as usize * 5..][..5].iter().map(|x| x * scale).collect())
        .collect();
    for layer in 0..2 {
        let weight = |name: &str| get(&format!("h.{layer}.{name}"));
        let (gain, norm, bias) = (weight("gain"), weight("qn.weight"), weight("qn.bias"));
        let keys: Vec<Vec<f64>> = xs.iter().map(|x| times(&weight("kv.weight"), x)).collect();
        let old = xs.clone();
        for (at, x) in xs.iter_mut().enumerate() {
            let mut q = times(&weight("q.weight"), &old[at]);
            for head in q.chunks_mut(4) {
                let mean = head.iter().sum::<f64>() / 4.0;
                let variance = head.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 4.0;
                for (i, x) in head.iter_mut().enumerate() {
                    *x = (*x - mean) / (variance + 1e-5).sqrt() * norm[i] + bias[i];
                }
            }
            let mut seen = vec![0.0; 24];
            for head in 0..6 {
                let group = head % 2;
                let score = |p: usize| {
                    let dot: f64 =
                        (0..4).map(|d| q[head * 4 + d] * keys[p][group * 4 + d] * gain[group]).sum();
                    (dot / 2.0).exp()
                };
                let sum: f64 = (0..=at).map(score).sum();
                for d in 0..4 {
                    seen[head * 4 + d] = (0..=at).map(|p| score(p) / sum * keys[p][8 + group * 4 + d]).sum();
                }
            }
            let out = times(&weight("o.weight"), &seen);
            for (x, out) in x.iter_mut().zip(out) {
                *x -= 2.0 * out / (f64::from(layer) + 1.0).sqrt();
            }
        }
    }
    let first = xs[0].clone();
    xs.iter()
        .map(|x| {
            let sum: f64 = x.iter().map(|x| x.exp()).sum();
            let mean = x.iter().sum::<f64>() / 5.0;
            let own = |(x, first): (&f64, &f64)| x.exp() / sum + mean - 1.0 / (3.0 + first * first);
            x.iter().zip(&first).map(own).collect()
        })
        .collect()
}

#[test]
fn operations_of_every_form_compute_what_is_written() -> Result<()> {
    let mut model = load(&settings()).expect("a model");
    let tokens = [[3u32, 1, 6, 0, 2, 5], [0, 4, 4, 2, 1, 3]];
    let scale = [[1.0, 0.5, -1.5, 2.0, 0.25, 1.0], [0.75, 1.0, 1.25, -0.5, 3.0, 0.1]];
    let ids = Tensor::new(&tokens, &Device::Cpu)?;
    let weight = Tensor::new(&scale, &Device::Cpu)?;
    for scaled in [true, false] {
        model.clear_kv_cache();
        let y = model.forward(&ids, scaled.then_some(&weight), 0)?.to_vec3::<f64>()?;
        for (at, y) in y.iter().enumerate() {
            let scale = if scaled { scale[at] } else { [1.0; 6] };
            for (y, expected) in y.iter().zip(by_hand(&tokens[at], &scale)) {
                for (y, e) in y.iter().zip(expected) {
                    assert!((y - e).abs() < 1e-5, "{y} for {e}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn what_no_arm_needs_is_not_asked_for() {
    // `theta` is known to nobody, and nothing turns.
    assert!(load(&settings()).is_ok());
    let mut options = settings();
    options.settings.push(Setting { name: "turned".to_owned(), value: "true".to_owned() });
    let error = load(&options).expect_err("the base of the angles is not known").to_string();
    assert!(error.contains("`theta`"), "{error}");
    options.settings.push(Setting { name: "theta".to_owned(), value: "100.0".to_owned() });
    assert!(load(&options).is_ok());
}

#[test]
fn parameters_that_are_missing_are_told() {
    let arrays =
        odd_weights().into_iter().filter(|(name, ..)| name != "h.1.gain").map(|(name, shape, values)| {
            let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            (name, Array::new(transship::DType::F32, &shape, bytes).expect("the bytes fit"))
        });
    let checkpoint = Checkpoint::in_memory("odd", arrays.collect()).expect("a checkpoint");
    let model = odd::odd::model::Odd::load(&checkpoint, &settings(), &Device::Cpu, DType::F32);
    let error = model.expect_err("it is incomplete").to_string();
    assert!(error.contains("h.1.gain"), "{error}");
}
