//! Runs that end between two renames, and what the next one makes of it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use tempfile::tempdir;

use super::model::ones;
use super::{Failing, with_failing};
use crate::engine::TargetTensor;
use crate::output::{
    Options, OutputError, OutputPlan, SmallFile, TensorSpec, is_of_earlier_output, plan_safetensors, run,
};
use crate::{Checkpoint, DType};

/// An output of one of several forms.
struct Output {
    tensors: Vec<TargetTensor<'static>>,
    plan: OutputPlan,
    small: Vec<SmallFile>,
}

fn specs(tensors: &[TargetTensor<'_>]) -> Vec<TensorSpec> {
    tensors.iter().map(TensorSpec::of).collect()
}

/// `model.safetensors`, or as many shards, with a config.
fn hugging_face(shards: usize, config: &str) -> Output {
    let tensors: Vec<_> = (0..shards).map(|i| ones(&format!("{config}.{i}"), DType::F32, 100)).collect();
    let limit = (shards > 1).then_some(400);
    let plan = plan_safetensors(specs(&tensors), &BTreeMap::new(), limit).unwrap();
    let file = |name: &str| SmallFile { name: name.to_owned(), bytes: format!("{{\"{config}\": 1}}").into() };
    Output { tensors, plan, small: vec![file("config.json"), file("generation_config.json")] }
}

/// Ranks of an iteration, with the tracker file.
fn megatron(iteration: &str, ranks: usize) -> Output {
    let tensors: Vec<_> = (0..ranks).map(|i| ones(&format!("{iteration}.{i}"), DType::F32, 100)).collect();
    let mut plan = plan_safetensors(specs(&tensors), &BTreeMap::new(), (ranks > 1).then_some(400)).unwrap();
    for (number, file) in plan.files.iter_mut().enumerate() {
        file.name = format!("{iteration}/mp_rank_{number:02}/model_optim_rng.pt");
    }
    let tracker = iteration.trim_start_matches("iter_").as_bytes().to_vec();
    let name = "latest_checkpointed_iteration.txt".to_owned();
    plan.index = Some(SmallFile { name, bytes: tracker });
    plan.superseded = is_of_earlier_output;
    Output { tensors, plan, small: Vec::new() }
}

impl Output {
    fn write(&self, path: &Path, force: bool, tell: &(dyn Fn(&str) + Sync)) -> Result<(), OutputError> {
        let options = Options { threads: 1, force, sync: false, tell: Some(tell), ..Options::default() };
        run(path, &self.plan, &self.tensors, &self.small, &options)
    }

    /// What a directory holds that this was written to alone.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let directory = tempdir().unwrap();
        self.write(&directory.path().join("out"), false, &|_| {}).unwrap();
        files(&directory.path().join("out"))
    }
}

/// All files below a directory with their contents, hidden ones too.
fn files(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(
                files(&entry.path()).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)),
            );
        } else {
            found.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    found
}

fn visible(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = files(path);
    files.retain(|name, _| !name.starts_with('.'));
    files
}

fn pairs() -> Vec<(Output, Output)> {
    vec![
        (hugging_face(1, "old"), hugging_face(1, "new")),
        (hugging_face(3, "old"), hugging_face(1, "new")),
        (hugging_face(1, "old"), hugging_face(3, "new")),
        (hugging_face(3, "old"), megatron("release", 2)),
        (megatron("release", 4), hugging_face(1, "new")),
        (megatron("release", 4), megatron("release", 2)),
        (megatron("iter_0000007", 2), megatron("release", 1)),
    ]
}

/// Calls `check` with a directory in which `first` was replaced by `second` up to each of the steps that it takes,
/// then with one where all were taken. Returns how many there were.
fn at_each_step(
    first: Option<&Output>,
    second: &Output,
    failing: fn(usize) -> Failing,
    check: &dyn Fn(&Path, Result<(), OutputError>),
) -> usize {
    for step in 0.. {
        let directory = tempdir().unwrap();
        let path = directory.path().join("out");
        if let Some(first) = first {
            first.write(&path, false, &|_| {}).unwrap();
        }
        let (result, failed) = with_failing(failing(step), || second.write(&path, true, &|_| {}));
        check(&path, result);
        if !failed {
            return step;
        }
    }
    unreachable!("bug: every run ends")
}

#[test]
fn a_kill_between_renames_leaves_the_old_or_the_new_or_no_checkpoint() {
    for (old, new) in pairs() {
        let (before, after) = (old.files(), new.files());
        let neither = Cell::new(0);
        let steps = at_each_step(Some(&old), &new, Failing::From, &|path, _| {
            let found = visible(path);
            if found != before && found != after {
                let opened = Checkpoint::open(path);
                // Without its tracker file the one iteration of a directory is found, too.
                let whole = |whole: &BTreeMap<String, Vec<u8>>| {
                    let tracker = |name: &&String| name.as_str() != "latest_checkpointed_iteration.txt";
                    found.keys().eq(whole.keys().filter(tracker))
                };
                assert!(opened.is_err() || whole(&before) || whole(&after), "{:?}", found.keys());
                neither.set(neither.get() + 1);
            }
        });
        assert!(steps >= 4 && neither.get() > 0, "{steps} steps");
    }
}

#[test]
fn the_next_run_brings_back_what_a_killed_one_moved_aside() {
    for (old, new) in pairs() {
        let (before, after) = (old.files(), new.files());
        at_each_step(Some(&old), &new, Failing::From, &|path, result| {
            let whole = result.is_ok();
            let told = Mutex::new(Vec::new());
            let tell = |text: &str| told.lock().unwrap().push(text.to_owned());
            // It may not replace what is there, but puts it right.
            let error = hugging_face(1, "next").write(path, false, &tell).unwrap_err();
            assert!(matches!(error, OutputError::Exists { .. }), "{error}");
            assert!(
                files(path) == if whole { after.clone() } else { before.clone() },
                "{:?}",
                files(path).keys()
            );
            assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "something is left");
        });
    }
}

#[test]
fn the_next_run_with_force_leaves_its_own_files_alone() {
    let next = hugging_face(1, "next");
    for (old, new) in pairs() {
        at_each_step(Some(&old), &new, Failing::From, &|path, _| {
            next.write(path, true, &|_| {}).unwrap();
            assert!(files(path) == next.files(), "{:?}", files(path).keys());
        });
    }
}

#[test]
fn a_kill_before_a_new_directory_appears_leaves_none() {
    let new = hugging_face(3, "new");
    let next = hugging_face(1, "next");
    let steps = at_each_step(None, &new, Failing::From, &|path, result| {
        assert_eq!(path.exists(), result.is_ok());
        let told = Mutex::new(Vec::new());
        let tell = |text: &str| told.lock().unwrap().push(text.to_owned());
        let left = fs::read_dir(path.parent().unwrap())
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_str().unwrap().starts_with('.'));
        next.write(&path.with_file_name("other"), false, &tell).unwrap();
        let told = told.into_inner().unwrap();
        assert_eq!(told.len(), usize::from(left), "{told:?}");
        assert!(
            told.iter().all(|text| text.starts_with("removed ") && text.contains("was killed")),
            "{told:?}"
        );
        let hidden = fs::read_dir(path.parent().unwrap()).unwrap();
        let hidden =
            hidden.filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with('.'));
        assert_eq!(hidden.count(), 0);
    });
    assert!(steps >= 1);
}

#[test]
fn a_rename_that_fails_once_changes_nothing() {
    for (old, new) in pairs() {
        let (before, after) = (old.files(), new.files());
        at_each_step(Some(&old), &new, Failing::Only, &|path, result| match result {
            Ok(()) => assert!(visible(path) == after),
            Err(error) => assert!(files(path) == before, "{error}: {:?}", files(path).keys()),
        });
    }
}

#[test]
fn files_that_cannot_be_moved_back_are_told_of() {
    let seen = Cell::new(false);
    at_each_step(Some(&hugging_face(1, "old")), &hugging_face(1, "new"), Failing::From, &|_, result| {
        if let Err(error @ OutputError::NotRestored { .. }) = result {
            assert!(error.to_string().contains("/old`, and the next run"), "{error}");
            seen.set(true);
        }
    });
    assert!(seen.get());
}

#[test]
fn what_is_left_over_once_the_output_is_whole_is_told() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("out");
    let (old, new) = (hugging_face(1, "old"), hugging_face(1, "new"));
    old.write(&path, false, &|_| {}).unwrap();
    let told = Mutex::new(Vec::new());
    let tell = |text: &str| told.lock().unwrap().push(text.to_owned());
    // Three files go, three come.
    let (result, failed) = with_failing(Failing::From(6), || new.write(&path, true, &tell));
    assert!(result.is_ok() && failed, "{result:?}");
    let told = told.into_inner().unwrap();
    assert!(matches!(&told[..], [one] if one.contains("is left over and can be removed")), "{told:?}");
}

#[test]
fn what_a_run_that_is_still_there_has_made_is_not_touched() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("out");
    let (slow, quick) = (hugging_face(1, "slow"), megatron("release", 1));
    let during = || {
        quick.write(&path, false, &|text| panic!("{text}")).unwrap();
    };
    let once = Mutex::new(Some(during));
    let progress = |_| {
        if let Some(during) = once.lock().unwrap().take() {
            during();
        }
    };
    let options = Options { threads: 1, sync: false, progress: Some(&progress), ..Options::default() };
    let error = run(&path, &slow.plan, &slow.tensors, &slow.small, &options).unwrap_err();
    assert!(matches!(error, OutputError::Exists { .. }), "{error}");
    assert!(files(&path) == quick.files());
}
