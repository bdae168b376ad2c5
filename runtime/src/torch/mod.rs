//! Files that `torch.save` wrote: the zip container of torch 1.6 and later, and the stream before that.
//!
//! Follows `torch/serialization.py`, `torch/_utils.py` and `caffe2/serialize/inline_container.cc` of torch 2.x.

mod container;
mod error;
mod legacy;
mod numpy;
mod plain;
mod rebuild;
mod storages;
mod walk;

#[cfg(test)]
mod tests;

pub(crate) use container::{is_torchscript, pickle_entries, read as read_zip};
pub use error::TorchError;
pub(crate) use legacy::{looks_like as looks_like_legacy, read as read_legacy};
pub(crate) use storages::{dtype as dtype_of, dtype_name, storage_class};
pub(crate) use walk::start;
