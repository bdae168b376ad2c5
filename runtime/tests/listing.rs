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

#[test]
fn odd_arguments_read_well() {
    let checkpoint = Checkpoint::open(&data("hf/c_v2_bf16_odd_args_optimizer/input/model_optim_rng.pt"))
        .expect("a good file");
    let shown = [
        ("model_type", "megatron.core.enums.ModelType(1)"),
        ("device", "\"cuda:0\""),
        ("timeout", "datetime.timedelta(0, 600, 0)"),
        ("data_cache_path", "\"/data/cache\""),
        ("number", "builtins.complex(1.0, 2.0)"),
        ("np_float", "0.25"),
        ("np_int", "-7"),
        ("np_bool", "true"),
        ("np_array", "[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]"),
        ("np_dtype", "numpy.dtype(\"f2\", false, true)"),
        ("a_range", "builtins.range(2, 9, 3)"),
        ("raw", "bytes(8)"),
        ("language_model.retro.sizes.2", "3"),
        ("init_method", "torch.nn.init.xavier_normal_"),
    ];
    for (name, expected) in shown {
        let value = checkpoint.lookup(&format!("args.{name}")).expect(name);
        assert_eq!(value.to_string(), expected, "{name}");
    }
    assert_eq!(checkpoint.lookup("checkpoint_version").and_then(transship::Value::as_int), Some(2));
}

#[test]
fn hugging_face_directories_hold_what_the_script_wrote() {
    let mut checked = 0;
    for case in std::fs::read_dir(data("hf")).expect("the test data") {
        let folder = case.expect("an entry").path().join("expected");
        // Of the other direction the script made Megatron's files.
        if folder.join("megatron").is_dir() {
            continue;
        }
        let checkpoint = Checkpoint::open(&folder).expect("a good directory");
        let table = std::fs::read(folder.join("tensors.json")).expect("the table of tensors");
        let table: Json = serde_json::from_slice(&table).expect("it is JSON");
        let mut stored = 0;
        for (name, expected) in table["tensors"].as_object().expect("a table") {
            if expected.get("alias_of").is_some() {
                assert_eq!(checkpoint.tensor(name), None, "{name}");
                continue;
            }
            let tensor = checkpoint.tensor(name).expect(name);
            assert_eq!(tensor.shape, numbers(&expected["shape"]), "{name}");
            let size = tensor.elements() * tensor.dtype.size() as u64;
            assert_eq!(checkpoint.bytes(tensor).len() as u64, size, "{name}");
            assert!(tensor.is_contiguous());
            stored += 1;
        }
        assert_eq!(checkpoint.tensors().len(), stored);
        let config = std::fs::read(folder.join("config.json")).expect("the config");
        let config: Json = serde_json::from_slice(&config).expect("it is JSON");
        let kind = checkpoint.lookup("model_type").and_then(transship::Value::as_str);
        assert_eq!(kind, config["model_type"].as_str());
        checked += stored;
    }
    assert!(checked > 100, "{checked}");
}

#[test]
fn megatron_directories_of_the_test_data_open() {
    for (case, format, layers) in [
        ("legacy-v0-gpt2-tp1", "torch legacy stream", 2),
        ("legacy-v3-gpt2-fp16-optim-tp1", "torch zip", 1),
        ("legacy-v3-gpt2-tp1pp1", "torch zip", 2),
    ] {
        let checkpoint = Checkpoint::open(&data(&format!("megatron/{case}/ckpt"))).expect(case);
        assert_eq!(checkpoint.format().to_string(), format);
        assert_eq!(checkpoint.lookup("args.num_layers").and_then(transship::Value::as_int), Some(layers));
    }
}

#[test]
fn released_bytes_read_the_same() {
    for file in [
        "hf/d_v3_fp16_encoder_padded_flat/input/model_optim_rng.pt",
        "hf/a_ngc_v0_fp16_zip/input/megatron_tiny_v0_0.zip",
    ] {
        let checkpoint = Checkpoint::open(&data(file)).expect(file);
        for tensor in checkpoint.tensors() {
            let before = checksum(&checkpoint, tensor);
            checkpoint.release(tensor);
            assert_eq!(checksum(&checkpoint, tensor), before, "{}", tensor.name);
        }
    }
}
