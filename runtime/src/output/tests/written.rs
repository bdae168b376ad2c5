//! What is written, read back with the reference reader.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use safetensors::SafeTensors;
use tempfile::tempdir;

use super::model::{Sources, ones};
use crate::DType;
use crate::engine::{PreparedTensor, TargetTensor};
use crate::output::{
    Literal, Options, OutputError, OutputPlan, PlannedFile, PlannedTensor, SmallFile, TensorSpec,
    plan_safetensors, run,
};

fn planned(tensors: &[TargetTensor<'_>], shard: Option<u64>) -> OutputPlan {
    plan_safetensors(tensors.iter().map(TensorSpec::of).collect(), &BTreeMap::new(), shard).unwrap()
}

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

fn fast() -> Options<'static> {
    Options { threads: 2, sync: false, ..Options::default() }
}

#[test]
fn the_reference_reader_finds_every_tensor() {
    let sources = Sources::new();
    let tensors = sources.tensors();
    let by_name: HashMap<&str, &TargetTensor<'_>> =
        tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    for shard in [None, Some(1_000_000)] {
        let directory = tempdir().unwrap();
        let path = directory.path().join("new/model");
        let config = SmallFile { name: "config.json".to_owned(), bytes: b"{}\n".to_vec() };
        let plan = planned(&tensors, shard);
        let written = AtomicU64::new(0);
        let progress = |bytes| {
            written.fetch_add(bytes, Ordering::Relaxed);
        };
        let options = Options { progress: Some(&progress), sync: true, ..fast() };
        run(&path, &plan, &tensors, std::slice::from_ref(&config), &options).unwrap();
        let mut files = files(&path);
        assert_eq!(files.remove("config.json"), Some(config.bytes));
        assert_eq!(files.remove("model.safetensors.index.json"), plan.index.map(|index| index.bytes));
        assert_eq!(files.len(), if shard.is_none() { 1 } else { 3 });
        let mut found = 0;
        let mut bytes_found = 0;
        for bytes in files.values() {
            let (_, metadata) = SafeTensors::read_metadata(bytes).unwrap();
            assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
            for (name, view) in SafeTensors::deserialize(bytes).unwrap().tensors() {
                let tensor = by_name[name.as_str()];
                let shape: Vec<u64> = view.shape().iter().map(|&size| size as u64).collect();
                assert_eq!(shape, tensor.shape, "{name}");
                let expected = PreparedTensor::new(tensor).unwrap().to_bytes();
                assert!(view.data() == expected, "{name}");
                bytes_found += view.data().len() as u64;
                found += 1;
            }
        }
        assert_eq!(found, tensors.len());
        assert_eq!(written.into_inner(), bytes_found);
    }
}

#[test]
fn bytes_do_not_depend_on_threads() {
    let sources = Sources::new();
    let tensors = sources.tensors();
    let outputs = [1, 2, 7].map(|threads| {
        let directory = tempdir().unwrap();
        let options = Options { threads, ..fast() };
        run(directory.path(), &planned(&tensors, Some(1_000_000)), &tensors, &[], &options).unwrap();
        files(directory.path())
    });
    assert!(outputs[0] == outputs[1] && outputs[0] == outputs[2]);
}

#[test]
fn a_hundred_thousand_small_tensors() {
    let tensors: Vec<_> = (0..100_000).map(|i| ones(&format!("layers.{i}.bias"), DType::BF16, 8)).collect();
    let directory = tempdir().unwrap();
    let calls = AtomicU64::new(0);
    let progress = |_| {
        calls.fetch_add(1, Ordering::Relaxed);
    };
    let options = Options { progress: Some(&progress), ..fast() };
    run(directory.path(), &planned(&tensors, None), &tensors, &[], &options).unwrap();
    let bytes = fs::read(directory.path().join("model.safetensors")).unwrap();
    let (head, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(metadata.tensors().len(), tensors.len());
    assert!(bytes[8 + head..].chunks_exact(2).all(|element| element == [0x80, 0x3F]));
    assert_eq!(bytes.len() - 8 - head, 1_600_000);
    assert_eq!(calls.into_inner(), 7);
}

#[test]
fn names_may_have_directories() {
    let tensors = [ones("w", DType::F32, 4)];
    let mut plan = planned(&tensors, None);
    plan.files[0].name = "mp_rank_00/model.safetensors".to_owned();
    let directory = tempdir().unwrap();
    run(directory.path(), &plan, &tensors, &[], &fast()).unwrap();
    let bytes = fs::read(directory.path().join("mp_rank_00/model.safetensors")).unwrap();
    assert_eq!(SafeTensors::deserialize(&bytes).unwrap().len(), 1);
}

#[test]
fn plans_may_leave_room_between_tensors() {
    let tensors = [ones("a", DType::U8, 3), ones("b", DType::U8, 400_000), ones("c", DType::U8, 2)];
    let place = |index: usize, offset| {
        let spec = TensorSpec::of(&tensors[index]);
        PlannedTensor { bytes: spec.bytes().unwrap(), spec, offset, checksums: vec![] }
    };
    let literals = [(0, b"head".to_vec()), (7, b"gap".to_vec()), (400_012, b"tail".to_vec())];
    let file = PlannedFile {
        name: "padded".to_owned(),
        size: 400_016,
        tensors: vec![place(0, 4), place(2, 10), place(1, 12)],
        literals: literals.map(|(offset, bytes)| Literal { offset, bytes }).to_vec(),
    };
    let plan = OutputPlan { files: vec![file], index: None, superseded: |_, _| false };
    let directory = tempdir().unwrap();
    run(directory.path(), &plan, &tensors, &[], &fast()).unwrap();
    let expected = [&b"head\x01\x01\x01gap\x01\x01"[..], &[1; 400_000], b"tail"].concat();
    assert!(fs::read(directory.path().join("padded")).unwrap() == expected);
}

#[cfg(unix)]
#[test]
fn files_have_the_permissions_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempdir().unwrap();
    let tensors = [ones("w", DType::F32, 4)];
    run(directory.path(), &planned(&tensors, None), &tensors, &[], &fast()).unwrap();
    fs::write(directory.path().join("other"), "").unwrap();
    let mode = |name| fs::metadata(directory.path().join(name)).unwrap().permissions().mode();
    assert_eq!(mode("model.safetensors"), mode("other"));
}

#[test]
fn existing_outputs_are_replaced_only_when_allowed() {
    let tensors = [ones("w", DType::F32, 4)];
    let plan = planned(&tensors, None);
    let directory = tempdir().unwrap();
    let before = [
        ("config.json", "old"),
        ("model-00001-of-00002.safetensors", "old"),
        ("model.safetensors", "old"),
        ("model.safetensors.index.json", "old"),
        ("tokenizer.json", "kept"),
    ];
    for (name, text) in before {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let old = files(directory.path());
    let config = [SmallFile { name: "config.json".to_owned(), bytes: b"new".to_vec() }];
    let error = run(directory.path(), &plan, &tensors, &config, &fast()).unwrap_err();
    let OutputError::Exists { names, .. } = &error else { panic!("{error}") };
    assert_eq!(
        *names,
        [
            "model.safetensors",
            "model.safetensors.index.json",
            "config.json",
            "model-00001-of-00002.safetensors"
        ]
    );
    assert!(
        error.to_string().contains("already holds `model.safetensors`, `model.safetensors.index.json`"),
        "{error}"
    );
    assert_eq!(files(directory.path()), old);

    run(directory.path(), &plan, &tensors, &config, &Options { force: true, ..fast() }).unwrap();
    let new = files(directory.path());
    assert_eq!(new.keys().collect::<Vec<_>>(), ["config.json", "model.safetensors", "tokenizer.json"]);
    assert_eq!(new["config.json"], b"new");
    assert_eq!(new["tokenizer.json"], b"kept");
    assert!(SafeTensors::deserialize(&new["model.safetensors"]).is_ok());
}
