//! Checkpoints of one model that Megatron-LM wrote on different ranks, split anew from one to the other; and what becomes
//! of its arguments.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use transship::Checkpoint;

use super::{
    listed,
    model::{Family, Model},
};
use crate::command::Workplace;
use crate::oracle::data;

/// Converts test data and says what was told.
fn split(workplace: &Workplace, from: &str, to: &str, side: &str, options: &[&str]) -> String {
    let args = [&["convert", from, to, "--to", side, "--no-sync"], options].concat();
    let done = workplace.run(&args);
    assert_eq!(done.code, 0, "{args:?}\n{}{}", done.out, done.err);
    done.err
}

#[test]
fn a_split_made_of_another_is_the_one_that_megatron_wrote() {
    for (side, one, other, options) in [
        ("megatron", "legacy-v0-gpt2-tp1", "legacy-v0-gpt2-tp2", &["--tp", "2"][..]),
        ("megatron", "legacy-v0-gpt2-tp2", "legacy-v0-gpt2-tp1", &[]),
        ("megatron", "legacy-v3-gpt2-tp1pp1", "legacy-v3-gpt2-tp2pp2", &["--tp", "2", "--pp", "2"]),
        ("megatron", "legacy-v3-gpt2-tp2pp2", "legacy-v3-gpt2-tp1pp1", &[]),
        ("megatron", "legacy-v3-gpt2-pp2vpp2", "legacy-v3-gpt2-pp2vpp2", &["--pp", "2", "--vpp", "2"]),
        ("mcore", "mcore-llama-tp1-torch", "mcore-llama-tp2-torch", &["--tp", "2"]),
        ("mcore", "mcore-llama-tp2-torch", "mcore-llama-tp1-torch", &[]),
        ("mcore", "mcore-mixtral-ep2-torch", "mcore-mixtral-ep2-torch", &["--ep", "2"]),
    ] {
        let workplace = Workplace::new();
        split(&workplace, &format!("%megatron/{one}/ckpt"), "@made", side, options);
        let parameters = |directory: &std::path::Path| {
            let mut all = listed(directory);
            all.retain(|(_, name, ..)| name.starts_with("model"));
            all
        };
        let (made, theirs) =
            (parameters(&workplace.path("made")), parameters(&data("megatron").join(other).join("ckpt")));
        assert!(made.len() >= 15, "{one}");
        for (made, theirs) in made.iter().zip(&theirs) {
            let show =
                |(rank, name, dtype, shape, _): &super::Listed| format!("{rank}:{name} {dtype} {shape:?}");
            assert_eq!(show(made), show(theirs), "{one} as {other}");
            assert!(made == theirs, "{one} as {other}: {} has other elements", show(made));
        }
        assert_eq!(made.len(), theirs.len(), "{one} as {other}");
    }
}

fn arguments(checkpoint: &Checkpoint) -> serde_json::Map<String, Value> {
    match checkpoint.lookup("args").expect("it has arguments").to_json() {
        Value::Object(map) => map,
        other => panic!("{other} has no attributes"),
    }
}

#[test]
fn a_new_split_keeps_the_arguments_that_do_not_follow_from_it() {
    let workplace = Workplace::new();
    let input = "megatron/mcore-llama-tp2-torch/ckpt";
    let told = split(&workplace, &format!("%{input}"), "@made", "mcore", &["--pp-layers", "2,0"]);
    assert!(
        told.contains("args.attention_backend, args.model_type are not plain data and not carried over"),
        "{told}"
    );
    let before = Checkpoint::open(&data(input)).expect("it opens");
    let after = Checkpoint::open(&workplace.path("made")).expect("it opens");
    for document in ["iteration", "checkpoint_version"] {
        assert_eq!(before.lookup(document), after.lookup(document), "{document}");
    }
    let (before, after) = (arguments(&before), arguments(&after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed: Vec<String> = names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| format!("{name}: {:?} -> {:?}", before.get(name), after.get(name)))
        .collect();
    insta::assert_snapshot!("arguments_that_a_new_split_changes", changed.join("\n"));
}

/// What the arguments of a model of six layers say of the stages it is split into.
fn stages(model: &Model, options: &[&str]) -> Value {
    let workplace = Workplace::new();
    model.write(&workplace.path("hf"));
    let mapping = ["--mapping", model.family.mapping()];
    let told = split(&workplace, "@hf", "@made", model.family.side(), &[&mapping[..], options].concat());
    let args = arguments(&Checkpoint::open(&workplace.path("made")).expect("it opens"));
    let names = [
        "pipeline_model_parallel_size",
        "virtual_pipeline_model_parallel_size",
        "num_layers_per_virtual_pipeline_stage",
        "num_virtual_stages_per_pipeline_rank",
        "decoder_first_pipeline_num_layers",
        "decoder_last_pipeline_num_layers",
        "pipeline_model_parallel_layout",
    ];
    let said = names.iter().filter_map(|name| Some((*name, args.get(*name).filter(|v| !v.is_null())?)));
    let notes = told.lines().filter(|line| line.contains("ranks hold"));
    json!({
        "args": said.collect::<std::collections::BTreeMap<_, _>>(),
        "notes": notes.collect::<Vec<_>>(),
    })
}

#[test]
fn arguments_say_how_layers_lie_over_stages() {
    let mut model = Model {
        family: Family::McoreLlama,
        layers: 8,
        heads: 4,
        groups: 2,
        head_dim: 6,
        hidden: 22,
        ffn: 28,
        vocab: 37,
        positions: 15,
        experts: 0,
        tied: false,
        local: false,
        divisor: 8,
        seed: 5,
    };
    let cases: [(&str, &[&str]); 8] = [
        ("even", &["--pp", "2"]),
        ("even, though given", &["--pp-layers", "2,2,2,2"]),
        ("even with virtual stages", &["--pp", "2", "--vpp", "2"]),
        ("ends", &["--pp-layers", "3,2,2,1"]),
        ("two", &["--pp-layers", "5,3"]),
        ("ends of virtual stages", &["--vpp", "2", "--pp-layers", "2,1,1,2,1,1"]),
        ("one by one", &["--pp-layers", "1,3,2,2"]),
        ("none in the first", &["--vpp", "2", "--pp-layers", "0,3,3,2"]),
    ];
    let said: serde_json::Map<String, Value> =
        cases.into_iter().map(|(name, options)| (name.to_owned(), stages(&model, options))).collect();
    insta::assert_snapshot!("arguments_of_stages", format!("{:#}", Value::Object(said)));
    model.family = Family::MegatronLlama;
    let said = stages(&model, &["--pp-layers", "5,3"]);
    insta::assert_snapshot!("arguments_of_stages_that_nothing_says", format!("{said:#}"));
}

#[test]
fn stages_that_do_not_fit_the_model() {
    let workplace = Workplace::new();
    let fails = |input: &str, options: &[&str]| {
        let args = [&["convert", input, "@out"], options].concat();
        let done = workplace.run(&args);
        assert_ne!(done.code, 0, "{args:?}");
        assert!(!workplace.path("out").exists(), "{args:?} left something");
        format!("{}\n{}", options.join(" "), done.err)
    };
    let megatron = "%megatron/legacy-v3-gpt2-pp2vpp2/ckpt";
    let told = [
        fails(megatron, &["--to", "megatron", "--pp-layers", "3,2"]),
        fails(megatron, &["--to", "megatron", "--pp", "3", "--pp-layers", "2,2"]),
        fails(megatron, &["--to", "megatron", "--vpp", "2", "--pp-layers", "1,2,1"]),
        fails(megatron, &["--to", "megatron", "--pp-layers", "18446744073709551615,5"]),
        fails(megatron, &["--to", "gpt2", "--pp-layers", "2,2"]),
    ];
    insta::assert_snapshot!("stages_that_do_not_fit", told.join("\n"));
}
