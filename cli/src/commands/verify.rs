//! `transship verify`.

use std::io::Write;

use serde_json::{Value as Json, json};
use transship::grammar::{Style, render};
use transship::{ConfigDifference, Difference, Verification, Verify};

use crate::args::{Format, Verify as Args};
use crate::load::failed;
use crate::pair::{Loaded, load};
use crate::progress::Progress;
use crate::{Failure, Streams};

/// Parameters told of in full; the rest is counted.
const SHOWN: usize = 20;

pub(crate) fn run(args: &Args, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let Loaded { mapping, checkpoints, sides, options } = load(args, streams)?;
    let verify =
        Verify::new(&mapping, checkpoints.each_ref(), sides, &options).map_err(|d| failed(&d, streams))?;
    if !args.quiet {
        let [one, other] = checkpoints.each_ref().map(|checkpoint| checkpoint.file());
        let [from, to] = sides.map(|side| &mapping.side(side).name);
        writeln!(streams.err, "{one} ({from}) and {other} ({to}), by `{}`", mapping.name)?;
        for note in verify.notes() {
            writeln!(streams.err, "note: {note}")?;
        }
    }
    let progress = Progress::new(verify.total_bytes(), "compared", args.quiet, streams.terminal.progress);
    let verification = verify.run(&|bytes| progress.add(bytes));
    progress.finish();
    match args.format {
        Format::Json => writeln!(streams.out, "{:#}", as_json(&verification))?,
        Format::Text if args.quiet => {}
        Format::Text => write_text(&verification, streams.out)?,
    }
    if verification.copies.has_errors() {
        let text = render(&verification.copies, Style::Full { colour: streams.terminal.colour });
        streams.err.write_all(text.as_bytes())?;
    }
    if verification.holds() {
        return Ok(());
    }
    Err(Failure::new(format_args!(
        "{} is not what {} becomes: {}",
        args.output.display(),
        args.input.display(),
        summary(&verification)
    )))
}

/// `2 parameters differ, 1 is missing`.
fn summary(verification: &Verification) -> String {
    let lacking = |names: &[Vec<String>; 2]| names.iter().map(Vec::len).sum::<usize>();
    let config = verification.config.iter().filter(|difference| difference.counts).count();
    let copies = verification.copies.list().len();
    let all = [
        (verification.differences.len(), "parameter differs", "parameters differ"),
        (lacking(&verification.missing), "parameter is missing", "parameters are missing"),
        (lacking(&verification.extra), "tensor is unknown", "tensors are unknown"),
        (config, "config value differs", "config values differ"),
        (copies, "pair of copies is not equal", "pairs of copies are not equal"),
    ];
    let told = all.iter().filter(|(count, ..)| *count > 0).map(|(count, one, many)| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    });
    told.collect::<Vec<_>>().join(", ")
}

const BOTH: [&str; 2] = ["INPUT", "OUTPUT"];

fn write_text(verification: &Verification, out: &mut dyn Write) -> Result<(), Failure> {
    for difference in verification.differences.iter().take(SHOWN) {
        write_difference(difference, out)?;
    }
    if let Some(more) = verification.differences.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        writeln!(out, "and {more} more parameters, which --format json lists")?;
    }
    for (names, what) in [(&verification.missing, "missing from"), (&verification.extra, "unknown, in")] {
        for (names, side) in names.iter().zip(BOTH).filter(|(names, _)| !names.is_empty()) {
            writeln!(out, "{what} {side}")?;
            for name in names.iter().take(SHOWN) {
                writeln!(out, "  {name}")?;
            }
            if let Some(more) = names.len().checked_sub(SHOWN).filter(|more| *more > 0) {
                writeln!(out, "  and {more} more")?;
            }
        }
    }
    for ConfigDifference { name, values: [one, other], places: [here, there], counts } in &verification.config
    {
        let only = if *counts { "" } else { ", which is no difference of the model" };
        writeln!(out, "{name} is {one} in INPUT ({here}), {other} in OUTPUT ({there}){only}")?;
    }
    let (all, different) = (verification.parameters, verification.differences.len());
    let parameters = if all == 1 { "parameter" } else { "parameters" };
    let elements = verification.elements;
    let verdict = match different {
        0 => "all the same".to_owned(),
        1 => "1 differs".to_owned(),
        _ => format!("{different} differ"),
    };
    writeln!(out, "{all} {parameters} of {elements} elements compared: {verdict}")?;
    Ok(())
}

fn write_difference(difference: &Difference, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "{}", difference.name)?;
    for reason in &difference.reasons {
        writeln!(out, "  {reason}")?;
    }
    if difference.count > 0 {
        let Difference { count, elements, largest, .. } = difference;
        writeln!(out, "  {count} of {elements} elements differ, by at most {largest:?}")?;
    }
    if let Some(first) = &difference.first {
        let place = match first.place.as_slice() {
            [] => String::new(),
            words => format!(" at {}", words.join(", ")),
        };
        let [one, other] = &first.values;
        writeln!(out, "  first{place}: {one} in INPUT, {other} in OUTPUT")?;
    }
    Ok(())
}

fn as_json(verification: &Verification) -> Json {
    let both = |[one, other]: &[Vec<String>; 2]| json!({ "input": one, "output": other });
    let differences: Vec<Json> = verification
        .differences
        .iter()
        .map(|d| {
            let first = d.first.as_ref().map(
                |first| json!({ "place": first.place, "input": first.values[0], "output": first.values[1] }),
            );
            // JSON has no infinity; a null says that there is no largest difference.
            json!({
                "name": d.name,
                "dtypes": d.dtypes.map(|dtype| dtype.name()),
                "reasons": d.reasons,
                "elements": d.elements,
                "different": d.count,
                "largest": d.largest,
                "first": first,
            })
        })
        .collect();
    let config: Vec<Json> = verification
        .config
        .iter()
        .map(|c| json!({ "name": c.name, "input": c.values[0], "output": c.values[1], "counts": c.counts }))
        .collect();
    let copies: Vec<&str> = verification.copies.list().iter().map(|d| d.message.as_str()).collect();
    json!({
        "holds": verification.holds(),
        "parameters": verification.parameters,
        "elements": verification.elements,
        "differences": differences,
        "missing": both(&verification.missing),
        "extra": both(&verification.extra),
        "config": config,
        "copies": copies,
        "notes": verification.notes,
    })
}
