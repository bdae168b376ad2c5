//! Every key of the configs that the test data holds, set to another value: what changes what a model computes is refused,
//! told, or known to the mapping. A key that the data has and that is decided nowhere fails.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value, json};
use transship::grammar::{Mapping, Plain, SideId, Value as Known, check};
use transship::output::Options;
use transship::{BaseConfig, BindOptions, Binding, Checkpoint, Plan, PlanOptions};

use crate::oracle::{data, read_json};

fn shipped(name: &str) -> Mapping {
    let shipped = transship_mappings::shipped(name).expect("shipped");
    check(&shipped.source()).expect("the shipped mapping checks").0
}

/// What another value of a key leads to.
enum Decision {
    /// An error about this key.
    Refused(Value),
    /// Other config values, or an error about what the tensors say.
    Mapped(Value),
    /// Nothing, for this reason.
    Harmless(Value, &'static str),
    /// A note that names it.
    Told(Value),
}
use Decision::{Harmless, Mapped, Refused, Told};

/// What a config leads to: the codes of errors with their messages, or the config values and the notes.
type Outcome = Result<(Vec<(String, Known)>, Vec<String>), Vec<(String, String)>>;

fn outcome(mapping: &Mapping, directory: &Path, side: SideId) -> Outcome {
    let checkpoint = Checkpoint::open(directory).expect("a checkpoint");
    match Binding::new(mapping, &checkpoint, side, &BindOptions::default()) {
        Ok(binding) => {
            let values = binding.values().map(|(name, value, _)| (name.to_owned(), value.clone()));
            Ok((values.collect(), binding.notes().to_vec()))
        }
        Err(errors) => Err(errors.list().iter().map(|d| (d.code.to_string(), d.message.clone())).collect()),
    }
}

/// Binds a Hugging Face model with a key of its config changed.
fn changed(mapping: &Mapping, folder: &Path, key: &str, value: Option<&Value>) -> Outcome {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::copy(folder.join("model.safetensors"), directory.path().join("model.safetensors"))
        .expect("copied");
    let mut config = read_json(&folder.join("config.json"));
    if let Some(value) = value {
        config[key] = value.clone();
    }
    std::fs::write(directory.path().join("config.json"), config.to_string()).expect("written");
    outcome(mapping, directory.path(), SideId::Right)
}

fn is_about(errors: &[(String, String)], key: &str) -> bool {
    let codes = ["TS0610", "TS0635", "TS0636"];
    errors.iter().any(|(code, message)| codes.contains(&code.as_str()) && message.contains(key))
}

fn check_decision(mapping: &Mapping, folder: &Path, key: &str, decision: &Decision) {
    let (Refused(value) | Mapped(value) | Harmless(value, _) | Told(value)) = decision;
    let before = changed(mapping, folder, key, None).expect("the model as it is binds");
    let after = changed(mapping, folder, key, Some(value));
    let at = format!("{} of {}: `{key}` = {value}: {after:?}", mapping.name, folder.display());
    let named = |notes: &[String]| notes.iter().any(|note| note.contains(&format!("`{key}`")));
    match (decision, after) {
        (Refused(_), Err(errors)) => assert!(is_about(&errors, key), "{at}"),
        (Mapped(_), Err(errors)) => assert!(!is_about(&errors, key), "{at}"),
        (Mapped(_), Ok((values, _))) => assert_ne!(before.0, values, "{at}"),
        (Harmless(_, why), Ok((values, notes))) => {
            assert!(before.0 == values && !named(&notes), "{at}, which is harmless since: {why}");
        }
        (Told(_), Ok((_, notes))) => assert!(named(&notes), "{at}"),
        _ => panic!("{at}"),
    }
}

const TRAINING: &str = "it counts in training alone";
const FILES: &str = "it says how files are read, or made";
const PRECISION: &str = "it changes the precision of arithmetic alone";

fn decoder() -> Vec<(&'static str, Decision)> {
    vec![
        ("model_type", Refused(json!("granite"))),
        ("architectures", Harmless(json!(["Mine"]), FILES)),
        ("vocab_size", Mapped(json!(77))),
        ("hidden_size", Mapped(json!(48))),
        ("intermediate_size", Mapped(json!(80))),
        ("num_hidden_layers", Mapped(json!(3))),
        ("num_attention_heads", Mapped(json!(8))),
        ("num_key_value_heads", Mapped(json!(4))),
        ("head_dim", Mapped(json!(5))),
        ("max_position_embeddings", Mapped(json!(128))),
        ("rms_norm_eps", Mapped(json!(1e-6))),
        ("rope_theta", Mapped(json!(500_000.0))),
        ("hidden_act", Refused(json!("gelu"))),
        ("tie_word_embeddings", Mapped(json!(true))),
        ("torch_dtype", Harmless(json!("float32"), FILES)),
        ("dtype", Harmless(json!("float32"), FILES)),
        ("sliding_window", Refused(json!(16))),
        ("rope_scaling", Refused(json!({"rope_type": "yarn", "factor": 2.0}))),
        ("partial_rotary_factor", Refused(json!(0.5))),
        ("attention_bias", Refused(json!(true))),
        ("mlp_bias", Refused(json!(true))),
        ("embedding_multiplier", Refused(json!(12.0))),
        ("attention_multiplier", Refused(json!(0.015_625))),
        ("residual_multiplier", Refused(json!(0.22))),
        ("logits_scaling", Refused(json!(8.0))),
        ("attn_logit_softcapping", Refused(json!(50.0))),
        ("final_logit_softcapping", Refused(json!(30.0))),
        ("query_pre_attn_scalar", Refused(json!(256))),
        ("no_rope_layers", Refused(json!([1, 0]))),
        ("no_rope_layer_interval", Refused(json!(4))),
        ("layer_types", Refused(json!(["full_attention", "sliding_attention"]))),
        ("clip_qkv", Refused(json!(8.0))),
        ("use_qk_norm", Refused(json!(true))),
        ("quantization_config", Refused(json!({"quant_method": "fp8"}))),
        ("use_parallel_residual", Refused(json!(true))),
        ("initializer_range", Harmless(json!(0.5), TRAINING)),
        ("attention_dropout", Harmless(json!(0.5), TRAINING)),
        ("pretraining_tp", Harmless(json!(2), PRECISION)),
        ("frobnicated_heads", Told(json!(3))),
    ]
}

fn gpt2() -> Vec<(&'static str, Decision)> {
    vec![
        ("model_type", Refused(json!("gpt_bigcode"))),
        ("architectures", Harmless(json!(["Mine"]), FILES)),
        ("vocab_size", Mapped(json!(77))),
        ("n_positions", Mapped(json!(48))),
        ("n_embd", Mapped(json!(20))),
        ("n_layer", Mapped(json!(3))),
        ("n_head", Mapped(json!(2))),
        ("n_inner", Mapped(json!(80))),
        ("activation_function", Mapped(json!("relu"))),
        ("layer_norm_epsilon", Mapped(json!(1e-6))),
        ("bos_token_id", Mapped(json!(3))),
        ("eos_token_id", Mapped(json!(3))),
        ("scale_attn_by_inverse_layer_idx", Refused(json!(true))),
        ("scale_attn_weights", Refused(json!(false))),
        ("add_cross_attention", Refused(json!(true))),
        ("tie_word_embeddings", Refused(json!(false))),
        ("reorder_and_upcast_attn", Harmless(json!(true), PRECISION)),
        ("attn_pdrop", Harmless(json!(0.5), TRAINING)),
        ("embd_pdrop", Harmless(json!(0.5), TRAINING)),
        ("resid_pdrop", Harmless(json!(0.5), TRAINING)),
        ("initializer_range", Harmless(json!(0.5), TRAINING)),
        ("summary_activation", Harmless(json!("tanh"), "the head for classes is no part of the model")),
        ("summary_first_dropout", Harmless(json!(0.5), TRAINING)),
        ("summary_proj_to_labels", Harmless(json!(false), "the head for classes is no part of the model")),
        ("summary_type", Harmless(json!("mean"), "the head for classes is no part of the model")),
        ("summary_use_proj", Harmless(json!(false), "the head for classes is no part of the model")),
        ("tokenizer_class", Harmless(json!("Mine"), FILES)),
        ("transformers_version", Harmless(json!("9.9.9"), FILES)),
        ("torch_dtype", Harmless(json!("float32"), FILES)),
        ("use_cache", Harmless(json!(false), "it saves time alone")),
        ("frobnicated_heads", Told(json!(3))),
    ]
}

fn bert() -> Vec<(&'static str, Decision)> {
    vec![
        ("model_type", Refused(json!("bert"))),
        ("vocab_size", Mapped(json!(77))),
        ("hidden_size", Mapped(json!(48))),
        ("intermediate_size", Mapped(json!(80))),
        ("num_hidden_layers", Mapped(json!(3))),
        ("num_attention_heads", Mapped(json!(8))),
        ("max_position_embeddings", Mapped(json!(48))),
        ("type_vocab_size", Mapped(json!(3))),
        ("layer_norm_eps", Mapped(json!(1e-6))),
        ("hidden_act", Refused(json!("relu"))),
        ("position_embedding_type", Refused(json!("relative_key"))),
        ("is_decoder", Refused(json!(true))),
        ("attention_probs_dropout_prob", Harmless(json!(0.5), TRAINING)),
        ("hidden_dropout_prob", Harmless(json!(0.5), TRAINING)),
        ("initializer_range", Harmless(json!(0.5), TRAINING)),
        ("pad_token_id", Harmless(json!(3), "the mask says what is padding")),
        ("transformers_version", Harmless(json!("9.9.9"), FILES)),
        ("use_cache", Harmless(json!(false), "it saves time alone")),
        ("frobnicated_heads", Told(json!(3))),
    ]
}

#[test]
fn every_key_of_a_hugging_face_config_is_decided() {
    let mut folders = 0;
    let mut check_folder = |mappings: &[&str], folder: &Path, table: &[(&str, Decision)]| {
        let config = read_json(&folder.join("config.json"));
        for key in config.as_object().expect("an object").keys() {
            let decided = table.iter().any(|(known, _)| known == key);
            assert!(decided, "{}: nothing is decided of `{key}`", folder.display());
        }
        for mapping in mappings {
            let mapping = shipped(mapping);
            for (key, decision) in table {
                check_decision(&mapping, folder, key, decision);
            }
        }
        folders += 1;
    };
    for entry in std::fs::read_dir(data("megatron/expected_hf")).expect("a directory") {
        let folder = entry.expect("an entry").path();
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        if name.contains("first-layer") {
            continue;
        }
        match name.split(['-', 'L']).next() {
            Some("llama") => check_folder(&["mcore_llama"], &folder, &decoder()),
            Some("mixtral") => {
                let mut table = decoder();
                table.push(("num_local_experts", Mapped(json!(8))));
                table.push(("num_experts_per_tok", Mapped(json!(1))));
                check_folder(&["mcore_mixtral"], &folder, &table);
            }
            Some("gpt2") => check_folder(&["mcore_gpt2", "megatron_gpt2"], &folder, &gpt2()),
            _ => panic!("{name}: which model is it?"),
        }
    }
    for entry in std::fs::read_dir(data("hf")).expect("a directory") {
        let folder = entry.expect("an entry").path().join("expected");
        if folder.join("model.safetensors").exists() {
            let is_bert = folder.to_string_lossy().contains("bert");
            match is_bert {
                true => check_folder(&["megatron_bert"], &folder, &bert()),
                false => check_folder(&["mcore_gpt2"], &folder, &gpt2()),
            }
        }
    }
    assert!(folders >= 10, "{folders}");
}

/// Other values of Megatron's arguments that change what a model computes, whichever shipped mapping reads them.
fn other_arguments() -> Map<String, Value> {
    let all = json!({
        "normalization": "Mine",
        "spec": ["megatron.core.models.mamba.mamba_layer_specs", "mamba_stack_spec"],
        "layernorm_zero_centered_gamma": true,
        "apply_layernorm_1p": true,
        "apply_residual_connection_post_layernorm": true,
        "num_unique_layers": 1,
        "position_embedding_type": "none",
        "rotary_percent": 0.5,
        "rotary_interleaved": true,
        "rotary_seq_len_interpolation_factor": 4,
        "use_rope_scaling": true,
        "no_rope_freq": [1, 0],
        "mrope_section": [2, 2, 1],
        "softmax_scale": 0.25,
        "softmax_type": "off-by-one",
        "window_size": [128, 0],
        "qk_layernorm": true,
        "qk_l2_norm": true,
        "attention_output_gate": true,
        "multi_latent_attention": true,
        "experimental_attention_variant": "dsa",
        "linear_attention_freq": 4,
        "squared_relu": true,
        "quick_geglu": true,
        "activation_func_clamp_value": 7.0,
        "glu_linear_offset": 1.0,
        "heterogeneous_layers_config_path": "/layers.json",
        "heterogeneous_layers_config_encoded_json": "{}",
        "is_hybrid_model": true,
        "hybrid_attention_ratio": 0.5,
        "hybrid_mlp_ratio": 0.5,
        "hybrid_override_pattern": "M*",
        "mtp_num_layers": 1,
        "retro_add_retriever": true,
        "moe_layer_freq": [1, 0],
        "moe_router_load_balancing_type": "sinkhorn",
        "moe_router_score_function": "sigmoid",
        "moe_router_pre_softmax": true,
        "moe_router_topk_scaling_factor": 2.5,
        "moe_router_num_groups": 2,
        "moe_router_group_topk": 1,
        "moe_router_enable_expert_bias": true,
        "moe_expert_capacity_factor": 1.0,
        "moe_shared_expert_intermediate_size": 64,
        "use_mup": true,
        "attention_multiplier": 0.5,
        "embedding_multiplier": 12.0
    });
    match all {
        Value::Object(all) => all,
        _ => unreachable!("an object"),
    }
}

/// Plain arguments that only one of the models has so; other mappings read them.
const BY_MODEL: [&str; 9] = [
    "add_bias_linear",
    "add_qkv_bias",
    "enable_hyper_connections",
    "group_query_attention",
    "num_experts",
    "openai_gelu",
    "swiglu",
    "untie_embeddings_and_output_weights",
    "use_rotary_position_embeddings",
];

/// The names of the arguments in the checkpoints that Megatron-LM's own code wrote.
fn arguments_in_the_data() -> BTreeSet<String> {
    let listing = read_json(&data("listing.json"));
    let files = listing.as_object().expect("files").iter().filter(|(name, _)| name.starts_with("megatron/"));
    let mut names = BTreeSet::new();
    for (_, file) in files {
        let args = file["documents"].get("args").and_then(Value::as_object);
        names.extend(args.into_iter().flat_map(Map::keys).filter(|name| *name != "$class").cloned());
    }
    assert!(names.len() > 400, "{}", names.len());
    names
}

#[test]
fn every_argument_of_megatron_is_decided() {
    let other = other_arguments();
    for name in
        ["mcore_gpt2", "mcore_llama", "mcore_mixtral", "megatron_bert", "megatron_gpt2", "megatron_llama"]
    {
        let mapping = shipped(name);
        let side = mapping.side(SideId::Left);
        let read = mapping.places_read(SideId::Left);
        for key in arguments_in_the_data() {
            let place = format!("args.{key}");
            let plain = side.plain.iter().any(|plain| plain.place() == place);
            let ignored = side.ignored.iter().any(|ignored| ignored.takes("args", &key));
            assert!(plain || ignored || read.contains(&place), "{name}: nothing is decided of `{place}`");
            let tried = other.contains_key(&key) || BY_MODEL.contains(&key.as_str());
            assert!(!plain || tried, "{name}: no other value of `{place}` is tried");
            assert!(plain || !other.contains_key(&key), "{name}: `{place}` is not plain");
        }
    }
}

/// A Hugging Face model written for Megatron with these arguments beside its own.
fn written(mapping: &Mapping, model: &str, args: &Map<String, Value>) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let checkpoint = Checkpoint::open(&data("megatron/expected_hf").join(model)).expect("a checkpoint");
    let values = Map::from_iter([("args".to_owned(), Value::Object(args.clone()))]);
    let base = Some(BaseConfig { path: "base.json".into(), values });
    let options = BindOptions { base, ..BindOptions::default() };
    let binding = Binding::new(mapping, &checkpoint, SideId::Right, &options).expect("binds");
    let plan = Plan::new(&binding, &PlanOptions::default()).expect("a plan");
    plan.write(mapping, directory.path(), None, &Options { sync: false, ..Options::default() })
        .expect("written");
    directory
}

#[test]
fn arguments_that_change_what_is_computed_are_refused_one_at_a_time() {
    let models = [
        ("mcore_llama", "llama"),
        ("mcore_mixtral", "mixtral"),
        ("mcore_gpt2", "gpt2"),
        ("megatron_gpt2", "gpt2"),
    ];
    for (mapping, model) in models {
        let mapping = shipped(mapping);
        let own = written(&mapping, model, &Map::new());
        let (_, notes) = outcome(&mapping, own.path(), SideId::Left).expect("what was written binds");
        assert!(!notes.iter().any(|note| note.contains("also sets")), "{notes:?}");
        let is_written =
            |key: &str| mapping.places_written(SideId::Left).any(|place| place == format!("args.{key}"));
        for (key, value) in other_arguments().iter().filter(|(key, _)| !is_written(key)) {
            let one = Map::from_iter([(key.clone(), value.clone())]);
            let directory = written(&mapping, model, &one);
            match outcome(&mapping, directory.path(), SideId::Left) {
                Err(errors) => assert!(is_about(&errors, key), "{}: `{key}`: {errors:?}", mapping.name),
                Ok(_) => panic!("{}: `{key}` = {value} is taken", mapping.name),
            }
        }
        let unknown = written(&mapping, model, &Map::from_iter([("frobnicated_heads".to_owned(), json!(3))]));
        let (_, notes) = outcome(&mapping, unknown.path(), SideId::Left).expect("binds");
        assert!(notes.iter().any(|note| note.contains("`frobnicated_heads`")), "{notes:?}");
    }
}

/// A key that is listed as plain and matched by a longer list as well would not be looked at.
#[test]
fn no_plain_key_is_ignored_by_itself_unless_a_mapping_says_why() {
    let excused = [("mcore_gpt2", "add_qkv_bias"), ("megatron_gpt2", "add_qkv_bias")];
    for shipped_mapping in transship_mappings::SHIPPED {
        let mapping = shipped(shipped_mapping.name);
        for side in &mapping.sides {
            let is_ignored = |plain: &&Plain| {
                let by_itself = side.ignored.iter().filter(|ignored| !ignored.begins);
                by_itself.into_iter().any(|ignored| ignored.takes(&plain.document, &plain.key))
            };
            for plain in side.plain.iter().filter(is_ignored) {
                let is_excused = excused.contains(&(shipped_mapping.name, plain.key.as_str()))
                    || plain.key == "use_rotary_position_embeddings";
                assert!(is_excused, "{}: {}", shipped_mapping.name, plain.key);
            }
        }
    }
}
