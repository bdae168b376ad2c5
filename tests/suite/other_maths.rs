//! Checkpoints whose config asks for other maths than their mapping's other side has: refused, whichever is read.

use serde_json::{Value, json};
use transship::grammar::{AxisId, Environment, FieldId, Mapping, SideId, Value as Known, check};
use transship::{BindOptions, Binding, Checkpoint};

use crate::oracle::{data, read_json};

fn shipped(name: &str) -> Mapping {
    let shipped = transship_mappings::shipped(name).expect("shipped");
    check(&shipped.source()).expect("the shipped mapping checks").0
}

/// What binding a Hugging Face model says with these values in its config.
fn changed(mapping: &str, model: &str, changes: &Value) -> String {
    let folder = data("megatron/expected_hf").join(model);
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::copy(folder.join("model.safetensors"), directory.path().join("model.safetensors"))
        .expect("copied");
    let mut config = read_json(&folder.join("config.json"));
    for (key, value) in changes.as_object().expect("an object") {
        match value {
            Value::String(text) if text == "absent" => {
                drop(config.as_object_mut().expect("an object").remove(key));
            }
            _ => config[key] = value.clone(),
        }
    }
    std::fs::write(directory.path().join("config.json"), config.to_string()).expect("written");
    let mapping = shipped(mapping);
    let checkpoint = Checkpoint::open(directory.path()).expect("a checkpoint");
    match Binding::new(&mapping, &checkpoint, SideId::Right, &BindOptions::default()) {
        Ok(binding) => {
            let theta = binding.values().find(|(name, ..)| *name == "theta");
            theta.map_or("fits".to_owned(), |(_, value, _)| format!("fits, theta = {value}"))
        }
        Err(errors) => {
            let all: Vec<String> =
                errors.list().iter().map(|d| format!("{}: {}", d.code, d.message)).collect();
            all.join("\n")
        }
    }
}

#[test]
fn hugging_face_configs_of_other_maths_are_refused() {
    let scaled = json!({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 32});
    let cases = [
        ("mcore_llama", "llama", json!({"hidden_act": "gelu"})),
        ("mcore_llama", "llama", json!({"rope_scaling": scaled})),
        ("mcore_llama", "llama", json!({"rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0}})),
        ("mcore_llama", "llama", json!({"rope_scaling": {"type": "linear", "factor": 2.0}})),
        ("mcore_llama", "llama", json!({"partial_rotary_factor": 0.5})),
        ("mcore_llama", "llama", json!({"rope_parameters": {"partial_rotary_factor": 0.5}})),
        ("mcore_llama", "llama", json!({"sliding_window": 16})),
        (
            "mcore_llama",
            "llama",
            json!({"model_type": "qwen2", "use_sliding_window": true, "sliding_window": 16}),
        ),
        ("mcore_mixtral", "mixtral", json!({"sliding_window": 16})),
        ("mcore_mixtral", "mixtral", json!({"hidden_act": "gelu"})),
        ("megatron_llama", "llama", json!({"rope_theta": 500000.0})),
        (
            "megatron_llama",
            "llama",
            json!({"rope_theta": "absent", "rope_parameters": {"rope_theta": 500000.0}}),
        ),
        ("megatron_gpt2", "gpt2", json!({"scale_attn_by_inverse_layer_idx": true})),
        ("mcore_gpt2", "gpt2", json!({"scale_attn_weights": false})),
    ];
    let said = cases.map(|(mapping, model, changes)| {
        let text = changed(mapping, model, &changes);
        assert!(text.starts_with("TS0610: "), "{mapping} {changes}: {text}");
        format!("{mapping} {changes}\n  {text}")
    });
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn hugging_face_configs_of_the_same_maths_fit() {
    let ten = "fits, theta = 10000.0";
    let cases = [
        ("mcore_llama", "llama", json!({}), ten),
        ("mcore_llama", "llama", json!({"architectures": ["Mine"], "hidden_act": "absent"}), ten),
        ("mcore_llama", "llama", json!({"hidden_act": "swish", "rope_scaling": null}), ten),
        ("mcore_llama", "llama", json!({"rope_scaling": {"rope_type": "default"}}), ten),
        ("mcore_llama", "llama", json!({"rope_parameters": {"rope_type": "default"}}), ten),
        ("mcore_llama", "llama", json!({"rope_theta": "absent"}), ten),
        (
            "mcore_llama",
            "llama",
            json!({"rope_theta": "absent", "rope_parameters": {"rope_theta": 500000.0}}),
            "fits, theta = 500000.0",
        ),
        ("mcore_llama", "llama", json!({"sliding_window": 4096}), ten),
        ("mcore_llama", "llama", json!({"use_sliding_window": false, "sliding_window": 16}), ten),
        ("mcore_llama", "llama", json!({"model_type": "qwen2", "sliding_window": 16}), ten),
        ("mcore_mixtral", "mixtral", json!({"sliding_window": "absent"}), ten),
        ("mcore_mixtral", "mixtral", json!({"sliding_window": 64}), ten),
        ("mcore_mixtral", "mixtral", json!({"rope_theta": "absent"}), "fits, theta = 1000000.0"),
        ("megatron_llama", "llama", json!({"rope_theta": 10000}), "fits"),
        ("megatron_llama", "llama", json!({"rope_theta": "absent"}), "fits"),
        ("megatron_gpt2", "gpt2", json!({"scale_attn_weights": true, "summary_type": "mean"}), "fits"),
        ("mcore_gpt2", "gpt2", json!({"scale_attn_by_inverse_layer_idx": null}), "fits"),
    ];
    for (mapping, model, changes, expected) in cases {
        assert_eq!(changed(mapping, model, &changes), expected, "{mapping} {changes}");
    }
}

/// One place that holds something.
struct Only(&'static str, Known);

impl Environment for Only {
    fn field(&self, _: FieldId) -> Option<Known> {
        None
    }
    fn place(&self, path: &str) -> Option<Known> {
        (path == self.0).then(|| self.1.clone())
    }
    fn index(&self, _: AxisId) -> Option<u64> {
        None
    }
}

#[test]
fn arguments_of_other_maths_are_refused_and_of_the_same_are_not() {
    let (yes, no, text) = (Known::Bool(true), Known::Bool(false), |t: &str| Known::Text(t.to_owned()));
    let llama = ["mcore_llama", "mcore_mixtral", "megatron_llama"];
    let cases = [
        (&llama[..], "args.rotary_percent", Known::Float(0.5), Known::Float(1.0)),
        (&llama[..], "args.use_rope_scaling", yes.clone(), no.clone()),
        (&llama[..], "args.rotary_seq_len_interpolation_factor", Known::Int(2), Known::Null),
        (&llama[..], "args.swiglu", no.clone(), yes.clone()),
        (&llama[1..2], "args.moe_router_pre_softmax", yes, no),
        (&llama[1..2], "args.moe_router_score_function", text("sigmoid"), text("softmax")),
        (&llama[1..2], "args.moe_router_topk_scaling_factor", Known::Float(2.5), Known::Null),
    ];
    for (mappings, place, other, same) in cases {
        for mapping in mappings {
            let mapping = shipped(mapping);
            let broken = |value: Known| -> Vec<String> {
                let only = Only(place, value);
                let left = mapping.config.requires.iter().filter(|r| r.side == SideId::Left);
                let failed = left.filter(|r| !r.condition.evaluate(&only).expect("a value").is_true());
                failed.map(|r| r.message.clone()).collect()
            };
            let messages = broken(other.clone());
            assert!(messages.len() == 1 && messages[0].contains(place), "{place}: {messages:?}");
            assert_eq!(broken(same.clone()), Vec::<String>::new(), "{place}");
        }
    }
}
