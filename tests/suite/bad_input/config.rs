//! Config that is missing, of the wrong type, or contradicts the tensors; models that GPT-2 cannot express.

use transship_tests::{MegatronGpt2, Py, Version};

use super::{Made, changed, refused, sound};
use crate::command::Workplace;

const MODEL: &[&str] = &["@model.pt"];

fn with_arg(name: &'static str, value: Py) -> Workplace {
    changed(move |made| made.set_arg(name, value))
}

fn text(text: &str) -> Py {
    Py::Str(text.to_owned())
}

#[test]
fn heads() {
    refused!("heads_do_not_divide", with_arg("num_attention_heads", Py::Int(5)), MODEL);
    refused!("no_heads", with_arg("num_attention_heads", Py::Int(0)), MODEL);
    refused!("negative_heads", with_arg("num_attention_heads", Py::Int(-3)), MODEL);
    refused!("kv_channels_contradict", with_arg("kv_channels", Py::Int(16)), MODEL);
    // A divisor of the width that is wrong fits every shape; only the width of a head can tell.
    let wrong = changed(|made| {
        made.set_arg("num_attention_heads", Py::Int(4));
        made.set_arg("kv_channels", Py::Int(8));
    });
    refused!("wrong_divisor_and_kv_channels", wrong, MODEL);
    let default = Made::of(&MegatronGpt2 { args: false, ..MegatronGpt2::tiny() }).at("model.pt");
    refused!("default_heads_do_not_divide", default, &["@model.pt", "--set", "vocab=70"]);
}

#[test]
fn sizes_that_contradict_the_tensors() {
    refused!("num_layers", with_arg("num_layers", Py::Int(4)), MODEL);
    refused!("num_layers_too_few", with_arg("num_layers", Py::Int(1)), MODEL);
    refused!("hidden_size", with_arg("hidden_size", Py::Int(48)), MODEL);
    refused!("ffn_hidden_size", with_arg("ffn_hidden_size", Py::Int(72)), MODEL);
    refused!("max_position_embeddings", with_arg("max_position_embeddings", Py::Int(1024)), MODEL);
    let all = changed(|made| {
        made.set_arg("hidden_size", Py::Int(48));
        made.set_arg("ffn_hidden_size", Py::Int(192));
        made.set_arg("max_position_embeddings", Py::Int(1024));
    });
    refused!("args_of_another_model", all, MODEL);
    refused!("setting_contradicts_the_tensors", sound(), &["@model.pt", "--set", "layers=3"]);
}

#[test]
fn vocabulary() {
    refused!("padded_vocab_size_too_large", with_arg("padded_vocab_size", Py::Int(128)), MODEL);
    refused!("set_vocab_too_large", sound(), &["@model.pt", "--set", "vocab=50257"]);
    let default = Made::of(&MegatronGpt2 { args: false, ..MegatronGpt2::tiny() }).at("model.pt");
    refused!("default_vocab_too_large", default, &["@model.pt", "--set", "heads=3"]);
    let config = Made::of(&MegatronGpt2 { args: false, ..MegatronGpt2::tiny() }).at("model.pt");
    config.put("config.json", r#"{"n_head": 3, "vocab_size": 100}"#);
    refused!("config_vocab_too_large", config, &["@model.pt", "--config", "@config.json"]);
    refused!("vocab_of_nothing", sound(), &["@model.pt", "--set", "vocab=0"]);
}

#[test]
fn versions() {
    let version = |version| Made::of(&MegatronGpt2 { version, ..MegatronGpt2::tiny() });
    refused!("version_one_half", version(Version::Is(0.5)).at("model.pt"), MODEL);
    refused!("version_negative", version(Version::Is(-1.0)).at("model.pt"), MODEL);
    let mut named = version(Version::Absent);
    named.root.set(&["checkpoint_version"], text("3.0"));
    refused!("version_text", named.at("model.pt"), MODEL);
    let mut words = version(Version::Absent);
    words.root.set(&["checkpoint_version"], Py::Dict(vec![("major".to_owned(), Py::Int(3))]));
    refused!("version_dictionary", words.at("model.pt"), MODEL);
}

#[test]
fn arguments() {
    refused!("num_layers_text", with_arg("num_layers", text("two")), MODEL);
    refused!("hidden_size_fraction", with_arg("hidden_size", Py::Float(24.5)), MODEL);
    refused!("padded_vocab_size_list", with_arg("padded_vocab_size", Py::List(vec![Py::Int(70)])), MODEL);
    refused!("epsilon_text", with_arg("layernorm_epsilon", text("small")), MODEL);
    let several = changed(|made| {
        made.set_arg("num_layers", text("two"));
        made.set_arg("hidden_size", text("wide"));
    });
    refused!("several_of_the_wrong_type", several, MODEL);
    let number = changed(|made| made.root.set(&["args"], Py::Int(7)));
    refused!("args_a_number", number, MODEL);
    let inert = changed(|made| {
        made.root.set(&["args"], Py::Call("mymodule".to_owned(), "load_args".to_owned(), vec![]));
    });
    refused!("args_a_call", inert, MODEL);
}

#[test]
fn models_that_gpt2_cannot_express() {
    let after = with_arg("apply_residual_connection_post_layernorm", Py::Bool(true));
    refused!("residual_after_norm", after, MODEL);
    refused!("layernorm_1p", with_arg("apply_layernorm_1p", Py::Bool(true)), MODEL);
    refused!("swiglu", with_arg("swiglu", Py::Bool(true)), MODEL);
    refused!("glu_activation", with_arg("glu_activation", text("geglu")), MODEL);
    refused!("squared_relu", with_arg("squared_relu", Py::Bool(true)), MODEL);
    let both = changed(|made| {
        made.set_arg("apply_layernorm_1p", Py::Bool(true));
        made.set_arg("apply_residual_connection_post_layernorm", Py::Bool(true));
    });
    refused!("two_that_gpt2_cannot_express", both, MODEL);
}
