//! The judge: what other tools made of the same checkpoints.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::Value;

/// A file or directory of the test data.
pub(crate) fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(path)
}

/// Tensors of a safetensors file: dtype, shape and bytes by name.
pub(crate) type Tensors = BTreeMap<String, (String, Vec<usize>, Vec<u8>)>;

pub(crate) fn read_tensors(file: &Path) -> Tensors {
    let bytes = std::fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let tensors = SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    tensors
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            (name, (format!("{:?}", view.dtype()), view.shape().to_vec(), view.data().to_vec()))
        })
        .collect()
}

pub(crate) fn read_json(file: &Path) -> Value {
    let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// Mask buffers that the reference script adds and nothing reads.
pub(crate) fn is_mask_buffer(name: &str) -> bool {
    name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias")
}

/// Panics with the first difference.
pub(crate) fn assert_same_tensors(expected: &Tensors, got: &Tensors) {
    let names = |t: &Tensors| t.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(expected), names(got), "names of tensors");
    for (name, (dtype, shape, bytes)) in expected {
        let (got_dtype, got_shape, got_bytes) = &got[name];
        assert_eq!((dtype, shape), (got_dtype, got_shape), "{name}");
        let first = bytes.iter().zip(got_bytes).position(|(a, b)| a != b);
        assert_eq!(first, None, "{name} differs, first at this byte");
        assert_eq!(bytes.len(), got_bytes.len(), "{name}");
    }
}

/// Keys that depend on the library that wrote the file, not on the model, and those that its scripts leave out and other
/// programs want.
const NOT_COMPARED: [&str; 6] =
    ["transformers_version", "dtype", "torch_dtype", "_name_or_path", "n_ctx", "architectures"];

/// Every key that is expected is there with the same value, and no other.
pub(crate) fn assert_same_config(expected: &Value, got: &Value) {
    let object = |v: &Value| -> BTreeMap<String, Value> {
        let object = v.as_object().expect("an object");
        let kept = object.iter().filter(|(k, _)| !NOT_COMPARED.contains(&k.as_str()));
        kept.map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    assert_eq!(object(expected), object(got));
}
