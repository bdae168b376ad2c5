//! Which of the checkpoints that one run left.

use std::fmt;
use std::str::FromStr;

/// Which of the checkpoints in a Megatron-LM directory is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Iteration {
    /// That of an iteration: `iter_0000100` is 100.
    Number(u64),
    /// That in the directory `release`.
    Release,
}

impl Iteration {
    /// The iteration whose directory is called `folder`.
    pub(crate) fn of_folder(folder: &str) -> Option<Iteration> {
        match folder.strip_prefix("iter_") {
            Some(number) if number.bytes().all(|b| b.is_ascii_digit()) => {
                number.parse().ok().map(Iteration::Number)
            }
            Some(_) => None,
            None => (folder == "release").then_some(Iteration::Release),
        }
    }

    /// The name of its directory, as Megatron-LM writes it.
    pub(crate) fn folder(self) -> String {
        match self {
            Iteration::Number(number) => format!("iter_{number:07}"),
            Iteration::Release => "release".to_owned(),
        }
    }
}

impl fmt::Display for Iteration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Iteration::Number(number) => number.fmt(f),
            Iteration::Release => f.write_str("release"),
        }
    }
}

/// Text that names no iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write the iteration's number, or `release`")]
pub struct IterationError;

impl FromStr for Iteration {
    type Err = IterationError;

    fn from_str(text: &str) -> Result<Iteration, IterationError> {
        match text {
            "release" => Ok(Iteration::Release),
            _ => text.parse().map(Iteration::Number).map_err(|_| IterationError),
        }
    }
}
