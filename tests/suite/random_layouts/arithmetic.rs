//! Affine steps and casts, both ways, against plain arithmetic.

use half::f16;
use proptest::collection::vec;
use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use transship::grammar::{SideId, Source, check};

use super::{convert, plain};

/// One vector through a rule of these two ends, from one side to the other.
fn through(rule: &str, from: SideId, dtype: Dtype, bytes: &[u8]) -> Result<(String, Vec<u8>), String> {
    let text = format!("mapping arithmetic : a <=> b\n\nconfig {{\n    d = d_a <=> d_b\n}}\n\n{rule}\n");
    let (mapping, _) = check(&Source::new("arithmetic.mapping", &text)).map_err(|d| plain(&d))?;
    let directory = tempfile::tempdir().expect("a directory");
    let (input, output) = (directory.path().join("in"), directory.path().join("out"));
    std::fs::create_dir(&input).expect("a directory");
    let size = if dtype == Dtype::F16 { 2 } else { 4 };
    let view = TensorView::new(dtype, vec![bytes.len() / size], bytes).expect("a vector");
    let name = if from == SideId::Left { "x" } else { "y" };
    safetensors::serialize_to_file([(name, view)], None, &input.join("model.safetensors"))
        .expect("it can be written");
    let tensors = convert(&mapping, from, &input, &output)?;
    let (dtype, _, bytes) = tensors.into_values().next().expect("one tensor");
    Ok((dtype, bytes))
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().expect("four bytes"))).collect()
}

fn halves(bytes: &[u8]) -> Vec<f16> {
    bytes.chunks_exact(2).map(|c| f16::from_le_bytes(c.try_into().expect("two bytes"))).collect()
}

/// Multiples of 2^-8 below 16: every step below is exact on them in f32.
fn exact() -> impl Strategy<Value = Vec<f32>> {
    vec((-4096..4096i16).prop_map(|n| f32::from(n) / 256.0), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn steps_are_done_and_undone(values in exact()) {
        type Step = fn(f64) -> f64;
        let rules: [(&str, Step, Step); 4] = [
            ("x [d] + 1 <=> y [d]", |x| x + 1.0, |y| y - 1.0),
            ("x [d] * 2 <=> y [d]", |x| x * 2.0, |y| y / 2.0),
            ("x [d] * 2 - 0.5 <=> y [d] / 4", |x| (x * 2.0 - 0.5) * 4.0, |y| (y / 4.0 + 0.5) / 2.0),
            ("x [d] <=> y [d] - 3", |x| x + 3.0, |y| y - 3.0),
        ];
        for (rule, there, back) in rules {
            for (side, step) in [(SideId::Left, there), (SideId::Right, back)] {
                #[expect(clippy::cast_possible_truncation, reason = "the steps are exact on these values")]
                let expected: Vec<f32> = values.iter().map(|x| step(f64::from(*x)) as f32).collect();
                let (dtype, got) = through(rule, side, Dtype::F32, &bytes_of(&values)).map_err(TestCaseError::fail)?;
                prop_assert_eq!(dtype, "F32");
                prop_assert_eq!(floats(&got), expected, "{}", rule);
            }
        }
    }

    #[test]
    fn a_step_on_halves_is_rounded_once(bits in vec(any::<u16>(), 1..200)) {
        let values: Vec<f16> = bits.iter().map(|b| f16::from_bits(*b)).filter(|x| x.is_finite()).collect();
        prop_assume!(!values.is_empty());
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let (_, got) = through("x [d] + 1 <=> y [d]", SideId::Left, Dtype::F16, &bytes).map_err(TestCaseError::fail)?;
        let expected: Vec<f16> = values.iter().map(|x| f16::from_f32(x.to_f32() + 1.0)).collect();
        prop_assert_eq!(halves(&got), expected);
        let (_, got) = through("x [d] + 1 <=> y [d]", SideId::Right, Dtype::F16, &bytes).map_err(TestCaseError::fail)?;
        let expected: Vec<f16> = values.iter().map(|x| f16::from_f32(x.to_f32() - 1.0)).collect();
        prop_assert_eq!(halves(&got), expected);
    }

    #[test]
    fn casts_of_a_rule(values in vec(-70000.0..70000.0f32, 1..40)) {
        let rule = "x [d] as f32 <=> y [d] as f16";
        let (dtype, got) = through(rule, SideId::Left, Dtype::F32, &bytes_of(&values)).map_err(TestCaseError::fail)?;
        let rounded: Vec<f16> = values.iter().map(|x| f16::from_f32(*x)).collect();
        prop_assert_eq!(dtype, "F16");
        prop_assert_eq!(halves(&got), rounded.clone());
        let (dtype, back) = through(rule, SideId::Right, Dtype::F16, &got).map_err(TestCaseError::fail)?;
        prop_assert_eq!(dtype, "F32");
        prop_assert_eq!(floats(&back), rounded.iter().map(|x| x.to_f32()).collect::<Vec<_>>());
    }
}
