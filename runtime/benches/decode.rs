//! GPT-2 of 345M random parameters from the layers that generated models call: prefill of 512 tokens, then decode of
//! 64, against what reading the weights once a token allows.
//!
//!     RAYON_NUM_THREADS=2 cargo bench -p transship --features candle --bench decode

#![allow(clippy::print_stdout)]

use std::time::Instant;

use rayon::prelude::*;
use transship::nn::{
    Activation, Attention, DType, Device, Embedding, LayerNorm, Linear, Result, Tensor, join_heads, last,
    split_heads,
};

const LAYERS: usize = 24;
const HIDDEN: usize = 1024;
const HEADS: usize = 16;
const VOCAB: usize = 50_257;
const POSITIONS: usize = 1024;
const PROMPT: usize = 512;
const TOKENS: usize = 64;

struct Block {
    ln_1: LayerNorm,
    c_attn: Linear,
    attention: Attention,
    attn_proj: Linear,
    ln_2: LayerNorm,
    c_fc: Linear,
    mlp_proj: Linear,
}

struct Model {
    wte: Embedding,
    wpe: Embedding,
    blocks: Vec<Block>,
    ln_f: LayerNorm,
    head: Linear,
}

fn random(rows: usize, columns: usize) -> Result<Tensor> {
    Tensor::randn(0f32, 0.02, (rows, columns), &Device::Cpu)
}

fn linear(inputs: usize, outputs: usize) -> Result<Linear> {
    Linear::new(&random(inputs, outputs)?, Some(random(1, outputs)?.squeeze(0)?))
}

fn norm() -> Result<LayerNorm> {
    let weight = Tensor::ones(HIDDEN, DType::F32, &Device::Cpu)?;
    LayerNorm::new(weight, Some(random(1, HIDDEN)?.squeeze(0)?), 1e-5)
}

impl Model {
    fn new() -> Result<Model> {
        let block = |_| {
            Ok(Block {
                ln_1: norm()?,
                c_attn: linear(HIDDEN, 3 * HIDDEN)?,
                attention: Attention::new(1.0 / ((HIDDEN / HEADS) as f64).sqrt(), POSITIONS),
                attn_proj: linear(HIDDEN, HIDDEN)?,
                ln_2: norm()?,
                c_fc: linear(HIDDEN, 4 * HIDDEN)?,
                mlp_proj: linear(4 * HIDDEN, HIDDEN)?,
            })
        };
        let wte = Embedding::new(&random(VOCAB, HIDDEN)?)?;
        Ok(Model {
            head: Linear::tied(wte.weight(), None)?,
            wte,
            wpe: Embedding::new(&random(POSITIONS, HIDDEN)?)?,
            blocks: (0..LAYERS).map(block).collect::<Result<_>>()?,
            ln_f: norm()?,
        })
    }

    fn forward(&mut self, ids: &Tensor, offset: usize) -> Result<Tensor> {
        let positions = self.wpe.positions(offset, ids.dim(1)?)?;
        let mut x = self.wte.forward(ids)?.broadcast_add(&positions)?;
        for block in &mut self.blocks {
            let qkv = block.c_attn.forward(&block.ln_1.forward(&x)?)?;
            let part = |at| split_heads(&qkv.narrow(2, at * HIDDEN, HIDDEN)?, HEADS);
            let y = block.attention.forward(&part(0)?, &part(1)?, &part(2)?, offset)?;
            x = (x + block.attn_proj.forward(&join_heads(&y)?)?)?;
            let y = Activation::GeluTanh.forward(&block.c_fc.forward(&block.ln_2.forward(&x)?)?)?;
            x = (x + block.mlp_proj.forward(&y)?)?;
        }
        self.head.forward(&self.ln_f.forward(&last(&x)?)?)
    }
}

/// Bytes per second at which all threads read memory side by side, in eight streams each.
fn bandwidth() -> f64 {
    let words: Vec<f32> = (0..128usize << 20).map(|i| (i % 7) as f32).collect();
    let read = || {
        let sums = words.par_chunks(1 << 19).map(|piece| {
            let mut sums = [0f32; 32];
            let mut streams: Vec<_> =
                piece.chunks_exact(piece.len() / 8).map(|s| s.chunks_exact(32)).collect();
            while let Some(first) = streams[0].next() {
                for (sum, x) in sums.iter_mut().zip(first) {
                    *sum += x;
                }
                for stream in &mut streams[1..] {
                    for (sum, x) in sums.iter_mut().zip(stream.next().unwrap_or_default()) {
                        *sum += x;
                    }
                }
            }
            sums.iter().sum::<f32>()
        });
        std::hint::black_box(sums.sum::<f32>())
    };
    let best = (0..5).map(|_| timed(read).1).fold(f64::INFINITY, f64::min);
    (words.len() * 4) as f64 / best
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed().as_secs_f64())
}

fn main() -> Result<()> {
    let threads = rayon::current_num_threads();
    let bandwidth = bandwidth();
    println!("{threads} threads, memory read at {:.1} GB/s", bandwidth / 1e9);
    let mut model = Model::new()?;
    let weights = LAYERS * 12 * HIDDEN * HIDDEN + VOCAB * HIDDEN;
    let limit = bandwidth / (weights * 4) as f64;
    let prompt: Vec<u32> = (0..PROMPT).map(|i| (i * 97 % VOCAB) as u32).collect();
    let prompt = Tensor::new(prompt.as_slice(), &Device::Cpu)?.unsqueeze(0)?;
    for round in 0..3 {
        let (logits, prefill) = timed(|| model.forward(&prompt, 0));
        let mut logits = logits?;
        let start = Instant::now();
        for token in 0..TOKENS {
            let next = logits.flatten_all()?.argmax(0)?.reshape((1, 1))?;
            logits = model.forward(&next, PROMPT + token)?;
        }
        let decode = TOKENS as f64 / start.elapsed().as_secs_f64();
        println!(
            "round {round}: prefill {:.1} tokens/s, decode {decode:.2} tokens/s, {:.0} % of {limit:.2}",
            PROMPT as f64 / prefill,
            100.0 * decode / limit
        );
    }
    Ok(())
}
