//! How a model lies over the ranks of Megatron-LM, worked out parameter by parameter from the code that makes them there:
//! `VocabParallelEmbedding`, `ColumnParallelLinear`, `RowParallelLinear` and the attention's query-key-value rows.

use std::collections::BTreeMap;

use super::model::{Family, Model, Parameters};
use super::parameter::Parameter;

/// A number of ranks along each axis, and the layers of each pipeline stage.
#[derive(Clone, Debug)]
pub(super) struct Split {
    pub(super) tp: usize,
    pub(super) pp: usize,
    pub(super) vpp: usize,
    pub(super) ep: usize,
    /// Layers of each stage in the order of the model: the first virtual stage of every rank, then the second.
    pub(super) blocks: Vec<usize>,
}

/// The parameters of each rank's directory.
pub(super) type Ranks = BTreeMap<String, Parameters>;

impl Split {
    /// As options of the command.
    pub(super) fn options(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (name, count) in [("tp", self.tp), ("pp", self.pp), ("vpp", self.vpp), ("ep", self.ep)] {
            if count > 1 {
                all.extend([format!("--{name}"), count.to_string()]);
            }
        }
        if self.blocks.iter().any(|block| *block != self.blocks[0]) {
            let list: Vec<String> = self.blocks.iter().map(usize::to_string).collect();
            all.extend(["--pp-layers".to_owned(), list.join(",")]);
        }
        all
    }

    pub(super) fn of(&self, model: &Model) -> Ranks {
        let whole = model.parameters();
        let mut ranks = Ranks::new();
        for tp in 0..self.tp {
            for pp in 0..self.pp {
                for ep in 0..self.ep {
                    let mut name = format!("mp_rank_{tp:02}");
                    if self.pp > 1 {
                        name.push_str(&format!("_{pp:03}"));
                    }
                    if self.ep > 1 {
                        name.push_str(&format!("_{ep:03}"));
                    }
                    let rank = Rank { split: self, model, whole: &whole, tp, pp, ep };
                    ranks.insert(name, rank.parameters());
                }
            }
        }
        ranks
    }
}

struct Rank<'m> {
    split: &'m Split,
    model: &'m Model,
    whole: &'m Parameters,
    tp: usize,
    pp: usize,
    ep: usize,
}

impl Rank<'_> {
    fn parameters(&self) -> Parameters {
        let Split { pp: stages, vpp, blocks, .. } = self.split;
        let core = self.model.family.is_core();
        let mut own = Parameters::new();
        for chunk in 0..*vpp {
            let root = if *vpp > 1 { format!("model{chunk}.") } else { "model.".to_owned() };
            let block = chunk * stages + self.pp;
            let (first, last) = (block == 0, block + 1 == stages * vpp);
            let inner = if core { root.clone() } else { format!("{root}language_model.") };
            if first {
                self.embedding(&inner, &mut own);
            }
            let begin: usize = blocks[..block].iter().sum();
            for layer in 0..blocks[block] {
                let stack = if core { "decoder" } else { "encoder" };
                self.layer(begin + layer, &format!("{inner}{stack}.layers.{layer}."), &mut own);
            }
            if last {
                self.end(&root, &inner, first, &mut own);
            }
        }
        own
    }

    fn embedding(&self, root: &str, own: &mut Parameters) {
        own.insert(format!("{root}embedding.word_embeddings.weight"), self.vocabulary(self.embedding_name()));
        if self.model.family.is_gpt2() {
            let positions = self.whole["transformer.wpe.weight"].clone();
            own.insert(format!("{root}embedding.position_embeddings.weight"), positions);
        }
    }

    fn embedding_name(&self) -> &'static str {
        if self.model.family.is_gpt2() { "transformer.wte.weight" } else { "model.embed_tokens.weight" }
    }

    /// This rank's rows of a parameter over the vocabulary, padded by repeating its last row.
    fn vocabulary(&self, name: &str) -> Parameter {
        let (table, multiple) = (&self.whole[name], self.model.divisor * self.split.tp);
        let mut rows = vec![table.clone()];
        for _ in self.model.vocab..self.model.vocab.div_ceil(multiple) * multiple {
            rows.push(table.rows(self.model.vocab - 1, 1));
        }
        Parameter::stacked(&rows).share_of_rows(self.tp, self.split.tp)
    }

    fn end(&self, root: &str, inner: &str, first: bool, own: &mut Parameters) {
        let (stack, norm, from) = match self.model.family {
            Family::MegatronGpt2 => ("encoder", "final_layernorm", "transformer.ln_f"),
            Family::McoreGpt2 => ("decoder", "final_layernorm", "transformer.ln_f"),
            Family::MegatronLlama => ("encoder", "final_norm", "model.norm"),
            Family::McoreLlama | Family::McoreMixtral => ("decoder", "final_layernorm", "model.norm"),
        };
        self.copy(from, &format!("{inner}{stack}.{norm}."), own);
        if !self.model.tied {
            own.insert(format!("{inner}output_layer.weight"), self.vocabulary("lm_head.weight"));
        } else if !first {
            let copy = match self.model.family {
                Family::MegatronGpt2 => format!("{root}word_embeddings_for_head.weight"),
                _ => format!("{inner}output_layer.weight"),
            };
            own.insert(copy, self.vocabulary(self.embedding_name()));
        }
    }

    /// What every rank holds whole: norms.
    fn copy(&self, from: &str, to: &str, own: &mut Parameters) {
        for part in ["weight", "bias"] {
            if let Some(parameter) = self.whole.get(&format!("{from}.{part}")) {
                own.insert(format!("{to}{part}"), parameter.clone());
            }
        }
    }

    fn layer(&self, number: usize, to: &str, own: &mut Parameters) {
        let (tp, count) = (self.tp, self.split.tp);
        let of = |name: &str| {
            let layers = if self.model.family.is_gpt2() { "transformer.h" } else { "model.layers" };
            format!("{layers}.{number}.{name}")
        };
        let whole = |name: &str| &self.whole[&of(name)];
        let names = names(self.model);
        let (ln_1, ln_2) = if self.model.family.is_gpt2() {
            ("ln_1", "ln_2")
        } else {
            ("input_layernorm", "post_attention_layernorm")
        };
        self.copy(&of(ln_1), &format!("{to}{}", names.first_norm), own);
        self.copy(&of(ln_2), &format!("{to}{}", names.second_norm), own);
        if self.model.family.is_gpt2() {
            for part in ["weight", "bias"] {
                // Hugging Face's GPT-2 keeps its linear layers transposed.
                let linear = |name: &str| whole(&format!("{name}.{part}")).transposed();
                let heads = self.interleaved(&thirds(&linear("attn.c_attn")));
                own.insert(format!("{to}{}.{part}", names.qkv), heads.share_of_rows(tp, count));
                own.insert(format!("{to}{}.{part}", names.fc1), linear("mlp.c_fc").share_of_rows(tp, count));
                for (from, name) in [("attn.c_proj", names.proj), ("mlp.c_proj", names.fc2)] {
                    let row_parallel = match part {
                        "weight" => linear(from).share_of_columns(tp, count),
                        _ => linear(from),
                    };
                    own.insert(format!("{to}{name}.{part}"), row_parallel);
                }
            }
            return;
        }
        let parts = ["q", "k", "v"].map(|part| whole(&format!("self_attn.{part}_proj.weight")).clone());
        own.insert(format!("{to}{}.weight", names.qkv), self.interleaved(&parts).share_of_rows(tp, count));
        let proj = whole("self_attn.o_proj.weight").share_of_columns(tp, count);
        own.insert(format!("{to}{}.weight", names.proj), proj);
        if self.model.family != Family::McoreMixtral {
            let gated =
                ["gate", "up"].map(|p| whole(&format!("mlp.{p}_proj.weight")).share_of_rows(tp, count));
            own.insert(format!("{to}{}.weight", names.fc1), Parameter::stacked(&gated));
            let down = whole("mlp.down_proj.weight").share_of_columns(tp, count);
            own.insert(format!("{to}{}.weight", names.fc2), down);
            return;
        }
        own.insert(format!("{to}mlp.router.weight"), whole("block_sparse_moe.gate.weight").clone());
        let experts = self.model.experts / self.split.ep;
        for local in 0..experts {
            let number = self.ep * experts + local;
            let part = |name: &str| whole(&format!("block_sparse_moe.experts.{number}.{name}.weight"));
            let to = format!("{to}mlp.experts.local_experts.{local}");
            let gated = [part("w1").share_of_rows(tp, count), part("w3").share_of_rows(tp, count)];
            own.insert(format!("{to}.linear_fc1.weight"), Parameter::stacked(&gated));
            own.insert(format!("{to}.linear_fc2.weight"), part("w2").share_of_columns(tp, count));
        }
    }

    /// Rows of query, key and value as Megatron has them: of each group its queries, its key, its value.
    fn interleaved(&self, [q, k, v]: &[Parameter; 3]) -> Parameter {
        let Model { heads, groups, head_dim, .. } = *self.model;
        let queries = heads / groups * head_dim;
        let mut rows = Vec::new();
        for group in 0..groups {
            rows.push(q.rows(group * queries, queries));
            rows.push(k.rows(group * head_dim, head_dim));
            rows.push(v.rows(group * head_dim, head_dim));
        }
        Parameter::stacked(&rows)
    }
}

fn thirds(qkv: &Parameter) -> [Parameter; 3] {
    let own = qkv.shape[0] / 3;
    [0, 1, 2].map(|part| qkv.rows(part * own, own))
}

/// Names inside a layer; those of norms with what stands before `weight` and `bias`.
#[derive(Clone, Copy)]
struct Names {
    first_norm: &'static str,
    qkv: &'static str,
    proj: &'static str,
    second_norm: &'static str,
    fc1: &'static str,
    fc2: &'static str,
}

fn names(model: &Model) -> Names {
    let local = Names {
        first_norm: "input_layernorm.",
        qkv: "self_attention.linear_qkv",
        proj: "self_attention.linear_proj",
        second_norm: "pre_mlp_layernorm.",
        fc1: "mlp.linear_fc1",
        fc2: "mlp.linear_fc2",
    };
    // The norm before a router, which is no linear layer of Transformer Engine, stays by itself.
    let experts = Names { first_norm: "self_attention.linear_qkv.layer_norm_", ..local };
    let fused = Names { second_norm: "mlp.linear_fc1.layer_norm_", ..experts };
    let legacy = Names {
        first_norm: "input_layernorm.",
        qkv: "self_attention.query_key_value",
        proj: "self_attention.dense",
        second_norm: "post_attention_layernorm.",
        fc1: "mlp.dense_h_to_4h",
        fc2: "mlp.dense_4h_to_h",
    };
    match model.family {
        Family::McoreGpt2 | Family::McoreLlama | Family::McoreMixtral if model.local => local,
        Family::McoreGpt2 | Family::McoreLlama => fused,
        Family::McoreMixtral => experts,
        Family::MegatronGpt2 => legacy,
        Family::MegatronLlama => {
            Names { first_norm: "input_norm.", second_norm: "post_attention_norm.", ..legacy }
        }
    }
}
