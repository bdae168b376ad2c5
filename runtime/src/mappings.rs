//! The shipped mappings as types.

#[cfg(feature = "candle")]
use crate::Checkpoint;
use crate::Port;
#[cfg(feature = "candle")]
use crate::bind::BindOptions;
#[cfg(feature = "candle")]
use crate::nn::{DType, Device, LanguageModel};
#[cfg(feature = "candle")]
use crate::port::PortError;

/// Megatron-LM GPT-2 and Hugging Face GPT-2.
#[derive(Clone, Copy, Debug, Port)]
#[port(shipped = "megatron_gpt2", crate = crate)]
pub struct MegatronGpt2;

/// Names of the shipped mappings that have a model.
#[cfg(feature = "candle")]
pub const MODELS: [&str; 0] = [];

/// The model of a shipped mapping, from a checkpoint of either of its sides. On the processor f32 is what is fast;
/// other devices commonly run in bf16.
///
/// # Errors
/// Where no shipped mapping of this name has a model, or it cannot be loaded from the checkpoint.
#[cfg(feature = "candle")]
pub fn load_model(
    mapping: &str,
    checkpoint: &Checkpoint,
    options: &BindOptions,
    device: &Device,
    dtype: DType,
) -> Result<LanguageModel, PortError> {
    let _ = (checkpoint, options, device, dtype);
    Err(PortError::NoModel(format!(
        "there is no model for the mapping `{mapping}`; those with one are {}",
        MODELS.join(", ")
    )))
}
