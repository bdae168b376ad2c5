//! What models are made of that are written from the `model` block of a mapping: layers over candle's tensors.
//!
//! Weights of linear layers lie `[out in]`, so that a token costs one pass over memory; keys and values are cached in
//! room that is taken ahead; on the processor a few kernels of our own stand in for candle's where those are slower.
//! On other devices everything is candle's, with inputs in one piece and indices of u32, which all devices take.

mod activation;
mod agreement;
mod attention;
mod cache;
mod cpu;
mod embedding;
pub mod generate;
mod language;
mod linear;
mod norm;
mod place;
mod rotary;
mod routed;
mod shapes;
mod weights;

pub use activation::Activation;
pub use agreement::{Agreement, agreement};
pub use attention::{Attention, Mask, attention, join_heads, split_heads};
pub use cache::KvCache;
pub use candle_core::{D, DType, Device, Error, Tensor};
pub use embedding::Embedding;
pub use generate::{Sampler, Sampling, Until, generate};
pub use language::{CausalLm, LanguageModel, MaskedLm};
pub use linear::Linear;
pub use norm::{LayerNorm, RmsNorm};
pub use place::{Place, PlaceError};
pub use rotary::{Pairs, Rotary};
pub use routed::Routed;
pub use shapes::{
    absent, join_last, last, number, permute_heads, pick, positions, repeat_last, size, softmax,
    softmax_along, split, split_last, split_within, top_k,
};
pub use weights::{RotaryOptions, Weights, load};

/// What operations give: an error of candle, unless said otherwise.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an error of candle says, without the backtrace that it holds where the environment asks for backtraces.
#[must_use]
pub fn message(error: &Error) -> String {
    match error {
        Error::WithBacktrace { inner, .. } => message(inner),
        error => error.to_string(),
    }
}
