//! What models are made of that are written from the `model` block of a mapping: layers over candle's tensors.
//!
//! Weights of linear layers lie `[in out]`, so that a token costs one pass over memory; keys and values are cached in
//! room that is taken ahead; on the processor a few kernels of our own stand in for candle's where those are slower.
//! On other devices everything is candle's, with inputs in one piece and indices of u32, which all devices take.

mod activation;
mod attention;
mod cache;
mod cpu;
mod embedding;
pub mod generate;
mod linear;
mod mlp;
mod norm;
mod rotary;

use candle_core as candle;

pub use activation::Activation;
pub use attention::{Attention, Mask, attention, join_heads, split_heads};
pub use cache::KvCache;
pub use candle::{DType, Device, Error, Result, Tensor};
pub use embedding::Embedding;
pub use generate::{Sampler, Sampling, Until, generate};
pub use linear::Linear;
pub use mlp::{Experts, GatedMlp, Routed, Router, Routing};
pub use norm::{LayerNorm, RmsNorm};
pub use rotary::{Pairs, Rotary};

/// A model that predicts the next token.
pub trait CausalLm {
    /// Logits of all tokens: `ids [batch seq]` of u32, of which the first is at position `offset`, to
    /// `[batch seq vocab]`. Tokens before `offset` must have been given before.
    ///
    /// # Errors
    /// Where tokens or positions are not the model's.
    fn forward(&mut self, ids: &Tensor, offset: usize) -> Result<Tensor>;

    /// Logits of the last token alone: `[batch 1 vocab]`.
    ///
    /// # Errors
    /// As [`forward`](CausalLm::forward).
    fn forward_last(&mut self, ids: &Tensor, offset: usize) -> Result<Tensor> {
        last(&self.forward(ids, offset)?)
    }

    /// Forgets all tokens.
    fn clear_kv_cache(&mut self);

    /// How many tokens there are.
    fn vocab(&self) -> usize;

    /// How many positions there are; any number where absent.
    fn positions(&self) -> Option<usize>;

    /// Where its parameters are.
    fn device(&self) -> &Device;

    /// What its parameters are of.
    fn dtype(&self) -> DType;
}

/// The last token of `x [batch seq …]`: `[batch 1 …]`.
///
/// # Errors
/// Where there is no token.
pub fn last(x: &Tensor) -> Result<Tensor> {
    match x.dim(1)? {
        0 => candle::bail!("there is no token"),
        seq => x.narrow(1, seq - 1, 1),
    }
}
