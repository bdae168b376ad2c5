//! The shipped mappings as types.

use crate::Port;

/// Megatron-LM GPT-2 and Hugging Face GPT-2.
#[derive(Clone, Copy, Debug, Port)]
#[port(shipped = "megatron_gpt2", crate = crate)]
pub struct MegatronGpt2;
