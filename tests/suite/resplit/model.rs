//! Hugging Face models of any size, filled with numbers.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::parameter::Parameter;
use crate::oracle::Tensors;

/// What is converted, by the mapping that does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    MegatronGpt2,
    McoreGpt2,
    MegatronLlama,
    McoreLlama,
    McoreMixtral,
}

impl Family {
    pub(super) fn mapping(self) -> &'static str {
        match self {
            Family::MegatronGpt2 => "megatron_gpt2",
            Family::McoreGpt2 => "mcore_gpt2",
            Family::MegatronLlama => "megatron_llama",
            Family::McoreLlama => "mcore_llama",
            Family::McoreMixtral => "mcore_mixtral",
        }
    }

    /// The side of the mapping that has ranks.
    pub(super) fn side(self) -> &'static str {
        if self.is_core() { "mcore" } else { "megatron" }
    }

    pub(super) fn is_core(self) -> bool {
        !matches!(self, Family::MegatronGpt2 | Family::MegatronLlama)
    }

    pub(super) fn is_gpt2(self) -> bool {
        matches!(self, Family::MegatronGpt2 | Family::McoreGpt2)
    }
}

/// Sizes of a model.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) family: Family,
    pub(super) layers: usize,
    pub(super) heads: usize,
    /// Heads of keys and values; those of GPT-2 are all heads.
    pub(super) groups: usize,
    pub(super) head_dim: usize,
    pub(super) hidden: usize,
    pub(super) ffn: usize,
    pub(super) vocab: usize,
    pub(super) positions: usize,
    pub(super) experts: usize,
    /// Whether the head is the embedding.
    pub(super) tied: bool,
    /// Whether a model of Megatron-Core has the names of its local layers, not those of Transformer Engine.
    pub(super) local: bool,
    /// What Megatron makes the padded vocabulary divisible by on each tensor rank.
    pub(super) divisor: usize,
    pub(super) seed: u64,
}

/// The parameters of a model by name.
pub(super) type Parameters = BTreeMap<String, Parameter>;

impl Model {
    /// The parameters as Hugging Face names and shapes them.
    pub(super) fn parameters(&self) -> Parameters {
        let mut seed = self.seed;
        let mut all = Parameters::new();
        for (name, shape) in self.shapes() {
            all.insert(name, Parameter::random(&shape, &mut seed));
        }
        all
    }

    fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let per_layer = if self.family.is_gpt2() { self.gpt2_layer() } else { self.llama_layer() };
        let (h, v) = (self.hidden, self.vocab);
        let (layers, outside) = if self.family.is_gpt2() {
            let outside = vec![
                ("transformer.wte.weight", vec![v, h]),
                ("transformer.wpe.weight", vec![self.positions, h]),
                ("transformer.ln_f.weight", vec![h]),
                ("transformer.ln_f.bias", vec![h]),
            ];
            ("transformer.h", outside)
        } else {
            let mut outside = vec![("model.embed_tokens.weight", vec![v, h]), ("model.norm.weight", vec![h])];
            if !self.tied {
                outside.push(("lm_head.weight", vec![v, h]));
            }
            ("model.layers", outside)
        };
        let mut all: Vec<(String, Vec<usize>)> =
            outside.into_iter().map(|(n, s)| (n.to_owned(), s)).collect();
        for layer in 0..self.layers {
            all.extend(per_layer.iter().map(|(name, s)| (format!("{layers}.{layer}.{name}"), s.clone())));
        }
        all
    }

    fn gpt2_layer(&self) -> Vec<(String, Vec<usize>)> {
        let (h, f) = (self.hidden, self.ffn);
        let shapes = [
            ("ln_1.weight", vec![h]),
            ("ln_1.bias", vec![h]),
            ("attn.c_attn.weight", vec![h, 3 * h]),
            ("attn.c_attn.bias", vec![3 * h]),
            ("attn.c_proj.weight", vec![h, h]),
            ("attn.c_proj.bias", vec![h]),
            ("ln_2.weight", vec![h]),
            ("ln_2.bias", vec![h]),
            ("mlp.c_fc.weight", vec![h, f]),
            ("mlp.c_fc.bias", vec![f]),
            ("mlp.c_proj.weight", vec![f, h]),
            ("mlp.c_proj.bias", vec![h]),
        ];
        shapes.into_iter().map(|(name, shape)| (name.to_owned(), shape)).collect()
    }

    fn llama_layer(&self) -> Vec<(String, Vec<usize>)> {
        let (h, f) = (self.hidden, self.ffn);
        let (q, kv) = (self.heads * self.head_dim, self.groups * self.head_dim);
        let mut all = vec![
            ("input_layernorm.weight".to_owned(), vec![h]),
            ("self_attn.q_proj.weight".to_owned(), vec![q, h]),
            ("self_attn.k_proj.weight".to_owned(), vec![kv, h]),
            ("self_attn.v_proj.weight".to_owned(), vec![kv, h]),
            ("self_attn.o_proj.weight".to_owned(), vec![h, q]),
            ("post_attention_layernorm.weight".to_owned(), vec![h]),
        ];
        if self.family == Family::McoreMixtral {
            all.push(("block_sparse_moe.gate.weight".to_owned(), vec![self.experts, h]));
            for expert in 0..self.experts {
                for (name, shape) in [("w1", [f, h]), ("w2", [h, f]), ("w3", [f, h])] {
                    all.push((format!("block_sparse_moe.experts.{expert}.{name}.weight"), shape.to_vec()));
                }
            }
        } else {
            for (name, shape) in [("gate", [f, h]), ("up", [f, h]), ("down", [h, f])] {
                all.push((format!("mlp.{name}_proj.weight"), shape.to_vec()));
            }
        }
        all
    }

    fn config(&self) -> Value {
        if self.family.is_gpt2() {
            return json!({
                "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_layer": self.layers, "n_head": self.heads,
                "n_embd": self.hidden, "n_inner": self.ffn, "n_positions": self.positions, "vocab_size": self.vocab,
                "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
            });
        }
        let mut config = json!({
            "model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads, "num_key_value_heads": self.groups, "head_dim": self.head_dim,
            "hidden_size": self.hidden, "intermediate_size": self.ffn, "max_position_embeddings": self.positions,
            "vocab_size": self.vocab, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
            "tie_word_embeddings": self.tied,
        });
        if self.family == Family::McoreMixtral {
            config["model_type"] = json!("mixtral");
            config["architectures"] = json!(["MixtralForCausalLM"]);
            config["num_local_experts"] = json!(self.experts);
            config["num_experts_per_tok"] = json!(2);
        }
        config
    }

    /// The parameters as [`read_tensors`](crate::oracle::read_tensors) has them.
    pub(super) fn tensors(&self) -> Tensors {
        let all = self.parameters().into_iter();
        all.map(|(name, p)| (name, (format!("{:?}", Dtype::F32), p.shape.clone(), p.bytes()))).collect()
    }

    /// Writes the model as a Hugging Face directory.
    pub(super) fn write(&self, directory: &Path) {
        std::fs::create_dir_all(directory).expect("a directory");
        let tensors = self.tensors();
        let views = tensors.iter().map(|(name, (_, shape, bytes))| {
            (name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor of that size"))
        });
        safetensors::serialize_to_file(views, None, &directory.join("model.safetensors"))
            .expect("it can be written");
        std::fs::write(directory.join("config.json"), self.config().to_string()).expect("it can be written");
    }
}
