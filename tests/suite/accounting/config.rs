//! Config values that are read, assumed and written.

use super::{converted, counting, given, written_config};
use crate::oracle::read_json;

#[test]
fn a_whole_number_stays_one() {
    let mapping = "config {\n    d = d <=> d\n    k: int = k <=> k\n}\n\nw [d]  <=>  v [d]";
    let workplace = given(mapping, r#"{"k": 2.0}"#, &[counting("w", &[3])]);
    converted(&workplace, &[]);
    assert_eq!(written_config(&workplace)["k"].to_string(), "2");
}

#[test]
fn the_first_document_is_the_main_one() {
    let mapping = "side b {\n    documents config.json, extra.json\n}\n\nconfig {\n    d = d <=> width\n}\n\nw [d]  <=>  v [d]";
    let workplace = given(mapping, "{}", &[counting("w", &[3])]);
    converted(&workplace, &[]);
    assert_eq!(written_config(&workplace)["width"], 3);
    assert!(!workplace.path("out/extra.json").exists());
    let named = mapping.replace("config.json, extra.json", "model_config.json, extra.json as extra");
    let named = named.replace("d = d <=> width", "d = d <=> width\n    d => extra.depth");
    let workplace = given(&named, "{}", &[counting("w", &[3])]);
    converted(&workplace, &[]);
    assert_eq!(read_json(&workplace.path("out/model_config.json"))["width"], 3);
    assert_eq!(read_json(&workplace.path("out/extra.json"))["depth"], 3);
    assert!(!workplace.path("out/config.json").exists());
}

#[test]
fn defaults_that_shapes_cannot_tell_are_noted_both_ways() {
    let mapping = "config {\n    d = d <=> d\n    heads = heads <=> heads else 2\n    d = heads * e\n}\n\nw [(heads e)]  <=>  v [(e heads)]";
    let workplace = given(mapping, "{}", &[counting("w", &[6])]);
    let there = converted(&workplace, &[]);
    let note = "heads = 2 by default";
    assert!(there.err.contains(note) || there.out.contains(note), "{}{}", there.err, there.out);
    std::fs::remove_file(workplace.path("out/config.json")).expect("it was written");
    let back = workplace.run(&["convert", "@out", "--mapping", "@m.mapping", "--from", "b", "@back"]);
    assert_eq!(back.code, 0, "{}", back.err);
    assert!(back.err.contains(note) || back.out.contains(note), "{}{}", back.err, back.out);
}

#[test]
fn reasons_for_dropping_are_told() {
    let mapping = "config {\n    d = d <=> d\n    layers = n <=> n\n}\n\nh.{layer}.w [d]  <=>  l.{layer}.w [d]\ndrop a: h.{layer}.junk because \"nobody needs it\"\ndrop a: state";
    let tensors = [
        counting("h.0.w", &[3]),
        counting("h.1.w", &[3]),
        counting("h.0.junk", &[1]),
        counting("h.1.junk", &[1]),
        counting("state", &[1]),
    ];
    let done = given(mapping, r#"{"n": 2}"#, &tensors).run(&[
        "plan",
        "@in",
        "--mapping",
        "@m.mapping",
        "--from",
        "a",
    ]);
    assert_eq!(done.code, 0, "{}", done.err);
    let told = format!("{}{}", done.out, done.err);
    assert!(told.contains("2 parameters are dropped: nobody needs it"), "{told}");
}

#[test]
fn a_number_that_no_config_holds_is_an_error() {
    let mapping =
        "config {\n    d = d <=> d\n    k: float = k <=> k\n    1.5 / k => ratio\n}\n\nw [d]  <=>  v [d]";
    let convert = |config: &str| {
        let workplace = given(mapping, config, &[counting("w", &[3])]);
        let done = workplace.run(&["convert", "@in", "--mapping", "@m.mapping", "--from", "a", "@out"]);
        (done, workplace)
    };
    let (done, workplace) = convert(r#"{"k": 3.0}"#);
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(written_config(&workplace)["ratio"], 0.5);
    let (done, workplace) = convert(r#"{"k": 0.0}"#);
    assert_eq!(done.code, 1, "{}", done.err);
    assert!(done.err.contains("`ratio` would be inf, which no config can hold"), "{}", done.err);
    assert!(!workplace.path("out").exists());
}
