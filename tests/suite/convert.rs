//! Conversions against what the reference made of the same checkpoints.

use std::path::Path;

use transship::grammar::{Mapping, SideId, Style, check, render};
use transship::{
    BaseConfig, Checkpoint, ConvertError, ConvertOptions, Setting, convert, detect_side, output,
};

use crate::oracle::{assert_same_config, assert_same_tensors, data, is_mask_buffer, read_json, read_tensors};

fn megatron_gpt2() -> Mapping {
    let shipped = transship_mappings::shipped("megatron_gpt2").expect("shipped");
    check(&shipped.source()).expect("the shipped mapping checks").0
}

fn run(input: &Path, output: &Path, options: &ConvertOptions) {
    let mapping = megatron_gpt2();
    let checkpoint = Checkpoint::open(input).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(detect_side(&mapping, &checkpoint), Some(SideId::Left));
    let writing = output::Options { threads: 2, sync: false, ..output::Options::default() };
    match convert(&mapping, &checkpoint, SideId::Left, output, options, &writing) {
        Ok(()) => {}
        Err(ConvertError::Diagnostics(d)) => panic!("{}", render(&d, Style::Full { colour: false })),
        Err(error) => panic!("{error}"),
    }
}

fn set(name: &str, value: &str) -> Setting {
    Setting { name: name.to_owned(), value: value.to_owned() }
}

fn hugging_face_case(case: &str, file: &str, base: Option<&str>) {
    let folder = data("hf").join(case);
    let expected = read_tensors(&folder.join("expected/model.safetensors"));
    let mut options = ConvertOptions::default();
    options.bind.base = base.map(|b| BaseConfig::read(&folder.join("input").join(b)).expect("a config"));
    for buffers in [true, false] {
        let output = tempfile::tempdir().expect("a directory");
        options.bind.settings = vec![set("legacy_buffers", if buffers { "true" } else { "false" })];
        run(&folder.join("input").join(file), output.path(), &options);
        let mut expected = expected.clone();
        expected.retain(|name, _| buffers || !is_mask_buffer(name));
        assert_same_tensors(&expected, &read_tensors(&output.path().join("model.safetensors")));
        let config = read_json(&output.path().join("config.json"));
        assert_same_config(&read_json(&folder.join("expected/config.json")), &config);
    }
}

#[test]
fn the_legacy_fp16_zip_of_2019() {
    hugging_face_case("a_ngc_v0_fp16_zip", "megatron_tiny_v0_0.zip", Some("config_in.json"));
}

#[test]
fn version_1_in_fp32_with_arguments() {
    hugging_face_case("b_v1_fp32_args", "model_optim_rng.pt", None);
}

#[test]
fn version_2_in_bf16_with_odd_arguments_and_strides() {
    hugging_face_case("c_v2_bf16_odd_args_optimizer", "model_optim_rng.pt", None);
}

#[test]
fn version_3_with_padding_out_of_one_flat_buffer() {
    hugging_face_case("d_v3_fp16_encoder_padded_flat", "model_optim_rng.pt", None);
}

#[test]
fn names_of_transformer_engine() {
    hugging_face_case("i_te_names_v3_bf16", "model_optim_rng.pt", None);
}

/// `group` holds the model for the true vocabulary.
pub(crate) fn megatron_case(case: &str, group: &str, vocab: &str, activation: &str) {
    let output = tempfile::tempdir().expect("a directory");
    let mut options = ConvertOptions::default();
    options.bind.settings = vec![set("vocab", vocab)];
    run(&data("megatron").join(case).join("ckpt"), output.path(), &options);
    let group = data("megatron").join("expected_hf").join(group);
    let mut expected = read_tensors(&group.join("model.safetensors"));
    expected.remove("lm_head.weight");
    assert_same_tensors(&expected, &read_tensors(&output.path().join("model.safetensors")));
    let config = read_json(&output.path().join("config.json"));
    for (key, value) in read_json(&group.join("config.json")).as_object().expect("an object") {
        match key.as_str() {
            "activation_function" => {
                // The tanh form has two names; the mapping writes the one of the reference.
                let same = |name: &str| name.replace("gelu_fast", "gelu_new");
                assert_eq!(same(config[key].as_str().expect("a name")), activation, "{case}");
            }
            "torch_dtype" => {}
            _ => assert_eq!(&config[key], value, "{case}: {key}"),
        }
    }
}

#[test]
fn checkpoints_that_megatron_wrote() {
    megatron_case("legacy-v0-gpt2-tp1", "gpt2", "120", "gelu");
    megatron_case("legacy-v3-gpt2-tp1pp1", "gpt2", "120", "gelu_new");
    megatron_case("legacy-v3-gpt2-fp16-optim-tp1", "gpt2L4-first-layer-fp16", "100", "gelu_new");
}
