//! What can be wrong with a zarr checkpoint.

/// An array of a zarr checkpoint that is damaged, or stored in a way that is not read.
#[derive(Debug, thiserror::Error)]
pub enum ZarrError {
    /// The description of an array is not what the format says.
    #[error(
        "of `{name}`, `{field}` is {found}, but should be {expected}; the file is damaged: fetch it again"
    )]
    Field {
        /// The tensor.
        name: String,
        /// The entry of the file.
        field: &'static str,
        /// What is there.
        found: String,
        /// What should be.
        expected: String,
    },
    /// An array that is stored in a way that is not read.
    #[error(
        "`{name}` has {what}; read are arrays of zarr's version 2 of little-endian numbers, without compressor and filters, in order C, as \
         Megatron-LM writes them: load the array with zarr and save it that way, or save the checkpoint with --ckpt-format torch_dist"
    )]
    Unread {
        /// The tensor.
        name: String,
        /// What is not read.
        what: String,
    },
    /// Chunks without a description.
    #[error(
        "the chunks of `{name}` are there, but not its .zarray, which says how they fit together; fetch it into the same directory"
    )]
    NoArray {
        /// The tensor.
        name: String,
    },
    /// A chunk that is not there.
    #[error(
        "it should hold the chunk of `{name}` at {offsets:?}, but is missing; Megatron-LM writes every chunk, so it stands for no fill \
         value: fetch it into the same directory"
    )]
    NoChunk {
        /// The tensor.
        name: String,
        /// Where the chunk starts.
        offsets: Vec<u64>,
    },
    /// A chunk of another length than its shape asks for.
    #[error(
        "it has {found} bytes, but a chunk of `{name}`, {chunk:?} of {dtype}, has {expected}; it is truncated, or .zarray is of another \
         checkpoint: fetch both again"
    )]
    Length {
        /// The tensor.
        name: String,
        /// Shape of every chunk.
        chunk: Vec<u64>,
        /// Element type.
        dtype: crate::DType,
        /// Length of the file.
        found: u64,
        /// What it should be.
        expected: u64,
    },
    /// A chunk that lies outside its array.
    #[error(
        "the chunk `{chunk}` is there, but `{name}` of the shape {shape:?} in chunks of {chunks:?} has none of that name; its .zarray is of \
         another checkpoint: fetch all of it again"
    )]
    Stray {
        /// The tensor.
        name: String,
        /// Name of the chunk's file.
        chunk: String,
        /// Size of the tensor.
        shape: Vec<u64>,
        /// Size of a chunk.
        chunks: Vec<u64>,
    },
}
