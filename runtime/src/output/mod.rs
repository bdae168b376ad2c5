//! Writing a checkpoint: planned to the byte before anything is read, written in bounded windows by several threads,
//! and published whole or not at all.
//!
//! ```
//! use transship::DType;
//! use transship::engine::{Content, Fill, Region, TargetTensor};
//! use transship::output::{Options, TensorSpec, plan_safetensors, run};
//!
//! let ones = TargetTensor {
//!     name: "norm.weight".to_owned(),
//!     dtype: DType::F32,
//!     shape: vec![4],
//!     contents: vec![Content::Fill { region: Region::whole(&[4]), fill: Fill::Constant(1.0) }],
//! };
//! let plan = plan_safetensors(vec![TensorSpec::of(&ones)], &Default::default(), None)?;
//! let directory = tempfile::tempdir()?;
//! run(directory.path(), &plan, &[ones], &[], &Options::default())?;
//! assert!(directory.path().join("model.safetensors").exists());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod checksum;
mod directory;
mod disk;
mod earlier;
mod error;
mod pieces;
mod plan;
mod safetensors;
mod staging;
mod torch;
mod write;

pub(crate) use disk::free_bytes;
pub(crate) use earlier::is_of_earlier_output;
pub use error::OutputError;
pub use plan::{Literal, OutputPlan, PlannedFile, PlannedTensor, SmallFile, TensorSpec};
pub use safetensors::plan_safetensors;
pub use torch::{Saved, plan_torch};
pub(crate) use write::write;
pub use write::{Options, run};

#[cfg(test)]
mod tests;
