//! All tests that cross crates, in one binary.

mod convert;
mod downstream;
mod expand;
mod mappings;
mod oracle;
mod port;
mod prose;
mod testing;
