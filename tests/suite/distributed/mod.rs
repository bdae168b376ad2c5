//! Distributed checkpoints, `torch_dist` and `zarr`: converted, against what Hugging Face's model holds; and damaged.

mod faults;
mod property;
mod zarr;

use std::path::Path;

use serde_json::Value;

use crate::command::Workplace;
use crate::oracle::{Tensors, assert_same_tensors, data, read_json, read_tensors};
use crate::ranks::{copy, succeeds};

const TORCH_DIST: &str = "megatron/mcore-gpt2-tp2-torch_dist/ckpt";
const ZARR: &str = "megatron/mcore-gpt2-zarr-tp2-zarr/ckpt";

/// Where the iteration lies in a workplace with a copy of either.
const ITERATION: &str = "ckpt/iter_0000101";

/// A copy of one of the checkpoints, as `ckpt`.
fn copied(from: &str) -> Workplace {
    let workplace = Workplace::new();
    copy(&workplace, from);
    workplace
}

/// Changes the bytes of a file of the iteration.
fn change(workplace: &Workplace, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let name = format!("{ITERATION}/{file}");
    let mut bytes = std::fs::read(workplace.path(&name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    change(&mut bytes);
    workplace.put(&name, bytes);
}

fn remove(workplace: &Workplace, file: &str) {
    let path = workplace.path(ITERATION).join(file);
    std::fs::remove_file(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// What the model holds, which both checkpoints are of.
fn expected() -> (Tensors, Value) {
    let group = data("megatron/expected_hf/gpt2");
    let mut tensors = read_tensors(&group.join("model.safetensors"));
    tensors.remove("lm_head.weight");
    (tensors, read_json(&group.join("config.json")))
}

fn converted(workplace: &Workplace, input: &str) -> (Tensors, Value) {
    succeeds(workplace, &["convert", input, "@out", "--set", "vocab=120"]);
    let out = workplace.path("out");
    (read_tensors(&out.join("model.safetensors")), read_json(&out.join("config.json")))
}

fn assert_converts(workplace: &Workplace, input: &str) {
    let (tensors, config) = converted(workplace, input);
    let (expected, expected_config) = expected();
    assert_same_tensors(&expected, &tensors);
    for (key, value) in expected_config.as_object().expect("an object") {
        match key.as_str() {
            // Of these checkpoints it is the tanh form, which has two names.
            "activation_function" => {
                assert!(["gelu_new", "gelu_fast"].contains(&config[key].as_str().expect("a name")));
            }
            "torch_dtype" => {}
            _ => assert_eq!(&config[key], value, "{key}"),
        }
    }
}

#[test]
fn both_formats_convert_to_what_the_model_holds() {
    for case in [TORCH_DIST, ZARR] {
        assert_converts(&Workplace::new(), &format!("%{case}"));
        assert_converts(&Workplace::new(), &format!("%{case}/iter_0000101"));
    }
}

#[test]
fn chunks_and_layers_are_shown() {
    let workplace = Workplace::new();
    for case in [TORCH_DIST, ZARR] {
        let done = workplace.run(&["inspect", &format!("%{case}"), "--format", "json"]);
        assert_eq!(done.code, 0, "{}", done.err);
        let json: Value = serde_json::from_str(&done.out).expect("it is JSON");
        let name = "model.decoder.layers.1.self_attention.linear_qkv.weight";
        let tensors = json["tensors"].as_array().expect("a list");
        let chunks: Vec<String> = tensors
            .iter()
            .filter(|tensor| tensor["name"] == name)
            .map(|tensor| {
                format!(
                    "{} at {} of {}",
                    tensor["shape"], tensor["chunk"]["offsets"], tensor["chunk"]["shape"]
                )
            })
            .collect();
        assert_eq!(chunks, ["[48,32] at [0,0] of [96,32]", "[48,32] at [48,0] of [96,32]"], "{case}");
        assert!(tensors.iter().all(|tensor| tensor["name"] != "model.rng_state"), "states are passed over");
    }
}

/// Both formats hold one model, and so does what is written from them for any number of ranks.
#[test]
fn distributed_checkpoints_are_split_over_ranks() {
    let workplace = Workplace::new();
    for (name, case) in [("dist", TORCH_DIST), ("zarr", ZARR)] {
        let (split, back) = (format!("@{name}-split"), format!("@{name}-back"));
        let input = format!("%{case}");
        let ranks = ["--mapping", "mcore_gpt2", "--to", "mcore", "--tp", "4", "--pp", "2"];
        succeeds(&workplace, &[&["convert", &input, &split], &ranks[..]].concat());
        succeeds(&workplace, &["convert", &split, &back, "--set", "vocab=120"]);
        let file: &Path = &workplace.path(&back[1..]).join("model.safetensors");
        assert_same_tensors(&expected().0, &read_tensors(file));
    }
}

/// Only Megatron-Core leaves out the key of the model; other programs' names are shown as they are stored.
#[test]
fn names_of_other_programs_are_shown_as_stored() {
    let workplace = copied(TORCH_DIST);
    remove(&workplace, "common.pt");
    remove(&workplace, "metadata.json");
    let done = workplace.run(&["inspect", &format!("@{ITERATION}"), "--format", "json"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let json: Value = serde_json::from_str(&done.out).expect("it is JSON");
    let names: Vec<&str> =
        json["tensors"].as_array().expect("a list").iter().filter_map(|t| t["name"].as_str()).collect();
    assert!(names.contains(&"decoder.final_layernorm.weight"), "{names:?}");
    assert!(names.iter().all(|name| !name.starts_with("model.")), "{names:?}");
}
