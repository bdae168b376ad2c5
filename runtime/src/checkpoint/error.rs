//! Why a checkpoint could not be opened.

use super::distributed::DistributedError;
use std::io;
use std::path::Path;

use crate::archive::ArchiveError;
use crate::safetensors::SafetensorsError;
use crate::torch::TorchError;

use super::iteration::Iteration;
use super::shards::ShardsError;
use super::zarr::ZarrError;

/// A checkpoint that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {file}: {cause}")]
pub struct OpenError {
    /// The file or directory at fault, with the member where it is inside an archive.
    pub file: String,
    /// What is wrong. It is part of this error's text, and so not its source.
    pub cause: Box<OpenCause>,
}

impl OpenError {
    pub(super) fn new(file: impl Into<String>, cause: impl Into<OpenCause>) -> OpenError {
        OpenError { file: file.into(), cause: Box::new(cause.into()) }
    }

    pub(super) fn at(path: &Path, cause: impl Into<OpenCause>) -> OpenError {
        OpenError::new(path.display().to_string(), cause)
    }
}

/// What is wrong with a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum OpenCause {
    /// The parts of a distributed checkpoint do not fit together.
    #[error(transparent)]
    Distributed(DistributedError),
    /// An array of a zarr checkpoint is damaged, or stored in a way that is not read.
    #[error(transparent)]
    Zarr(#[from] ZarrError),
    /// The operating system refused.
    #[error("{}", plain_io(.0))]
    Io(#[from] io::Error),
    /// A damaged or unreadable torch file.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// A damaged or unreadable zip archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A damaged or unreadable safetensors file.
    #[error(transparent)]
    Safetensors(#[from] SafetensorsError),
    /// A configuration file that is not JSON.
    #[error("it is not valid JSON ({0}); fetch it again, or correct it")]
    Json(#[from] serde_json::Error),
    /// A text file far longer than its purpose explains.
    #[error("it has {length} bytes, far more than such a file holds; fetch it again")]
    Long {
        /// Its length in bytes.
        length: u64,
    },
    /// A JSON file that would take far more memory than its purpose explains.
    #[error("it holds more than {most} values, far more than such a file holds; fetch it again")]
    Values {
        /// The most values that are read.
        most: usize,
    },
    /// A configuration file that is JSON, but no object.
    #[error("it holds no JSON object, which a config is; fetch it again, or correct it")]
    NoObject,
    /// The shards of an index do not fit it.
    #[error(transparent)]
    Shards(#[from] ShardsError),

    /// There is nothing at the path that was given.
    #[error("there is no such file or directory; {hint}")]
    Nothing {
        /// What may be meant.
        hint: String,
    },
    /// The file is empty.
    #[error("the file is empty; fetch it again")]
    Empty,
    /// The file stands for another in a Git repository.
    #[error("it is a Git LFS pointer, not the file itself; run `git lfs pull` in its repository")]
    LfsPointer,
    /// The file is a web page.
    #[error("it is a web page, not a checkpoint; the download was redirected: fetch it again")]
    WebPage,
    /// A kind of checkpoint that is not read.
    #[error("{kind} is not supported; {instead}")]
    Kind {
        /// The kind of file.
        kind: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// Nothing that is known.
    #[error(
        "it is no checkpoint of a known format (it starts with {start}); expected are files of torch.save, safetensors files, \
         and zip archives that hold one"
    )]
    Unknown {
        /// The first bytes.
        start: String,
    },

    /// A zip archive that holds no checkpoint.
    #[error("the zip archive holds no torch or safetensors file; its entries are {entries}")]
    NoCandidate {
        /// Names of the first entries.
        entries: String,
    },
    /// A zip archive that holds more than one checkpoint.
    #[error(
        "the zip archive holds several checkpoints: {members}; choose one with --member (`OpenOptions::member`)"
    )]
    Candidates {
        /// Their names.
        members: String,
    },
    /// The chosen member is not in the archive.
    #[error("the zip archive has no entry `{member}`; the checkpoints in it are {members}")]
    NoMember {
        /// The chosen member.
        member: String,
        /// Names of those that could be chosen.
        members: String,
    },
    /// A member was chosen, but the file is no archive of checkpoints.
    #[error(
        "member `{member}` was asked for, but the file is a {kind}, not a zip archive of checkpoints; \
         leave the member out"
    )]
    NotArchive {
        /// The chosen member.
        member: String,
        /// What the file is.
        kind: &'static str,
    },

    /// A directory without a checkpoint.
    #[error("the directory holds no checkpoint: looked for {looked_for}; {hint}")]
    NoCheckpoint {
        /// Names that would have been recognised.
        looked_for: &'static str,
        /// What to do.
        hint: String,
    },
    /// The tracker file does not name an iteration.
    #[error(
        "latest_checkpointed_iteration.txt should hold a number or `release`, but holds {content}; correct \
         it, or give the directory of the iteration"
    )]
    Tracker {
        /// What it holds.
        content: String,
    },
    /// The iteration that the tracker file names is not there.
    #[error(
        "latest_checkpointed_iteration.txt names {folder}, which is missing; fetch it, or give the \
         directory of another iteration"
    )]
    NoIteration {
        /// Name of the missing directory.
        folder: String,
    },
    /// Several iterations, and nothing says which.
    #[error(
        "it holds several iterations ({folders}) and no latest_checkpointed_iteration.txt says which; give \
         one of their directories"
    )]
    Iterations {
        /// Names of the directories.
        folders: String,
    },
    /// An iteration was asked for that the directory does not hold.
    #[error(
        "iteration {iteration} was asked for, but there is no {folder}; the iterations in it are {present}; choose \
         one of them, or leave the iteration out (--iteration, `OpenOptions::iteration`)"
    )]
    NoSuchIteration {
        /// The iteration.
        iteration: Iteration,
        /// The directory that is not there.
        folder: String,
        /// Those that are.
        present: String,
    },
    /// An iteration was asked for, but a file was given.
    #[error(
        "iteration {iteration} was asked for, but this is a file; give the directory that holds the iterations, or leave \
         the iteration out"
    )]
    IterationOfFile {
        /// The iteration.
        iteration: Iteration,
    },
    /// The ranks that are there are not all.
    #[error(
        "{missing} is missing: of the {grid} ranks of this checkpoint there are only {folders}; fetch the missing ones \
         into the same directory"
    )]
    RankMissing {
        /// Name of the first directory that should be there.
        missing: String,
        /// How many ranks there are in each direction.
        grid: String,
        /// Names of the directories that are there.
        folders: String,
    },
    /// Ranks of checkpoints that were cut in different ways.
    #[error(
        "{first} and {second} are ranks of different checkpoints, as their names have unlike numbers of numbers; remove those \
         that do not belong there"
    )]
    RankNumbers {
        /// The first rank.
        first: String,
        /// One that differs from it.
        second: String,
    },
    /// Two directories of one rank.
    #[error("{first} and {second} are both the same rank; remove the one that does not belong there")]
    RankTwice {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// A rank's directory without a model.
    #[error(
        "the directory of a rank holds neither model_optim_rng.pt nor model_rng.pt; fetch the file, or remove the directory if \
         it does not belong there"
    )]
    RankEmpty,
    /// A rank of another iteration.
    #[error(
        "it is from iteration {found}, but {first} is from iteration {expected}; fetch all ranks of one iteration"
    )]
    RankIteration {
        /// Its iteration.
        found: i64,
        /// Name of the first rank.
        first: String,
        /// That rank's iteration.
        expected: i64,
    },
    /// Two tensors have one dotted path.
    #[error(
        "two tensors are both called `{name}`, as a key holds a dot or two keys read alike; rename one of \
         them before saving"
    )]
    SameName {
        /// The name of both.
        name: String,
    },
}

fn plain_io(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "permission denied; change its permissions, or run as its owner".to_owned()
        }
        _ => error.to_string(),
    }
}

/// The first few of `names`, and how many more there are.
pub(crate) fn listed<S: AsRef<str>>(names: &[S]) -> String {
    const SHOWN: usize = 8;
    if names.is_empty() {
        return "none".to_owned();
    }
    let mut text = names.iter().take(SHOWN).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}
