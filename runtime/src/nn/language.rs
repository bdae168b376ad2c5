//! Language models, whatever computes them.

use candle_core::{DType, Device, Result, Tensor};

use super::last;

/// A model that predicts the next token.
pub trait CausalLm: Send {
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

/// A model that tells tokens by those around them, such as BERT.
pub trait MaskedLm: Send {
    /// Logits of all tokens: `ids [batch seq]` of u32 to `[batch seq vocab]`.
    ///
    /// `types [batch seq]` of u32 says which of two texts a token is of, the first where absent. `mask [batch seq]` is
    /// not 0 where a token is seen; all are where absent.
    ///
    /// # Errors
    /// Where tokens or positions are not the model's, or the model has no types and some are given.
    fn forward(&self, ids: &Tensor, types: Option<&Tensor>, mask: Option<&Tensor>) -> Result<Tensor>;

    /// How many tokens there are.
    fn vocab(&self) -> usize;

    /// How many positions there are; any number where absent.
    fn positions(&self) -> Option<usize>;

    /// Where its parameters are.
    fn device(&self) -> &Device;

    /// What its parameters are of.
    fn dtype(&self) -> DType;
}

/// A model of either kind.
pub enum LanguageModel {
    /// One that predicts the next token.
    Causal(Box<dyn CausalLm>),
    /// One that sees tokens on both sides.
    Masked(Box<dyn MaskedLm>),
}

impl LanguageModel {
    /// Logits of texts that begin with `ids [batch seq]` of u32: `[batch seq vocab]`. What was cached is forgotten.
    ///
    /// # Errors
    /// Where tokens or positions are not the model's.
    pub fn logits(&mut self, ids: &Tensor) -> Result<Tensor> {
        match self {
            LanguageModel::Causal(model) => {
                model.clear_kv_cache();
                model.forward(ids, 0)
            }
            LanguageModel::Masked(model) => model.forward(ids, None, None),
        }
    }

    /// How many tokens there are.
    #[must_use]
    pub fn vocab(&self) -> usize {
        match self {
            LanguageModel::Causal(model) => model.vocab(),
            LanguageModel::Masked(model) => model.vocab(),
        }
    }

    /// How many positions there are; any number where absent.
    #[must_use]
    pub fn positions(&self) -> Option<usize> {
        match self {
            LanguageModel::Causal(model) => model.positions(),
            LanguageModel::Masked(model) => model.positions(),
        }
    }

    /// Where its parameters are.
    #[must_use]
    pub fn device(&self) -> &Device {
        match self {
            LanguageModel::Causal(model) => model.device(),
            LanguageModel::Masked(model) => model.device(),
        }
    }

    /// What its parameters are of.
    #[must_use]
    pub fn dtype(&self) -> DType {
        match self {
            LanguageModel::Causal(model) => model.dtype(),
            LanguageModel::Masked(model) => model.dtype(),
        }
    }
}
