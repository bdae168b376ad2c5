//! What can be wrong with a distributed checkpoint.

/// A distributed checkpoint whose parts do not fit together.
#[derive(Debug, thiserror::Error)]
pub enum DistributedError {
    /// The list of parts is missing.
    #[error("its .metadata, which says where each tensor lies, is missing; fetch it into the same directory")]
    NoMetadata,
    /// The list of parts is not what torch writes.
    #[error(
        "`{place}` is {what}; the file is damaged, or of a version that is not known: fetch or save it again"
    )]
    Metadata {
        /// Which part of it.
        place: String,
        /// What is there, or missing.
        what: String,
    },
    /// Parts that are listed once and meant many times.
    #[error(
        "what it says of `{place}` repeats itself until it is far larger than the file; torch does not write that: do not \
         trust the file"
    )]
    Explodes {
        /// The tensor, cut off.
        place: String,
    },
    /// A file outside the directory.
    #[error(
        "it says that `{name}` lies in the file `{path}`, which is not below the checkpoint's directory; do not trust the file: \
         fetch it from a source you trust"
    )]
    Escapes {
        /// The tensor.
        name: String,
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
    /// Bytes that two tensors are said to lie in.
    #[error(
        "`{name}` should lie in it from byte {start} on, but so does `{other}`; .metadata is damaged or of another checkpoint: \
         fetch both again"
    )]
    Shared {
        /// The tensor.
        name: String,
        /// The other tensor, or another chunk of the same.
        other: String,
        /// First byte.
        start: u64,
    },
    /// A chunk that is compressed or encrypted.
    #[error(
        "`{name}` is stored with transforms (compression), which are not read; save it again without them"
    )]
    Transformed {
        /// The tensor.
        name: String,
    },
    /// Bytes that are no file of `torch.save`.
    #[error("it is no file of torch.save, as it holds no data.pkl; the file is damaged: fetch it again")]
    NoPickle,
    /// The plain data is missing.
    #[error(
        "it is missing, and with it the arguments of the run (number of heads, version, …); fetch it into the same directory"
    )]
    NoCommon,
    /// A shape that no tensor can have.
    #[error("`{name}` should have the shape {shape:?}; no tensor is so large: do not trust the file")]
    Large {
        /// The tensor.
        name: String,
        /// Its shape as stated.
        shape: Vec<u64>,
    },
    /// More tensors than any checkpoint has.
    #[error(
        "with `{name}` there are more than {limit} parts of tensors; no model has so many: do not trust the file"
    )]
    Tensors {
        /// The tensor at which it became too much.
        name: String,
        /// The limit.
        limit: usize,
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
