//! Continues a text of token ids with a checkpoint that Megatron-LM saved, as it is.
//!
//!     cargo run --release -p transship --features candle --example generate -- CHECKPOINT 1 2 3

#![allow(clippy::print_stdout)] // What it is for.

use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;

use transship::mappings::megatron_gpt2::model::Gpt2;
use transship::nn::{DType, Device, Sampling, Until, generate};
use transship::{BindOptions, Checkpoint};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or("tests/data/megatron/legacy-v3-gpt2-tp2pp2/ckpt".to_owned());
    let prompt: Vec<u32> = arguments.map(|id| id.parse()).collect::<Result<_, _>>()?;
    let prompt = if prompt.is_empty() { vec![11, 3, 5] } else { prompt };

    let checkpoint = Checkpoint::open(Path::new(&path))?;
    let mut model = Gpt2::load(&checkpoint, &BindOptions::default(), &Device::Cpu, DType::F32)?;
    let until = Until { tokens: 12, stop: Vec::new() };
    let tokens = generate(&mut model, &prompt, &Sampling::default(), &until, |_| ControlFlow::Continue(()))?;
    println!("{prompt:?} {tokens:?}");
    Ok(())
}
