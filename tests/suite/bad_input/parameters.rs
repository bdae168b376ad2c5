//! Parameters that are missing, left over, of the wrong shape or dtype, or there twice.

use transship_tests::{Dtype, MegatronGpt2, Py};

use super::{Made, changed, refused};
use crate::command::Workplace;

const MODEL: &[&str] = &["@model.pt"];

fn without(drop: impl Fn(&str) -> bool) -> Workplace {
    changed(|made| made.layers().retain(|(name, _)| !drop(name)))
}

fn renamed(from: &str, to: &str) -> Workplace {
    changed(|made| made.layers().iter_mut().for_each(|(name, _)| *name = name.replace(from, to)))
}

fn three_layers() -> Made {
    Made::of(&MegatronGpt2 { layers: 3, ..MegatronGpt2::tiny() })
}

#[test]
fn missing_parameters() {
    refused!("one_missing", without(|n| n == "layers.1.mlp.dense_4h_to_h.bias"), MODEL);
    refused!("one_missing_in_every_layer", without(|n| n.ends_with("self_attention.dense.bias")), MODEL);
    let mut gap = three_layers();
    gap.layers().retain(|(name, _)| !name.starts_with("layers.1."));
    refused!("layer_missing_in_the_middle", gap.at("model.pt"), MODEL);
    let mut short = three_layers();
    short.layers().retain(|(name, _)| !name.starts_with("layers.2."));
    refused!("last_layer_missing", short.at("model.pt"), MODEL);
    let mut late = three_layers();
    late.layers().retain(|(name, _)| !name.starts_with("layers.0."));
    refused!("first_layer_missing", late.at("model.pt"), MODEL);
    refused!("no_layers", without(|n| n.starts_with("layers.")), MODEL);
    refused!("final_norm_missing", without(|n| n.starts_with("final_layernorm.")), MODEL);
    refused!("norms_with_misspelt_names", renamed("input_layernorm", "input_layer_norm"), MODEL);
    let rotary = changed(|made| {
        made.root
            .entries(&["model", "language_model", "embedding"])
            .retain(|(name, _)| name != "position_embeddings");
    });
    refused!("no_position_embeddings", rotary, MODEL);
}

#[test]
fn parameters_that_nothing_takes() {
    let untied = changed(|made| {
        let head = made.file.tensor(Dtype::F32, &[70, 24]);
        made.root
            .set(&["model", "language_model", "output_layer"], Py::Dict(vec![("weight".to_owned(), head)]));
    });
    refused!("untied_head", untied, MODEL);
    let normed = changed(|made| {
        for layer in 0..2 {
            for name in ["q_layernorm", "k_layernorm"] {
                made.put(&format!("layers.{layer}.self_attention.{name}.weight"), Dtype::F32, &[8]);
            }
        }
    });
    refused!("query_and_key_norms", normed, MODEL);
    let scaled =
        changed(|made| made.put("layers.0.self_attention.query_key_value.weight_scale", Dtype::F32, &[72]));
    refused!("weight_scale", scaled, MODEL);
    let frequencies = changed(|made| made.put("layers.0.rotary_emb.inv_freq", Dtype::F32, &[4]));
    refused!("rotary_frequencies", frequencies, MODEL);
    let beyond = changed(|made| {
        let more =
            made.layers().iter().filter(|(n, _)| n.starts_with("layers.1.")).cloned().collect::<Vec<_>>();
        made.layers().extend(more.into_iter().map(|(n, t)| (n.replace("layers.1.", "layers.2."), t)));
    });
    refused!("more_layers_than_args_say", beyond, MODEL);
    refused!(
        "names_of_megatron_core",
        renamed("self_attention.query_key_value", "self_attention.linear_qkv"),
        MODEL
    );
    let leading_zero = renamed("layers.1.", "layers.01.");
    refused!("layer_numbers_with_zeros", leading_zero, MODEL);
}

#[test]
fn shapes() {
    let put =
        |name: &'static str, shape: &'static [usize]| changed(move |made| made.put(name, Dtype::F32, shape));
    refused!("vector_for_matrix", put("layers.0.self_attention.dense.weight", &[576]), MODEL);
    let convolutions = changed(|made| {
        for layer in 0..2 {
            made.put(&format!("layers.{layer}.mlp.dense_4h_to_h.weight"), Dtype::F32, &[24, 96, 1]);
        }
    });
    refused!("more_dimensions_in_every_layer", convolutions, MODEL);
    refused!("matrix_for_vector", put("layers.1.input_layernorm.weight", &[24, 1]), MODEL);
    refused!("transposed", put("layers.0.mlp.dense_h_to_4h.weight", &[24, 96]), MODEL);
    refused!("ffn_of_one_layer", put("layers.1.mlp.dense_h_to_4h.weight", &[90, 24]), MODEL);
    refused!(
        "qkv_of_grouped_queries",
        put("layers.0.self_attention.query_key_value.weight", &[40, 24]),
        MODEL
    );
    refused!("no_elements", put("layers.0.input_layernorm.bias", &[0]), MODEL);
    let width = changed(|made| {
        let words = made.file.tensor(Dtype::F32, &[70, 32]);
        made.root.set(&["model", "language_model", "embedding", "word_embeddings", "weight"], words);
    });
    refused!("embedding_of_another_width", width, MODEL);
    let gated = changed(|made| {
        for layer in 0..2 {
            made.put(&format!("layers.{layer}.mlp.dense_h_to_4h.weight"), Dtype::F32, &[192, 24]);
            made.put(&format!("layers.{layer}.mlp.dense_h_to_4h.bias"), Dtype::F32, &[192]);
        }
    });
    refused!("gated_and_args_do_not_say", gated, MODEL);
}

#[test]
fn dtypes() {
    let integers = changed(|made| made.put("final_layernorm.weight", Dtype::I64, &[24]));
    let mapping = transship_mappings::shipped("megatron_gpt2").expect("it is shipped").text;
    integers.put("cast.mapping", mapping.replace("weight [dim] ", "weight [dim] as f16 "));
    refused!("integers_cannot_be_cast", integers, &["@model.pt", "--mapping", "@cast.mapping"]);
    let complex = changed(|made| made.put("layers.0.input_layernorm.weight", Dtype::C64, &[24]));
    refused!("complex", complex, MODEL);
}

#[test]
fn one_parameter_twice() {
    let eras = changed(|made| {
        for (name, shape) in [("weight", &[72, 24][..]), ("bias", &[72])] {
            made.put(&format!("layers.0.attention.query_key_value.{name}"), Dtype::F32, shape);
        }
    });
    refused!("two_eras", eras, MODEL);
    let stacks = changed(|made| {
        let layers = made.layers().clone();
        made.root.set(&["model", "language_model", "transformer"], Py::Dict(layers));
    });
    refused!("two_eras_of_everything", stacks, MODEL);
    let head = |rows: usize| {
        changed(move |made| {
            let head = made.file.tensor(Dtype::F32, &[rows, 24]);
            made.root
                .set(&["model", "word_embeddings_for_head"], Py::Dict(vec![("weight".to_owned(), head)]));
        })
    };
    refused!("tied_head_that_differs", head(70), MODEL);
    refused!("tied_head_of_another_shape", head(64), MODEL);
}

#[test]
fn a_tied_head_that_differs_in_one_bit() {
    let words = ["model", "language_model", "embedding", "word_embeddings"];
    let workplace = changed(|made| {
        let table = made.root.entries(&words)[0].1.clone();
        let head = made.file.twin(&table);
        made.root.set(&["model", "word_embeddings_for_head"], Py::Dict(vec![("weight".to_owned(), head)]));
    });
    let same = workplace.run(&["convert", "@model.pt", "@same"]);
    assert_eq!(same.code, 0, "{}", same.err);
    // The head's storage is the last record.
    let mut bytes = std::fs::read(workplace.path("model.pt")).expect("it was written");
    let version =
        bytes.windows(15).rposition(|w| w == b"archive/version").expect("an entry of the directory");
    let local = bytes[..version].windows(15).rposition(|w| w == b"archive/version").expect("an entry");
    let end = bytes[..local].windows(4).rposition(|w| w == b"PK\x03\x04").expect("a header");
    // A descriptor of up to 24 bytes may follow the record; 100 bytes before its end lie within its last two rows.
    bytes[end - 100] ^= 1;
    workplace.put("model.pt", bytes);
    refused!("tied_head_that_differs_in_one_bit", workplace, MODEL);
}

#[test]
fn broadcast_copies_that_differ() {
    let workplace = Workplace::new();
    workplace.put(
        "copies.mapping",
        "mapping copies : a <=> b\n\nside a {\n    parameters model\n    documents  args\n}\n\nconfig {\n    groups = args.groups <=> n_groups\n    rep    = args.rep    <=> n_rep\n}\n\nk [(groups *rep)]  <=>  k [groups]\n",
    );
    let mut file = transship_tests::TorchFile::default();
    let k = file.tensor(Dtype::F32, &[12]);
    let args = vec![("groups".to_owned(), Py::Int(4)), ("rep".to_owned(), Py::Int(3))];
    let root = vec![
        ("args".to_owned(), Py::Namespace(args)),
        ("model".to_owned(), Py::Dict(vec![("k".to_owned(), k)])),
    ];
    file.write(&workplace.path("model.pt"), &Py::Dict(root)).expect("the file can be written");
    refused!(
        "broadcast_copies_differ",
        workplace,
        &["@model.pt", "--mapping", "@copies.mapping", "--from", "a"]
    );
}
