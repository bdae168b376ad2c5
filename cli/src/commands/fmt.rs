//! `transship fmt`.

use std::path::Path;

use similar::TextDiff;
use transship::grammar::format;

use crate::args::Fmt;
use crate::load::{failed, file_source};
use crate::{FAILED, Failure, Streams};

pub(crate) fn run(args: &Fmt, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let mut unformatted = Vec::new();
    for file in &args.files {
        let name = file.display().to_string();
        let piped = name == "-";
        if !piped && !file.is_file() {
            return Err(Failure::new(format_args!("there is no mapping file {name}")));
        }
        let source = file_source(&name)?;
        let formatted = format(&source).map_err(|d| failed(&d, streams))?;
        let shown = if piped { "<stdin>" } else { &name };
        if args.diff {
            let diff = TextDiff::from_lines(source.text(), formatted.as_str());
            write!(streams.out, "{}", diff.unified_diff().header(shown, shown))?;
        }
        match formatted == source.text() {
            false if args.check => unformatted.push(shown.to_owned()),
            _ if args.check || args.diff => {}
            _ if piped => streams.out.write_all(formatted.as_bytes())?,
            true => {}
            false => {
                replace(file, &formatted)?;
                writeln!(streams.out, "formatted {name}")?;
            }
        }
    }
    if unformatted.is_empty() {
        return Ok(());
    }
    let message = format!("not formatted: {}; run `transship fmt` on them\n", unformatted.join(", "));
    Err(Failure { message, code: FAILED })
}

/// Written beside and renamed, so that a failure leaves the file as it was.
fn replace(file: &Path, text: &str) -> Result<(), Failure> {
    let cannot =
        |error: std::io::Error| Failure::new(format_args!("cannot write {}: {error}", file.display()));
    let temporary = file.with_extension("mapping.partial");
    let written = std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, file));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written.map_err(cannot)
}
