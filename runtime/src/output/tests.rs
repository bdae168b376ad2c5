//! Tests of the writer: what is read back, and what is left behind.

mod failures;
mod model;
mod pieces;
mod plans;
mod written;
