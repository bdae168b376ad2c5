//! What a crate of one's own does with transship: ports as types.
//!
//! `#[derive(Port)]` checks a mapping when this crate is compiled; a mistake in it is a compile error that shows the
//! mapping's own line. What comes out is a module of types for each port: its config, and the parameters of both sides.

pub mod model;

use std::path::Path;

use transship::port::{Port, PortConfig, PortError, convert_tree, load_tree};
use transship::{Array, BindOptions, Checkpoint, ConvertError, ConvertOptions, Port, output};

/// The port of `example.mapping`, a file beside this crate's `Cargo.toml`.
#[derive(Clone, Copy, Debug, Port)]
#[port(mapping = "example.mapping")]
pub struct Example;

/// A port that ships with transship. Its types are in [`transship::mappings`] as well.
#[derive(Clone, Copy, Debug, Port)]
#[port(shipped = "megatron_gpt2")]
pub struct MegatronGpt2;

/// A GPT-2 in Hugging Face's form, with its config.
#[derive(Clone, Debug)]
pub struct HuggingFaceGpt2 {
    /// Sizes and the like.
    pub config: megatron_gpt2::Config,
    /// The parameters; `gpt2.h[1].attn.c_attn.weight` is a field that the compiler knows.
    pub parameters: megatron_gpt2::Gpt2<Array>,
}

/// Reads a Megatron-LM checkpoint as the model that Hugging Face would load, without a file in between.
///
/// # Errors
/// Where the checkpoint cannot be opened or is no GPT-2.
pub fn load_gpt2(megatron: &Path) -> Result<HuggingFaceGpt2, PortError> {
    let checkpoint = Checkpoint::open(megatron)?;
    let config = megatron_gpt2::Config::from_source(&checkpoint)?;
    let parameters = load_tree(&checkpoint, &BindOptions::default())?;
    Ok(HuggingFaceGpt2 { config, parameters })
}

/// The same model as Megatron-LM stores it.
///
/// # Errors
/// Where config and parameters do not go together.
pub fn to_megatron(gpt2: &HuggingFaceGpt2) -> Result<megatron_gpt2::Megatron<Array>, PortError> {
    convert_tree(&gpt2.parameters, &gpt2.config)
}

/// Writes `model.safetensors` and `config.json`, byte for byte what `transship convert` writes.
///
/// # Errors
/// Where the checkpoint is no GPT-2 or the directory cannot be written.
pub fn convert_gpt2(megatron: &Checkpoint, directory: &Path) -> Result<(), ConvertError> {
    MegatronGpt2::convert(megatron, directory, &ConvertOptions::default(), &output::Options::default())
}

/// How many elements the experts of a trained model hold, layer by layer.
#[must_use]
pub fn expert_elements(model: &example::Stacked<Array>) -> Vec<u64> {
    let layers = model.layers.iter();
    layers
        .map(|layer| {
            let experts = &layer.experts;
            [&experts.gate, &experts.up, &experts.down].iter().map(|module| module.weight.elements()).sum()
        })
        .collect()
}
