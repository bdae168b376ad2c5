//! Which source decides a choice: what is set, the documents, the shapes, and only then a default.

use super::{converted, counting, given, made, refused, written};

#[test]
fn layers_counted_in_names_decide() {
    let mapping = "config {\n    d = d <=> d\n    layers = n <=> n else 4\n}\n\nh.{layer}.w [d]  <=>  l.{layer}.w [d]\nwhen layers > 3 {\n    x [d]  <=>  deep [d]\n} else {\n    x [d]  <=>  shallow [d]\n}";
    let tensors = |layers: usize| {
        let all = (0..layers).map(|n| counting(&format!("h.{n}.w"), &[3]));
        all.chain([counting("x", &[3])]).collect::<Vec<_>>()
    };
    assert!(made(&given(mapping, "{}", &tensors(1))).contains_key("shallow"));
    assert!(made(&given(mapping, "{}", &tensors(4))).contains_key("deep"));
}

#[test]
fn a_size_from_a_shape_decides() {
    let mapping = "config {\n    d = d <=> d else 1\n}\n\nw [d]  <=>  v [d]\nwhen d > 1 {\n    x [d]  <=>  wide [d]\n} else {\n    x [d]  <=>  narrow [d]\n}";
    let of_width = |d: usize| given(mapping, "{}", &[counting("w", &[d]), counting("x", &[d])]);
    assert!(made(&of_width(3)).contains_key("wide"));
    assert!(made(&of_width(1)).contains_key("narrow"));
}

#[test]
fn a_default_that_splits_the_layers_decides_last() {
    let mapping = "config {\n    d = d <=> d\n    layers = n <=> n\n    dense = dd <=> dd else 1\n}\n\nwhen layer < dense {\n    h.{layer}.w [d]  <=>  dense.{layer}.w [d]\n} else {\n    h.{layer}.w [d]  <=>  sparse.{layer}.w [d]\n}";
    let tensors = || (0..3).map(|n| counting(&format!("h.{n}.w"), &[3])).collect::<Vec<_>>();
    let by_default = made(&given(mapping, r#"{"n": 3}"#, &tensors()));
    assert_eq!(by_default.keys().collect::<Vec<_>>(), ["dense.0.w", "sparse.1.w", "sparse.2.w"]);
    let counted = made(&given(mapping, "{}", &tensors()));
    assert_eq!(counted.keys().collect::<Vec<_>>(), ["dense.0.w", "sparse.1.w", "sparse.2.w"]);
    let by_config = made(&given(mapping, r#"{"n": 3, "dd": 2}"#, &tensors()));
    assert_eq!(by_config.keys().collect::<Vec<_>>(), ["dense.0.w", "dense.1.w", "sparse.2.w"]);
    let set = given(mapping, r#"{"n": 3, "dd": 2}"#, &tensors());
    converted(&set, &["--set", "dense=3"]);
    assert_eq!(written(&set).keys().collect::<Vec<_>>(), ["dense.0.w", "dense.1.w", "dense.2.w"]);
}

#[test]
fn a_set_value_needs_no_arm() {
    let mapping =
        "config {\n    d = d <=> d\n    act: int = match kind { \"a\" => 1 } => act\n}\n\nw [d]  <=>  v [d]";
    let workplace = given(mapping, r#"{"kind": "other"}"#, &[counting("w", &[3])]);
    converted(&workplace, &["--set", "act=5"]);
    assert_eq!(super::written_config(&workplace)["act"], 5);
    refused!("kind_without_an_arm", given(mapping, r#"{"kind": "other"}"#, &[counting("w", &[3])]));
}
