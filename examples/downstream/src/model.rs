//! A model of one's own, written as one writes it for candle, and filled by `#[derive(Port)]` from either side's file.
//!
//! With transship's feature `candle` the fields could be `candle_core::Tensor`s. Here they are a type of this crate,
//! which only has to say how it is made from a parameter.

use std::error::Error;

use transship::port::{FromParameter, StoredParameter};
use transship::{DType, Port};

/// An f32 tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Sizes, outermost first.
    pub shape: Vec<u64>,
    /// Elements, row-major.
    pub elements: Vec<f32>,
}

impl FromParameter for Tensor {
    fn from_parameter(parameter: StoredParameter<'_>) -> Result<Tensor, Box<dyn Error + Send + Sync>> {
        let array = parameter.array();
        if array.dtype() != DType::F32 {
            return Err(format!("this model runs in f32, not {}", array.dtype()).into());
        }
        let bytes = array.bytes()?;
        let elements = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        Ok(Tensor { shape: array.shape().to_vec(), elements })
    }
}

/// A layer norm or a linear layer: any module with these two parameters.
#[derive(Clone, Debug, Port)]
pub struct Affine {
    /// The scale, or `[in out]` of a linear layer.
    pub weight: Tensor,
    /// What is added.
    pub bias: Tensor,
}

/// A transformer block.
#[derive(Clone, Debug, Port)]
#[port(shipped = "megatron_gpt2", side = gpt2, scope = "transformer.h.{layer}")]
pub struct Block {
    /// Before the attention.
    pub ln_1: Affine,
    /// Queries, keys and values.
    #[port("attn.c_attn")]
    pub qkv: Affine,
    /// Out of the attention.
    #[port("attn.c_proj")]
    pub out: Affine,
    /// Before the MLP.
    pub ln_2: Affine,
    /// Into the MLP.
    #[port("mlp.c_fc")]
    pub up: Affine,
    /// Out of the MLP.
    #[port("mlp.c_proj")]
    pub down: Affine,
}

/// GPT-2, laid out as Hugging Face stores it.
#[derive(Clone, Debug, Port)]
#[port(shipped = "megatron_gpt2", side = gpt2)]
pub struct Gpt2 {
    /// Token embeddings, `[vocab hidden]`.
    #[port("transformer.wte.weight")]
    pub tokens: Tensor,
    /// Position embeddings, `[positions hidden]`.
    #[port("transformer.wpe.weight")]
    pub positions: Tensor,
    /// The blocks, first to last.
    #[port("transformer.h.{layer}")]
    pub blocks: Vec<Block>,
    /// The last norm.
    #[port("transformer.ln_f")]
    pub norm: Affine,
    /// Keys and values of tokens seen; no parameter.
    #[port(skip)]
    pub cache: Vec<f32>,
}

impl Gpt2 {
    /// What goes into the first block: the embedding of a token at a position.
    ///
    /// # Panics
    /// If the token or the position is beyond its table.
    #[must_use]
    pub fn embed(&self, token: usize, position: usize) -> Vec<f32> {
        let row = |table: &Tensor, i: usize| {
            let width = table.elements.len() / usize::try_from(table.shape[0]).unwrap_or(usize::MAX);
            table.elements[i * width..(i + 1) * width].to_vec()
        };
        row(&self.tokens, token).into_iter().zip(row(&self.positions, position)).map(|(a, b)| a + b).collect()
    }
}
