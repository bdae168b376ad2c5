//! Which mapping is chosen for a checkpoint where none is named.

use serde_json::Value;

use crate::command::Workplace;
use crate::oracle::{data, read_json};

/// A Hugging Face model of the test data under `name`, with its config changed.
fn put(
    workplace: &Workplace,
    name: &str,
    model: &str,
    change: impl FnOnce(&mut serde_json::Map<String, Value>),
) {
    let folder = data("megatron/expected_hf").join(model);
    let tensors = std::fs::read(folder.join("model.safetensors")).expect("readable");
    workplace.put(&format!("{name}/model.safetensors"), tensors);
    let mut config = read_json(&folder.join("config.json"));
    change(config.as_object_mut().expect("an object"));
    workplace.put(&format!("{name}/config.json"), config.to_string());
}

fn fails(workplace: &Workplace, args: &[&str]) -> String {
    let done = workplace.run(args);
    assert_eq!((done.code, done.out.as_str()), (1, ""), "{args:?}: {}", done.err);
    done.err
}

#[test]
fn a_model_of_another_family_is_never_taken_for_one_that_ships() {
    let workplace = Workplace::new();
    put(&workplace, "hf", "llama", |config| {
        config.insert("model_type".to_owned(), "granite".into());
    });
    let chosen = fails(&workplace, &["convert", "@hf", "@out"]);
    assert!(chosen.contains("says `granite` (model_type), which no shipped mapping takes"), "{chosen}");
    assert!(!chosen.contains("fetch it again"), "{chosen}");
    let named = fails(&workplace, &["convert", "@hf", "@out", "--mapping", "mcore_llama"]);
    assert!(named.contains("TS0636") && named.contains("`granite`"), "{named}");
    let run = fails(&workplace, &["run", "@hf", "--ids", "1,2", "--max-tokens", "1"]);
    assert!(run.contains("`granite`"), "{run}");
    assert!(!workplace.path("out").exists());
}

#[test]
fn names_of_one_model_under_the_config_of_another_are_told_once() {
    let workplace = Workplace::new();
    put(&workplace, "hf", "llama", |config| {
        config.insert("model_type".to_owned(), "gpt2".into());
    });
    let said = fails(&workplace, &["convert", "@hf", "@out", "--to", "mcore"]);
    assert!(said.contains("the names of `llama`") && said.contains("`gpt2` (model_type)"), "{said}");
    assert!(!said.contains("fetch it again"), "{said}");
}

#[test]
fn a_mistral_without_a_window_is_converted_and_one_with_a_window_is_not() {
    let workplace = Workplace::new();
    put(&workplace, "plain", "llama", |config| {
        config.insert("model_type".to_owned(), "mistral".into());
        config.insert("sliding_window".to_owned(), Value::Null);
    });
    put(&workplace, "window", "llama", |config| {
        config.insert("model_type".to_owned(), "mistral".into());
        config.insert("sliding_window".to_owned(), 16.into());
        config.insert("use_sliding_window".to_owned(), false.into());
    });
    let done = workplace.run(&["convert", "@plain", "@out", "--to", "mcore"]);
    assert_eq!(done.code, 0, "{}", done.err);
    let said = fails(&workplace, &["convert", "@window", "@other", "--to", "mcore"]);
    assert!(said.contains("TS0610") && said.contains("sliding_window"), "{said}");
}

#[test]
fn megatron_core_is_the_default_and_the_legacy_classes_are_said_to_be_gone() {
    let workplace = Workplace::new();
    for (model, mapping) in [("gpt2", "mcore_gpt2"), ("llama", "mcore_llama")] {
        put(&workplace, model, model, |_| {});
        let (input, output) = (format!("@{model}"), format!("@{model}-out"));
        let done = workplace.run(&["convert", &input, &output]);
        assert_eq!(done.code, 0, "{}", done.err);
        assert!(done.err.contains(&format!("to mcore by `{mapping}`")), "{}", done.err);
        assert!(
            done.err.contains("note: converted to `mcore` by default; `--to megatron` gives another"),
            "{}",
            done.err
        );
        let plan = workplace.run(&["plan", &input]);
        assert!(plan.out.contains("note: converted to `mcore` by default"), "{}", plan.out);
        let legacy = workplace.run(&["plan", &input, "--to", "megatron"]);
        assert!(
            legacy.out.contains("note: Megatron-LM from core 0.18 on has no legacy classes"),
            "{}",
            legacy.out
        );
        assert!(!legacy.out.contains("by default"), "{}", legacy.out);
    }
}

#[test]
fn a_side_that_does_not_exist_is_told_with_those_that_do() {
    let workplace = Workplace::new();
    put(&workplace, "hf", "llama", |_| {});
    let sides = "gpt2, llama, mcore, megatron, megatron_bert, mixtral";
    let said = fails(&workplace, &["convert", "@hf", "@out", "--to", "hf"]);
    assert_eq!(
        said,
        format!("error: no shipped mapping has a side `hf` to convert to; the sides are {sides}\n")
    );
    let said = fails(&workplace, &["convert", "@hf", "@out", "--to", "mcore_llama"]);
    assert!(said.contains("`mcore_llama` is a mapping: --mapping mcore_llama"), "{said}");
    let said = fails(&workplace, &["convert", "@hf", "@out", "--to", "megatorn"]);
    assert!(said.contains("did you mean `--to megatron`?"), "{said}");
    let said = fails(&workplace, &["convert", "@hf", "@out", "--to", "mixtral"]);
    assert!(said.contains("cannot be converted to `mixtral`"), "{said}");
    assert!(said.contains("llama, mcore, megatron"), "{said}");
}

#[test]
fn heads_that_a_hugging_face_config_does_not_state_are_not_made_up() {
    let workplace = Workplace::new();
    put(&workplace, "hf", "gpt2", |config| {
        config.remove("n_head");
    });
    let tensors = std::fs::read(data("megatron/expected_hf/gpt2/model.safetensors")).expect("readable");
    workplace.put("alone/model.safetensors", tensors);
    for input in ["@hf", "@alone"] {
        for mapping in ["mcore_gpt2", "megatron_gpt2"] {
            let said = fails(&workplace, &["convert", input, "@out", "--quiet", "--mapping", mapping]);
            assert!(said.contains("TS0606") && said.contains("heads"), "{said}");
        }
        let done = workplace.run(&[
            "convert",
            input,
            "@set",
            "--force",
            "--set",
            "heads=4",
            "--set",
            "activation=gelu",
        ]);
        assert_eq!(done.code, 0, "{}", done.err);
    }
}
