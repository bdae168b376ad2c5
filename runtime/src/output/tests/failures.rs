//! Failures leave everything as it was.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::tempdir;

use super::model::{Sources, ones};
use crate::DType;
use crate::engine::TargetTensor;
use crate::output::directory::{OutputDirectory, Request};
use crate::output::{Options, OutputError, OutputPlan, SmallFile, TensorSpec, plan_safetensors, run};

fn planned(tensors: &[TargetTensor<'_>]) -> OutputPlan {
    plan_safetensors(tensors.iter().map(TensorSpec::of).collect(), &BTreeMap::new(), None).unwrap()
}

/// Paths below a directory with the contents of files.
fn tree(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        if path.is_dir() {
            found.extend(tree(&path));
            found.insert(name, Vec::new());
        } else {
            found.insert(name, fs::read(&path).unwrap());
        }
    }
    found
}

/// What asks for files with these names.
fn request<'a>(path: &'a Path, names: &[&'a str]) -> Request<'a> {
    Request {
        path,
        names: names.to_vec(),
        superseded: |_, _| false,
        needed: 0,
        force: false,
        sync: false,
        inputs: &[],
        tell: &|_| {},
    }
}

fn fast() -> Options<'static> {
    Options { threads: 2, sync: false, ..Options::default() }
}

#[test]
fn a_cancelled_run_leaves_no_trace() {
    let sources = Sources::new();
    let tensors = sources.tensors();
    let directory = tempdir().unwrap();
    fs::write(directory.path().join("kept"), "kept").unwrap();
    let before = tree(directory.path());
    let cancel = AtomicBool::new(false);
    let seen = AtomicBool::new(false);
    let path = directory.path().join("a/b");
    let progress = |_| {
        seen.store(!path.exists() && tree(directory.path()).len() > before.len(), Ordering::Relaxed);
        cancel.store(true, Ordering::Relaxed);
    };
    let options = Options { progress: Some(&progress), cancel: Some(&cancel), ..fast() };
    let error = run(&path, &planned(&tensors), &tensors, &[], &options).unwrap_err();
    assert!(matches!(error, OutputError::Cancelled), "{error}");
    assert!(seen.into_inner(), "the output is there before it is complete");
    assert_eq!(tree(directory.path()), before);
}

#[test]
fn what_comes_to_be_in_the_way_is_named_and_kept() {
    let tensors = [ones("w", DType::F32, 100)];
    let directory = tempdir().unwrap();
    for name in ["model.safetensors", "model.safetensors.index.json"] {
        fs::write(directory.path().join(name), name).unwrap();
    }
    // Something takes the place of the last file while the first is written.
    let blocker = directory.path().join("config.json");
    let progress = |_| fs::create_dir(&blocker).unwrap();
    let options = Options { progress: Some(&progress), force: true, ..fast() };
    // One file that replaces nothing precedes the one that fails.
    let small = ["tokenizer.json", "config.json"];
    let small = small.map(|name| SmallFile { name: name.to_owned(), bytes: b"{}".to_vec() });
    let mut before = tree(directory.path());
    before.insert(blocker.display().to_string(), Vec::new());
    let error = run(directory.path(), &planned(&tensors), &tensors, &small, &options).unwrap_err();
    assert!(error.to_string().contains("/config.json` is in the way"), "{error}");
    assert_eq!(tree(directory.path()), before);
}

#[test]
fn a_directory_in_the_way_is_named() {
    let tensors = [ones("w", DType::F32, 100)];
    let directory = tempdir().unwrap();
    fs::create_dir(directory.path().join("model.safetensors")).unwrap();
    for force in [false, true] {
        let options = Options { force, ..fast() };
        let error = run(directory.path(), &planned(&tensors), &tensors, &[], &options).unwrap_err();
        assert!(
            matches!(&error, OutputError::InTheWay { path, directory: true } if path.ends_with("model.safetensors")),
            "{error}"
        );
    }
}

#[test]
fn too_little_room_is_said_before_anything_is_written() {
    let elements = 1usize << 60;
    let tensors = [ones("w", DType::U8, elements)];
    let plan = planned(&tensors);
    let directory = tempdir().unwrap();
    let error = run(&directory.path().join("new"), &plan, &tensors, &[], &fast()).unwrap_err();
    let OutputError::NoSpace { needed, free, .. } = &error else { panic!("{error}") };
    assert_eq!(*needed, plan.files[0].size);
    assert!(free.is_none_or(|free| free < 1 << 60));
    assert!(error.to_string().contains(&format!("the output needs {needed} bytes")), "{error}");
    assert!(tree(directory.path()).is_empty());
}

#[test]
fn a_disk_that_fills_up_meanwhile_is_said() {
    let directory = tempdir().unwrap();
    let output =
        OutputDirectory::prepare(Request { needed: 1000, ..request(directory.path(), &["x"]) }).unwrap();
    let error = output.write_failed("x", ErrorKind::StorageFull.into());
    assert!(error.to_string().contains("has too little room: the output needs 1000 bytes"), "{error}");
    let error = output.write_failed("x", ErrorKind::PermissionDenied.into());
    assert!(
        error.to_string().starts_with("cannot write `") && error.to_string().contains("/x`: "),
        "{error}"
    );
}

#[test]
fn names_that_leave_the_directory_are_errors() {
    let directory = tempdir().unwrap();
    for name in ["", "..", "../x", "/x", "a/../../x", "./x"] {
        let error = OutputDirectory::prepare(request(directory.path(), &[name])).err().unwrap();
        assert!(matches!(&error, OutputError::FileName { .. }), "{name}: {error}");
    }
    let error = OutputDirectory::prepare(request(directory.path(), &["x", "x"])).err().unwrap();
    assert_eq!(error.to_string(), "two files of the output are named `x`");
    let mut output = OutputDirectory::prepare(request(directory.path(), &["x"])).unwrap();
    assert!(output.add("y", 0).is_err());
    assert!(output.add("x", 0).is_ok());
    assert!(output.add("x", 0).is_err());
}

#[test]
fn plans_and_tensors_must_agree() {
    let directory = tempdir().unwrap();
    let path = directory.path();
    let (a, b) = (ones("a", DType::F32, 4), ones("b", DType::F32, 4));
    let plan = planned(std::slice::from_ref(&a));
    let message =
        |tensors: &[TargetTensor<'_>]| run(path, &plan, tensors, &[], &fast()).unwrap_err().to_string();
    assert_eq!(message(&[]), "tensor `a` is planned but not given");
    assert_eq!(message(&[a.clone(), b]), "tensor `b` is given but not planned");
    assert_eq!(message(&[a.clone(), a.clone()]), "two tensors of the output are named `a`");
    let other = ones("a", DType::F16, 4);
    assert_eq!(message(&[other]), "tensor `a` is planned as f32 [4] and given as f16 [4]");
    let empty = TargetTensor { contents: vec![], ..a.clone() };
    assert_eq!(message(&[empty]), "tensor `a`: the contents of the tensor have 0 elements, the tensor has 4");
    let mut bad = planned(std::slice::from_ref(&a));
    bad.files[0].size -= 1;
    let error = run(path, &bad, std::slice::from_ref(&a), &[], &fast()).unwrap_err();
    assert!(matches!(error, OutputError::Plan { .. }), "{error}");
    let mut bad = planned(std::slice::from_ref(&a));
    bad.files[0].tensors[0].bytes = 8;
    let error = run(path, &bad, std::slice::from_ref(&a), &[], &fast()).unwrap_err();
    assert!(matches!(error, OutputError::Plan { .. }), "{error}");
    assert!(tree(path).is_empty());
}
