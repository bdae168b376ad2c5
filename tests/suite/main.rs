//! All tests that cross crates, in one binary.

mod accounting;
mod bad_input;
mod cli;
mod command;
mod convert;
mod distributed;
mod downstream;
mod drifted;
mod expand;
mod imports;
mod mappings;
mod models;
mod oracle;
mod port;
mod port_inputs;
mod port_model;
mod prose;
mod random_layouts;
mod ranks;
mod resplit;
mod run;
mod shipped;
mod testing;
mod ui;
mod verify;
