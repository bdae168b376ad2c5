//! What every command prints when all is well, and what options do to the output.

use std::path::Path;

use half::{bf16, f16};
use serde_json::Value;
use transship_tests::{Dtype, MegatronGpt2, Py};

use crate::command::{Done, Workplace};
use crate::oracle::{Tensors, assert_same_tensors, data, read_json, read_tensors};

const A: &str = "%hf/a_ngc_v0_fp16_zip/input/megatron_tiny_v0_0.zip";
const A_CONFIG: &str = "%hf/a_ngc_v0_fp16_zip/input/config_in.json";
const B: &str = "%hf/b_v1_fp32_args/input/model_optim_rng.pt";
const C: &str = "%hf/c_v2_bf16_odd_args_optimizer/input/model_optim_rng.pt";
const D: &str = "%hf/d_v3_fp16_encoder_padded_flat/input/model_optim_rng.pt";
const HUGGING_FACE: &str = "%hf/b_v1_fp32_args/expected";

/// All that a command says, its results first.
fn said(done: &Done) -> String {
    format!("{}--- messages ---\n{}", done.out, done.err)
}

/// A command that must succeed.
fn succeeds(workplace: &Workplace, args: &[&str]) -> Done {
    let done = workplace.run(args);
    assert_eq!(done.code, 0, "{args:?}\n{}", said(&done));
    done
}

macro_rules! prints {
    ($name:literal, $args:expr) => {
        insta::assert_snapshot!($name, said(&succeeds(&Workplace::new(), $args)));
    };
}

/// Parameters that one conversion writes.
fn converted(args: &[&str]) -> (Workplace, Done) {
    let workplace = Workplace::new();
    let done = succeeds(&workplace, &[&["convert"], args, &["@out", "--no-sync"]].concat());
    (workplace, done)
}

fn tensors(workplace: &Workplace) -> Tensors {
    read_tensors(&workplace.path("out/model.safetensors"))
}

#[test]
fn convert_tells_what_it_wrote() {
    prints!("convert_text", &["convert", A, "@out", "--config", A_CONFIG]);
    prints!("convert_json", &["convert", A, "@out", "--config", A_CONFIG, "--format", "json"]);
    prints!("convert_quiet", &["convert", A, "@out", "--config", A_CONFIG, "--quiet"]);
    prints!("convert_quiet_json", &["convert", B, "@out", "--quiet", "--format", "json"]);
}

#[test]
fn plan_shows_each_target_with_its_sources() {
    prints!("plan_text", &["plan", C]);
    prints!("plan_json", &["plan", B, "--format", "json"]);
    prints!(
        "plan_with_shards_and_buffers",
        &["plan", D, "--max-shard-size", "100KB", "--set", "legacy_buffers=true"]
    );
}

#[test]
fn inspect_shows_tensors_storages_and_documents() {
    prints!("inspect_text_of_an_archive", &["inspect", A]);
    prints!("inspect_text_with_strides", &["inspect", C]);
    prints!("inspect_text_of_a_hugging_face_directory", &["inspect", HUGGING_FACE]);
    let json = succeeds(&Workplace::new(), &["inspect", C, "--format", "json"]);
    let json: Value = serde_json::from_str(&json.out).expect("it is JSON");
    let bias = "model.language_model.transformer.layers.1.mlp.dense_4h_to_h.bias";
    let tensors = json["tensors"].as_array().expect("a list");
    let found = tensors.iter().find(|t| t["name"] == bias).expect("it is there");
    assert_eq!(
        (&found["dtype"], &found["shape"][0], &found["strides"][0]),
        (&"bf16".into(), &64.into(), &0.into())
    );
    assert_eq!(json["documents"]["checkpoint_version"], 2.0);
    prints!("inspect_json", &["inspect", HUGGING_FACE, "--format", "json"]);
}

#[test]
fn check_proves_mappings() {
    prints!("check_text", &["check", "megatron_gpt2"]);
    let workplace = Workplace::new();
    workplace.put("wrong.mapping", "mapping wrong : a <=> b\n\nconfig {\n    hidden = args.hidden <=> n_embd\n}\n\nx [hidden heads]  <=>  y [hidden]\n");
    for (name, format) in
        [("check_wrong_text", "text"), ("check_wrong_short", "short"), ("check_wrong_json", "json")]
    {
        let done = workplace.run(&["check", "@wrong.mapping", "--format", format]);
        assert_eq!(done.code, 1);
        insta::assert_snapshot!(name, said(&done));
    }
    let done = workplace.run(&["check", "@wrong.mapping", "megatron_gpt2", "--format", "short"]);
    assert_eq!(done.code, 1);
    insta::assert_snapshot!("check_one_of_two", said(&done));
}

#[test]
fn warnings_of_a_mapping_are_told_by_check_alone() {
    let workplace = Workplace::new();
    workplace.put(
        "loose.mapping",
        "mapping loose : a <=> b\n\nconfig {\n    n = args.n <=> n\n    extra = args.extra <=> extra\n}\n\nx [n]  <=>  y [n]\n",
    );
    let checked = succeeds(&workplace, &["check", "@loose.mapping", "--format", "short"]);
    assert!(checked.err.contains("warning[TS0507]"), "{}", checked.err);
    let planned = workplace.run(&["plan", C, "--mapping", "@loose.mapping"]);
    assert!(!planned.err.contains("TS0507"), "{}", planned.err);
}

#[test]
fn a_file_that_is_no_mapping_is_not_imported_and_not_shown() {
    let workplace = Workplace::new();
    workplace.put("secret", "the secret\n");
    workplace.put("curious.mapping", "mapping curious : a <=> b\n\nimport \"./secret\"\n\nx <=> y\n");
    let done = workplace.run(&["check", "@curious.mapping"]);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("only files whose names end in `.mapping` are imported"), "{}", done.err);
    assert!(!done.err.contains("the secret"), "{}", done.err);
}

#[test]
fn explain_fmt_and_mappings() {
    prints!("explain", &["explain", "TS0301"]);
    prints!("explain_list", &["explain", "--list"]);
    prints!("mappings", &["mappings"]);
    let printed = succeeds(&Workplace::new(), &["mappings", "megatron_gpt2"]).out;
    assert_eq!(Some(printed.as_str()), transship_mappings::shipped("megatron_gpt2").map(|m| m.text));

    let workplace = Workplace::new();
    let untidy =
        "mapping tidy : a <=> b\nconfig { hidden = args.hidden <=> n_embd }\nx [hidden]<=>y [hidden]\n";
    workplace.put("tidy.mapping", untidy);
    let done = workplace.run(&["fmt", "--check", "@tidy.mapping"]);
    assert_eq!((done.code, done.out.as_str()), (1, ""));
    insta::assert_snapshot!("fmt_check", done.err);
    let text = || std::fs::read_to_string(workplace.path("tidy.mapping")).expect("it is there");
    assert_eq!(text(), untidy, "--check changes nothing");
    let diff = succeeds(&workplace, &["fmt", "--diff", "@tidy.mapping"]);
    assert_eq!(text(), untidy, "--diff changes nothing");
    insta::assert_snapshot!("fmt_diff", said(&diff));
    let done = workplace.run(&["fmt", "--check", "--diff", "@tidy.mapping"]);
    assert_eq!((done.code, done.out), (1, diff.out), "both together show it and fail");
    insta::assert_snapshot!("fmt", said(&succeeds(&workplace, &["fmt", "@tidy.mapping"])));
    insta::assert_snapshot!("fmt_result", text());
    let again = succeeds(&workplace, &["fmt", "--check", "@tidy.mapping"]);
    assert_eq!((again.out, again.err), (String::new(), String::new()));
}

#[test]
fn help_of_every_command_has_examples() {
    for command in ["convert", "plan", "verify", "run", "inspect", "check", "fmt", "explain", "mappings"] {
        let help = succeeds(&Workplace::new(), &[command, "--help"]).out;
        let examples = help.split_once("Examples:\n").map(|(_, examples)| examples);
        let example = format!("transship {command}");
        assert!(examples.is_some_and(|e| e.contains(&example)), "{help}");
    }
    let help = succeeds(&Workplace::new(), &["--help"]).out;
    assert!(help.contains("Exit codes: 0"), "{help}");
}

#[test]
fn a_wrong_command_line_has_exit_code_2() {
    let wrong: [&[&str]; 8] = [
        &[],
        &["convrt", "model.pt"],
        &["convert"],
        &["convert", B, "@out", "--set", "vocab"],
        &["convert", B, "@out", "--dtype", "float17"],
        &["convert", B, "@out", "--max-shard-size", "0"],
        &["explain", "TS9999"],
        &["check"],
    ];
    for args in wrong {
        let workplace = Workplace::new();
        let done = workplace.run(args);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{args:?}\n{}", done.err);
        assert!(!done.err.is_empty() && !workplace.path("out").exists(), "{args:?}");
    }
}

fn bytes_of(workplace: &Workplace) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(workplace.path("out"))
        .expect("an output")
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read(path).expect("a file"))
        })
        .collect();
    files.sort();
    files
}

#[test]
fn the_number_of_threads_does_not_show() {
    for input in [B, C, D] {
        let one = bytes_of(&converted(&[input, "--threads", "1"]).0);
        assert!(one.len() >= 2);
        for threads in ["4", "3"] {
            assert!(
                one == bytes_of(&converted(&[input, "--threads", threads]).0),
                "{input} with {threads} threads"
            );
        }
    }
}

#[test]
fn shards_hold_the_same_tensors() {
    let whole = tensors(&converted(&[C]).0);
    let (workplace, _) = converted(&[C, "--max-shard-size", "100KB"]);
    let index = read_json(&workplace.path("out/model.safetensors.index.json"));
    let map = index["weight_map"].as_object().expect("a map");
    assert_eq!(map.len(), whole.len());
    let mut files: Vec<&str> = map.values().map(|f| f.as_str().expect("a name")).collect();
    files.sort_unstable();
    files.dedup();
    assert!(files.len() >= 3, "{files:?}");
    let mut joined = Tensors::new();
    for file in &files {
        let part = read_tensors(&workplace.path("out").join(file));
        let size: usize = part.values().map(|(_, _, bytes)| bytes.len()).sum();
        assert!(size <= 100_000 || part.len() == 1, "{file} holds {size} bytes");
        assert!(part.keys().all(|name| map[name] == *file), "the index names another file");
        joined.extend(part);
    }
    assert_same_tensors(&whole, &joined);
    let total: usize = whole.values().map(|(_, _, bytes)| bytes.len()).sum();
    assert_eq!(index["metadata"]["total_size"], total);
    let read_back = succeeds(&workplace, &["inspect", "@out", "--format", "json"]);
    let read_back: Value = serde_json::from_str(&read_back.out).expect("it is JSON");
    assert_eq!(read_back["tensors"].as_array().map(Vec::len), Some(whole.len()));
}

fn elements<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.chunks_exact(N).map(|c| c.try_into().expect("whole elements"))
}

#[test]
fn a_dtype_that_is_asked_for() {
    let (workplace, done) = converted(&[A, "--config", A_CONFIG, "--dtype", "f32"]);
    assert!(!done.err.contains("rounded"), "{}", done.err);
    let mut expected = read_tensors(&data("hf/a_ngc_v0_fp16_zip/expected/model.safetensors"));
    expected.retain(|name, _| !crate::oracle::is_mask_buffer(name));
    for (dtype, _, bytes) in expected.values_mut() {
        assert_eq!(dtype, "F16");
        *dtype = "F32".to_owned();
        *bytes = elements(bytes).flat_map(|e| f16::from_le_bytes(e).to_f32().to_le_bytes()).collect();
    }
    assert_same_tensors(&expected, &tensors(&workplace));

    let (workplace, done) = converted(&[C, "--dtype", "f16"]);
    assert!(done.err.contains("parameters are rounded from bf16 to f16"), "{}", done.err);
    let mut expected = tensors(&converted(&[C]).0);
    for (dtype, _, bytes) in expected.values_mut() {
        assert_eq!(dtype, "BF16");
        *dtype = "F16".to_owned();
        *bytes = elements(bytes)
            .flat_map(|e| f16::from_f32(bf16::from_le_bytes(e).to_f32()).to_le_bytes())
            .collect();
    }
    assert_same_tensors(&expected, &tensors(&workplace));
}

#[test]
fn the_original_vocabulary_is_told_and_can_be_kept_alone() {
    let (padded, done) = converted(&[D]);
    insta::assert_snapshot!("convert_padded_vocabulary", said(&done));
    let (trimmed, done) = converted(&[D, "--set", "vocab=600"]);
    insta::assert_snapshot!("convert_trimmed_vocabulary", said(&done));
    assert_eq!(read_json(&trimmed.path("out/config.json"))["vocab_size"], 600);
    let mut expected = tensors(&padded);
    let (_, shape, bytes) = expected.get_mut("transformer.wte.weight").expect("it is there");
    assert_eq!(shape, &[640, 48]);
    shape[0] = 600;
    bytes.truncate(600 * 48 * 2);
    assert_same_tensors(&expected, &tensors(&trimmed));
}

#[test]
fn a_version_that_is_not_said_is_told_of() {
    let (_, done) = converted(&[A, "--config", A_CONFIG]);
    assert!(done.err.contains("note: version = 0 by default"), "{}", done.err);
}

/// The reference stops at such args with an exception; everything that is needed is there.
#[test]
fn args_that_are_a_dictionary_or_incomplete() {
    let convert = |change: fn(&mut Py)| {
        let workplace = Workplace::new();
        let (file, mut root) = MegatronGpt2::tiny().build();
        change(&mut root);
        file.write(&workplace.path("model.pt"), &root).expect("the file can be written");
        let done = succeeds(&workplace, &["convert", "@model.pt", "@out"]);
        (tensors(&workplace), read_json(&workplace.path("out/config.json")), done.err)
    };
    let (expected, config, _) = convert(|_| {});
    let (got, same, _) = convert(|root| {
        let args = root.entries(&["args"]).clone();
        root.set(&["args"], Py::Dict(args));
    });
    assert_same_tensors(&expected, &got);
    assert_eq!(config, same);
    let (got, same, _) = convert(|root| {
        let told_by_shapes = ["num_layers", "hidden_size", "ffn_hidden_size", "max_position_embeddings"];
        root.entries(&["args"]).retain(|(name, _)| !told_by_shapes.contains(&name.as_str()));
    });
    assert_same_tensors(&expected, &got);
    assert_eq!(config, same);
    let (_, _, messages) = convert(|root| root.set(&["checkpoint_version"], Py::None));
    assert!(messages.contains("note: version = 0 by default"), "{messages}");
}

#[test]
fn a_dtype_does_not_reach_integers_and_that_is_told() {
    let workplace = Workplace::new();
    let (mut file, mut root) = MegatronGpt2::tiny().build();
    let integers = file.tensor(Dtype::I64, &[24]);
    root.set(&["model", "language_model", "encoder", "final_layernorm.weight"], integers);
    file.write(&workplace.path("model.pt"), &root).expect("the file can be written");
    let done = succeeds(&workplace, &["convert", "@model.pt", "@out", "--dtype", "f16"]);
    insta::assert_snapshot!("convert_with_integers", said(&done));
    let written = tensors(&workplace);
    assert_eq!(written["transformer.ln_f.weight"].0, "I64");
    assert!(written.iter().all(|(name, (dtype, ..))| dtype == "F16" || name == "transformer.ln_f.weight"));
}

#[test]
fn tokenizer_files_are_carried_over() {
    let workplace = Workplace::new();
    workplace.put("tokens/vocab.json", "{}");
    workplace.put("tokens/merges.txt", "#version: 0.2\n");
    workplace.put("tokens/notes.txt", "not carried over");
    let done = succeeds(&workplace, &["convert", B, "@out", "--tokenizer", "@tokens"]);
    assert!(done.out.contains("and the tokenizer's files"), "{}", done.out);
    let is_there = |name: &str| Path::exists(&workplace.path("out").join(name));
    assert!(is_there("vocab.json") && is_there("merges.txt") && !is_there("notes.txt"));
}

#[test]
fn small_work_shows_no_progress() {
    insta::assert_snapshot!("convert_small", said(&converted(&[B]).1));
}
