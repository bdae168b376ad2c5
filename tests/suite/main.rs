//! All tests that cross crates, in one binary.

mod mappings;
mod prose;
