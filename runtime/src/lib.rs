//! Port model checkpoints between frameworks by a declarative mapping.

#![deny(unsafe_code)]

mod archive;
mod array;
mod bind;
mod budget;
mod checkpoint;
mod convert;
mod document;
mod dtype;
pub mod engine;
#[cfg(feature = "candle")]
pub mod nn;
mod orders;
pub mod output;
mod pickle;
mod plan;
pub mod port;
mod safetensors;
mod storage;
mod tensor;
#[cfg(feature = "testing")]
pub mod testing;
mod text_file;
mod threads;
mod tokenizer_files;
mod torch;
mod verify;

pub use archive::{ArchiveError, Packing};
pub use array::{Array, ArrayError};
pub use bind::{
    BaseConfig, BaseConfigError, BindOptions, Binding, Origin, Setting, detect_side, other_family, side_marks,
};
pub use checkpoint::{
    Checkpoint, DistributedError, Format, FormatKind, Iteration, IterationError, OpenCause, OpenError,
    OpenOptions, RankFile, ShardsError, ZarrError,
};
pub use convert::{ConvertError, ConvertOptions, convert};
pub use document::{Key, Map, Object, Value};
pub use dtype::DType;
pub use engine::Tolerance;
pub use pickle::{PickleError, PickleErrorKind};
pub use plan::{Plan, PlanOptions, Source};
pub use safetensors::SafetensorsError;
pub use tensor::{Chunk, Storage, StorageId, Tensor, Unsupported};
pub use text_file::read_text_file;
pub use tokenizer_files::TokenizerFiles;
pub use torch::TorchError;
pub use verify::{ConfigDifference, Difference, FirstDifference, Verification, Verify, VerifyOptions};

#[cfg(feature = "derive")]
pub use transship_macros::Port;

/// The shipped mappings as types.
#[cfg(feature = "derive")]
pub mod mappings;

/// What generated code calls; not for others.
#[doc(hidden)]
pub mod __private {
    #[cfg(feature = "testing")]
    pub use insta;
    pub use serde;

    #[cfg(feature = "candle")]
    pub use crate::nn;

    pub use crate::port::{MappingCell, optional, required, setting, settings};
}

/// The mapping language.
pub use transship_grammar as grammar;

/// The README's code is compiled with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
