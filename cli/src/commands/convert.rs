//! `transship convert`.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::json;
use transship::grammar::escaped;
use transship::{Binding, ConvertError, Plan, TokenizerFiles, output};

use crate::args::{Convert, Format};
use crate::load::{Loaded, failed, load};
use crate::progress::Progress;
use crate::signals::HeldBack;
use crate::size::show_size;
use crate::{FAILED, Failure, Streams};

pub(crate) fn run(args: &Convert, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let loaded = load(&args.conversion, streams)?;
    let Loaded { mapping, checkpoint, from, bind, plan, notes } = &loaded;
    let binding = Binding::new(mapping, checkpoint, *from, bind).map_err(|d| failed(&d, streams))?;
    let plan = Plan::new(&binding, plan).map_err(|d| failed(&d, streams))?;
    let target = &mapping.side(from.other()).name;
    let directory = args.output.clone().unwrap_or_else(|| default_output(&args.conversion.input, target));
    check_directory(&directory)?;
    let tokenizer = args.tokenizer.as_deref().map(TokenizerFiles::read).transpose().map_err(Failure::new)?;
    let left = tokenizer.as_ref().map(|files| left_behind(files, &plan)).unwrap_or_default();
    let told = args.format == Format::Json || !args.quiet;
    let of_steps = if told { plan.notes_on_steps() } else { Vec::new() };
    let notes = [notes.as_slice(), plan.notes(), &of_steps, &left].concat();
    if !args.quiet {
        let source = &mapping.side(*from).name;
        writeln!(
            streams.err,
            "{}: {} ({source} to {target} by `{}`)",
            checkpoint.file(),
            checkpoint.format(),
            mapping.name
        )?;
        for note in &notes {
            writeln!(streams.err, "note: {}", escaped(note))?;
        }
    }
    let progress =
        Progress::new(plan.output().total_bytes(), "written", args.quiet, streams.terminal.progress);
    let add = |bytes| progress.add(bytes);
    let warnings = Mutex::new(Vec::new());
    let tell =
        |warning: &str| warnings.lock().unwrap_or_else(PoisonError::into_inner).push(warning.to_owned());
    let signals = HeldBack::new()?;
    let options = output::Options {
        threads: args.threads,
        force: args.force,
        sync: !args.no_sync,
        progress: Some(&add),
        cancel: Some(signals.cancel()),
        tell: Some(&tell),
    };
    let written = plan.write(mapping, &directory, tokenizer.as_ref(), &options);
    progress.finish();
    for warning in warnings.into_inner().unwrap_or_else(PoisonError::into_inner) {
        // The output does not depend on whether somebody reads this.
        let _ = writeln!(streams.err, "warning: {warning}");
    }
    match written {
        Ok(()) => {}
        Err(ConvertError::Output(output::OutputError::Cancelled)) => {
            let code = signals.exit_code().unwrap_or(FAILED);
            return Err(Failure { code, ..Failure::new("interrupted; nothing was written") });
        }
        Err(ConvertError::Diagnostics(d)) => return Err(failed(&d, streams)),
        Err(ConvertError::Output(output::OutputError::Exists { directory, names })) => {
            return Err(Failure::new(format_args!(
                "{} already holds {}; choose another directory, or replace them with --force",
                directory.display(),
                names.join(", ")
            )));
        }
        Err(error) => return Err(Failure::new(error)),
    }
    let reported = report(args, &notes, &plan, &directory, tokenizer.as_ref(), streams)
        .and_then(|()| streams.out.flush());
    if let Err(error) = reported {
        let shown = directory.display();
        let _ = writeln!(streams.err, "warning: {shown} is written, but that could not be reported: {error}");
    }
    Ok(())
}

/// A file where the directory, or one above it, must be.
fn check_directory(directory: &Path) -> Result<(), Failure> {
    let in_the_way = directory.ancestors().find(|path| path.exists()).filter(|path| !path.is_dir());
    match in_the_way {
        Some(file) => Err(Failure::new(format_args!(
            "cannot write to {}: {} is a file, not a directory; choose another output",
            directory.display(),
            file.display()
        ))),
        None => Ok(()),
    }
}

/// Beside nothing: in the current directory, named after the input.
fn default_output(input: &Path, target: &str) -> PathBuf {
    let stem = input.file_stem().map(|s| s.to_string_lossy().into_owned());
    let stem = stem.filter(|s| !s.is_empty()).unwrap_or_else(|| "converted".to_owned());
    PathBuf::from(format!("{stem}-{target}"))
}

fn report(
    args: &Convert,
    notes: &[String],
    plan: &Plan<'_>,
    directory: &Path,
    tokenizer: Option<&TokenizerFiles>,
    streams: &mut Streams<'_>,
) -> std::io::Result<()> {
    let files: Vec<(String, u64, usize)> = plan
        .output()
        .files
        .iter()
        .map(|f| (f.name.clone(), f.size, f.tensors.len()))
        .chain(
            plan.output()
                .index
                .iter()
                .chain(plan.documents())
                .map(|f| (f.name.clone(), f.bytes.len() as u64, 0)),
        )
        .collect();
    if args.format == Format::Json {
        let files: Vec<_> = files
            .iter()
            .map(|(name, bytes, tensors)| json!({ "name": name, "bytes": bytes, "tensors": tensors }))
            .collect();
        let result = json!({ "output": directory.display().to_string(), "files": files, "notes": notes });
        writeln!(streams.out, "{result:#}")?;
        return Ok(());
    }
    if args.quiet {
        return Ok(());
    }
    writeln!(streams.out, "wrote {}", directory.display())?;
    for (name, bytes, tensors) in files {
        let tensors = if tensors > 0 { format!("  {tensors} tensors") } else { String::new() };
        writeln!(streams.out, "  {name:<32} {:>8}{tensors}", show_size(bytes))?;
    }
    if let Some(tokenizer) = tokenizer {
        let own = own_documents(plan);
        let names: Vec<&str> = tokenizer.names().filter(|name| !own.contains(name)).collect();
        writeln!(streams.out, "  and the tokenizer's files: {}", escaped(&names.join(", ")))?;
    }
    Ok(())
}

fn own_documents<'p>(plan: &'p Plan<'_>) -> Vec<&'p str> {
    plan.documents().iter().map(|document| document.name.as_str()).collect()
}

/// What is told of the files beside a tokenizer that do not go along with it.
fn left_behind(tokenizer: &TokenizerFiles, plan: &Plan<'_>) -> Vec<String> {
    let own = own_documents(plan);
    let replaced = tokenizer.names().filter(|name| own.contains(name));
    let mut notes: Vec<String> = replaced
        .map(|name| format!("{name} beside the tokenizer is not carried over: the mapping writes one"))
        .collect();
    if !tokenizer.left().is_empty() {
        notes.push(format!("no files of a tokenizer, and not carried over: {}", tokenizer.left().join(", ")));
    }
    notes
}
