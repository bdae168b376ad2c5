//! The shipped mappings against the checkpoints that Megatron-LM wrote and the models that Hugging Face made of
//! them. The mapping is never named: what the input holds must tell it.

use std::path::Path;

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
        convert(&workplace, &[&common[..], &split].concat());
        let written = listed(&workplace.path("ranks"));
        let theirs = listed(&data("megatron").join(like).join("ckpt"));
        assert!(!written.is_empty());
        assert_eq!(written, theirs, "{model} as {like}");
        convert(&workplace, &["@ranks", "@back"]);
        assert_is_model(&workplace.path("back"), model);
    }
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
