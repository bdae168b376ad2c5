//! Numbers and names far too large for a model.

use super::{counting, given, refused};
use crate::command::Workplace;

const FAR: &str = "transformer.layers.999999999999.input_layernorm.weight";

#[test]
fn numbers_in_names_and_config() {
    let mapping =
        "config {\n    d = d <=> d\n    layers = n <=> n\n}\n\nh.{layer}.w [d]  <=>  l.{layer}.w [d]";
    let far = given(mapping, "{}", &[counting("h.0.w", &[3]), counting("h.999999999999.w", &[3])]);
    refused!("far_name", far);
    refused!("far_config", given(mapping, r#"{"n": 999999999999}"#, &[counting("h.0.w", &[3])]));
    let renamed = "config {\n    layers = n <=> n\n}\n\nh.{layer}.w  <=>  l.{layer}.w";
    let far = given(renamed, "{}", &[counting("h.0.w", &[3]), counting("h.18446744073709551615.w", &[3])]);
    refused!("last_number_of_all", far);
}

#[test]
fn a_number_in_a_name_of_the_shipped_mapping() {
    let model = transship_tests::MegatronGpt2::tiny();
    let (mut file, mut root) = model.build();
    let norm = file.tensor(transship_tests::Dtype::F32, &[24]);
    root.set(
        &["model", "language_model", "encoder", FAR.strip_prefix("transformer.").expect("its start")],
        norm,
    );
    let workplace = Workplace::new();
    file.write(&workplace.path("model.pt"), &root).expect("the file can be written");
    let text = crate::bad_input::refusal(&workplace, &["@model.pt"]);
    insta::assert_snapshot!("far_layer_of_megatron", text);
}

#[test]
fn a_name_of_a_million_parts() {
    let name = vec!["a"; 1 << 20].join(".");
    let mapping = "config {\n    d = d <=> d\n}\n\nw [d]  <=>  v [d]\ndrop a: **._extra_state";
    let workplace = given(mapping, "{}", &[counting("w", &[3]), counting(&name, &[1])]);
    for format in ["text", "json"] {
        let done = workplace.run(&["inspect", "@in", "--format", format]);
        assert_eq!(done.code, 0, "{}", done.err);
        assert!(done.out.contains(&name), "the name is shown whole");
    }
    let done = workplace.run(&["convert", "@in", "--mapping", "@m.mapping", "--from", "a", "@out"]);
    assert_eq!(done.code, 1);
    assert!(done.err.contains("TS0603"), "another error: {:.2000}", done.err);
}

#[test]
fn factors_without_end() {
    let mapping = "config {\n    x = x <=> x\n    y = y <=> y\n    z = z <=> z\n    t = t <=> t\n    t = x * y * z\n}\n\nw [z]  <=>  v [z]";
    let least = i64::MIN;
    let config = format!(r#"{{"x": {least}, "y": -1, "t": {least}}}"#);
    refused!("least_numbers", given(mapping, &config, &[counting("w", &[3])]));
    let config = format!(r#"{{"x": {least}, "y": {least}, "t": {least}}}"#);
    let done = given(
        "config {\n    x = x <=> x\n    y = y <=> y\n    k = k <=> k\n    t = t <=> t\n    t = x * y * k\n    d = d <=> d\n}\n\nw [d]  <=>  v [d]",
        &config,
        &[counting("w", &[3])],
    );
    refused!("product_of_least_numbers", done);
    let config = format!(r#"{{"x": {least}, "y": {least}, "z": 2, "t": 0}}"#);
    let least = "config {\n    x = x <=> x\n    y = y <=> y\n    z = z <=> z\n    t = t <=> t\n    k = k <=> k\n    t = x * y * z + k\n    d = d <=> d\n}\n\nw [d]  <=>  v [d]";
    refused!("least_quotient", given(least, &config, &[counting("w", &[3])]));
}
