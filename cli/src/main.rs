//! The `transship` command.

#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::process::ExitCode;

use transship_cli::{Terminal, end_by_signal, run};

fn main() -> ExitCode {
    let terminal = Terminal {
        colour: std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        progress: std::io::stderr().is_terminal(),
    };
    let code = run(std::env::args_os(), &mut std::io::stdout().lock(), &mut std::io::stderr(), terminal);
    end_by_signal(code);
    ExitCode::from(code)
}
