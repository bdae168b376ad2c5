//! Every checkpoint of the test data, against what an independent reader found in it (tests/data/listing.json).

use std::path::PathBuf;

use serde_json::Value as Json;
use transship::{Checkpoint, DType, Tensor};

fn data(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data")).join(path)
}

fn listing() -> serde_json::Map<String, Json> {
    let text = std::fs::read(data("listing.json")).expect("tests/data/listing.json is checked in");
    serde_json::from_slice(&text).expect("it is JSON")
}

fn numbers(json: &Json) -> Vec<u64> {
    json.as_array().expect("a list").iter().map(|n| n.as_u64().expect("a count")).collect()
}

/// CRC-32 of the elements in logical order.
fn checksum(checkpoint: &Checkpoint, tensor: &Tensor) -> u32 {
    let (bytes, size) = (checkpoint.bytes(tensor), tensor.dtype.size());
    let mut spots = vec![tensor.offset];
    for (&count, &stride) in tensor.shape.iter().zip(&tensor.strides) {
        spots = spots.iter().flat_map(|at| (0..count).map(move |i| at + i * stride)).collect();
    }
    let mut crc = flate2::Crc::new();
    for at in spots {
        let start = usize::try_from(at).expect("an index") * size;
        crc.update(&bytes[start..start + size]);
    }
    crc.sum()
}

#[test]
fn tensors_are_what_python_reads() {
    let mut checked = 0;
    for (file, expected) in &listing() {
        let checkpoint = Checkpoint::open(&data(file)).expect(file);
        let tensors = expected["tensors"].as_array().expect("a list");
        assert!(checkpoint.unsupported().is_empty());
        assert_eq!(checkpoint.tensors().len(), tensors.len(), "{file}");
        for (tensor, expected) in checkpoint.tensors().iter().zip(tensors) {
            let name = expected["name"].as_str().expect("a name");
            assert_eq!(tensor.name, name, "{file}");
            assert_eq!(Some(tensor.dtype), expected["dtype"].as_str().and_then(DType::from_name), "{name}");
            assert_eq!(tensor.shape, numbers(&expected["shape"]), "{name}");
            assert_eq!(tensor.strides, numbers(&expected["strides"]), "{name}");
            assert_eq!(tensor.offset, numbers(&serde_json::json!([expected["offset"]]))[0], "{name}");
            assert_eq!(
                checkpoint.storage(tensor).key,
                expected["storage"].as_str().expect("a key"),
                "{name}"
            );
            assert_eq!(Some(u64::from(checksum(&checkpoint, tensor))), expected["crc32"].as_u64(), "{name}");
            assert_eq!(checkpoint.tensor(name), Some(tensor));
            checked += 1;
        }
    }
    assert!(checked > 250, "{checked} tensors");
}

/// Holds `found` equal to `expected`, where an object with nothing but its class stands for any rendering of it.
fn compare(found: &Json, expected: &Json, path: &str) {
    match (found, expected) {
        (_, Json::Object(class)) if class.len() == 1 && class.contains_key("$class") => {}
        (Json::Object(found), Json::Object(expected)) => {
            let keys = |map: &serde_json::Map<String, Json>| map.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(found), keys(expected), "{path}");
            for (key, value) in found {
                compare(value, &expected[key], &format!("{path}.{key}"));
            }
        }
        (Json::Array(found), Json::Array(expected)) => {
            assert_eq!(found.len(), expected.len(), "{path}");
            for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
                compare(found, expected, &format!("{path}.{at}"));
            }
        }
        _ => assert_eq!(found, expected, "{path}"),
    }
}

#[test]
fn plain_data_is_what_python_reads() {
    for (file, expected) in &listing() {
        let checkpoint = Checkpoint::open(&data(file)).expect(file);
        compare(&checkpoint.documents().to_json(), &expected["documents"], file);
    }
}
