//! Port model checkpoints between frameworks by a declarative mapping.

#![deny(unsafe_code)]

mod dtype;

pub use dtype::DType;
