//! The shipped mappings against the checkpoints that Megatron-LM wrote and the models that Hugging Face made of
//! them. The mapping is never named: what the input holds must tell it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
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

/// The Hub's own GPT-2 was saved without its head: no name begins with `transformer.`, and each layer has its mask.
#[test]
fn a_gpt2_whose_names_have_no_prefix_is_read() {
    let folder = data("megatron/expected_hf/gpt2");
    let tensors = read_tensors(&folder.join("model.safetensors"));
    let mask = vec![0; 64 * 64 * 4];
    let mut views: Vec<(String, TensorView<'_>)> = (0..2)
        .map(|layer| {
            let view = TensorView::new(Dtype::F32, vec![1, 1, 64, 64], &mask).expect("a mask");
            (format!("h.{layer}.attn.bias"), view)
        })
        .collect();
    views.extend(tensors.iter().filter_map(|(name, (_, shape, bytes))| {
        let name = name.strip_prefix("transformer.")?;
        Some((name.to_owned(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("as it was read")))
    }));
    let workplace = Workplace::new();
    std::fs::create_dir(workplace.path("hub")).expect("a directory");
    safetensors::serialize_to_file(views, None, &workplace.path("hub/model.safetensors"))
        .expect("the file can be written");
    let config = std::fs::read(folder.join("config.json")).expect("a config");
    workplace.put("hub/config.json", config);
    for side in ["mcore", "megatron"] {
        let [ranks, back] = ["ranks", "back"].map(|name| format!("@{name}-{side}"));
        convert(&workplace, &["@hub", &ranks, "--to", side, "--tp", "2"]);
        let done = workplace.run(&["verify", "@hub", &ranks, "--mapping", &format!("{side}_gpt2")]);
        assert_eq!(done.code, 0, "{side}: {}{}", done.out, done.err);
        convert(&workplace, &[&ranks, &back]);
        assert_is_model(&workplace.path(&back[1..]), "gpt2");
    }
}

/// What Megatron-LM's `load_args_from_checkpoint` takes by force, and what its tools read without asking whether it is there.
#[test]
fn arguments_are_those_that_megatron_s_tools_read() {
    let common = json!({
        "add_qkv_bias": false, "apply_layernorm_1p": false, "apply_query_key_layer_scaling": false, "bf16": false,
        "fp16": false, "hidden_size": 32, "num_attention_heads": 4, "num_layers": 2, "padded_vocab_size": 128,
        "params_dtype": "torch.float32", "pipeline_model_parallel_size": 1, "seq_length": 64,
        "sequence_parallel": false, "squared_relu": false, "tensor_model_parallel_size": 1,
    });
    let gpt2 = json!({
        "add_bias_linear": true, "add_position_embedding": true, "attention_dropout": 0.1,
        "group_query_attention": false, "hidden_dropout": 0.1, "normalization": "LayerNorm",
        "position_embedding_type": "learned_absolute", "swiglu": false, "tokenizer_type": "GPT2BPETokenizer",
        "untie_embeddings_and_output_weights": false,
    });
    let llama = json!({
        "add_bias_linear": false, "add_position_embedding": false, "attention_dropout": 0.0,
        "group_query_attention": true, "hidden_dropout": 0.0, "hidden_size": 40, "normalization": "RMSNorm",
        "num_query_groups": 2, "position_embedding_type": "rope", "rotary_interleaved": false,
        "rotary_percent": 1.0, "swiglu": true, "tokenizer_type": "HuggingFaceTokenizer",
        "untie_embeddings_and_output_weights": true,
    });
    let mixtral = json!({
        "hidden_size": 24, "moe_grouped_gemm": false, "moe_router_pre_softmax": false,
        "moe_router_score_function": "softmax", "moe_router_topk": 2, "num_experts": 4,
    });
    let of_core = json!({ "rotary_base": 10000.0 });
    for (model, side, expected) in [
        ("gpt2", "mcore", vec![&common, &gpt2]),
        ("gpt2", "megatron", vec![&common, &gpt2]),
        ("llama", "mcore", vec![&common, &llama, &of_core]),
        ("llama", "megatron", vec![&common, &llama]),
        ("mixtral", "mcore", vec![&common, &llama, &mixtral, &of_core]),
    ] {
        let workplace = Workplace::new();
        convert(&workplace, &[&format!("%megatron/expected_hf/{model}"), "@ranks", "--to", side]);
        let checkpoint = Checkpoint::open(&workplace.path("ranks")).expect("it was just written");
        let place = |name: &str| checkpoint.lookup(name).map(ToString::to_string);
        assert_eq!(place("iteration").as_deref(), Some("0"), "{model} {side}");
        let mut wanted = serde_json::Map::new();
        for part in expected {
            wanted.extend(part.as_object().expect("an object").clone());
        }
        for (name, value) in wanted {
            let found = place(&format!("args.{name}")).unwrap_or_else(|| panic!("{model} {side}: no {name}"));
            let shown = found.trim_matches(['"', '\'']).to_lowercase();
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned).to_lowercase();
            let same = shown == value || shown.parse::<f64>().ok().is_some_and(|x| Ok(x) == value.parse());
            assert!(same, "{model} {side}: {name} is {found}, not {value}");
        }
    }
}

/// What a run was trained with is not what a model would have.
#[test]
fn arguments_of_a_run_stay_when_it_is_split_anew() {
    let workplace = Workplace::new();
    let input = data("megatron/mcore-llama-tp2-torch/ckpt");
    convert(&workplace, &["%megatron/mcore-llama-tp2-torch/ckpt", "@one", "--to", "mcore"]);
    let [before, after] =
        [input, workplace.path("one")].map(|path| Checkpoint::open(&path).expect("it opens"));
    for name in [
        "iteration",
        "args.seq_length",
        "args.attention_dropout",
        "args.hidden_dropout",
        "args.tokenizer_type",
        "args.add_position_embedding",
        "args.fp16",
        "args.bf16",
        "args.sequence_parallel",
        "args.squared_relu",
        "args.apply_query_key_layer_scaling",
        "args.rotary_interleaved",
    ] {
        let place = |checkpoint: &Checkpoint| checkpoint.lookup(name).map(ToString::to_string);
        assert!(place(&before).is_some(), "{name}");
        assert_eq!(place(&before), place(&after), "{name}");
    }
}

/// What only Hugging Face's files say is kept in what is written for Megatron-LM.
#[test]
fn configs_come_back_as_they_were() {
    let generation =
        json!({ "bos_token_id": 7, "eos_token_id": [8, 9], "temperature": 0.6, "do_sample": true });
    let said = json!({
        "attention_dropout": 0.0, "bos_token_id": 7, "eos_token_id": [8, 9], "pad_token_id": 3,
        "rope_scaling": null, "torch_dtype": "float32", "dtype": "float32", "transformers_version": "4.57.6",
    });
    for (model, side) in [("llama", "mcore"), ("llama", "megatron"), ("mixtral", "mcore")] {
        let workplace = Workplace::new();
        put_model(&workplace, model, false);
        let mut config = read_json(&workplace.path("model/config.json"));
        config.as_object_mut().expect("an object").extend(said.as_object().expect("an object").clone());
        workplace.put("model/config.json", config.to_string());
        workplace.put("model/generation_config.json", generation.to_string());
        convert(&workplace, &["@model", "@ranks", "--to", side, "--tp", "2"]);
        convert(&workplace, &["@ranks", "@split", "--to", side]);
        convert(&workplace, &["@split", "@back"]);
        assert_eq!(read_json(&workplace.path("back/config.json")), config, "{model} {side}");
        assert_eq!(read_json(&workplace.path("back/generation_config.json")), generation, "{model} {side}");
        // What is written says what it is of.
        convert(&workplace, &["@ranks", "@half", "--dtype", "bf16"]);
        config["torch_dtype"] = "bfloat16".into();
        config["dtype"] = "bfloat16".into();
        assert_eq!(read_json(&workplace.path("half/config.json")), config, "{model} {side}");
    }
}

#[test]
fn a_gpt2_that_was_padded_on_one_rank_comes_back_with_its_own_vocabulary() {
    for side in ["mcore", "megatron"] {
        let workplace = Workplace::new();
        convert(&workplace, &["%megatron/expected_hf/gpt2", "@ranks", "--to", side]);
        let padded = Checkpoint::open(&workplace.path("ranks")).expect("it was just written");
        let words = padded.tensors().iter().find(|t| t.name.ends_with("word_embeddings.weight"));
        assert_eq!(words.expect("it has words").shape, [128, 32]);
        convert(&workplace, &["@ranks", "@back"]);
        assert_is_model(&workplace.path("back"), "gpt2");
        assert_eq!(read_json(&workplace.path("back/config.json"))["n_ctx"], 64);
        assert!(!workplace.path("back/generation_config.json").exists(), "there was none");
    }
}

#[test]
fn a_llama_of_megatron_s_own_says_its_dtype_and_that_its_tokens_are_not_known() {
    let workplace = Workplace::new();
    let said = convert(&workplace, &["%megatron/mcore-llama-distopt-bf16-tp1/ckpt", "@out"]);
    assert!(said.contains("nothing says which tokens begin and end a text"), "{said}");
    let config = read_json(&workplace.path("out/config.json"));
    assert_eq!(config["torch_dtype"], "bfloat16");
    assert_eq!(config.get("eos_token_id"), None);
    let said = convert(
        &workplace,
        &["%megatron/mcore-llama-distopt-bf16-tp1/ckpt", "@set", "--set", "bos=5", "--set", "eos=[6, 7]"],
    );
    assert!(!said.contains("nothing says"), "{said}");
    assert_eq!(read_json(&workplace.path("set/config.json"))["eos_token_id"], json!([6, 7]));
    // Of a split over other ranks there is nothing to say.
    let input = "%megatron/mcore-llama-distopt-bf16-tp1/ckpt";
    let said = convert(&workplace, &[input, "@split", "--to", "mcore", "--tp", "2"]);
    assert!(!said.contains("nothing says"), "{said}");
}

#[test]
fn a_qwen2_says_that_it_has_no_window() {
    let workplace = Workplace::new();
    let input = "%megatron/mcore-llama-tp1-torch/ckpt";
    convert(&workplace, &[input, "@out", "--set", "family=qwen2"]);
    let config = read_json(&workplace.path("out/config.json"));
    assert_eq!(config["use_sliding_window"], false);
    assert_eq!((&config["sliding_window"], &config["max_window_layers"]), (&json!(64), &json!(2)));
    convert(&workplace, &[input, "@llama"]);
    let config = read_json(&workplace.path("llama/config.json"));
    assert_eq!(config.get("sliding_window"), None, "a Llama has no such key");
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
