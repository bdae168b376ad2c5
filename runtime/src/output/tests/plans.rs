//! Plans of safetensors files.

use std::collections::BTreeMap;
use std::path::Path;

use crate::DType;
use crate::output::{OutputError, OutputPlan, TensorSpec, plan_safetensors};

fn spec(name: &str, dtype: DType, shape: &[u64]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), dtype, shape: shape.to_vec() }
}

fn plan(tensors: Vec<TensorSpec>, shard: Option<u64>) -> Result<OutputPlan, OutputError> {
    plan_safetensors(tensors, &BTreeMap::new(), shard)
}

#[test]
fn headers_are_deterministic_and_aligned() {
    let tensors = vec![
        spec("flag", DType::Bool, &[3]),
        spec("h.0.\"w\"", DType::BF16, &[2, 3]),
        spec("bias", DType::F32, &[3]),
        spec("h.1.w", DType::BF16, &[]),
        spec("none", DType::F32, &[0, 7]),
    ];
    let plan = plan(tensors, None).unwrap();
    assert!(plan.index.is_none());
    let [file] = plan.files.as_slice() else { panic!("one file") };
    assert_eq!(file.name, "model.safetensors");
    let header = &file.literals[0].bytes;
    let text = std::str::from_utf8(&header[8..]).unwrap();
    assert_eq!(
        text.trim_end(),
        concat!(
            r#"{"__metadata__":{"format":"pt"},"#,
            r#""bias":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},"#,
            r#""none":{"dtype":"F32","shape":[0,7],"data_offsets":[12,12]},"#,
            r#""h.0.\"w\"":{"dtype":"BF16","shape":[2,3],"data_offsets":[12,24]},"#,
            r#""h.1.w":{"dtype":"BF16","shape":[],"data_offsets":[24,26]},"#,
            r#""flag":{"dtype":"BOOL","shape":[3],"data_offsets":[26,29]}}"#,
        )
    );
    assert_eq!(u64::from_le_bytes(header[..8].try_into().unwrap()), text.len() as u64);
    assert_eq!(header.len() % 8, 0);
    assert_eq!(file.size, header.len() as u64 + 29);
    assert!(file.tensors.iter().all(|tensor| tensor.offset % tensor.spec.dtype.size() as u64 == 0));
    assert_eq!(plan.total_bytes(), file.size);
}

#[test]
fn metadata_is_sorted_and_may_name_another_format() {
    let metadata = [("z", "1"), ("format", "np"), ("a", "x\ny")];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let plan = plan_safetensors(vec![], &BTreeMap::from(metadata), None).unwrap();
    let text = std::str::from_utf8(&plan.files[0].literals[0].bytes[8..]).unwrap();
    assert_eq!(text.trim_end(), r#"{"__metadata__":{"a":"x\ny","format":"np","z":"1"}}"#);
}

#[test]
fn shards_are_filled_in_order() {
    let tensors = vec![
        spec("c", DType::F32, &[10]),
        spec("b", DType::F32, &[14]),
        spec("large", DType::F32, &[50]),
        spec("a", DType::F32, &[1]),
    ];
    let plan = plan(tensors, Some(100)).unwrap();
    let found: Vec<(&str, Vec<&str>)> = plan
        .files
        .iter()
        .map(|file| {
            (file.name.as_str(), file.tensors.iter().map(|tensor| tensor.spec.name.as_str()).collect())
        })
        .collect();
    assert_eq!(
        found,
        [
            ("model-00001-of-00003.safetensors", vec!["c", "b"]),
            ("model-00002-of-00003.safetensors", vec!["large"]),
            ("model-00003-of-00003.safetensors", vec!["a"]),
        ]
    );
    let index = plan.index.unwrap();
    assert_eq!(index.name, "model.safetensors.index.json");
    assert_eq!(
        String::from_utf8(index.bytes).unwrap(),
        r#"{
  "metadata": {
    "total_size": 300
  },
  "weight_map": {
    "a": "model-00003-of-00003.safetensors",
    "b": "model-00001-of-00003.safetensors",
    "c": "model-00001-of-00003.safetensors",
    "large": "model-00002-of-00003.safetensors"
  }
}
"#
    );
}

#[test]
fn a_limit_that_is_not_reached_gives_one_file() {
    let plan = plan(vec![spec("a", DType::F32, &[25])], Some(100)).unwrap();
    assert_eq!(plan.files[0].name, "model.safetensors");
    assert!(plan.index.is_none());
}

#[test]
fn weights_that_hide_the_output_are_recognised() {
    let superseded = plan(vec![], None).unwrap().superseded;
    for name in [
        "model.safetensors",
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "config.json",
    ] {
        assert!(superseded(Path::new("."), name), "{name}");
    }
    for name in
        ["tokenizer_config.json", "model-a-of-b.safetensors", "model-.safetensors", "vocab.txt", "model"]
    {
        assert!(!superseded(Path::new("."), name), "{name}");
    }
}

#[test]
fn impossible_plans_are_errors() {
    let twice = plan(vec![spec("a", DType::F32, &[1]), spec("a", DType::F32, &[1])], None).unwrap_err();
    assert_eq!(twice.to_string(), "two tensors of the output are named `a`");
    let reserved = plan(vec![spec("__metadata__", DType::F32, &[1])], None).unwrap_err();
    assert!(matches!(reserved, OutputError::ReservedTensor { .. }));
    let huge = plan(vec![spec("a", DType::U8, &[u64::MAX])], None).unwrap_err();
    assert_eq!(huge.to_string(), "`a` is larger than any file can be");
    let half = 1 << 62;
    let sum = plan(vec![spec("a", DType::U8, &[half]), spec("b", DType::U8, &[half])], None).unwrap_err();
    assert_eq!(sum.to_string(), "`model.safetensors` is larger than any file can be");
    let header = plan(vec![spec(&"x".repeat(100_000_001), DType::U8, &[1])], None).unwrap_err();
    assert!(matches!(header, OutputError::HeaderTooLarge { .. }));
}
