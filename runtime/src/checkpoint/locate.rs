//! Which files of a directory are the checkpoint.
//!
//! Megatron-LM's directories are `<root>/latest_checkpointed_iteration.txt`, `<root>/iter_0000100/` or
//! `<root>/release/`, in it `mp_rank_00/` and other ranks, in each `model_optim_rng.pt` (or `model_rng.pt`, as its distributed
//! optimizer wrote in 2022). Hugging Face's hold `model.safetensors` or `pytorch_model.bin`, or an index of shards.

use std::path::{Path, PathBuf};

use super::distributed::{DistributedError, METADATA};
use super::error::{OpenCause, OpenError, listed};
use super::folder::{names, read_text};
use super::hints;
use super::iteration::Iteration;
use super::ranks::{RankName, check_grid};
use super::zarr;

/// Where Megatron-LM notes the latest iteration.
pub(crate) const TRACKER: &str = "latest_checkpointed_iteration.txt";

/// Names of the file with the model. `optim.pt` and `distrib_optim.pt` have the optimizer's state only.
pub(crate) const MODEL_FILES: [&str; 2] = ["model_optim_rng.pt", "model_rng.pt"];

/// Files of the optimizer's state. With the distributed optimizer of 2022 there are ranks that hold no other.
const OPTIMIZER_FILES: [&str; 2] = ["optim.pt", "distrib_optim.pt"];

/// Files of Hugging Face's models, the one that is taken first: whole ones, and indices of shards.
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const TORCH_SINGLE: &str = "pytorch_model.bin";
const TORCH_INDEX: &str = "pytorch_model.bin.index.json";

/// Longest tracker file: a number or a word.
const MAX_TRACKER: u64 = 64;

/// A checkpoint's file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// One file, of whatever format.
    File(PathBuf),
    /// The index of several files of safetensors or torch.
    Index(PathBuf),
    /// Ranks in order of their numbers, one at least, each with its file.
    Ranks(PathBuf, Vec<(RankName, PathBuf)>),
    /// A directory with a distributed checkpoint.
    Distributed(PathBuf),
    /// A directory with a zarr array for each tensor.
    Zarr(PathBuf),
}

/// Finds the checkpoint that `path`, a file or a directory at any level, stands for.
pub(super) fn locate(path: &Path, iteration: Option<Iteration>) -> Result<Found, OpenError> {
    let metadata = path.metadata().map_err(|e| match hints::of_nothing(path) {
        Some(hint) if e.kind() == std::io::ErrorKind::NotFound => {
            OpenError::at(path, OpenCause::Nothing { hint })
        }
        _ => OpenError::at(path, e),
    })?;
    match iteration {
        Some(iteration) if metadata.is_dir() => return in_directory(&chosen(path, iteration)?, false),
        Some(iteration) => return Err(OpenError::at(path, OpenCause::IterationOfFile { iteration })),
        None if metadata.is_dir() => return in_directory(path, true),
        None => {}
    }
    let index = path.file_name().is_some_and(|name| {
        let name = name.to_string_lossy();
        name.ends_with(".safetensors.index.json") || name.ends_with(".bin.index.json")
    });
    Ok(if index { Found::Index(path.to_owned()) } else { Found::File(path.to_owned()) })
}

/// `outer`: whether this may be the directory that holds the iterations.
fn in_directory(path: &Path, outer: bool) -> Result<Found, OpenError> {
    let wrong = |cause| Err(OpenError::at(path, cause));
    let names = names(path)?;
    let has = |name: &str| names.iter().any(|n| n == name);
    if outer && has(TRACKER) {
        return in_directory(&latest(path)?, false);
    }
    if let Some(found) = hugging_face(path, &names) {
        return Ok(found);
    }
    if let Some(file) = MODEL_FILES.into_iter().find(|f| has(f)) {
        return Ok(Found::File(path.join(file)));
    }
    if let Some(found) = ranks(path, &names)? {
        return Ok(found);
    }
    if has(METADATA) {
        return Ok(Found::Distributed(path.to_owned()));
    }
    if names.iter().any(|n| n.ends_with(".distcp")) {
        return wrong(DistributedError::NoMetadata.into());
    }
    if zarr::is_checkpoint(path, &names) {
        return Ok(Found::Zarr(path.to_owned()));
    }
    let iterations = iterations(path, &names);
    match iterations[..] {
        [(only, _)] if outer => return in_directory(&path.join(only), false),
        [_, _, ..] if outer => return wrong(OpenCause::Iterations { folders: folders(&iterations) }),
        _ => {}
    }
    let hint = hints::of_directory(path, &names);
    let looked_for = "latest_checkpointed_iteration.txt, iter_*, release, mp_rank_*, model_optim_rng.pt, \
                      model.safetensors and pytorch_model.bin, whole or with an index";
    wrong(OpenCause::NoCheckpoint { looked_for, hint })
}

/// The weights of a Hugging Face model among `names`.
fn hugging_face(path: &Path, names: &[String]) -> Option<Found> {
    let first =
        [SINGLE, INDEX, TORCH_SINGLE, TORCH_INDEX].into_iter().find(|f| names.iter().any(|n| n == f))?;
    let file = path.join(first);
    Some(if first == INDEX || first == TORCH_INDEX { Found::Index(file) } else { Found::File(file) })
}

/// What is said of weights that lie beside those that were found in a directory, and are not read.
pub(super) fn passed_over(found: &Found) -> Option<String> {
    let (Found::File(file) | Found::Index(file)) = found else { return None };
    let name = file.file_name()?.to_string_lossy();
    if name != SINGLE && name != INDEX {
        return None;
    }
    let torch = [TORCH_SINGLE, TORCH_INDEX].into_iter().find(|torch| file.with_file_name(torch).is_file())?;
    Some(format!("{name} is read; {torch}, which lies beside it, is not"))
}

/// The directories of iterations among `names`.
fn iterations<'a>(path: &Path, names: &'a [String]) -> Vec<(&'a String, Iteration)> {
    let iteration = |n: &'a String| Iteration::of_folder(n).map(|iteration| (n, iteration));
    names.iter().filter_map(iteration).filter(|(n, _)| path.join(n).is_dir()).collect()
}

fn folders(iterations: &[(&String, Iteration)]) -> String {
    listed(&iterations.iter().map(|(folder, _)| folder).collect::<Vec<_>>())
}

/// The directory of the iteration that was asked for.
fn chosen(path: &Path, iteration: Iteration) -> Result<PathBuf, OpenError> {
    let names = names(path)?;
    let there = iterations(path, &names);
    match there.iter().find(|(_, i)| *i == iteration) {
        Some((folder, _)) => Ok(path.join(folder)),
        None => {
            let (folder, present) = (iteration.folder(), folders(&there));
            Err(OpenError::at(path, OpenCause::NoSuchIteration { iteration, folder, present }))
        }
    }
}

/// The directory of the iteration that the tracker file names.
fn latest(path: &Path) -> Result<PathBuf, OpenError> {
    let tracker = path.join(TRACKER);
    let wrong = |cause: OpenCause| OpenError::at(path, cause);
    let content = read_text(&tracker, MAX_TRACKER).map_err(|error| match *error.cause {
        OpenCause::Long { length } => wrong(OpenCause::Tracker { content: format!("{length} bytes") }),
        _ => error,
    })?;
    let content = String::from_utf8_lossy(&content);
    let folder = match content.trim().parse::<Iteration>() {
        Ok(iteration) => iteration.folder(),
        Err(_) => return Err(wrong(OpenCause::Tracker { content: format!("{:?}", content.trim()) })),
    };
    let iteration = path.join(&folder);
    if !iteration.is_dir() {
        return Err(wrong(OpenCause::NoIteration { folder }));
    }
    Ok(iteration)
}

/// The files of all ranks, or `None` where there are no directories of ranks.
fn ranks(path: &Path, names: &[String]) -> Result<Option<Found>, OpenError> {
    let mut places = Vec::new();
    let mut empty = Vec::new();
    let mut any = false;
    for rank in names.iter().filter_map(|n| RankName::parse(n)) {
        let folder = path.join(&rank.name);
        if !folder.is_dir() {
            continue;
        }
        any = true;
        match model_file(&folder) {
            Some(file) => places.push((rank, file)),
            None if OPTIMIZER_FILES.iter().any(|f| folder.join(f).is_file()) => {}
            None => empty.push(folder),
        }
    }
    match (&places[..], &empty[..]) {
        ([], _) if !any => Ok(None),
        ([], _) => {
            let looked_for = "model_optim_rng.pt and model_rng.pt in its mp_rank_* directories";
            let hint = "fetch them, or give the file itself".to_owned();
            Err(OpenError::at(path, OpenCause::NoCheckpoint { looked_for, hint }))
        }
        ([_, ..], [folder, ..]) => Err(OpenError::at(folder, OpenCause::RankEmpty)),
        ([_, ..], []) => {
            places.sort();
            let order: Vec<RankName> = places.iter().map(|(rank, _)| rank.clone()).collect();
            check_grid(&order).map_err(|cause| OpenError::at(path, cause))?;
            Ok(Some(Found::Ranks(path.to_owned(), places)))
        }
    }
}

/// The file with the model in the directory of a rank.
fn model_file(folder: &Path) -> Option<PathBuf> {
    MODEL_FILES.iter().map(|f| folder.join(f)).find(|f| f.is_file())
}

/// Names of the other ranks beside that of `file`, where it lies in the directory of one.
///
/// Directories that may not be listed count as empty: the file itself was opened.
pub(super) fn other_ranks(file: &Path) -> Vec<String> {
    // The real path has the directories' names, which the given one may lack: `model_optim_rng.pt`.
    let Ok(real) = file.canonicalize() else { return Vec::new() };
    let Some(rank) = real.parent() else { return Vec::new() };
    let (Some(name), Some(iteration)) = (rank.file_name(), rank.parent()) else { return Vec::new() };
    let name = name.to_string_lossy();
    if RankName::parse(&name).is_none() {
        return Vec::new();
    }
    let names = names(iteration).unwrap_or_default();
    let other =
        |n: &String| RankName::parse(n).is_some() && *n != *name && model_file(&iteration.join(n)).is_some();
    names.into_iter().filter(other).collect()
}

/// The rank that a member of an archive is the file of, and the directory that holds the ranks: `release` and
/// `mp_rank_00` for `release/mp_rank_00/model_optim_rng.pt`.
pub(super) fn rank_of_member(member: &str) -> Option<(&str, RankName)> {
    let (folder, file) = member.rsplit_once('/')?;
    let (outer, rank) = folder.rsplit_once('/').unwrap_or(("", folder));
    if !MODEL_FILES.contains(&file) {
        return None;
    }
    RankName::parse(rank).map(|rank| (outer, rank))
}

/// Whether a file of this name holds the optimizer's state and no model.
pub(super) fn is_optimizer(file: &str) -> bool {
    OPTIMIZER_FILES.contains(&file)
}
