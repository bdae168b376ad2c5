//! Directories of Hugging Face models whose weights are files of torch, and the documents beside weights of any kind.

mod support;

use support::{Folder, dict, safetensors, storage, tensor, torch_zip};
use transship::{Checkpoint, FormatKind, Value};

/// A file of torch with tensors of two elements, by name.
fn weights(names: &[&str]) -> Vec<u8> {
    let keys: Vec<String> = (0..names.len()).map(|n| n.to_string()).collect();
    let tensors: Vec<(&str, Vec<u8>)> = names
        .iter()
        .zip(&keys)
        .map(|(name, key)| (*name, tensor(storage("HalfStorage", key, 2), 0, &[2], &[1])))
        .collect();
    let records: Vec<(&str, &[u8])> = keys.iter().map(|key| (key.as_str(), &b"abcd"[..])).collect();
    torch_zip(&dict(&tensors), &records)
}

const SAFETENSORS: &str = r#"{"w":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}"#;

#[test]
fn the_config_beside_pytorch_model_bin_is_read() {
    let folder = Folder::new();
    let file = folder.write("pytorch_model.bin", weights(&["w"]));
    folder.write("config.json", r#"{"n_head": 12}"#);
    folder.write("generation_config.json", r#"{"eos_token_id": 3}"#);
    for path in [folder.path(), &file] {
        let checkpoint = Checkpoint::open(path).expect("a good directory");
        assert_eq!(checkpoint.format().kind, FormatKind::TorchZip);
        assert_eq!(checkpoint.lookup("n_head"), Some(&Value::Int(12)));
        assert_eq!(checkpoint.lookup("generation_config.json.eos_token_id"), Some(&Value::Int(3)));
        assert_eq!(checkpoint.lookup("w"), Some(&Value::Tensor(0)));
    }
}

#[test]
fn safetensors_are_taken_where_both_lie_in_a_directory_and_that_is_told() {
    let folder = Folder::new();
    folder.write("pytorch_model.bin", weights(&["w"]));
    let alone = Checkpoint::open(folder.path()).expect("a good directory");
    assert!(alone.notes().is_empty());
    folder.write("model.safetensors", safetensors(SAFETENSORS, b"abcd"));
    let checkpoint = Checkpoint::open(folder.path()).expect("a good directory");
    assert_eq!(checkpoint.format().kind, FormatKind::Safetensors);
    assert_eq!(
        checkpoint.notes(),
        ["model.safetensors is read; pytorch_model.bin, which lies beside it, is not"]
    );
}

fn shards(map: &str) -> Folder {
    let folder = Folder::new();
    folder.write("pytorch_model-00001-of-00002.bin", weights(&["a", "b"]));
    folder.write("pytorch_model-00002-of-00002.bin", weights(&["c"]));
    folder.write("config.json", r#"{"n_head": 12}"#);
    folder.write("pytorch_model.bin.index.json", format!(r#"{{"metadata": {{}}, "weight_map": {map}}}"#));
    folder
}

const MAP: &str = r#"{"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00001-of-00002.bin",
    "c": "pytorch_model-00002-of-00002.bin"}"#;

#[test]
fn shards_of_torch_are_read_together() {
    let folder = shards(MAP);
    for path in [folder.path(), &folder.path().join("pytorch_model.bin.index.json")] {
        let checkpoint = Checkpoint::open(path).expect("a good directory");
        assert_eq!(checkpoint.format().kind, FormatKind::TorchShards);
        let names: Vec<&str> = checkpoint.tensors().iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        for tensor in checkpoint.tensors() {
            assert_eq!(checkpoint.bytes(tensor), b"abcd");
        }
        assert_eq!(checkpoint.lookup("n_head"), Some(&Value::Int(12)));
    }
}

#[test]
fn one_shard_alone_is_told_to_be_one_of_several() {
    let folder = shards(MAP);
    let one = Checkpoint::open(&folder.path().join("pytorch_model-00002-of-00002.bin")).expect("a shard");
    let [note] = one.notes() else { panic!("{:?}", one.notes()) };
    assert!(note.contains("is one of several files of a model: give their directory"), "{note}");
}

#[test]
fn headers_of_far_too_many_values_are_not_read() {
    let folder = Folder::new();
    let dimensions = "1,".repeat(5_000_000);
    let header = format!(r#"{{"w":{{"dtype":"F16","shape":[{dimensions}2],"data_offsets":[0,4]}}}}"#);
    let length = (header.len() as u64).to_le_bytes();
    let file = folder.write("model.safetensors", [&length[..], header.as_bytes(), b"abcd"].concat());
    let refusal = Checkpoint::open(&file).expect_err("too many dimensions").to_string();
    assert!(refusal.contains("it holds more than 4194304 values"), "{refusal}");
}

#[test]
fn shards_of_torch_must_belong_together() {
    let refusal = |map: &str, change: &dyn Fn(&Folder)| {
        let folder = shards(map);
        change(&folder);
        Checkpoint::open(folder.path()).expect_err("a bad index").to_string()
    };
    let twice = refusal(MAP, &|folder| {
        folder.write("pytorch_model-00002-of-00002.bin", weights(&["b", "c"]));
    });
    assert!(twice.contains("tensor `b` is in two shards"), "{twice}");
    let missing = refusal(MAP, &|folder| {
        std::fs::remove_file(folder.path().join("pytorch_model-00002-of-00002.bin")).expect("removed");
    });
    assert!(
        missing.contains("shard pytorch_model-00002-of-00002.bin, which the index names, is missing"),
        "{missing}"
    );
    let broken = refusal(MAP, &|folder| {
        folder.write("pytorch_model-00002-of-00002.bin", "version https://git-lfs.github.com/spec/v1");
    });
    assert!(
        broken.contains("in shard pytorch_model-00002-of-00002.bin, it is a Git LFS pointer"),
        "{broken}"
    );
    let absent = refusal(&MAP.replace("\"c\"", "\"d\""), &|_| {});
    assert!(absent.contains("tensor `d` should be in shard"), "{absent}");
    let outside = refusal(r#"{"a": "../a.bin"}"#, &|_| {});
    assert!(outside.contains("`../a.bin` is not the name of a file in the same folder"), "{outside}");
}

#[test]
fn configs_that_are_no_objects_or_far_too_long_are_refused() {
    let refusal = |config: &str| {
        let folder = Folder::new();
        folder.write("model.safetensors", safetensors(SAFETENSORS, b"abcd"));
        folder.write("config.json", config);
        Checkpoint::open(folder.path()).expect_err("a bad config").to_string()
    };
    assert!(refusal("[]").contains("it holds no JSON object"));
    let many = format!("{{\"a\": [{}0]}}", "[],".repeat(300_000));
    assert!(refusal(&many).contains("it holds more than 262144 values"));
    let long = format!("{{\"a\": \"{}\"}}", "x".repeat(17 << 20));
    assert!(refusal(&long).contains("far more than such a file holds"));
}

/// Whatever lies where a text file is looked for, opening it ends.
#[cfg(unix)]
#[test]
fn pipes_and_devices_in_the_place_of_text_files_are_refused() {
    let opened = |name: &str, others: &[(&str, &[u8])]| {
        let folder = Folder::new();
        for (other, bytes) in others {
            folder.write(other, *bytes);
        }
        let path = folder.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.is_ok_and(|status| status.success()), "mkfifo");
        let pipe = Checkpoint::open(folder.path()).expect_err("a pipe").to_string();
        std::fs::remove_file(&path).expect("removed");
        std::os::unix::fs::symlink("/dev/zero", &path).expect("linked");
        let device = Checkpoint::open(folder.path()).expect_err("a device").to_string();
        [pipe, device]
    };
    let single: (&str, &[u8]) = ("model.safetensors", &safetensors(SAFETENSORS, b"abcd"));
    let cases = [
        ("config.json", &[single][..]),
        ("generation_config.json", &[single]),
        ("model.safetensors.index.json", &[]),
        ("pytorch_model.bin.index.json", &[]),
        ("latest_checkpointed_iteration.txt", &[]),
    ];
    for (name, others) in cases {
        for refusal in opened(name, others) {
            assert!(refusal.contains("not a regular file"), "{name}: {refusal}");
        }
    }
    for refusal in opened("x/.zarray", &[("common.pt", b""), ("x/0", b"")]) {
        assert!(refusal.contains("holds no checkpoint"), "{refusal}");
    }
}

#[test]
fn documents_are_read_by_name() {
    let folder = Folder::new();
    let file = folder.write("consolidated.00.pth", weights(&["w"]));
    folder.write("params.json", r#"{"dim": 64}"#);
    let checkpoint = Checkpoint::open(&file).expect("a file of torch");
    let params = checkpoint.document("params.json").expect("it is read").expect("it is there");
    assert_eq!(params.lookup("dim"), Some(&Value::Int(64)));
    assert_eq!(checkpoint.document("config.json").expect("nothing is read"), None);
    assert_eq!(checkpoint.document("../params.json").expect("nothing is read"), None);
    folder.write("broken.json", "{");
    assert!(checkpoint.document("broken.json").is_err());
}
