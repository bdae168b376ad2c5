//! Why an output was not written.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::engine::CopyError;

/// Why an output was not written. Nothing of it is left behind then, unless the error says so.
#[derive(Debug, Error)]
pub enum OutputError {
    /// Files that would be replaced.
    #[error("`{}` already holds {}; allow replacing them or choose another directory", .directory.display(), List(.names))]
    Exists {
        /// The output directory.
        directory: PathBuf,
        /// Names inside it.
        names: Vec<String>,
    },
    /// A directory where a file is to be, or the other way round.
    #[error(
        "`{}` is in the way: a {kind} of that name is to be written and it is no {kind}",
        .path.display(),
        kind = if *.directory { "file" } else { "directory" }
    )]
    InTheWay {
        /// What is there.
        path: PathBuf,
        /// Whether that is a directory.
        directory: bool,
    },
    /// A file in a directory that is to be replaced, which no conversion writes.
    #[error(
        "`{}` holds `{name}`, which no conversion writes and none replaces; move it elsewhere or choose another directory",
        .directory.display()
    )]
    Foreign {
        /// The output directory.
        directory: PathBuf,
        /// The file in it.
        name: String,
    },
    /// An output in the place of what it is made from.
    #[error("`{}` is what is converted and would be replaced; choose another directory", .path.display())]
    IsInput {
        /// A file of the input.
        path: PathBuf,
    },
    /// A file of the input was written to while it was read.
    #[error("`{}` changed while it was read; convert again once it stays as it is", .path.display())]
    InputChanged {
        /// The file.
        path: PathBuf,
    },
    /// Files that were moved aside and could not be moved back.
    #[error(
        "{error}; and what was there before could not be moved back, {source}: it lies in `{}`, and the next run \
         that writes there moves it back",
        .staging.join("old").display()
    )]
    NotRestored {
        /// Why the output was not written.
        error: Box<OutputError>,
        /// The directory that holds the files.
        staging: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A name that leaves the output directory.
    #[error("`{name}` is not the relative path of a file inside the output directory")]
    FileName {
        /// The name.
        name: String,
    },
    /// Two files with one name.
    #[error("two files of the output are named `{name}`")]
    DuplicateFile {
        /// The name.
        name: String,
    },
    /// Two tensors with one name.
    #[error("two tensors of the output are named `{name}`")]
    DuplicateTensor {
        /// The name.
        name: String,
    },
    /// A tensor name that the format keeps for itself.
    #[error("no tensor can be named `{name}` in a safetensors file, which keeps that name for its metadata")]
    ReservedTensor {
        /// The name.
        name: String,
    },
    /// A header beyond what readers accept.
    #[error(
        "the header of `{file}` would have {bytes} bytes for {tensors} tensors, readers accept at most {limit}; \
         write smaller shards"
    )]
    HeaderTooLarge {
        /// The file.
        file: String,
        /// Bytes of its header.
        bytes: usize,
        /// The limit of the format.
        limit: usize,
        /// Tensors in the file.
        tensors: usize,
    },
    /// A tensor that one file holds twice, and not as the same.
    #[error(
        "`{file}` is to hold tensor `{name}` as {first} and again as {again}; give one of them another name"
    )]
    SavedTwice {
        /// The file.
        file: String,
        /// The tensor.
        name: String,
        /// Element type and shape where it occurs first.
        first: String,
        /// Element type and shape where it occurs again.
        again: String,
    },
    /// Data nested too deeply to be read back.
    #[error("the data of `{file}` is nested more than {limit} deep; flatten it")]
    Deep {
        /// The file.
        file: String,
        /// The deepest nesting.
        limit: usize,
    },
    /// A size that does not fit 63 bits.
    #[error("`{name}` is larger than any file can be")]
    TooLarge {
        /// The tensor or file.
        name: String,
    },
    /// A plan whose tensors overlap or leave their file.
    #[error("the plan of `{file}` is inconsistent: `{what}` overlaps its neighbour or leaves the file")]
    Plan {
        /// The file.
        file: String,
        /// The tensor or literal bytes.
        what: String,
    },
    /// A planned tensor without contents, or contents of a tensor that is not planned.
    #[error("tensor `{name}` is {} but not {}", if *.planned { "planned" } else { "given" }, if *.planned { "given" } else { "planned" })]
    Unmatched {
        /// The tensor.
        name: String,
        /// Whether it is in the plan.
        planned: bool,
    },
    /// A tensor that is not as planned.
    #[error("tensor `{name}` is planned as {planned} and given as {given}")]
    Differs {
        /// The tensor.
        name: String,
        /// Element type and shape in the plan.
        planned: String,
        /// Element type and shape given.
        given: String,
    },
    /// Contents that cannot be copied or made.
    #[error("tensor `{name}`: {source}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong with its contents.
        source: CopyError,
    },
    /// Too little room.
    #[error(
        "`{}` has too little room: the output needs {needed} bytes{}",
        .directory.display(),
        .free.map(|free| format!(", {free} were free")).unwrap_or_default()
    )]
    NoSpace {
        /// The output directory.
        directory: PathBuf,
        /// Bytes of all files.
        needed: u64,
        /// Bytes free before writing, where the system says.
        free: Option<u64>,
    },
    /// Any other failure of the file system.
    #[error("cannot {action} `{}`: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The caller asked to stop.
    #[error("writing was cancelled")]
    Cancelled,
}

impl OutputError {
    /// For `map_err`: a failure of the file system.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OutputError {
        let path = path.to_owned();
        move |source| OutputError::Io { action, path, source }
    }
}

/// The first names of a list, in backticks.
struct List<'a>(&'a [String]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        for (index, name) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{}`{name}`", if index == 0 { "" } else { ", " })?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
