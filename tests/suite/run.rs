//! `transship run`: what it says, and what it does where it cannot.

use serde_json::Value;

use crate::command::{Done, Workplace};
use crate::oracle::read_tensors;

const MEGATRON: &str = "%hf/b_v1_fp32_args/input/model_optim_rng.pt";
const HUGGING_FACE: &str = "%hf/b_v1_fp32_args/expected";

fn said(done: &Done) -> String {
    format!("{}--- messages ---\n{}", done.out, done.err)
}

fn fails(args: &[&str], code: u8) -> String {
    let done = Workplace::new().run(&[&["run"], args].concat());
    assert_eq!(done.code, code, "{args:?}\n{}", said(&done));
    assert_eq!(done.out, "", "{args:?}");
    done.err
}

#[test]
fn help_says_what_run_does() {
    let done = Workplace::new().run(&["run", "--help"]);
    assert_eq!(done.code, 0);
    insta::assert_snapshot!("run_help", done.out);
}

#[test]
fn what_is_wrong_shows_before_the_model_is_loaded() {
    insta::assert_snapshot!("run_without_a_tokenizer", fails(&[HUGGING_FACE, "--prompt", "a"], 1));
    insta::assert_snapshot!(
        "run_on_a_device_of_no_name",
        fails(&[HUGGING_FACE, "--ids", "1", "--device", "gpu"], 1)
    );
    let told = fails(&[HUGGING_FACE, "--prompt", "a", "--tokenizer", "@nothing"], 1);
    assert!(told.contains("cannot read the tokenizer"), "{told}");
    let wrong: [&[&str]; 4] = [
        &[HUGGING_FACE],
        &[HUGGING_FACE, "--prompt", "a", "--ids", "1"],
        &[HUGGING_FACE, "--ids", "1,x"],
        &[HUGGING_FACE, "--ids", "1", "--dtype", "i8"],
    ];
    for args in wrong {
        fails(args, 2);
    }
}

/// The result of a run, as JSON.
fn result(workplace: &Workplace, args: &[&str]) -> Value {
    let done = workplace.run(&[&["run"], args, &["--quiet", "--format", "json"]].concat());
    assert_eq!((done.code, done.err.as_str()), (0, ""), "{args:?}");
    serde_json::from_str(&done.out).expect("it is JSON")
}

#[test]
fn both_sides_run_alike() {
    let workplace = Workplace::new();
    for sampling in [&[][..], &["--temperature", "1.5", "--top-k", "40", "--top-p", "0.9", "--seed", "7"]] {
        let run = |input: &str| {
            result(&workplace, &[&[input, "--ids", "5,17,301", "--max-tokens", "12"], sampling].concat())
        };
        let one = run(MEGATRON);
        assert_eq!(one, run(HUGGING_FACE), "{sampling:?}");
        let tokens = one["tokens"].as_array().expect("a list");
        assert!(!tokens.is_empty() && tokens.len() <= 12, "{one}");
    }
    let other_seed = |seed| {
        result(&workplace, &[MEGATRON, "--ids", "5", "--temperature", "3", "--seed", seed, "--ignore-eos"])
    };
    assert_ne!(other_seed("1"), other_seed("2"));
    // Ranks go straight into the model.
    let ranks = |case: &str| {
        result(
            &workplace,
            &[&format!("%megatron/{case}/ckpt"), "--ids", "3,4", "--set", "activation=gelu", "--ignore-eos"],
        )
    };
    assert_eq!(ranks("legacy-v3-gpt2-tp1pp1"), ranks("legacy-v3-gpt2-tp2pp2"));
}

#[test]
fn logits_are_written_whole_and_agree_with_the_tokens() {
    let workplace = Workplace::new();
    let args = [
        MEGATRON,
        "--ids",
        "5,17,301",
        "--max-tokens",
        "4",
        "--ignore-eos",
        "--logits",
        "@logits.safetensors",
    ];
    let tokens = result(&workplace, &args)["tokens"].clone();
    let file = read_tensors(&workplace.path("logits.safetensors"));
    let (dtype, shape, bytes) = &file["logits"];
    assert_eq!((dtype.as_str(), shape[0]), ("F32", 6), "three tokens and all but the last of four");
    let values: Vec<f32> =
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let largest = |row: &[f32]| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).expect("a row");
    let chosen: Vec<usize> = values.chunks(shape[1]).skip(2).map(largest).collect();
    assert_eq!(serde_json::json!(chosen), tokens);
    assert_eq!(file["ids"].1, [6]);
    let again = workplace.run(&[&["run"], &args[..]].concat());
    assert_eq!(again.code, 1);
    assert!(again.err.contains("replace it with --force"), "{}", again.err);
    assert!(!again.err.contains("loaded in"), "told before the model is loaded: {}", again.err);
    result(&workplace, &[&args[..], &["--force"]].concat());
}

#[test]
fn text_goes_in_and_comes_out() {
    let workplace = Workplace::new();
    // Every token below 256 is a byte as GPT-2 writes it, for as many as are letters; the others are words.
    let letters: Vec<String> = ('a'..='z').map(|c| c.to_string()).collect();
    let mut vocab = serde_json::Map::new();
    for (id, letter) in letters.iter().enumerate() {
        vocab.insert(letter.clone(), id.into());
    }
    for id in letters.len()..600 {
        vocab.insert(format!("<{id}>"), id.into());
    }
    workplace.put("tokenizer/vocab.json", Value::Object(vocab).to_string());
    workplace.put("tokenizer/merges.txt", "#version: 0.2\n");
    let args =
        [MEGATRON, "--prompt", "cab", "--tokenizer", "@tokenizer", "--max-tokens", "3", "--ignore-eos"];
    let told = result(&workplace, &args);
    assert_eq!(told["prompt"], serde_json::json!([2, 0, 1]));
    let text = told["text"].as_str().expect("a text");
    let streamed = workplace.run(&[&["run"], &args[..]].concat());
    assert_eq!((streamed.code, streamed.out.trim_end()), (0, text), "{}", streamed.err);
    assert!(
        streamed.err.contains("f32 on cpu, loaded in") && streamed.err.contains("3 tokens in"),
        "{}",
        streamed.err
    );
    let at_once = workplace.run(&[&["run"], &args[..], &["--stream=false", "--quiet"]].concat());
    assert_eq!((at_once.out.trim_end(), at_once.err.as_str()), (text, ""));
}

#[test]
fn models_that_are_not_compiled_in_are_refused() {
    let workplace = Workplace::new();
    let mapping = transship_mappings::shipped("megatron_gpt2").expect("it ships").text;
    workplace.put("own.mapping", mapping.replace("else 1e-5", "else 1e-6"));
    let done = workplace.run(&["run", MEGATRON, "--ids", "1", "--mapping", "@own.mapping"]);
    assert_eq!(done.code, 1);
    insta::assert_snapshot!("run_own_mapping", said(&done));
    insta::assert_snapshot!("run_unknown_token", fails(&[MEGATRON, "--ids", "99999", "--quiet"], 1));
    insta::assert_snapshot!("run_no_cuda", fails(&[MEGATRON, "--ids", "1", "--device", "cuda:1"], 1));
}

#[test]
fn logits_that_are_no_numbers_are_told_of() {
    let workplace = Workplace::new();
    let source = crate::oracle::data("hf/b_v1_fp32_args/expected");
    workplace.put("hf/config.json", std::fs::read(source.join("config.json")).expect("test data"));
    let mut bytes = std::fs::read(source.join("model.safetensors")).expect("test data");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("a header");
    let first = header["transformer.ln_f.bias"]["data_offsets"][0].as_u64().expect("an offset") as usize;
    let at = 8 + length + first;
    let run = |workplace: &Workplace, file: &str| {
        let done = workplace.run(&["run", "@hf", "--ids", "1,2", "--max-tokens", "0", "--logits", file]);
        assert_eq!(done.code, 0, "{}", done.err);
        done.err
    };
    workplace.put("hf/model.safetensors", &bytes);
    assert!(!run(&workplace, "@good.safetensors").contains("finite"));
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    workplace.put("hf/model.safetensors", &bytes);
    let told = run(&workplace, "@bad.safetensors");
    assert!(told.contains("logits are not finite"), "{told}");
}
