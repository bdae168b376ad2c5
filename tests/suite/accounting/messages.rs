//! What messages blame, and the way out that they name.

use super::{converted, counting, given, refused, written, written_config};

#[test]
fn what_the_user_set_is_blamed() {
    let mapping = "config {\n    hidden = hidden <=> hidden\n    heads = heads <=> heads\n    hidden = heads * e\n}\n\nw [hidden]  <=>  v [hidden]\nq [(heads e)]  <=>  p [(e heads)]";
    let tensors = || [counting("w", &[6]), counting("q", &[6])];
    refused!("no_heads_are_set", given(mapping, r#"{"heads": 2}"#, &tensors()), &["--set", "heads=0"]);
    refused!(
        "heads_that_do_not_divide_are_set",
        given(mapping, r#"{"heads": 2}"#, &tensors()),
        &["--set", "heads=4"]
    );
    refused!("hidden_is_set", given(mapping, r#"{"heads": 2}"#, &tensors()), &["--set", "hidden=8"]);
}

#[test]
fn a_list_that_is_too_short() {
    let mapping = "config {\n    d = d <=> d\n    layers = n <=> n\n    groups: list = groups <=> groups\n}\n\nh.{layer}.w [groups[layer] d]  <=>  l.{layer}.w [d groups[layer]]";
    let tensors = || [counting("h.0.w", &[2, 3]), counting("h.1.w", &[4, 3]), counting("h.2.w", &[5, 3])];
    refused!("list_too_short", given(mapping, r#"{"groups": [2, 4]}"#, &tensors()));
    let set = given(mapping, r#"{"groups": [2, 4]}"#, &tensors());
    converted(&set, &["--set", "groups=[2, 4, 5]"]);
    assert_eq!(written(&set)["l.2.w"].0, [3, 5]);
    assert_eq!(written_config(&set)["groups"].to_string(), "[2,4,5]");
    refused!("list_of_no_sizes", given(mapping, r#"{"groups": [2, 4, "x"]}"#, &tensors()));
    refused!("list_contradicts", given(mapping, r#"{"groups": [2, 4, 6]}"#, &tensors()));
}

#[test]
fn a_table_of_products_that_is_too_small() {
    let mapping = "config {\n    vocab = vocab <=> vocab\n    e = e <=> e\n    d = d <=> d\n}\n\nw [((rows: vocab e) | pad: _) d]  <=>  v [(rows: vocab e) d]\nx [e]  <=>  y [e]";
    let mapping = mapping.replace("((rows: vocab e) | pad: _)", "(rows: vocab e | pad: _)");
    let tensors = || [counting("w", &[8, 3]), counting("x", &[2])];
    refused!("table_of_products", given(&mapping, r#"{"vocab": 5, "e": 2}"#, &tensors()));
}

#[test]
fn labelled_parameters_that_are_there_in_part() {
    let mapping = "config {\n    d = d <=> d\n    e = e <=> e\n}\n\n{\n    q: q? [d e]\n    k: k? [d e]\n}  <=>  qk [((q | k) d) e]\nw [d e]  <=>  v [d e]";
    let mapping = mapping.replace("qk [", "qk? [");
    refused!(
        "part_of_an_optional_parameter",
        given(&mapping, "{}", &[counting("q", &[2, 3]), counting("w", &[2, 3])])
    );
}

#[test]
fn missing_names_of_several_indices() {
    let mapping = "config {\n    d = d <=> d\n    layers = n <=> n\n    experts = m <=> m\n}\n\nh.{layer}.e.{expert}.w [d]  <=>  l.{layer}.e.{expert}.w [d]";
    let names = (0..2).flat_map(|layer| (0..3).map(move |expert| (layer, expert)));
    let there = names.filter(|at| !matches!(at, (1, 1 | 2)));
    let tensors: Vec<_> = there.map(|(l, e)| counting(&format!("h.{l}.e.{e}.w"), &[3])).collect();
    refused!("missing_experts", given(mapping, r#"{"n": 2, "m": 3}"#, &tensors));
}
