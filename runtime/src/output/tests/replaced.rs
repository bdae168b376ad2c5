//! What is replaced, and what never is.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tempfile::tempdir;

use super::model::ones;
use crate::DType;
use crate::engine::TargetTensor;
use crate::output::disk::rename_by_link;
use crate::output::{
    Options, OutputError, OutputPlan, SmallFile, TensorSpec, is_of_earlier_output, plan_safetensors, run,
    write,
};
use crate::storage::Region;

const TRACKER: &str = "latest_checkpointed_iteration.txt";

fn tensors() -> [TargetTensor<'static>; 1] {
    [ones("w", DType::F32, 100)]
}

fn planned() -> OutputPlan {
    let specs = tensors().iter().map(TensorSpec::of).collect();
    plan_safetensors(specs, &BTreeMap::new(), None).unwrap()
}

/// One rank of an iteration.
fn ranked(iteration: &str) -> OutputPlan {
    let mut plan = planned();
    plan.files[0].name = format!("{iteration}/mp_rank_00/model_optim_rng.pt");
    plan.index = Some(SmallFile { name: TRACKER.to_owned(), bytes: b"release".to_vec() });
    plan.superseded = is_of_earlier_output;
    plan
}

fn fast() -> Options<'static> {
    Options { threads: 1, sync: false, ..Options::default() }
}

fn put(directory: &Path, name: &str) {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, if name == TRACKER { "release" } else { "old" }).unwrap();
}

fn names(path: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => names.extend(self::names(&entry.path()).iter().map(|inner| format!("{name}/{inner}"))),
            false => names.push(name),
        }
    }
    names.sort();
    names
}

#[test]
fn ranks_of_another_split_are_seen_and_go() {
    let directory = tempdir().unwrap();
    let path = directory.path();
    for rank in ["00_000", "00_001", "01_000", "01_001"] {
        put(path, &format!("release/mp_rank_{rank}/model_optim_rng.pt"));
    }
    // Without the tracker file, too.
    for tracked in [false, true] {
        if tracked {
            put(path, TRACKER);
        }
        let error = run(path, &ranked("release"), &tensors(), &[], &fast()).unwrap_err();
        assert!(
            matches!(&error, OutputError::Exists { names, .. } if names.contains(&"release".to_owned())),
            "{error}"
        );
    }
    put(path, "notes.md");
    run(path, &ranked("release"), &tensors(), &[], &Options { force: true, ..fast() }).unwrap();
    assert_eq!(names(path), [TRACKER, "notes.md", "release/mp_rank_00/model_optim_rng.pt"]);
}

#[test]
fn an_output_of_another_format_goes_whole() {
    let directory = tempdir().unwrap();
    let path = directory.path();
    run(path, &ranked("release"), &tensors(), &[], &fast()).unwrap();
    let error = run(path, &planned(), &tensors(), &[], &fast()).unwrap_err();
    assert!(matches!(&error, OutputError::Exists { names, .. } if names == &[TRACKER, "release"]), "{error}");
    let force = Options { force: true, ..fast() };
    run(path, &planned(), &tensors(), &[], &force).unwrap();
    assert_eq!(names(path), ["model.safetensors"]);
    run(path, &ranked("release"), &tensors(), &[], &force).unwrap();
    assert_eq!(names(path), [TRACKER, "release/mp_rank_00/model_optim_rng.pt"]);
}

#[test]
fn what_no_conversion_writes_is_never_removed() {
    let directory = tempdir().unwrap();
    let path = directory.path();
    put(path, TRACKER);
    for file in ["release/mp_rank_00/model_optim_rng.pt", "release/mp_rank_00/distrib_optim.pt"] {
        put(path, file);
    }
    let before = names(path);
    let force = Options { force: true, ..fast() };
    let error = run(path, &ranked("release"), &tensors(), &[], &force).unwrap_err();
    assert!(error.to_string().contains("holds `release/mp_rank_00/distrib_optim.pt`, which no"), "{error}");
    assert_eq!(names(path), before);
    // Another iteration than the one that is written stays with all that it has.
    run(path, &ranked("iter_0000010"), &tensors(), &[], &force).unwrap();
    assert!(path.join("release/mp_rank_00/distrib_optim.pt").exists());
    assert!(path.join("iter_0000010/mp_rank_00/model_optim_rng.pt").exists());
}

#[test]
fn what_comes_while_an_output_is_written_is_not_replaced() {
    for (there, came) in [(true, "model.safetensors"), (false, "model.safetensors"), (true, "config.json")] {
        let directory = tempdir().unwrap();
        let path = directory.path().join("out");
        if there {
            fs::create_dir(&path).unwrap();
        }
        let config = [SmallFile { name: "config.json".to_owned(), bytes: b"{}".to_vec() }];
        let progress = |_| put(&path, came);
        let options = Options { progress: Some(&progress), ..fast() };
        let error = run(&path, &planned(), &tensors(), &config, &options).unwrap_err();
        assert!(matches!(&error, OutputError::Exists { names, .. } if names == &[came]), "{error}");
        assert_eq!(names(&path), [came]);
        assert_eq!(fs::read(path.join(came)).unwrap(), b"old");
        assert_eq!(names(directory.path()), [format!("out/{came}")]);
        // With leave to replace it, it is.
        fs::remove_file(path.join(came)).unwrap();
        fs::remove_dir(&path).unwrap();
        run(&path, &planned(), &tensors(), &config, &Options { force: true, ..options }).unwrap();
        assert_eq!(names(directory.path()), ["out/config.json", "out/model.safetensors"]);
        assert_ne!(fs::read(path.join(came)).unwrap(), b"old");
    }
}

#[test]
fn an_output_never_replaces_its_input() {
    let directory = tempdir().unwrap();
    let path = directory.path();
    put(path, "model.safetensors");
    let input = Region::map_path(&path.join("model.safetensors")).unwrap().input().cloned().unwrap();
    for plan in [planned(), ranked("release")] {
        let options = Options { force: true, ..fast() };
        let inputs = std::slice::from_ref(&input);
        let error = write(path, &plan, &tensors(), &[], inputs, &options).unwrap_err();
        assert!(matches!(&error, OutputError::IsInput { .. }), "{error}");
        assert_eq!(names(path), ["model.safetensors"]);
    }
}

#[test]
fn nothing_is_published_of_an_input_that_changed() {
    let directory = tempdir().unwrap();
    let path = directory.path();
    put(path, "input");
    let input = Region::map_path(&path.join("input")).unwrap().input().cloned().unwrap();
    let progress = |_| fs::write(path.join("input"), "longer").unwrap();
    let options = Options { progress: Some(&progress), ..fast() };
    let out = path.join("out");
    let error = write(&out, &planned(), &tensors(), &[], &[input], &options).unwrap_err();
    assert!(error.to_string().contains("/input` changed while it was read"), "{error}");
    assert_eq!(names(path), ["input"]);
    assert!(!out.exists());
    // One that changed before is not even read.
    let input = Region::map_path(&path.join("input")).unwrap().input().cloned().unwrap();
    fs::write(path.join("input"), "").unwrap();
    let progress = |_| panic!("something was read");
    let options = Options { progress: Some(&progress), ..fast() };
    let error = write(&out, &planned(), &tensors(), &[], &[input], &options).unwrap_err();
    assert!(matches!(error, OutputError::InputChanged { .. }), "{error}");
}

#[test]
fn names_are_given_by_links_where_renames_would_replace() {
    let directory = tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for name in ["a", "b", "c/x", "d/x"] {
        put(directory.path(), name);
    }
    for (from, to) in [("a", "b"), ("c", "d"), ("a", "d"), ("c", "b")] {
        let error = rename_by_link(&path(from), &path(to)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists, "{from} {to}");
    }
    rename_by_link(&path("a"), &path("e")).unwrap();
    rename_by_link(&path("c"), &path("f")).unwrap();
    assert_eq!(names(directory.path()), ["b", "d/x", "e", "f/x"]);
}
