//! Options that do not fit the checkpoint, mappings that cannot be used, outputs that cannot be written.

use super::{changed, refused, sound};
use crate::command::Workplace;

#[test]
fn configs_to_start_from() {
    let workplace = sound();
    let convert = |name: &str| vec!["@model.pt".to_owned(), "--config".to_owned(), format!("@{name}")];
    for (name, text) in [
        ("broken.json", "{\"n_embd\": 24,\n  n_layer: 2}"),
        ("list.json", "[1, 2]"),
        ("typed.json", "{\"bos_token_id\": \"<s>\", \"n_embd\": 24}"),
    ] {
        workplace.put(name, text);
    }
    let args = convert("nowhere.json");
    refused!("config_missing", workplace, &args.iter().map(String::as_str).collect::<Vec<_>>());
    let args = convert("broken.json");
    refused!("config_no_json", workplace, &args.iter().map(String::as_str).collect::<Vec<_>>());
    let args = convert("list.json");
    refused!("config_no_object", workplace, &args.iter().map(String::as_str).collect::<Vec<_>>());
    let args = convert("typed.json");
    refused!("config_of_the_wrong_type", workplace, &args.iter().map(String::as_str).collect::<Vec<_>>());
    let bare = super::Made::of(&transship_tests::MegatronGpt2 {
        args: false,
        ..transship_tests::MegatronGpt2::tiny()
    });
    let bare = bare.at("model.pt");
    bare.put("config.json", r#"{"n_embd": 32, "n_layer": 2, "n_head": 3, "vocab_size": 70}"#);
    refused!("config_contradicts_the_tensors", bare, &["@model.pt", "--config", "@config.json"]);
}

#[test]
fn settings() {
    refused!("setting_misspelt", sound(), &["@model.pt", "--set", "vocb=60"]);
    refused!("setting_unknown", sound(), &["@model.pt", "--set", "temperature=1"]);
    refused!("setting_of_the_wrong_type", sound(), &["@model.pt", "--set", "vocab=many"]);
    refused!("setting_truth_value", sound(), &["@model.pt", "--set", "legacy_buffers=yes"]);
    refused!("setting_negative", sound(), &["@model.pt", "--set", "vocab=-1"]);
    refused!("side_unknown", sound(), &["@model.pt", "--from", "megatorn"]);
    refused!("side_wrong", sound(), &["@model.pt", "--from", "gpt2"]);
}

#[test]
fn mappings() {
    let workplace = sound();
    refused!("mapping_misspelt", workplace, &["@model.pt", "--mapping", "megatron_gtp2"]);
    refused!("mapping_missing", workplace, &["@model.pt", "--mapping", "@nowhere.mapping"]);
    refused!("mapping_a_directory", workplace, &["@model.pt", "--mapping", "@"]);
    workplace.put("binary.mapping", b"mapping \xff\xfe");
    refused!("mapping_no_text", workplace, &["@model.pt", "--mapping", "@binary.mapping"]);
    let shipped = transship_mappings::shipped("megatron_gpt2").expect("it is shipped").text;
    workplace.put("typo.mapping", shipped.replace("heads head_dim), hidden)", "heads hed_dim), hidden)"));
    refused!("mapping_with_a_mistake", workplace, &["@model.pt", "--mapping", "@typo.mapping"]);
    workplace.put(
        "repr.mapping",
        "mapping quantized : a <=> b\n\nconfig {\n    hidden = args.hidden_size <=> n_embd\n}\n\nrepr fp8_blocks(out, in) {\n    weight           f8_e4m3 [out in]\n    weight_scale_inv f32     [block]\n} = weight * repeat(weight_scale_inv)\n\nside a {\n    documents args\n}\n\nx [hidden]  <=>  y [hidden]\n",
    );
    refused!("mapping_with_a_repr", workplace, &["@model.pt", "--mapping", "@repr.mapping", "--from", "a"]);
}

/// A text of `convert` that fails before `out`, which is there already.
fn into_what_is_there(workplace: &Workplace, args: &[&str]) -> String {
    let done = workplace.run(&[&["convert", "@model.pt", "@out"], args].concat());
    assert_eq!((done.code, done.out.as_str()), (1, ""), "{}", done.err);
    done.err
}

#[test]
fn outputs_that_exist() {
    let workplace = sound();
    workplace.put("out/model.safetensors", "precious");
    workplace.put("out/readme.md", "mine");
    insta::assert_snapshot!("output_exists", into_what_is_there(&workplace, &[]));
    let kept = std::fs::read(workplace.path("out/model.safetensors")).expect("still there");
    assert_eq!(kept, b"precious");
    assert!(!workplace.path("out/config.json").exists());
    let done = workplace.run(&["convert", "@model.pt", "@out", "--force"]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert_ne!(std::fs::read(workplace.path("out/model.safetensors")).expect("there"), b"precious");
    assert!(workplace.path("out/readme.md").exists());

    let file = sound();
    file.put("out", "a file");
    insta::assert_snapshot!("output_is_a_file", into_what_is_there(&file, &[]));
    insta::assert_snapshot!("output_is_a_file_with_force", into_what_is_there(&file, &["--force"]));
    assert_eq!(std::fs::read(file.path("out")).expect("still there"), b"a file");

    let under = sound();
    under.put("file", "a file");
    let done = under.run(&["convert", "@model.pt", "@file/out"]);
    assert_eq!(done.code, 1);
    insta::assert_snapshot!("output_under_a_file", done.err);

    let itself = sound();
    itself.put("out/config.json/keep", "a directory where a file must go");
    insta::assert_snapshot!("directory_in_the_way", into_what_is_there(&itself, &["--force"]));
}

#[test]
fn tokenizers() {
    let workplace = changed(|_| {});
    workplace.put("tokens/readme.md", "");
    refused!("tokenizer_without_files", workplace, &["@model.pt", "--tokenizer", "@tokens"]);
    refused!("tokenizer_missing", workplace, &["@model.pt", "--tokenizer", "@nowhere"]);
    refused!("tokenizer_a_file", workplace, &["@model.pt", "--tokenizer", "@model.pt"]);
}
