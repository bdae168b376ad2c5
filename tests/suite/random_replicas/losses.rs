//! Steps that are computed in a low precision: what does not come back is told of.

use safetensors::tensor::{Dtype as Stored, TensorView};
use transship_tests::Dtype;

use super::{convert, encoded_all};
use crate::command::{Done, Workplace};

/// Half of these come back from bf16 after 1 is added.
const NUMBERS: [f64; 4] = [0.5, 0.012_329_101_562_5, -3.0, 0.003_906_25];

fn stepped(rule: &str, dtype: Dtype, more: &[&str]) -> Done {
    let workplace = Workplace::new();
    let config = if rule.contains('[') { "config { d = d_a <=> d_b }\n\n" } else { "" };
    workplace.put("m.mapping", format!("mapping stepped : a <=> b\n\n{config}{rule}\n"));
    std::fs::create_dir(workplace.path("in")).expect("a directory");
    let bytes = encoded_all(dtype, &NUMBERS);
    let stored = if dtype == Dtype::BF16 { Stored::BF16 } else { Stored::F32 };
    let view = TensorView::new(stored, vec![4], &bytes).expect("a vector");
    safetensors::serialize_to_file([("x", view)], None, &workplace.path("in/model.safetensors"))
        .expect("it can be written");
    let done = convert(&workplace, &[&["@in", "@out"], more].concat());
    assert_eq!(done.code, 0, "{}", done.err);
    done
}

#[test]
fn bits_that_a_step_loses_are_counted() {
    let told = "note: 2 of 4 elements that steps change are rounded in bf16 and will not come back the same the other \
                way, the first in `x`; a wider dtype after `as` keeps them\n";
    for rule in ["x [d] + 1 <=> y [d]", "x + 1 <=> y"] {
        let done = stepped(rule, Dtype::BF16, &[]);
        assert!(done.err.contains(told), "{rule}: {}", done.err);
        let done = stepped(rule, Dtype::BF16, &["--format", "json"]);
        assert!(done.out.contains("2 of 4 elements"), "{rule}: {}", done.out);
    }
}

#[test]
fn steps_that_lose_nothing_are_not_told_of() {
    for (rule, dtype) in [
        ("x [d] + 1 <=> y [d] as f32", Dtype::BF16),
        ("x [d] * 2 <=> y [d]", Dtype::BF16),
        ("x [d] <=> y [d]", Dtype::BF16),
        ("x [d] + 1 <=> y [d]", Dtype::F32),
    ] {
        let done = stepped(rule, dtype, &[]);
        assert!(!done.err.contains("come back"), "{rule}: {}", done.err);
    }
    // A cast that rounds is told of as a cast.
    let done = stepped("x [d] + 1 <=> y [d] as bf16", Dtype::F32, &[]);
    assert!(done.err.contains("rounded from f32 to bf16") && !done.err.contains("come back"), "{}", done.err);
}
