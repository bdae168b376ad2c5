//! All tests that cross crates, in one binary.

mod accounting;
mod bad_input;
mod cli;
mod command;
mod convert;
mod mappings;
mod oracle;
mod prose;
mod random_layouts;
