//! Mappings as types: generated code against what the command makes of the same checkpoints.

use transship::grammar::SideId;
use transship::mappings::{MegatronGpt2, megatron_gpt2};
use transship::port::{Port, PortConfig, SideTree, convert_tree, load_tree};
use transship::{Array, BindOptions, Checkpoint, ConvertOptions, Setting, output};

use crate::oracle::{Tensors, assert_same_tensors, data, is_mask_buffer, read_tensors};

type Gpt2<T> = megatron_gpt2::Gpt2<T>;
type Megatron<T> = megatron_gpt2::Megatron<T>;

fn input(case: &str) -> Checkpoint {
    let folder = data("hf").join(case).join("input");
    let file = if case.starts_with("a_") { "megatron_tiny_v0_0.zip" } else { "model_optim_rng.pt" };
    Checkpoint::open(&folder.join(file)).expect("the checkpoint opens")
}

fn settings(case: &str) -> BindOptions {
    let set = |name: &str, value: &str| Setting { name: name.to_owned(), value: value.to_owned() };
    let settings =
        if case.starts_with("a_") { vec![set("vocab", "600"), set("heads", "4")] } else { Vec::new() };
    BindOptions { settings, base: None }
}

fn as_tensors<S: SideTree<Array>>(tree: &S) -> Tensors {
    tree.parameters()
        .into_iter()
        .map(|(name, array)| {
            let shape = array.shape().iter().map(|n| usize::try_from(*n).expect("small")).collect();
            let dtype = array.dtype().name().to_ascii_uppercase();
            (name, (dtype, shape, array.bytes().expect("small").into_owned()))
        })
        .collect()
}

const CASES: [&str; 5] = [
    "a_ngc_v0_fp16_zip",
    "b_v1_fp32_args",
    "c_v2_bf16_odd_args_optimizer",
    "d_v3_fp16_encoder_padded_flat",
    "i_te_names_v3_bf16",
];

#[test]
fn the_other_side_is_loaded_without_a_file_between() {
    for case in CASES {
        let gpt2: Gpt2<Array> =
            load_tree(&input(case), &settings(case)).unwrap_or_else(|e| panic!("{case}: {e}"));
        let mut expected = read_tensors(&data("hf").join(case).join("expected/model.safetensors"));
        expected.retain(|name, _| !is_mask_buffer(name));
        assert_same_tensors(&expected, &as_tensors(&gpt2));
    }
}

#[test]
fn trees_convert_in_memory_and_back() {
    for case in CASES {
        let megatron: Megatron<Array> = load_tree(&input(case), &settings(case)).expect("its own side");
        let binding = settings(case);
        let mut config = megatron_gpt2::Config::from_values(&values(case, &binding)).expect("a config");
        config.legacy_buffers = false;
        let gpt2: Gpt2<Array> = convert_tree(&megatron, &config).unwrap_or_else(|e| panic!("{case}: {e}"));
        let mut expected = read_tensors(&data("hf").join(case).join("expected/model.safetensors"));
        expected.retain(|name, _| !is_mask_buffer(name));
        assert_same_tensors(&expected, &as_tensors(&gpt2));
        let back: Megatron<Array> = convert_tree(&gpt2, &config).unwrap_or_else(|e| panic!("{case}: {e}"));
        let mut original = as_tensors(&megatron);
        // Padding does not come back, by the rules.
        original.retain(|name, _| !(case.starts_with("a_") && name == "embedding.word_embeddings.weight"));
        let mut back = as_tensors(&back);
        back.retain(|name, _| !(case.starts_with("a_") && name == "embedding.word_embeddings.weight"));
        assert_same_tensors(&original, &back);
    }
}

fn values(case: &str, options: &BindOptions) -> impl Fn(&str) -> Option<transship::grammar::Value> {
    let checkpoint = input(case);
    let mapping = MegatronGpt2::mapping();
    let binding = transship::Binding::new(mapping, &checkpoint, SideId::Left, options).expect("it binds");
    let all: std::collections::HashMap<String, transship::grammar::Value> =
        binding.values().map(|(name, value, _)| (name.to_owned(), value.clone())).collect();
    move |name| all.get(name).cloned()
}

#[test]
fn generated_code_writes_the_same_bytes_as_the_library() {
    let case = "d_v3_fp16_encoder_padded_flat";
    let writing = output::Options { sync: false, ..output::Options::default() };
    let (one, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    MegatronGpt2::convert(&input(case), one.path(), &ConvertOptions::default(), &writing)
        .expect("it converts");
    let mapping = MegatronGpt2::mapping();
    transship::convert(
        mapping,
        &input(case),
        SideId::Left,
        other.path(),
        &ConvertOptions::default(),
        &writing,
    )
    .expect("it converts");
    for file in ["model.safetensors", "config.json", "generation_config.json"] {
        let read = |d: &tempfile::TempDir| std::fs::read(d.path().join(file)).expect("it was written");
        assert!(read(&one) == read(&other), "{file}");
    }
}

#[test]
fn a_config_is_read_from_either_side_and_plans_without_a_checkpoint() {
    let case = "b_v1_fp32_args";
    let config = megatron_gpt2::Config::from_source(&input(case)).expect("a config");
    assert_eq!((config.layers, config.heads, config.head_dim, config.hidden), (2, 4, 12, 48));
    assert_eq!((config.activation.as_str(), config.vocab, config.original_vocab), ("gelu_new", 512, None));
    let json = serde_json::to_string(&config).expect("it serialises");
    assert_eq!(serde_json::from_str::<megatron_gpt2::Config>(&json).expect("and back"), config);
    let target = Checkpoint::open(&data("hf").join(case).join("expected")).expect("it opens");
    let from_target = megatron_gpt2::Config::from_target(&target).expect("a config");
    assert_eq!((from_target.layers, from_target.ffn, from_target.vocab), (2, 192, 512));
    let expected = read_tensors(&data("hf").join(case).join("expected/model.safetensors"));
    for spec in MegatronGpt2::plan(&config, SideId::Right).expect("it plans") {
        let shape: Vec<u64> = expected[&spec.name].1.iter().map(|n| *n as u64).collect();
        assert_eq!(spec.shape, Some(shape), "{}", spec.name);
    }
    let wrong = megatron_gpt2::Config { heads: 5, ..config };
    assert!(wrong.validate().is_err());
}

#[test]
fn fields_are_checked_by_the_compiler() {
    let gpt2: Gpt2<Array> = load_tree(&input(CASES[1]), &BindOptions::default()).expect("it loads");
    assert_eq!(gpt2.h.len(), 2);
    assert_eq!(gpt2.h[1].attn.c_attn.weight.shape(), [48, 144]);
    assert_eq!(gpt2.parameter("transformer.h.1.attn.c_attn.bias").expect("it is there").shape(), [144]);
}
