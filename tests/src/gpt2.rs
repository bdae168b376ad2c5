//! Megatron-LM GPT-2 checkpoints of any size.

use std::io;
use std::path::Path;

use crate::pickle::Py;
use crate::torch_file::{Dtype, TorchFile};

/// What a checkpoint says of its own version.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Version {
    /// Nothing, as before September 2020.
    Absent,
    /// This number.
    Is(f64),
}

/// Sizes of a model, and what its file holds beside the weights.
#[derive(Clone, Debug)]
pub struct MegatronGpt2 {
    /// Width of the residual stream.
    pub hidden: usize,
    /// Attention heads.
    pub heads: usize,
    /// Layers.
    pub layers: usize,
    /// Rows of the embedding table.
    pub vocab: usize,
    /// Longest sequence.
    pub positions: usize,
    /// Element type of all weights.
    pub dtype: Dtype,
    /// `checkpoint_version`.
    pub version: Version,
    /// Whether training arguments are there.
    pub args: bool,
}

impl MegatronGpt2 {
    /// A model small enough to be written in no time; all sizes differ.
    #[must_use]
    pub fn tiny() -> MegatronGpt2 {
        MegatronGpt2 {
            hidden: 24,
            heads: 3,
            layers: 2,
            vocab: 70,
            positions: 10,
            dtype: Dtype::F32,
            version: Version::Is(3.0),
            args: true,
        }
    }

    /// NVIDIA's public model of 2019: 24 layers of width 1024, 355 million parameters in f16.
    #[must_use]
    pub fn of_345m() -> MegatronGpt2 {
        MegatronGpt2 {
            hidden: 1024,
            heads: 16,
            layers: 24,
            vocab: 50304,
            positions: 1024,
            dtype: Dtype::F16,
            version: Version::Is(3.0),
            args: true,
        }
    }

    /// The state dict of the layers, by their names under `encoder`.
    pub fn layers(&self, file: &mut TorchFile) -> Vec<(String, Py)> {
        let (h, f) = (self.hidden, 4 * self.hidden);
        let shapes: [(&str, Vec<usize>); 12] = [
            ("input_layernorm.weight", vec![h]),
            ("input_layernorm.bias", vec![h]),
            ("self_attention.query_key_value.weight", vec![3 * h, h]),
            ("self_attention.query_key_value.bias", vec![3 * h]),
            ("self_attention.dense.weight", vec![h, h]),
            ("self_attention.dense.bias", vec![h]),
            ("post_attention_layernorm.weight", vec![h]),
            ("post_attention_layernorm.bias", vec![h]),
            ("mlp.dense_h_to_4h.weight", vec![f, h]),
            ("mlp.dense_h_to_4h.bias", vec![f]),
            ("mlp.dense_4h_to_h.weight", vec![h, f]),
            ("mlp.dense_4h_to_h.bias", vec![h]),
        ];
        let mut all = Vec::new();
        for layer in 0..self.layers {
            for (name, shape) in &shapes {
                all.push((format!("layers.{layer}.{name}"), file.tensor(self.dtype, shape)));
            }
        }
        for name in ["final_layernorm.weight", "final_layernorm.bias"] {
            all.push((name.to_owned(), file.tensor(self.dtype, &[h])));
        }
        all
    }

    /// Training arguments, as far as a conversion reads them.
    #[must_use]
    pub fn arguments(&self) -> Vec<(String, Py)> {
        let int = |n: usize| Py::Int(i64::try_from(n).unwrap_or(i64::MAX));
        let list: [(&str, Py); 9] = [
            ("num_layers", int(self.layers)),
            ("hidden_size", int(self.hidden)),
            ("ffn_hidden_size", int(4 * self.hidden)),
            ("num_attention_heads", int(self.heads)),
            ("max_position_embeddings", int(self.positions)),
            ("padded_vocab_size", int(self.vocab)),
            ("layernorm_epsilon", Py::Float(1e-5)),
            ("bias_gelu_fusion", Py::Bool(true)),
            ("openai_gelu", Py::Bool(false)),
        ];
        list.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The top-level value of the file around given layers and arguments.
    pub fn root(&self, file: &mut TorchFile, layers: Vec<(String, Py)>, args: Vec<(String, Py)>) -> Py {
        let dict =
            |list: Vec<(&str, Py)>| Py::Dict(list.into_iter().map(|(k, v)| (k.to_owned(), v)).collect());
        let words = file.tensor(self.dtype, &[self.vocab, self.hidden]);
        let positions = file.tensor(self.dtype, &[self.positions, self.hidden]);
        let embedding = dict(vec![
            ("word_embeddings", dict(vec![("weight", words)])),
            ("position_embeddings", dict(vec![("weight", positions)])),
        ]);
        let language_model = dict(vec![("embedding", embedding), ("encoder", Py::Dict(layers))]);
        let mut root =
            vec![("iteration", Py::Int(100)), ("model", dict(vec![("language_model", language_model)]))];
        if self.args {
            root.insert(0, ("args", Py::Namespace(args)));
        }
        if let Version::Is(version) = self.version {
            root.insert(0, ("checkpoint_version", Py::Float(version)));
        }
        dict(root)
    }

    /// The whole checkpoint as a file in the making and its top-level value.
    #[must_use]
    pub fn build(&self) -> (TorchFile, Py) {
        let mut file = TorchFile::default();
        let layers = self.layers(&mut file);
        let root = self.root(&mut file, layers, self.arguments());
        (file, root)
    }

    /// Writes the whole checkpoint.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let (file, root) = self.build();
        file.write(path, &root)
    }
}
