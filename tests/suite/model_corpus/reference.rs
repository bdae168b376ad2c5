//! What operations of models compute, in loops over f64, and checkpoints of small weights.

use transship::nn::Tensor;
use transship::{Array, BindOptions, Checkpoint, DType, Setting};

/// One value of each token of a text.
pub(super) type Rows = Vec<Vec<f64>>;

/// Parameters by name, with their shapes.
#[derive(Default)]
pub(super) struct Weights(Vec<(String, Vec<usize>, Vec<f32>)>);

impl Weights {
    /// Adds noise within `±size`, other for each parameter.
    pub(super) fn add(&mut self, name: &str, shape: &[usize], size: f32) {
        let seed = (self.0.len() + 1) as u32;
        let mut state = seed.wrapping_mul(0x9e37_79b9);
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * size
        };
        let count = shape.iter().product();
        let values = std::iter::repeat_with(next).take(count).collect();
        self.0.push((name.to_owned(), shape.to_vec(), values));
    }

    pub(super) fn get(&self, name: &str) -> Vec<f64> {
        self.find(name).unwrap_or_else(|| panic!("no {name}"))
    }

    pub(super) fn find(&self, name: &str) -> Option<Vec<f64>> {
        let (.., values) = self.0.iter().find(|(own, ..)| own == name)?;
        Some(values.iter().map(|x| f64::from(*x)).collect())
    }

    pub(super) fn checkpoint(&self) -> Checkpoint {
        let arrays = self.0.iter().map(|(name, shape, values)| {
            let shape: Vec<u64> = shape.iter().map(|size| *size as u64).collect();
            let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            (name.clone(), Array::new(DType::F32, &shape, bytes).expect("the bytes fit"))
        });
        Checkpoint::in_memory("weights", arrays.collect()).expect("a checkpoint")
    }

    /// Rows of a table.
    pub(super) fn rows(&self, name: &str, ids: &[u32], width: usize) -> Rows {
        let table = self.get(name);
        ids.iter().map(|id| table[*id as usize * width..][..width].to_vec()).collect()
    }

    /// `x · weight + bias`, with a weight `[out in]` and a bias where there is one.
    pub(super) fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let out = times(&self.get(&format!("{name}.weight")), x);
        match self.find(&format!("{name}.bias")) {
            Some(bias) => add(&out, &bias),
            None => out,
        }
    }
}

pub(super) fn settings(all: &[(&str, &str)]) -> BindOptions {
    let setting = |(name, value): &(&str, &str)| Setting { name: (*name).into(), value: (*value).into() };
    BindOptions { settings: all.iter().map(setting).collect(), ..BindOptions::default() }
}

/// A matrix `[out in]` times a vector.
pub(super) fn times(matrix: &[f64], x: &[f64]) -> Vec<f64> {
    matrix.chunks(x.len()).map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum()).collect()
}

pub(super) fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

pub(super) fn softmax(x: &[f64]) -> Vec<f64> {
    let sum: f64 = x.iter().map(|x| x.exp()).sum();
    x.iter().map(|x| x.exp() / sum).collect()
}

pub(super) fn layer_norm(x: &[f64], weight: &[f64], bias: Option<&[f64]>, epsilon: f64) -> Vec<f64> {
    let count = x.len() as f64;
    let mean = x.iter().sum::<f64>() / count;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    let normed = |(i, x): (usize, &f64)| {
        (x - mean) / (variance + epsilon).sqrt() * weight[i] + bias.map_or(0.0, |bias| bias[i])
    };
    x.iter().enumerate().map(normed).collect()
}

pub(super) fn rms_norm(x: &[f64], weight: &[f64], epsilon: f64) -> Vec<f64> {
    let square = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    x.iter().zip(weight).map(|(x, weight)| x / (square + epsilon).sqrt() * weight).collect()
}

/// Heads side by side; `sees(i, j)` says whether token `i` sees token `j`.
pub(super) fn attention(
    [q, k, v]: [&Rows; 3],
    heads: usize,
    scale: f64,
    sees: impl Fn(usize, usize) -> bool,
) -> Rows {
    let dim = q[0].len() / heads;
    let mut out = vec![vec![0.0; heads * dim]; q.len()];
    for (i, out) in out.iter_mut().enumerate() {
        for first in (0..heads).map(|head| head * dim) {
            let seen: Vec<usize> = (0..k.len()).filter(|j| sees(i, *j)).collect();
            let score = |j: &usize| (first..first + dim).map(|d| q[i][d] * k[*j][d]).sum::<f64>() * scale;
            let shares = softmax(&seen.iter().map(score).collect::<Vec<f64>>());
            for d in first..first + dim {
                out[d] = seen.iter().zip(&shares).map(|(j, share)| v[*j][d] * share).sum();
            }
        }
    }
    out
}

/// How heads are turned.
pub(super) struct Turn {
    pub(super) base: f64,
    pub(super) width: usize,
    pub(super) interleaved: bool,
    pub(super) interpolation: f64,
}

/// Turns pairs of each head, of `dim` elements, of the token at `position`.
pub(super) fn rotary(x: &mut [f64], dim: usize, position: usize, turn: &Turn) {
    for head in x.chunks_mut(dim) {
        for pair in 0..turn.width / 2 {
            let [a, b] =
                if turn.interleaved { [2 * pair, 2 * pair + 1] } else { [pair, pair + turn.width / 2] };
            let frequency = turn.base.powf(-2.0 * pair as f64 / turn.width as f64);
            let (sin, cos) = (position as f64 / turn.interpolation * frequency).sin_cos();
            (head[a], head[b]) = (head[a] * cos - head[b] * sin, head[b] * cos + head[a] * sin);
        }
    }
}

pub(super) fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// The activation of a name in config documents.
pub(super) fn activation(name: &str, x: f64) -> f64 {
    use std::f64::consts::{FRAC_2_SQRT_PI, PI, SQRT_2};
    match name {
        "gelu_new" => 0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh()),
        "gelu" => {
            // The series of the error function, which converges fast for the small numbers of tests.
            let z = x / SQRT_2;
            let (mut power, mut sum) = (z, 0.0);
            for n in 0..60 {
                let n = f64::from(n);
                sum += power / (2.0 * n + 1.0);
                power *= -z * z / (n + 1.0);
            }
            0.5 * x * (1.0 + FRAC_2_SQRT_PI * sum)
        }
        "silu" => silu(x),
        "relu" => x.max(0.0),
        "relu2" => x.max(0.0).powi(2),
        "tanh" => x.tanh(),
        "sigmoid" => 1.0 / (1.0 + (-x).exp()),
        "quick_gelu" => x / (1.0 + (-1.702 * x).exp()),
        _ => panic!("no activation {name}"),
    }
}

/// Asserts that a tensor `[batch … width]` of f32 holds the rows of each text, within `1e-4`.
pub(super) fn assert_close(got: &Tensor, expected: &[Rows], case: &str) {
    let got = got.flatten_all().and_then(|x| x.to_vec1::<f32>()).expect("numbers of f32");
    let expected: Vec<f64> = expected.iter().flatten().flatten().copied().collect();
    assert_eq!(got.len(), expected.len(), "{case}");
    assert!(expected.iter().any(|x| x.abs() > 1e-2), "{case}: there is nothing to compare");
    for (at, (got, expected)) in got.iter().zip(&expected).enumerate() {
        assert!((f64::from(*got) - expected).abs() < 1e-4, "{case}, {at}: {got} for {expected}");
    }
}
