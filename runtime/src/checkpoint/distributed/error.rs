//! What can be wrong with a distributed checkpoint.

/// A distributed checkpoint whose parts do not fit together.
#[derive(Debug, thiserror::Error)]
pub enum DistributedError {
    /// The list of parts is missing.
    #[error("its .metadata, which says where each tensor lies, is missing; fetch it into the same directory")]
    NoMetadata,
    /// The list of parts is not what torch writes.
    #[error(
        "{place} is {what}; the file is damaged, or of a version that is not known: fetch or save it again"
    )]
    Metadata {
        /// Which part of it.
        place: String,
        /// What is there, or missing.
        what: String,
    },
    /// A file outside the directory.
    #[error(
        "it names the file `{path}`, which is not below the checkpoint's directory; do not trust the file"
    )]
    Escapes {
        /// The file's path as given.
        path: String,
    },
    /// A file of tensors that is not there.
    #[error("it holds `{name}`, but is missing; fetch it into the same directory")]
    NoFile {
        /// The first tensor in it.
        name: String,
    },
    /// A chunk that no file holds.
    #[error(
        "of `{name}`, the chunk at {offsets:?} is in no file; the checkpoint is incomplete: fetch or save it again"
    )]
    NoItem {
        /// The tensor.
        name: String,
        /// Where the chunk starts.
        offsets: Vec<u64>,
    },
    /// A chunk that ends past its file.
    #[error(
        "`{name}` should lie in it from byte {start} on, {length} bytes long, but it has {available} bytes; it is truncated, or \
         .metadata is of another checkpoint: fetch both again"
    )]
    Outside {
        /// The tensor.
        name: String,
        /// First byte.
        start: u64,
        /// Number of bytes.
        length: u64,
        /// Length of the file.
        available: u64,
    },
    /// A chunk that is no tensor.
    #[error("where `{name}` should lie there is no single tensor; the file is damaged: fetch it again")]
    NoTensor {
        /// The tensor.
        name: String,
    },
    /// A chunk of another dtype or shape than stated.
    #[error(
        "`{name}` is {found} in it, but .metadata says {expected}; the files do not belong together: fetch them again"
    )]
    Differs {
        /// The tensor.
        name: String,
        /// What the file holds.
        found: String,
        /// What the metadata says.
        expected: String,
    },
    /// A chunk that does not lie in its tensor.
    #[error(
        "the chunk of `{name}` at {offsets:?} of {sizes:?} elements is not inside its shape {shape:?}; the file is damaged: fetch it again"
    )]
    Bounds {
        /// The tensor.
        name: String,
        /// Where the chunk starts.
        offsets: Vec<u64>,
        /// Its size.
        sizes: Vec<u64>,
        /// Size of the tensor.
        shape: Vec<u64>,
    },
    /// Elements that are in no chunk.
    #[error(
        "no chunk holds element {at:?} of `{name}`, whose shape is {shape:?}; the checkpoint is incomplete: fetch or save it again"
    )]
    Hole {
        /// The tensor.
        name: String,
        /// The first such element.
        at: Vec<u64>,
        /// Size of the tensor.
        shape: Vec<u64>,
    },
    /// Elements that are in several chunks.
    #[error(
        "two chunks of `{name}`, at {first:?} and {second:?}, overlap; the checkpoint is damaged: fetch or save it again"
    )]
    Overlap {
        /// The tensor.
        name: String,
        /// Where one starts.
        first: Vec<u64>,
        /// Where the other starts.
        second: Vec<u64>,
    },
    /// Chunks in such disorder that comparing them takes too long.
    #[error(
        "`{name}` is cut into chunks without any order; no training code writes that: do not trust the file"
    )]
    Disorder {
        /// The tensor.
        name: String,
    },
    /// A stack of absurdly many layers.
    #[error("`{name}` stacks {layers} layers; no model has so many: do not trust the file")]
    Layers {
        /// The tensor.
        name: String,
        /// How many.
        layers: u64,
    },
}
