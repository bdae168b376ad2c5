//! GPT-2 of 345M random parameters through the model that its mapping generates: load, prefill of 512 tokens, greedy
//! decode of 64, against what reading the weights once a token allows.
//!
//!     RAYON_NUM_THREADS=2 cargo bench -p transship --features candle --bench decode -- [DIRECTORY]
//!
//! Leaves the model in a directory that is given, for `decode.py` to run beside it in transformers on torch, and
//! `decode_llama.py` in llama.cpp.

#![allow(clippy::print_stdout)]

use std::collections::HashMap;
use std::error::Error;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rayon::prelude::*;
use transship::mappings::megatron_gpt2::model::Gpt2;
use transship::nn::{DType, Device, Result, Sampling, Tensor, Until, generate};
use transship::{BindOptions, Checkpoint};

const LAYERS: usize = 24;
const HIDDEN: usize = 1024;
const HEADS: usize = 16;
const VOCAB: usize = 50_257;
const POSITIONS: usize = 1024;
const PROMPT: usize = 512;
const TOKENS: usize = 64;

/// Writes the model as Hugging Face has it.
fn write_model(directory: &Path) -> std::result::Result<(), Box<dyn Error>> {
    let random = |shape: &[usize]| Tensor::randn(0f32, 0.02, shape, &Device::Cpu);
    let ones = |_: &[usize]| Tensor::ones(HIDDEN, DType::F32, &Device::Cpu);
    let mut tensors: HashMap<String, Tensor> = HashMap::new();
    let mut add = |name: String, tensor: Result<Tensor>| tensor.map(|t| tensors.insert(name, t));
    add("transformer.wte.weight".to_owned(), random(&[VOCAB, HIDDEN]))?;
    add("transformer.wpe.weight".to_owned(), random(&[POSITIONS, HIDDEN]))?;
    let norms = (0..LAYERS).flat_map(|l| [format!("h.{l}.ln_1"), format!("h.{l}.ln_2")]);
    for norm in norms.chain(["ln_f".to_owned()]) {
        add(format!("transformer.{norm}.weight"), ones(&[HIDDEN]))?;
        add(format!("transformer.{norm}.bias"), random(&[HIDDEN]))?;
    }
    for layer in 0..LAYERS {
        for (name, inputs, outputs) in [
            ("attn.c_attn", HIDDEN, 3 * HIDDEN),
            ("attn.c_proj", HIDDEN, HIDDEN),
            ("mlp.c_fc", HIDDEN, 4 * HIDDEN),
            ("mlp.c_proj", 4 * HIDDEN, HIDDEN),
        ] {
            add(format!("transformer.h.{layer}.{name}.weight"), random(&[inputs, outputs]))?;
            add(format!("transformer.h.{layer}.{name}.bias"), random(&[outputs]))?;
        }
    }
    let config = format!(
        "{{\"model_type\": \"gpt2\", \"architectures\": [\"GPT2LMHeadModel\"], \"n_layer\": {LAYERS}, \"n_embd\": {HIDDEN}, \
         \"n_head\": {HEADS}, \"n_positions\": {POSITIONS}, \"vocab_size\": {VOCAB}, \"activation_function\": \"gelu_new\"}}"
    );
    std::fs::create_dir_all(directory)?;
    candle_core::safetensors::save(&tensors, directory.join("model.safetensors"))?;
    std::fs::write(directory.join("config.json"), config)?;
    Ok(())
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

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let threads = rayon::current_num_threads();
    let bandwidth = bandwidth();
    println!("{threads} threads, memory read at {:.1} GB/s", bandwidth / 1e9);
    let kept = std::env::args().skip(1).find(|argument| !argument.starts_with("--")).map(PathBuf::from);
    let temporary = tempfile::tempdir()?;
    let directory = kept.unwrap_or_else(|| temporary.path().to_owned());
    if !directory.join("config.json").exists() {
        write_model(&directory)?;
    }

    let load = || -> std::result::Result<Gpt2, Box<dyn Error>> {
        let checkpoint = Checkpoint::open(&directory)?;
        Ok(Gpt2::load(&checkpoint, &BindOptions::default(), &Device::Cpu, DType::F32)?)
    };
    let (model, seconds) = timed(load);
    let mut model = model?;
    println!("load {seconds:.2} s");

    let weights = LAYERS * 12 * HIDDEN * HIDDEN + VOCAB * HIDDEN;
    let limit = bandwidth / (weights * 4) as f64;
    let prompt: Vec<u32> = (0..PROMPT).map(|i| (i * 97 % VOCAB) as u32).collect();
    // The first token ends the prefill; each after it is a step of decoding.
    let until = Until { tokens: TOKENS + 1, stop: Vec::new() };
    let mut tokens = Vec::new();
    for round in 0..3 {
        let start = Instant::now();
        let mut times = Vec::with_capacity(TOKENS + 1);
        tokens = generate(&mut model, &prompt, &Sampling::default(), &until, |_| {
            times.push(start.elapsed().as_secs_f64());
            ControlFlow::Continue(())
        })?;
        let decode = TOKENS as f64 / (times[TOKENS] - times[0]);
        println!(
            "round {round}: prefill {:.1} tokens/s, decode {decode:.2} tokens/s, {:.0} % of {limit:.2}",
            PROMPT as f64 / times[0],
            100.0 * decode / limit
        );
    }
    let tokens: Vec<String> = tokens.iter().map(u32::to_string).collect();
    println!("tokens {}", tokens.join(" "));
    Ok(())
}
