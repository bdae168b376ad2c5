//! The `transship` command as a function, so that all of it can be tested.

#![forbid(unsafe_code)]

mod args;
mod choose;
mod commands;
mod load;
#[cfg(feature = "candle")]
mod model;
mod pair;
mod prefix;
mod progress;
mod signals;
mod size;
#[cfg(feature = "candle")]
mod tokenizer;

use std::ffi::OsString;
use std::io::Write;

use clap::Parser;

use transship::grammar::escaped;

use args::{Arguments, Command};

pub use signals::end_by_signal;

/// Exit code of a run that did what was asked.
pub const OK: u8 = 0;
/// Exit code where something is wrong with a mapping, a checkpoint or the disk.
pub const FAILED: u8 = 1;
/// Exit code where the command line itself is wrong.
pub const USAGE: u8 = 2;
/// Exit code where what reads the result went away, as a shell tells of a program that SIGPIPE ended.
pub const PIPE_CLOSED: u8 = 141;

/// What the place that messages go to can show.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terminal {
    /// Whether messages are coloured.
    pub colour: bool,
    /// Whether a bar can be drawn; plain lines tell the progress otherwise.
    pub progress: bool,
}

/// Where a command writes: results to one, messages to the other.
pub(crate) struct Streams<'s> {
    pub(crate) out: &'s mut dyn Write,
    pub(crate) err: &'s mut dyn Write,
    pub(crate) terminal: Terminal,
}

/// Why a command ended early; the message was not printed yet.
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) code: u8,
}

impl Failure {
    /// A failure told in one message of its own, in which names from files are shown as a terminal can show them.
    pub(crate) fn new(message: impl std::fmt::Display) -> Failure {
        Failure { message: format!("error: {}\n", escaped(&message.to_string())), code: FAILED }
    }

    /// The message; where it has no colours of its own, `error` is as in messages with a code.
    fn shown(&self, colour: bool) -> std::borrow::Cow<'_, str> {
        match self.message.strip_prefix("error: ") {
            Some(rest) if colour => {
                format!("\u{1b}[1m\u{1b}[91merror\u{1b}[0m\u{1b}[1m:\u{1b}[0m {rest}").into()
            }
            _ => self.message.as_str().into(),
        }
    }

    /// A failure whose message is already whole.
    pub(crate) fn rendered(message: String) -> Failure {
        Failure { message, code: FAILED }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            // Whoever reads has enough, as `head` does.
            return Failure { message: String::new(), code: PIPE_CLOSED };
        }
        Failure::new(format_args!("cannot write the result: {error}"))
    }
}

/// Runs the command line `args`, the program's name first. Results go to `out`, messages to `err`; the exit code
/// is 0 where all is well, 1 where something is wrong, 2 where the command line is, and 128 with the number of the signal
/// where one stopped the writing of an output.
pub fn run<'s>(
    args: impl IntoIterator<Item = OsString>,
    out: &'s mut dyn Write,
    err: &'s mut dyn Write,
    terminal: Terminal,
) -> u8 {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            let text = if terminal.colour { error.render().ansi().to_string() } else { error.to_string() };
            let (stream, code) = if error.use_stderr() { (err, USAGE) } else { (out, OK) };
            // A closed pipe leaves nobody to tell.
            let _ = stream.write_all(text.as_bytes());
            return code;
        }
    };
    let mut streams = Streams { out, err, terminal };
    let result = match &arguments.command {
        Command::Convert(args) => commands::convert::run(args, &mut streams),
        Command::Plan(args) => commands::plan::run(args, &mut streams),
        Command::Verify(args) => commands::verify::run(args, &mut streams),
        Command::Run(args) => commands::run_model(args, &mut streams),
        Command::Inspect(args) => commands::inspect::run(args, &mut streams),
        Command::Check(args) => commands::check::run(args, &mut streams),
        Command::Fmt(args) => commands::fmt::run(args, &mut streams),
        Command::Expand(args) => commands::expand::run(args, &mut streams),
        Command::Explain(args) => commands::explain::run(args, &mut streams),
        Command::Mappings(args) => commands::mappings::run(args, &mut streams),
    };
    match result {
        Ok(()) => OK,
        Err(failure) => {
            let message = failure.shown(streams.terminal.colour);
            let _ = streams.err.write_all(message.as_bytes());
            failure.code
        }
    }
}
