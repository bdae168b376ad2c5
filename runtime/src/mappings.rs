//! The shipped mappings as types, and their models.

use crate::Port;

macro_rules! shipped {
    ($($(#[$docs:meta])* $name:ident = $mapping:literal;)*) => {$(
        $(#[$docs])*
        #[derive(Clone, Copy, Debug, Port)]
        #[port(shipped = $mapping, crate = crate)]
        #[cfg_attr(feature = "candle", port(model))]
        pub struct $name;
    )*};
}

shipped! {
    /// Megatron-LM GPT-2 and Hugging Face GPT-2.
    MegatronGpt2 = "megatron_gpt2";
    /// Megatron-LM Llama and Hugging Face Llama.
    MegatronLlama = "megatron_llama";
    /// Megatron-LM BERT and Hugging Face MegatronBert.
    MegatronBert = "megatron_bert";
    /// Megatron-Core GPT and Hugging Face GPT-2.
    McoreGpt2 = "mcore_gpt2";
    /// Megatron-Core Llama and Hugging Face Llama.
    McoreLlama = "mcore_llama";
    /// Megatron-Core Mixtral and Hugging Face Mixtral.
    McoreMixtral = "mcore_mixtral";
}

#[cfg(feature = "candle")]
pub use models::{MODELS, load_model};

#[cfg(feature = "candle")]
mod models {
    use super::{mcore_gpt2, mcore_llama, mcore_mixtral, megatron_bert, megatron_gpt2, megatron_llama};
    use crate::nn::{DType, Device, LanguageModel};
    use crate::port::PortError;
    use crate::{BindOptions, Checkpoint};

    macro_rules! models {
        ($($mapping:literal => $kind:ident($model:path),)*) => {
            /// Names of the shipped mappings that have a model.
            pub const MODELS: &[&str] = &[$($mapping),*];

            /// The model of a shipped mapping, from a checkpoint of either of its sides. On the processor f32 is what is
            /// fast; other devices commonly run in bf16.
            ///
            /// # Errors
            /// Where no shipped mapping of this name has a model, or it cannot be loaded from the checkpoint.
            pub fn load_model(
                mapping: &str,
                checkpoint: &Checkpoint,
                options: &BindOptions,
                device: &Device,
                dtype: DType,
            ) -> Result<LanguageModel, PortError> {
                match mapping {
                    $($mapping => {
                        let model = <$model>::load(checkpoint, options, device, dtype)?;
                        Ok(LanguageModel::$kind(Box::new(model)))
                    })*
                    _ => Err(PortError::NoModel(format!(
                        "there is no model for the mapping `{mapping}`; those with one are {}",
                        MODELS.join(", ")
                    ))),
                }
            }
        };
    }

    models! {
        "megatron_gpt2" => Causal(megatron_gpt2::model::Gpt2),
        "megatron_llama" => Causal(megatron_llama::model::Llama),
        "megatron_bert" => Masked(megatron_bert::megatron_bert_model::MegatronBert),
        "mcore_gpt2" => Causal(mcore_gpt2::model::Gpt2),
        "mcore_llama" => Causal(mcore_llama::model::Llama),
        "mcore_mixtral" => Causal(mcore_mixtral::model::Mixtral),
    }
}
