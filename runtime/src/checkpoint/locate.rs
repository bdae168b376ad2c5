//! Which file of a directory is the checkpoint.
//!
//! Megatron-LM's directories are `<root>/latest_checkpointed_iteration.txt`, `<root>/iter_0000100/` or
//! `<root>/release/`, in it `mp_rank_00/`, in it `model_optim_rng.pt` (or `model_rng.pt`, as its distributed optimizer wrote in
//! 2022). Hugging Face's hold `model.safetensors`, or an index of shards.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::{OpenCause, OpenError, listed};
use super::folder::names;

/// Where Megatron-LM notes the latest iteration.
const TRACKER: &str = "latest_checkpointed_iteration.txt";

/// Names of the file with the model. `optim.pt` and `distrib_optim.pt` have the optimizer's state only.
const MODEL_FILES: [&str; 2] = ["model_optim_rng.pt", "model_rng.pt"];

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A checkpoint's file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// One file, of whatever format.
    File(PathBuf),
    /// The index of several safetensors files.
    Index(PathBuf),
}

/// Finds the checkpoint that `path`, a file or a directory at any level, stands for.
pub(super) fn locate(path: &Path) -> Result<Found, OpenError> {
    let metadata = path.metadata().map_err(|e| OpenError::at(path, e))?;
    if metadata.is_dir() {
        return in_directory(path, true);
    }
    let index = path.file_name().is_some_and(|n| n.to_string_lossy().ends_with(".safetensors.index.json"));
    Ok(if index { Found::Index(path.to_owned()) } else { Found::File(path.to_owned()) })
}

/// `outer`: whether this may be the directory that holds the iterations.
fn in_directory(path: &Path, outer: bool) -> Result<Found, OpenError> {
    let wrong = |cause| Err(OpenError::at(path, cause));
    let names = names(path)?;
    let has = |name: &str| names.iter().any(|n| n == name);
    if outer && has(TRACKER) {
        return in_directory(&iteration(path)?, false);
    }
    if has(SINGLE) {
        return Ok(Found::File(path.join(SINGLE)));
    }
    if has(INDEX) {
        return Ok(Found::Index(path.join(INDEX)));
    }
    if let Some(file) = MODEL_FILES.into_iter().find(|f| has(f)) {
        return Ok(Found::File(path.join(file)));
    }
    if let Some(found) = ranks(path, &names)? {
        return Ok(found);
    }
    if has(".metadata") || names.iter().any(|n| n.ends_with(".distcp")) {
        let kind = "a distributed checkpoint (.metadata and .distcp files)";
        let instead = "save it with --ckpt-format torch, or convert it with Megatron-LM first";
        return wrong(OpenCause::Kind { kind, instead });
    }
    if has("metadata.json") && names.iter().any(|n| path.join(n).join(".zarray").exists()) {
        let kind = "a zarr checkpoint";
        let instead = "save it with --ckpt-format torch, or convert it with Megatron-LM first";
        return wrong(OpenCause::Kind { kind, instead });
    }
    let iterations: Vec<&String> = names
        .iter()
        .filter(|n| (n.starts_with("iter_") || *n == "release") && path.join(n).is_dir())
        .collect();
    match iterations[..] {
        [only] if outer => return in_directory(&path.join(only), false),
        [_, _, ..] if outer => return wrong(OpenCause::Iterations { folders: listed(&iterations) }),
        _ => {}
    }
    let hint = if has("pytorch_model.bin") {
        "give its pytorch_model.bin itself".to_owned()
    } else {
        format!("it holds {}", listed(&names))
    };
    let looked_for = "latest_checkpointed_iteration.txt, iter_*, release, mp_rank_*, model_optim_rng.pt, \
                      model.safetensors and model.safetensors.index.json";
    wrong(OpenCause::NoCheckpoint { looked_for, hint })
}

/// The directory of the iteration that the tracker file names.
fn iteration(path: &Path) -> Result<PathBuf, OpenError> {
    let tracker = path.join(TRACKER);
    let wrong = |cause: OpenCause| OpenError::at(path, cause);
    let length = tracker.metadata().map_err(|e| OpenError::at(&tracker, e))?.len();
    if length > 64 {
        return Err(wrong(OpenCause::Tracker { content: format!("{length} bytes") }));
    }
    let content = fs::read(&tracker).map_err(|e| OpenError::at(&tracker, e))?;
    let content = String::from_utf8_lossy(&content);
    let folder = match (content.trim(), content.trim().parse::<u64>()) {
        ("release", _) => "release".to_owned(),
        (_, Ok(number)) => format!("iter_{number:07}"),
        (other, Err(_)) => return Err(wrong(OpenCause::Tracker { content: format!("{other:?}") })),
    };
    let iteration = path.join(&folder);
    if !iteration.is_dir() {
        return Err(wrong(OpenCause::NoIteration { folder }));
    }
    Ok(iteration)
}

/// The file of the only rank, or `None` where there are no directories of ranks.
fn ranks(path: &Path, names: &[String]) -> Result<Option<Found>, OpenError> {
    let ranks: Vec<&String> =
        names.iter().filter(|n| n.starts_with("mp_rank_") && path.join(n).is_dir()).collect();
    let model = |rank: &String| MODEL_FILES.iter().map(|f| path.join(rank).join(f)).find(|f| f.is_file());
    // Directories with optimizer shards only are named like ranks.
    let holding: Vec<(&String, PathBuf)> = ranks.iter().filter_map(|&r| model(r).map(|f| (r, f))).collect();
    match &holding[..] {
        [(_, file)] => Ok(Some(Found::File(file.clone()))),
        [] if ranks.is_empty() => Ok(None),
        [] => {
            let looked_for = "model_optim_rng.pt and model_rng.pt in its mp_rank_* directories";
            let hint = "fetch them, or give the file itself".to_owned();
            Err(OpenError::at(path, OpenCause::NoCheckpoint { looked_for, hint }))
        }
        several => {
            let folders: Vec<&str> = several.iter().map(|(r, _)| r.as_str()).collect();
            let (count, folders) = (several.len(), listed(&folders));
            Err(OpenError::at(path, OpenCause::Ranks { count, folders }))
        }
    }
}
