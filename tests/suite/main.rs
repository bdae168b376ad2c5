//! All tests that cross crates, in one binary.

// For long literals of `json!`.
#![recursion_limit = "256"]

mod accounting;
mod bad_input;
mod check;
mod choice;
mod cli;
mod command;
mod convert;
mod distributed;
mod downstream;
mod drifted;
mod every_key;
mod expand;
mod imports;
mod inputs;
mod mappings;
mod model_code;
mod model_corpus;
mod models;
mod oracle;
mod other_maths;
mod parts_on_ranks;
mod port;
mod port_inputs;
mod port_model;
mod prose;
mod random_layouts;
mod random_mappings;
mod random_ranks;
mod random_replicas;
mod ranks;
mod resplit;
mod run;
mod shipped;
mod testing;
mod ui;
mod verify;
