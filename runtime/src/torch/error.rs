//! What can be wrong with a torch file.

use crate::archive::ArchiveError;
use crate::pickle::PickleError;

/// A torch file that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TorchError {
    /// The zip archive around the file is damaged.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A pickle inside the file is damaged.
    #[error("in {place}, {source}; the file is damaged or truncated: fetch it again")]
    Pickle {
        /// Which pickle.
        place: String,
        /// The cause.
        source: PickleError,
    },
    /// A part of the file is not what torch writes.
    #[error("{place} is {what}; the file is damaged, or not written by torch.save: fetch or save it again")]
    Malformed {
        /// Which part.
        place: String,
        /// What is there, or missing.
        what: String,
    },
    /// A big-endian machine wrote the file.
    #[error("its tensors are big-endian; load and save it again on a little-endian machine")]
    BigEndian,
    /// A storage is shorter than what lies in it.
    #[error(
        "{place} has {length} bytes, but {elements} need {needed}; the file is damaged or truncated: fetch it again"
    )]
    Short {
        /// The storage, by its record where it has one.
        place: String,
        /// Its length in bytes.
        length: u64,
        /// What needs more, with its shape and dtype.
        elements: String,
        /// How many bytes that needs.
        needed: u64,
    },
    /// The pickle refers to a storage that the file does not hold.
    #[error("storage {key} of `{name}` is missing; the file is damaged or incomplete: fetch it again")]
    NoStorage {
        /// Key of the storage.
        key: String,
        /// The tensor that needs it.
        name: String,
    },
    /// A tensor's description makes no sense.
    #[error("tensor `{name}` is described wrongly ({what}); the file is damaged: fetch it again")]
    Tensor {
        /// Path of the tensor.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// The plain data is nested too deeply.
    #[error(
        "the data at `{path}` is nested deeper than {limit} levels; no training code writes that: do not trust the file"
    )]
    Deep {
        /// Path to the place, cut off.
        path: String,
        /// Most levels read.
        limit: usize,
    },
    /// Shared objects make the plain data far larger than the file.
    #[error(
        "the data at `{path}` repeats itself until it is far larger than the file; no training code writes that: do not \
         trust the file"
    )]
    Explodes {
        /// Path to the place, cut off.
        path: String,
    },
    /// A tensor's path is too long.
    #[error(
        "the tensor at `{path}…` has a name longer than {limit} bytes; no training code writes that: do not trust the file"
    )]
    LongName {
        /// Start of the path.
        path: String,
        /// Longest name read.
        limit: usize,
    },
}
