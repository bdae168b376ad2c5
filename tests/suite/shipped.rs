//! The shipped mappings against the checkpoints that Megatron-LM wrote and the models that Hugging Face made of
//! them. The mapping is never named: what the input holds must tell it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use transship::Checkpoint;

use crate::command::Workplace;
use crate::oracle::{assert_same_config, assert_same_tensors, data, read_json, read_tensors};

/// A checkpoint, the model it holds, its true vocabulary and what it is called.
struct Case {
    checkpoint: &'static str,
    model: &'static str,
    vocab: &'static str,
    mapping: &'static str,
}

const fn case(
    checkpoint: &'static str,
    model: &'static str,
    vocab: &'static str,
    mapping: &'static str,
) -> Case {
    Case { checkpoint, model, vocab, mapping }
}

const CASES: [Case; 10] = [
    case("legacy-v3-llama-tp2", "llama", "120", "megatron_llama"),
    case("mcore-gpt2-tp2-torch", "gpt2", "120", "mcore_gpt2"),
    case("mcore-gpt2-tp2-torch_dist", "gpt2", "120", "mcore_gpt2"),
    case("mcore-llama-tp1-torch", "llama", "120", "mcore_llama"),
    case("mcore-llama-tp2-torch", "llama", "120", "mcore_llama"),
    case("mcore-llama-testandin-tp2", "llama", "120", "mcore_llama"),
    case("mcore-llama-distopt-bf16-tp1", "llama-small-bf16", "100", "mcore_llama"),
    case("mcore-llama-main-tp2pp2-torch_dist", "llama", "120", "mcore_llama"),
    case("mcore-mixtral-ep2-torch", "mixtral", "100", "mcore_mixtral"),
    case("mcore-mixtral-ep2-torch_dist", "mixtral", "100", "mcore_mixtral"),
];

fn convert(workplace: &Workplace, args: &[&str]) -> String {
    let done = workplace.run(&[&["convert"], args, &["--no-sync"]].concat());
    assert_eq!(done.code, 0, "{args:?}\n{}{}", done.out, done.err);
    done.out + &done.err
}

/// The tensors are those of the model, save the head that is the embedding again; so is the config.
fn assert_is_model(directory: &Path, model: &str) {
    let folder = data("megatron/expected_hf").join(model);
    let mut expected = read_tensors(&folder.join("model.safetensors"));
    let config = read_json(&folder.join("config.json"));
    if config["model_type"] == "gpt2" {
        expected.remove("lm_head.weight");
    }
    assert_same_tensors(&expected, &read_tensors(&directory.join("model.safetensors")));
    let written = read_json(&directory.join("config.json"));
    for (key, value) in config.as_object().expect("an object") {
        match key.as_str() {
            // One model is stored with several activations; which one is not in its tensors.
            "activation_function" | "torch_dtype" => {}
            // Megatron's arguments have whole numbers for some that are floats in a config.
            _ if value.is_f64() => assert_eq!(written[key].as_f64(), value.as_f64(), "{model}: {key}"),
            _ => assert_eq!(&written[key], value, "{model}: {key}"),
        }
    }
}

#[test]
fn each_checkpoint_tells_its_mapping_and_becomes_its_model() {
    for Case { checkpoint, model, vocab, mapping } in CASES {
        let workplace = Workplace::new();
        let vocab = format!("vocab={vocab}");
        let said = convert(&workplace, &[&format!("%megatron/{checkpoint}/ckpt"), "@out", "--set", &vocab]);
        assert!(said.contains(&format!("`{mapping}`")), "{checkpoint}: {said}");
        assert_is_model(&workplace.path("out"), model);
    }
}

#[test]
fn megatron_bert_as_hugging_face_converts_it() {
    let workplace = Workplace::new();
    let folder = "hf/g_megatron_bert_v0_fp16_zip";
    let (input, config) =
        (format!("%{folder}/input/megatron_bert_tiny.zip"), format!("%{folder}/input/config_in.json"));
    let said = convert(&workplace, &[&input, "@out", "--config", &config]);
    assert!(said.contains("`megatron_bert`"), "{said}");
    let expected = data(folder).join("expected");
    let mut tensors = read_tensors(&expected.join("model.safetensors"));
    tensors.remove("cls.predictions.decoder.weight");
    assert_same_tensors(&tensors, &read_tensors(&workplace.path("out/model.safetensors")));
    assert_same_config(
        &read_json(&expected.join("config.json")),
        &read_json(&workplace.path("out/config.json")),
    );
}

/// Names, shapes and dtypes of the parameters of each rank, in the order of its file; not the states of random
/// generators beside them.
fn listed(path: &Path) -> Vec<String> {
    let checkpoint = Checkpoint::open(path).unwrap_or_else(|e| panic!("{e}"));
    let parameters = checkpoint.tensors().iter().filter(|t| t.name.starts_with("model."));
    parameters.map(|t| format!("{} {:?} {:?}", t.name, t.dtype, t.shape)).collect()
}

#[test]
fn what_is_written_for_megatron_is_listed_as_megatron_lists_it_and_comes_back() {
    let local = ["--set", "impl=local"];
    for (model, side, split, like) in [
        ("gpt2", "mcore", ["--tp", "2"], "mcore-gpt2-tp2-torch"),
        ("llama", "mcore", ["--tp", "1"], "mcore-llama-tp1-torch"),
        ("llama", "mcore", ["--tp", "2"], "mcore-llama-tp2-torch"),
        ("llama", "megatron", ["--tp", "2"], "legacy-v3-llama-tp2"),
        ("mixtral", "mcore", ["--ep", "2"], "mcore-mixtral-ep2-torch"),
    ] {
        let workplace = Workplace::new();
        let padding = read_json(&data("megatron").join(like).join("case.json"))["dims"]["div"].to_string();
        let divisor = format!("divisor={padding}");
        let input = format!("%megatron/expected_hf/{model}");
        let common = [&input, "@ranks", "--to", side, "--set", &divisor];
        let local = if side == "mcore" { &local[..] } else { &[] };
        convert(&workplace, &[&common[..], &split, local].concat());
        let written = listed(&workplace.path("ranks"));
        let theirs = listed(&data("megatron").join(like).join("ckpt"));
        assert!(!written.is_empty());
        assert_eq!(written, theirs, "{model} as {like}");
        convert(&workplace, &["@ranks", "@back"]);
        assert_is_model(&workplace.path("back"), model);
    }
}

/// Parameters of each rank, without where they lie in its file.
fn keys(path: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let checkpoint = Checkpoint::open(path).unwrap_or_else(|e| panic!("{e}"));
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for tensor in checkpoint.tensors() {
        let shown = format!("{} {:?} {:?}", tensor.name, tensor.dtype, tensor.shape);
        all.entry(checkpoint.ranks()[tensor.rank].name.clone()).or_default().insert(shown);
    }
    all
}

#[test]
fn a_llama_for_megatron_core_has_the_parameters_of_transformer_engine_s_layers() {
    let theirs = keys(&data("megatron/mcore-llama-testandin-tp2/ckpt"));
    let of_model = |keys: &BTreeSet<String>| -> BTreeSet<String> {
        let model = keys.iter().filter(|k| k.starts_with("model.") && !k.contains("_extra_state"));
        model.cloned().collect()
    };
    let workplace = Workplace::new();
    let split = ["--tp", "2", "--set", "divisor=64"];
    convert(&workplace, &[&["%megatron/expected_hf/llama", "@ranks", "--to", "mcore"], &split[..]].concat());
    let ours = keys(&workplace.path("ranks"));
    assert_eq!(ours.len(), 2);
    for (rank, ours) in &ours {
        assert_eq!(*ours, of_model(&theirs[rank]), "{rank}");
    }
}

/// Names of a stage of one layer, as Transformer Engine's layers have them.
fn stage(parts: &[&str], before: &[&str], after: &[&str]) -> BTreeSet<String> {
    let layer = parts.iter().map(|part| format!("model.decoder.layers.0.{part}"));
    layer.chain(before.iter().chain(after).map(|name| format!("model.{name}"))).collect()
}

#[test]
fn each_rank_of_megatron_core_has_the_names_that_its_defaults_load() {
    let llama = [
        "self_attention.linear_proj.weight",
        "self_attention.linear_qkv.layer_norm_weight",
        "self_attention.linear_qkv.weight",
        "mlp.linear_fc1.layer_norm_weight",
        "mlp.linear_fc1.weight",
        "mlp.linear_fc2.weight",
    ];
    let biases = [
        "self_attention.linear_proj.bias",
        "self_attention.linear_qkv.layer_norm_bias",
        "self_attention.linear_qkv.bias",
        "mlp.linear_fc1.layer_norm_bias",
        "mlp.linear_fc1.bias",
        "mlp.linear_fc2.bias",
    ];
    let gpt2 = [&llama[..], &biases].concat();
    // A head that is the embedding again is stored on the last stage alone, and untied there too.
    let (head, words) = ("output_layer.weight", "embedding.word_embeddings.weight");
    let positions = "embedding.position_embeddings.weight";
    let norm = ["decoder.final_layernorm.weight", "decoder.final_layernorm.bias"];
    let cases = [
        ("llama", false, stage(&llama, &[words], &[]), stage(&llama, &[], &[norm[0], head])),
        ("llama", true, stage(&llama, &[words], &[]), stage(&llama, &[], &[norm[0], head])),
        ("gpt2", true, stage(&gpt2, &[words, positions], &[]), stage(&gpt2, &[], &[norm[0], norm[1], head])),
    ];
    for (model, tied, first, last) in cases {
        let workplace = Workplace::new();
        put_model(&workplace, model, tied);
        convert(&workplace, &["@model", "@ranks", "--to", "mcore", "--tp", "2", "--pp", "2"]);
        let names: BTreeMap<String, BTreeSet<String>> = keys(&workplace.path("ranks"))
            .into_iter()
            .map(|(rank, keys)| {
                let name = |key: &String| key.split(' ').next().expect("a name").to_owned();
                (rank, keys.iter().map(name).collect())
            })
            .collect();
        let rank = |name: &str, names: &BTreeSet<String>| (name.to_owned(), names.clone());
        let expected = BTreeMap::from([
            rank("mp_rank_00_000", &first),
            rank("mp_rank_00_001", &last),
            rank("mp_rank_01_000", &first),
            rank("mp_rank_01_001", &last),
        ]);
        assert_eq!(names, expected, "{model}, tied: {tied}");
        // On one stage a tied head is the embedding itself.
        convert(&workplace, &["@ranks", "@one", "--to", "mcore"]);
        let one = keys(&workplace.path("one"));
        let has_head = one["mp_rank_00"].iter().any(|key| key.starts_with(&format!("model.{head} ")));
        assert_eq!(has_head, !tied, "{model}");
        assert!(one["mp_rank_00"].iter().any(|key| key.contains("linear_qkv.layer_norm_weight")), "{model}");
    }
}

/// A model of Hugging Face with a head of its own or without one.
fn put_model(workplace: &Workplace, model: &str, tied: bool) {
    let folder = data("megatron/expected_hf").join(model);
    let mut tensors = read_tensors(&folder.join("model.safetensors"));
    let mut config = read_json(&folder.join("config.json"));
    if tied {
        tensors.remove("lm_head.weight");
        config["tie_word_embeddings"] = true.into();
    }
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        assert_eq!(dtype, "F32");
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("as it was read"))
    });
    workplace.put("model/config.json", config.to_string());
    safetensors::serialize_to_file(views, None, &workplace.path("model/model.safetensors"))
        .expect("the file can be written");
}

#[test]
fn names_of_another_implementation_are_refused() {
    let workplace = Workplace::new();
    let common = ["convert", "%megatron/expected_hf/llama", "@ranks", "--to", "mcore", "--set"];
    let done = workplace.run(&[&common[..], &["impl=apex"]].concat());
    assert_eq!(done.code, 1, "{}", done.err);
    assert!(done.err.contains("`transformer_engine` or `local` (impl)"), "{}", done.err);
}

#[test]
fn a_gpt2_that_names_no_activation_has_the_one_that_hugging_face_takes() {
    let folder = data("megatron/expected_hf/gpt2");
    let mut config = read_json(&folder.join("config.json"));
    config.as_object_mut().expect("an object").remove("activation_function").expect("it names one");
    for side in ["megatron", "mcore"] {
        let workplace = Workplace::new();
        let model = std::fs::read(folder.join("model.safetensors")).expect("a model");
        workplace.put("gpt2/model.safetensors", model);
        workplace.put("gpt2/config.json", config.to_string());
        convert(&workplace, &["@gpt2", "@ranks", "--to", side, "--tp", "2"]);
        convert(&workplace, &["@ranks", "@back"]);
        assert_eq!(
            read_json(&workplace.path("back/config.json"))["activation_function"],
            "gelu_new",
            "{side}"
        );
    }
}
