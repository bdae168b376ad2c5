//! Checkpoints made to order, for tests and benchmarks: torch files written without torch.

#![forbid(unsafe_code)]

mod gpt2;
mod pickle;
mod torch_file;

pub use gpt2::{MegatronGpt2, Version};
pub use pickle::Py;
pub use torch_file::{Dtype, TensorSpec, TorchFile};
