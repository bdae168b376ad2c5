//! What of an earlier output lies in a directory: all that a reader would take for a part of the new one, or start from
//! in its place.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;

use super::OutputError;
use super::safetensors::is_weights_file;
use crate::checkpoint::{Iteration, MODEL_FILES, RankName, TRACKER};

/// Names at the top of an output directory that the new output takes the place of.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    /// What a reader starts from comes first.
    pub(super) names: Vec<String>,
    /// A file in a directory of that kind that no conversion writes, relative to the output directory.
    pub(super) foreign: Option<String>,
}

/// Whether `name` at the top of `directory` belongs to an earlier output, of whichever format: weights, their index,
/// the config, the tracker file, and the iteration that it names if a conversion can have written it.
pub(crate) fn is_of_earlier_output(directory: &Path, name: &str) -> bool {
    match name {
        TRACKER | "config.json" | "generation_config.json" => true,
        _ if is_weights_file(name) => true,
        _ => {
            Iteration::of_folder(name).is_some_and(|iteration| tracked(directory) == Some(iteration))
                && foreign_file(&directory.join(name), name, &HashSet::new()).is_ok_and(|f| f.is_none())
        }
    }
}

/// The iteration that the tracker file names, where there is one.
fn tracked(directory: &Path) -> Option<Iteration> {
    let tracker = directory.join(TRACKER);
    let metadata = fs::symlink_metadata(&tracker).ok()?;
    // Longer than any number.
    (metadata.is_file() && metadata.len() <= 64).then_some(())?;
    fs::read_to_string(tracker).ok()?.trim().parse().ok()
}

impl Earlier {
    /// Looks for the files to come, whose paths are `names`, and for all else for which `superseded` holds.
    ///
    /// # Errors
    /// If a directory cannot be listed, or a file is where a directory must be or the other way round.
    pub(super) fn find(
        path: &Path,
        names: &[&str],
        superseded: fn(&Path, &str) -> bool,
    ) -> Result<Earlier, OutputError> {
        let planned: HashSet<&str> = names.iter().copied().collect();
        // Whether it is a directory, by the name at the top.
        let tops: BTreeMap<&str, bool> = names.iter().map(|name| top(name)).collect();
        let mut earlier = Earlier::default();
        let failed = |error| OutputError::Io { action: "list", path: path.to_owned(), source: error };
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(earlier),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_directory = entry.file_type().map_err(failed)?.is_dir();
            match tops.get(name.as_str()) {
                Some(expected) if *expected != is_directory => {
                    return Err(OutputError::InTheWay { path: entry.path(), directory: is_directory });
                }
                Some(true) => {
                    let foreign = foreign_file(&entry.path(), &name, &planned);
                    earlier.foreign = earlier.foreign.take().or(foreign.map_err(failed)?);
                }
                Some(false) => {}
                None if superseded(path, &name) => {}
                None => continue,
            }
            earlier.names.push(name);
        }
        earlier.names.sort_unstable_by_key(|name| (order(name), name.clone()));
        Ok(earlier)
    }
}

/// The first part of a path, and whether more follows.
pub(super) fn top(name: &str) -> (&str, bool) {
    match Path::new(name).components().next() {
        Some(first) if first.as_os_str().len() < name.len() => {
            (first.as_os_str().to_str().unwrap_or(name), true)
        }
        _ => (name, false),
    }
}

/// What readers look for first comes first.
fn order(name: &str) -> usize {
    match name {
        TRACKER => 0,
        "model.safetensors" => 1,
        "model.safetensors.index.json" => 2,
        _ => 3,
    }
}

/// A file below `path`, which is called `name`, that is neither `planned` nor the file of a rank.
fn foreign_file(path: &Path, name: &str, planned: &HashSet<&str>) -> io::Result<Option<String>> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = format!("{name}/{}", entry.file_name().to_string_lossy());
        let foreign = if entry.file_type()?.is_dir() {
            foreign_file(&entry.path(), &name, planned)?
        } else {
            (!planned.contains(name.as_str()) && !is_rank_file(&name)).then_some(name)
        };
        if foreign.is_some() {
            return Ok(foreign);
        }
    }
    Ok(None)
}

/// Whether `name` is a path such as `release/mp_rank_00/model_optim_rng.pt`.
fn is_rank_file(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    matches!(&parts[..], [iteration, rank, file]
        if Iteration::of_folder(iteration).is_some()
            && RankName::parse(rank).is_some()
            && *file == MODEL_FILES[0])
}
