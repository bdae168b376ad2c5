//! Absolute names: the whole name in the checkpoint, wherever the parameters lie.

use super::{counting, given, made};

fn keys(mapping: &str, tensors: &[super::Stored]) -> Vec<String> {
    made(&given(mapping, "{}", tensors)).into_keys().collect()
}

#[test]
fn absolute_names() {
    let config = "config {\n    d = d <=> d\n}\n\n";
    let nowhere = format!("{config}/head [d]  <=>  head [d]\nw [d]  <=>  v [d]");
    assert_eq!(keys(&nowhere, &[counting("head", &[3]), counting("w", &[3])]), ["head", "v"]);
    let rooted = format!("side a {{\n    parameters model\n}}\n\n{config}");
    let outside = format!("{rooted}/head [d]  <=>  head [d]\nw [d]  <=>  v [d]");
    assert_eq!(keys(&outside, &[counting("head", &[3]), counting("model.w", &[3])]), ["head", "v"]);
    let inside = format!("{rooted}/model.head [d]  <=>  head [d]\nw [d]  <=>  v [d]");
    assert_eq!(keys(&inside, &[counting("model.head", &[3]), counting("model.w", &[3])]), ["head", "v"]);
    let deep = format!("{rooted}/other.deep.head [d]  <=>  head [d]\nw [d]  <=>  v [d]");
    assert_eq!(keys(&deep, &[counting("other.deep.head", &[3]), counting("model.w", &[3])]), ["head", "v"]);
}
