//! What users give as an input, and what the command says of it.

use std::io::Write;

use serde_json::{Value, json};
use transship_cli::{Terminal, run};
use transship_tests::{Dtype, MegatronGpt2, Py, TorchFile};

use crate::command::{Done, Workplace};
use crate::oracle::{assert_same_tensors, data, read_json, read_tensors};

const B: &str = "%hf/b_v1_fp32_args/input/model_optim_rng.pt";

fn told(done: &Done, code: u8) -> &str {
    assert_eq!(done.code, code, "{}{}", done.out, done.err);
    &done.err
}

/// A small GPT-2 as `torch.save` of its state dict: 3 heads of 8.
fn torch_weights() -> (TorchFile, Vec<(String, Py)>) {
    let mut file = TorchFile::default();
    let (hidden, ffn) = (24, 96);
    let mut all: Vec<(String, Vec<usize>)> = vec![
        ("transformer.wte.weight".to_owned(), vec![70, hidden]),
        ("transformer.wpe.weight".to_owned(), vec![10, hidden]),
        ("transformer.ln_f.weight".to_owned(), vec![hidden]),
        ("transformer.ln_f.bias".to_owned(), vec![hidden]),
    ];
    for (name, shape) in [
        ("ln_1.weight", vec![hidden]),
        ("ln_1.bias", vec![hidden]),
        ("attn.c_attn.weight", vec![hidden, 3 * hidden]),
        ("attn.c_attn.bias", vec![3 * hidden]),
        ("attn.c_proj.weight", vec![hidden, hidden]),
        ("attn.c_proj.bias", vec![hidden]),
        ("ln_2.weight", vec![hidden]),
        ("ln_2.bias", vec![hidden]),
        ("mlp.c_fc.weight", vec![hidden, ffn]),
        ("mlp.c_fc.bias", vec![ffn]),
        ("mlp.c_proj.weight", vec![ffn, hidden]),
        ("mlp.c_proj.bias", vec![hidden]),
    ] {
        all.push((format!("transformer.h.0.{name}"), shape));
    }
    let tensors = all.into_iter().map(|(name, shape)| (name, file.tensor(Dtype::F32, &shape))).collect();
    (file, tensors)
}

fn config(heads: u64) -> String {
    json!({
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_head": heads, "n_embd": 24, "n_layer": 1,
        "n_positions": 10, "vocab_size": 70, "n_inner": null, "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5
    })
    .to_string()
}

const TO_MEGATRON: [&str; 4] = ["--mapping", "megatron_gpt2", "--set", "divisor=1"];

#[test]
fn the_heads_of_pytorch_model_bin_are_those_of_its_config() {
    let workplace = Workplace::new();
    let (file, tensors) = torch_weights();
    workplace.put("hf/config.json", config(3));
    file.write(&workplace.path("hf/pytorch_model.bin"), &Py::Dict(tensors)).expect("it can be written");
    for (input, out) in [("@hf", "@one"), ("@hf/pytorch_model.bin", "@other")] {
        let done = workplace.run(&[&["convert", input, out], &TO_MEGATRON[..]].concat());
        let err = told(&done, 0);
        assert!(!err.contains("heads"), "{err}");
        let shown = workplace.run(&["inspect", out, "--format", "json"]);
        let shown: Value = serde_json::from_str(&shown.out).expect("it is JSON");
        assert_eq!(shown["documents"]["args"]["num_attention_heads"], 3, "{input}");
    }
}

#[test]
fn shards_of_pytorch_model_bin_convert_as_the_whole() {
    let workplace = Workplace::new();
    let (file, tensors) = torch_weights();
    workplace.put("whole/config.json", config(3));
    file.write(&workplace.path("whole/pytorch_model.bin"), &Py::Dict(tensors.clone())).expect("written");
    workplace.put("cut/config.json", config(3));
    let mut map = serde_json::Map::new();
    for (number, part) in tensors.chunks(9).enumerate() {
        let name = format!("pytorch_model-0000{}-of-00002.bin", number + 1);
        file.write(&workplace.path(&format!("cut/{name}")), &Py::Dict(part.to_vec())).expect("written");
        map.extend(part.iter().map(|(tensor, _)| (tensor.clone(), json!(name))));
    }
    workplace.put("cut/pytorch_model.bin.index.json", json!({ "weight_map": map }).to_string());
    for (input, out) in [("@whole", "@one"), ("@cut", "@other")] {
        told(&workplace.run(&[&["convert", input, out], &TO_MEGATRON[..]].concat()), 0);
        told(&workplace.run(&["convert", out, &format!("{out}-back")]), 0);
    }
    let back = |out: &str| read_tensors(&workplace.path(out).join("model.safetensors"));
    assert_same_tensors(&back("one-back"), &back("other-back"));
}

/// A mapping whose right side keeps its config in `params.json`, and something else in a file with a name of its own.
const PARAMS: &str = "mapping params : a <=> b

side b {
    documents params.json, extra.json as extra
}

config {
    dim  = args.dim <=> dim
    seed: int = args.seed <=> extra.seed
    dim  = heads * head_dim
    heads = args.heads <=> params.json.n_heads
}

x [heads head_dim]  <=>  y [head_dim heads]
";

#[test]
fn documents_that_a_mapping_lists_are_read_back() {
    let workplace = Workplace::new();
    workplace.put("params.mapping", PARAMS);
    let mut file = TorchFile::default();
    let x = file.tensor(Dtype::F32, &[4, 6]);
    let args = Py::Dict(vec![
        ("dim".to_owned(), Py::Int(24)),
        ("seed".to_owned(), Py::Int(7)),
        ("heads".to_owned(), Py::Int(4)),
    ]);
    let root = Py::Dict(vec![("x".to_owned(), x), ("args".to_owned(), args)]);
    file.write(&workplace.path("model.pt"), &root).expect("it can be written");
    let mapping = ["--mapping", "@params.mapping"];
    told(&workplace.run(&[&["convert", "@model.pt", "@out"], &mapping[..]].concat()), 0);
    assert_eq!(read_json(&workplace.path("out/params.json")), json!({ "dim": 24, "n_heads": 4 }));
    assert_eq!(read_json(&workplace.path("out/extra.json")), json!({ "seed": 7 }));

    let plan = workplace.run(&[&["plan", "@out"], &mapping[..]].concat());
    told(&plan, 0);
    assert!(plan.out.contains("heads = 4  (params.json.n_heads of the checkpoint)"), "{}", plan.out);
    assert!(plan.out.contains("seed = 7  (extra.seed of the checkpoint)"), "{}", plan.out);

    std::fs::remove_file(workplace.path("out/extra.json")).expect("removed");
    let done = workplace.run(&[&["convert", "@out", "@back"], &mapping[..]].concat());
    let err = told(&done, 1);
    assert!(
        err.contains("TS0606") && err.contains("looked into params.json in DIR/out; there is no extra.json"),
        "{err}"
    );
    workplace.put("out/extra.json", "[7]");
    let done = workplace.run(&[&["convert", "@out", "@back"], &mapping[..]].concat());
    let err = told(&done, 1);
    assert!(err.contains("TS0645") && err.contains("it holds no JSON object"), "{err}");
}

#[test]
fn config_values_are_set_by_their_places_too() {
    let workplace = Workplace::new();
    let hf = "%hf/b_v1_fp32_args/expected";
    let divisor = |name: &str| {
        let set = format!("{name}=128");
        let done =
            workplace.run(&["plan", hf, "--mapping", "megatron_gpt2", "--set", &set, "--format", "json"]);
        told(&done, 0);
        let plan: Value = serde_json::from_str(&done.out).expect("it is JSON");
        let config = plan["config"].as_array().expect("a list").clone();
        config.into_iter().find(|c| c["name"] == "divisor").map(|c| c["value"].clone())
    };
    for name in ["divisor", "args.make_vocab_size_divisible_by", "make_vocab_size_divisible_by"] {
        assert_eq!(divisor(name), Some(json!("128")), "{name}");
    }
    let (file, root) = MegatronGpt2::tiny().build();
    file.write(&workplace.path("model.pt"), &root).expect("it can be written");
    workplace.put("two.mapping", PARAMS.replace("extra.seed", "extra.n_heads"));
    let ambiguous = ["plan", "@model.pt", "--mapping", "@two.mapping", "--from", "a", "--set", "n_heads=1"];
    let done = workplace.run(&ambiguous);
    let err = told(&done, 1);
    assert!(err.contains("TS0646") && err.contains("`seed`") && err.contains("`heads`"), "{err}");
}

#[test]
fn what_a_chat_model_needs_goes_along_with_its_tokenizer() {
    let workplace = Workplace::new();
    let carried = [
        "tokenizer.json",
        "chat_template.jinja",
        "chat_template.json",
        "additional_chat_templates/tools.jinja",
        "spiece.model",
        "tekken.json",
        "sentencepiece.bpe.model",
        "preprocessor_config.json",
    ];
    for name in carried {
        workplace.put(&format!("tokens/{name}"), name);
    }
    workplace.put("tokens/generation_config.json", r#"{"temperature": 0.6}"#);
    workplace.put("tokens/notes.txt", "mine");
    workplace.put("tokens/model.safetensors", "weights");
    let done = workplace.run(&["convert", B, "@out", "--tokenizer", "@tokens"]);
    let err = told(&done, 0);
    for name in carried {
        let there = std::fs::read(workplace.path("out").join(name));
        assert_eq!(there.unwrap_or_default(), name.as_bytes(), "{name}");
        assert!(done.out.contains(name), "{}", done.out);
    }
    assert!(err.contains("generation_config.json beside the tokenizer is not carried over"), "{err}");
    assert!(err.contains("not carried over: notes.txt\n"), "{err}");
    assert!(read_json(&workplace.path("out/generation_config.json")).get("temperature").is_none());
}

#[test]
fn names_from_files_do_not_act_on_the_terminal() {
    let workplace = Workplace::new();
    let mut file = TorchFile::default();
    let name = "x\u{1b}[31m\u{7}\nerror: fake\u{202e}y";
    let tensor = file.tensor(Dtype::F32, &[2]);
    let args = Py::Dict(vec![(format!("key{name}"), Py::Int(1))]);
    let root = Py::Dict(vec![(name.to_owned(), tensor), ("args".to_owned(), args)]);
    file.write(&workplace.path("model.pt"), &root).expect("it can be written");
    for args in [
        &["inspect", "@model.pt"][..],
        &["convert", "@model.pt", "@out"],
        &["convert", "@model.pt", "@out", "--mapping", "megatron_gpt2"],
    ] {
        let done = workplace.run(args);
        let all = format!("{}{}", done.out, done.err);
        assert!(!all.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{args:?}: {all:?}");
        assert!(!all.contains("\nerror: fake"), "{args:?}: {all:?}");
        assert!(all.contains(r"x\u{1b}[31m\u{7}\nerror: fake\u{202e}y"), "{args:?}: {all}");
    }
}

#[test]
fn other_names_for_options_and_dtypes_are_taken() {
    let workplace = Workplace::new();
    let hf = "%hf/b_v1_fp32_args/expected";
    let plan =
        |options: &[&str]| workplace.run(&[&["plan", hf, "--mapping", "megatron_gpt2"], options].concat());
    let two = told(&plan(&["--tp", "2"]), 0).to_owned();
    for option in ["--tensor-parallel", "--tensor-model-parallel-size"] {
        let done = plan(&[option, "2"]);
        assert_eq!(told(&done, 0), two);
        assert_eq!(done.out, plan(&["--tp", "2"]).out, "{option}");
    }
    for (name, own) in [("float16", "f16"), ("half", "f16"), ("bfloat16", "bf16"), ("torch.float32", "f32")] {
        let done = plan(&["--dtype", name]);
        told(&done, 0);
        assert_eq!(done.out, plan(&["--dtype", own]).out, "{name}");
    }
    let done = workplace.run(&["convert", hf, "@out", "--threads", "18446744073709551615"]);
    assert!(told(&done, 2).contains("up to 1024"), "{}", done.err);
}

#[test]
fn run_takes_prompts_from_files_and_says_what_is_wrong_with_options() {
    let workplace = Workplace::new();
    let vocab: serde_json::Map<String, Value> = (0..600)
        .map(|id: u32| {
            let letter = char::from_u32(97 + id).filter(char::is_ascii_lowercase);
            (letter.map_or_else(|| format!("<{id}>"), String::from), json!(id))
        })
        .collect();
    workplace.put("tokenizer/vocab.json", Value::Object(vocab).to_string());
    workplace.put("tokenizer/merges.txt", "#version: 0.2\n");
    workplace.put("prompt.txt", "cab\n");
    let run = |options: &[&str]| {
        workplace.run(&[&["run", B, "--max-tokens", "2", "--ignore-eos"], options].concat())
    };
    let tokenizer = ["--tokenizer", "@tokenizer/vocab.json"];
    let from_file = run(&[&["--prompt-file", "@prompt.txt", "--format", "json"], &tokenizer[..]].concat());
    told(&from_file, 0);
    let result: Value = serde_json::from_str(&from_file.out).expect("it is JSON");
    assert_eq!(result["prompt"], json!([2, 0, 1]));
    let missing = run(&[&["--prompt-file", "@nothing.txt"], &tokenizer[..]].concat());
    assert!(told(&missing, 1).contains("cannot read the prompt from DIR/nothing.txt"), "{}", missing.err);

    let negative = run(&["--ids", "1", "--temperature", "-1"]);
    assert!(told(&negative, 1).contains("the temperature -1 is not a number from 0 on"), "{}", negative.err);
    let useless = run(&["--ids", "1", "--top-p", "0.9"]);
    assert!(
        told(&useless, 0).contains("warning: --top-p has no effect with temperature 0"),
        "{}",
        useless.err
    );
    let nowhere = run(&["--ids", "1", "--logits", "@missing/dir/x"]);
    assert!(told(&nowhere, 1).contains("its directory is not there"), "{}", nowhere.err);
    assert!(!workplace.path("missing").exists());
}

/// A reader that goes away, as `head` does.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut err = Vec::new();
    let args = ["transship".into(), "inspect".into(), data(&B[1..]).into()];
    let code = run(args, &mut Closed, &mut err, Terminal::default());
    assert_eq!((code, err.as_slice()), (transship_cli::PIPE_CLOSED, &b""[..]));
}

#[test]
fn plain_errors_are_coloured_as_those_with_codes() {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = ["transship".into(), "inspect".into(), "/nothing/here".into()];
    let terminal = Terminal { colour: true, progress: false };
    assert_eq!(run(args, &mut out, &mut err, terminal), 1);
    let err = String::from_utf8(err).expect("text");
    assert!(err.starts_with("\u{1b}[1m\u{1b}[91merror\u{1b}[0m"), "{err:?}");
}

#[test]
fn prefixes_and_archives_of_other_programs_are_named() {
    let workplace = Workplace::new();
    let mut file = TorchFile::default();
    let tensor = file.tensor(Dtype::F32, &[2]);
    let root = Py::Dict(vec![("module.wte.weight".to_owned(), tensor)]);
    file.write(&workplace.path("ddp.pt"), &root).expect("it can be written");
    let done = workplace.run(&["convert", "@ddp.pt", "@out"]);
    assert!(told(&done, 1).contains("all its names begin with `module.`"), "{}", done.err);
    let mut tar = vec![0u8; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    workplace.put("model.nemo", tar);
    let done = workplace.run(&["inspect", "@model.nemo"]);
    assert!(told(&done, 1).contains("an archive of NeMo is not supported; unpack it"), "{}", done.err);
    let done = workplace.run(&["inspect", "no-such-org/no-such-model"]);
    assert!(told(&done, 1).contains("`hf download no-such-org/no-such-model"), "{}", done.err);
}

/// Whatever is named as a mapping, a config or a tokenizer, the command ends.
#[cfg(unix)]
#[test]
fn devices_in_the_place_of_text_files_are_refused() {
    let workplace = Workplace::new();
    for args in [
        &["check", "/dev/zero"][..],
        &["convert", B, "@out", "--mapping", "/dev/zero"],
        &["convert", B, "@out", "--config", "/dev/zero"],
        &["run", B, "--prompt", "a", "--tokenizer", "/dev/zero"],
        &["run", B, "--prompt-file", "/dev/zero"],
    ] {
        let done = workplace.run(args);
        assert!(told(&done, 1).contains("regular file"), "{args:?}: {}", done.err);
    }
    workplace.put("tokens/vocab.json", "{}");
    std::os::unix::fs::symlink("/dev/zero", workplace.path("tokens/tokenizer.json")).expect("linked");
    let done = workplace.run(&["convert", B, "@out", "--tokenizer", "@tokens"]);
    assert!(told(&done, 1).contains("regular file"), "{}", done.err);
}
