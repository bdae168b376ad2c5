//! Tensors that fit a pattern but lie outside of what it runs over.

use super::{converted, counting, given, made, refused};

const LAYERS: &str = "config {\n    d = d <=> d\n    layers = n <=> n\n}\n\n";

#[test]
fn optional_parameters_beyond_the_last_layer() {
    let mapping = format!(
        "{LAYERS}h.{{layer}}.w [d]   <=>  l.{{layer}}.w [d]\nh.{{layer}}.b? [d]  <=>  l.{{layer}}.b [d]"
    );
    let tensors = [counting("h.0.w", &[3]), counting("h.7.b", &[3])];
    refused!("optional_beyond", given(&mapping, r#"{"n": 1}"#, &tensors));
    refused!("optional_beyond_what_is_counted", given(&mapping, "{}", &tensors));
}

#[test]
fn an_index_of_optional_parameters_only() {
    let mapping = format!("{LAYERS}h.{{layer}}.b? [d]  <=>  l.{{layer}}.b [d]\nw [d]  <=>  v [d]");
    let tensors = || [counting("h.0.b", &[3]), counting("h.2.b", &[3]), counting("w", &[3])];
    let counted = made(&given(&mapping, "{}", &tensors()));
    assert_eq!(counted.keys().collect::<Vec<_>>(), ["l.0.b", "l.2.b", "v"]);
    refused!("all_optional_beyond", given(&mapping, r#"{"n": 2}"#, &tensors()));
}

#[test]
fn before_the_first_coordinate() {
    let mapping = "config {\n    d = d <=> d\n    layers = n <=> n\n    late in 1..layers\n}\n\nh.{late}.w [d]  <=>  l.{late}.w [d]";
    let tensors = [counting("h.0.w", &[3]), counting("h.1.w", &[3])];
    refused!("before_the_first", given(mapping, r#"{"n": 2}"#, &tensors));
}

#[test]
fn beyond_a_range_with_a_default_end() {
    let mapping = "config {\n    d = d <=> d\n    layers = n <=> n\n    dense = dd <=> dd else 1\n}\n\nh.{layer in 0..dense}.w [d]  <=>  l.{layer in 0..dense}.w [d]\nh.{layer}.b [d]  <=>  l.{layer}.b [d]";
    let tensors =
        [counting("h.0.w", &[3]), counting("h.1.w", &[3]), counting("h.0.b", &[3]), counting("h.1.b", &[3])];
    refused!("beyond_a_default", given(mapping, r#"{"n": 2}"#, &tensors));
}

#[test]
fn drops_and_emits_take_what_is_in_range_only() {
    let rule = "h.{layer}.w [d]  <=>  l.{layer}.w [d]\n";
    let tensors = || {
        let layers = (0..6).map(|n| counting(&format!("h.{n}.w"), &[3]));
        layers.chain([counting("h.1.junk", &[2]), counting("h.5.junk", &[2])]).collect::<Vec<_>>()
    };
    let dropped = format!("{LAYERS}{rule}drop a: h.{{layer in 0..2}}.junk because \"nobody needs it\"");
    refused!("dropped_beyond", given(&dropped, r#"{"n": 6}"#, &tensors()));
    let emitted = format!("{LAYERS}{rule}emit a: h.{{layer in 0..2}}.junk [d] = zeros");
    refused!("emitted_beyond", given(&emitted, r#"{"n": 6}"#, &tensors()));
}

#[test]
fn emits_over_an_unknown_range() {
    let mapping = "config {\n    d = d <=> d\n    layers = n <=> n\n}\n\nw [d]  <=>  v [d]\nemit b: mask.{layer} [d] = zeros";
    refused!("emitted_over_nothing_known", given(mapping, "{}", &[counting("w", &[3])]));
}

#[test]
fn defaults_of_another_type() {
    let mapping = "config {\n    d = d <=> d\n    k: int = k <=> k else 3 / 2.0\n}\n\nw [d]  <=>  v [d]";
    refused!("default_of_another_type", given(mapping, "{}", &[counting("w", &[3])]));
}

#[test]
fn branches_that_miss_a_layer() {
    let mapping = "config {\n    d = d <=> d\n    e = e <=> e\n    layers = n <=> n\n}\n\nlayout w = match layer { 0 => d e  1 => e d }\n\nh.{layer}.w [w]  <=>  l.{layer}.w [d e]";
    let mapping = mapping.replace("d e  1 => e d", "(d e)  1 => (e d)");
    let tensors: Vec<_> = (0..3).map(|n| counting(&format!("h.{n}.w"), &[6])).collect();
    refused!("layer_without_a_branch", given(&mapping, r#"{"n": 3, "d": 2, "e": 3}"#, &tensors));
    let divided = "config {\n    d = d <=> d\n    layers = n <=> n\n}\n\nmatch layer / 2 {\n    0 => { h.{layer}.w [d] <=> l.{layer}.w [d] }\n    1 => { h.{layer}.w [d] * 2 <=> l.{layer}.w [d] }\n}";
    let tensors: Vec<_> = (0..3).map(|n| counting(&format!("h.{n}.w"), &[3])).collect();
    refused!("layer_between_branches", given(divided, r#"{"n": 3}"#, &tensors));
}

#[test]
fn names_below_zero() {
    let mapping = "config {\n    d = d <=> d\n    lo = lo <=> lo\n    layers = n <=> n\n}\n\nh.{layer in lo..layers}.w [d]  <=>  l.{layer - 2 in lo..layers}.w [d]";
    let tensors: Vec<_> = (1..4).map(|n| counting(&format!("h.{n}.w"), &[3])).collect();
    refused!("number_below_zero", given(mapping, r#"{"n": 4, "lo": 1}"#, &tensors));
    let tensors: Vec<_> = (2..4).map(|n| counting(&format!("h.{n}.w"), &[3])).collect();
    let shifted = made(&given(mapping, r#"{"n": 4, "lo": 2}"#, &tensors));
    assert_eq!(shifted.keys().collect::<Vec<_>>(), ["l.0.w", "l.1.w"]);
}

#[test]
fn ties() {
    let optional =
        "config {\n    d = d <=> d\n}\n\nwte? [d]  <=>  wte [d]\nx [d]  <=>  y [d]\ntie a: head = wte";
    refused!("copy_of_what_is_absent", given(optional, "{}", &[counting("head", &[3]), counting("x", &[3])]));
    let guarded = format!(
        "{LAYERS}h.{{layer}} [d]  <=>  l.{{layer}} [d]\nwhen layer == 0 {{\n    tie a: t.{{layer}}.w = h.{{layer}}\n}}"
    );
    let tensors = |copy: &str| [counting("h.0", &[3]), counting("h.1", &[3]), counting(copy, &[3])];
    converted(&given(&guarded, r#"{"n": 2}"#, &tensors("t.0.w")), &[]);
    refused!("copy_in_another_branch", given(&guarded, r#"{"n": 2}"#, &tensors("t.1.w")));
    let beyond = format!("{LAYERS}h.{{layer}} [d]  <=>  l.{{layer}} [d]\ntie a: t.{{layer}} = h.{{layer}}");
    refused!("copy_beyond_the_last_layer", given(&beyond, r#"{"n": 2}"#, &tensors("t.2")));
    let alternatives = "config {\n    d = d <=> d\n}\n\n(p|q).wte [d]  <=>  wte [d]\ntie a: head = (p|q).wte";
    let tensors = |head: &[f32]| [counting("q.wte", &[2]), super::of("head", &[2], head)];
    converted(&given(alternatives, "{}", &tensors(&[1.0, 2.0])), &[]);
    refused!("copy_of_an_alternative_differs", given(alternatives, "{}", &tensors(&[1.0, 3.0])));
}

#[test]
fn renaming_numbers() {
    let mapping = "config {\n    layers = n <=> n\n}\n\nh.{layer}.w  <=>  l.{layer}.w";
    refused!("renamed_with_a_gap", given(mapping, "{}", &[counting("h.0.w", &[3]), counting("h.2.w", &[3])]));
    refused!(
        "renamed_beyond",
        given(mapping, r#"{"n": 1}"#, &[counting("h.0.w", &[3]), counting("h.3.w", &[3])])
    );
}
