//! Port model checkpoints between frameworks by a declarative mapping.

#![deny(unsafe_code)]

mod dtype;
pub mod engine;
pub mod output;

pub use dtype::DType;
