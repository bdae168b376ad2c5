//! `transship convert`.

use std::path::{Path, PathBuf};

use serde_json::json;
use transship::{Binding, ConvertError, Plan, output};

use crate::args::{Convert, Format};
use crate::load::{Loaded, failed, load};
use crate::progress::Progress;
use crate::size::show_size;
use crate::{Failure, Streams};

pub(crate) fn run(args: &Convert, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let loaded = load(&args.conversion, streams)?;
    let Loaded { mapping, checkpoint, from, bind, plan } = &loaded;
    let binding = Binding::new(mapping, checkpoint, *from, bind).map_err(|d| failed(&d, streams))?;
    let plan = Plan::new(&binding, plan).map_err(|d| failed(&d, streams))?;
    let target = &mapping.side(from.other()).name;
    let directory = args.output.clone().unwrap_or_else(|| default_output(&args.conversion.input, target));
    check_directory(&directory)?;
    let told = args.format == Format::Json || !args.quiet;
    let notes = [plan.notes(), &if told { plan.notes_on_steps() } else { Vec::new() }].concat();
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
            writeln!(streams.err, "note: {note}")?;
        }
    }
    let progress =
        Progress::new(plan.output().total_bytes(), "written", args.quiet, streams.terminal.progress);
    let add = |bytes| progress.add(bytes);
    let options = output::Options {
        threads: args.threads,
        force: args.force,
        sync: !args.no_sync,
        progress: Some(&add),
        cancel: None,
    };
    let written = plan.write(mapping, &directory, args.tokenizer.as_deref(), &options);
    progress.finish();
    match written {
        Ok(()) => {}
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
    report(args, &plan, &notes, &directory, streams)
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
    plan: &Plan<'_>,
    notes: &[String],
    directory: &Path,
    streams: &mut Streams<'_>,
) -> Result<(), Failure> {
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
    if args.tokenizer.is_some() {
        writeln!(streams.out, "  and the tokenizer's files")?;
    }
    Ok(())
}
