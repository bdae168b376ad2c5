//! All tests that cross crates, in one binary.

mod convert;
mod mappings;
mod oracle;
mod port;
mod port_inputs;
mod port_model;
mod prose;
mod ui;
