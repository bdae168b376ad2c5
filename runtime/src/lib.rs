//! Port model checkpoints between frameworks by a declarative mapping.

#![deny(unsafe_code)]

mod archive;
mod checkpoint;
mod document;
mod dtype;
pub mod engine;
pub mod output;
mod pickle;
mod safetensors;
mod storage;
mod tensor;
mod torch;

pub use archive::{ArchiveError, Packing};
pub use checkpoint::{Checkpoint, Format, FormatKind, OpenCause, OpenError, OpenOptions};
pub use document::{Key, Map, Object, Value};
pub use dtype::DType;
pub use pickle::{PickleError, PickleErrorKind};
pub use safetensors::SafetensorsError;
pub use tensor::{Storage, StorageId, Tensor, Unsupported};
pub use torch::TorchError;
