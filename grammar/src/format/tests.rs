mod generate;

use proptest::prelude::*;

use super::format;
use crate::parse::parse_file;
use crate::source::Source;

fn formatted(text: &str) -> String {
    format(&Source::new("test.mapping", text)).unwrap_or_else(|e| panic!("{:?}\n{text}", e.list()))
}

/// The syntax tree without the places of anything.
fn tree(text: &str) -> Option<String> {
    let file = parse_file(&Source::new("test.mapping", text)).ok()?;
    Some(without_spans(&format!("{file:?}")))
}

/// A printed tree with `at` for spans, which print as `3..17`; what is in quotes stays.
fn without_spans(tree: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    let mut rest = tree;
    while let Some(c) = rest.chars().next() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let length = match c {
            '\\' if quoted => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            '0'..='9' if !quoted => digits,
            other => other.len_utf8(),
        };
        quoted ^= c == '"';
        if digits > 0 && !quoted && rest[digits..].starts_with("..") {
            out.push_str("at");
            rest = rest[digits + 2..].trim_start_matches(|c: char| c.is_ascii_digit());
        } else {
            out.push_str(&rest[..length]);
            rest = &rest[length..];
        }
    }
    out
}

#[test]
fn trees_are_compared_without_spans_but_with_all_else() {
    let tree = r#"Index { factor: 2, text: "0..1 \"3..4", span: 10..12 }"#;
    assert_eq!(without_spans(tree), r#"Index { factor: 2, text: "0..1 \"3..4", span: at }"#);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        max_global_rejects: 100,
        failure_persistence: None,
        max_shrink_iters: 3000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_mapping_keeps_its_tree_and_its_comments(noisy in generate::mapping()) {
        let before = tree(&noisy.text);
        prop_assume!(before.is_some());
        let once = formatted(&noisy.text);
        prop_assert_eq!(tree(&once), before, "{}", once);
        prop_assert_eq!(formatted(&once), once.clone());
        for comment in &noisy.comments {
            let id = comment.split_inclusive(';').next().unwrap_or_default();
            let found: Vec<&str> = once.lines().filter(|line| line.contains(&id)).collect();
            prop_assert!(
                matches!(found.as_slice(), [line] if line.ends_with(comment.as_str())),
                "{} in\n{}", comment, once
            );
        }
        prop_assert!(once.ends_with('\n') && !once.ends_with("\n\n") && !once.contains("\n\n\n"));
        prop_assert!(once.lines().all(|line| line.trim_end() == line), "white space at the end of a line");
    }
}

