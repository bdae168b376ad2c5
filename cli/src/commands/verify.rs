//! `transship verify`.

use std::io::Write;

use serde_json::{Value as Json, json};
use transship::grammar::{Style, escaped, render};
use transship::{ConfigDifference, Difference, Verification, Verify};

use crate::args::{Format, Verify as Args};
use crate::commands::compare_logits;
use crate::load::failed;
use crate::pair::{Loaded, load};
use crate::progress::Progress;
use crate::{Failure, Streams};

/// Parameters told of in full; the rest is counted.
const SHOWN: usize = 20;

/// What the models of two checkpoints make of the same tokens.
#[derive(Debug)]
pub(crate) struct Logits {
    pub(crate) tokens: usize,
    /// The largest difference of two logits, and the largest logit.
    pub(crate) difference: f64,
    pub(crate) largest: f64,
    /// Kullback-Leibler divergence in nats, the mean over tokens and the largest.
    pub(crate) mean_divergence: f64,
    pub(crate) divergence: f64,
    /// The part of tokens with the same first choice.
    pub(crate) first_choice: f64,
    /// The part of the `top_k` largest logits that both have.
    pub(crate) agreement: f64,
    pub(crate) top_k: usize,
    pub(crate) limits: Limits,
}

/// How far logits may be apart.
#[derive(Debug)]
pub(crate) struct Limits {
    /// As a part of the largest logit, or of 1 where all are smaller.
    pub(crate) difference: f64,
    /// Of any token, in nats.
    pub(crate) divergence: f64,
    /// The least part of the largest logits that both must have.
    pub(crate) agreement: f64,
}

impl Logits {
    fn holds(&self) -> bool {
        self.difference <= self.limits.difference * self.largest.max(1.0)
            && self.divergence <= self.limits.divergence
            && self.agreement >= self.limits.agreement
    }
}

pub(crate) fn run(args: &Args, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let loaded = load(args, streams)?;
    let Loaded { mapping, checkpoints, sides, options } = &loaded;
    let verify =
        Verify::new(mapping, checkpoints.each_ref(), *sides, options).map_err(|d| failed(&d, streams))?;
    if !args.quiet {
        let [one, other] = checkpoints.each_ref().map(transship::Checkpoint::file);
        let [from, to] = sides.map(|side| &mapping.side(side).name);
        writeln!(streams.err, "{one} ({from}) and {other} ({to}), by `{}`", mapping.name)?;
        for note in verify.notes() {
            writeln!(streams.err, "note: {}", escaped(note))?;
        }
    }
    let settings = verify.settings().clone();
    let progress = Progress::new(verify.total_bytes(), "compared", args.quiet, streams.terminal.progress);
    let verification = verify.run(&|bytes| progress.add(bytes));
    progress.finish();
    // What is found so far is told even where the models cannot be run.
    let logits = args.logits.then(|| compare_logits(args, &loaded, &settings, streams)).transpose();
    let found = logits.as_ref().ok().and_then(Option::as_ref);
    match args.format {
        Format::Json => writeln!(streams.out, "{:#}", as_json(&verification, found))?,
        Format::Text if args.quiet => {}
        Format::Text => write_text(&verification, found, streams.out)?,
    }
    for told in [&verification.copies, &verification.disagreements] {
        if told.has_errors() {
            let text = render(told, Style::Full { colour: streams.terminal.colour });
            streams.err.write_all(text.as_bytes())?;
        }
    }
    let logits = logits?;
    if verification.holds() && logits.as_ref().is_none_or(Logits::holds) {
        return Ok(());
    }
    Err(Failure::new(format_args!(
        "{} is not what {} becomes: {}",
        args.output.display(),
        args.input.display(),
        summary(&verification, logits.as_ref())
    )))
}

/// `2 parameters differ, 1 is missing`.
fn summary(verification: &Verification, logits: Option<&Logits>) -> String {
    let lacking = |names: &[Vec<String>; 2]| names.iter().map(Vec::len).sum::<usize>();
    let config = verification.config.iter().filter(|difference| difference.counts).count();
    let copies = verification.copies.list().len();
    let disagreements = verification.disagreements.list().len();
    let all = [
        (verification.differences.len(), "parameter differs", "parameters differ"),
        (lacking(&verification.missing), "parameter is missing", "parameters are missing"),
        (lacking(&verification.extra), "tensor is unknown", "tensors are unknown"),
        (config, "config value differs", "config values differ"),
        (copies, "pair of copies is not equal", "pairs of copies are not equal"),
        (
            disagreements,
            "element is found elsewhere a second time",
            "elements are found elsewhere a second time",
        ),
    ];
    let told = all.iter().filter(|(count, ..)| *count > 0).map(|(count, one, many)| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    });
    let apart = logits.filter(|logits| !logits.holds()).map(|_| "the logits are too far apart".to_owned());
    told.chain(apart).collect::<Vec<_>>().join(", ")
}

const BOTH: [&str; 2] = ["INPUT", "OUTPUT"];

fn write_text(
    verification: &Verification,
    logits: Option<&Logits>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
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
                writeln!(out, "  {}", escaped(name))?;
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
    let agreed =
        if verification.disagreements.has_errors() { "with another result" } else { "with the same result" };
    writeln!(out, "{} elements looked up again by the layouts alone, {agreed}", verification.looked_up)?;
    if let Some(logits) = logits {
        write_logits(logits, out)?;
    }
    Ok(())
}

fn write_logits(logits: &Logits, out: &mut dyn Write) -> Result<(), Failure> {
    let Logits { tokens, difference, largest, mean_divergence, divergence, top_k, limits, .. } = logits;
    let percent = |part: f64| format!("{:.4} %", part * 100.0);
    let verdict = if logits.holds() { "agree" } else { "are too far apart" };
    writeln!(out, "logits of {tokens} tokens {verdict}")?;
    let allowed = limits.difference * largest.max(1.0);
    writeln!(
        out,
        "  largest difference {difference:.3e}, of logits up to {largest:.3} (at most {allowed:.3e})"
    )?;
    writeln!(
        out,
        "  divergence {mean_divergence:.3e} on average, {divergence:.3e} at most (at most {:.3e})",
        limits.divergence
    )?;
    writeln!(
        out,
        "  the same first choice for {}, {} of the {top_k} largest in common (at least {})",
        percent(logits.first_choice),
        percent(logits.agreement),
        percent(limits.agreement)
    )?;
    Ok(())
}

fn write_difference(difference: &Difference, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "{}", escaped(&difference.name))?;
    for reason in &difference.reasons {
        writeln!(out, "  {}", escaped(reason))?;
    }
    if let Some(explanation) = &difference.explanation {
        writeln!(out, "  {explanation}")?;
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

fn as_json(verification: &Verification, logits: Option<&Logits>) -> Json {
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
                "dtypes": d.dtypes.map(transship::DType::name),
                "reasons": d.reasons,
                "explanation": d.explanation,
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
    let messages = |told: &transship::grammar::Diagnostics| -> Vec<String> {
        told.list().iter().map(|diagnostic| diagnostic.message.clone()).collect()
    };
    let logits_hold = logits.is_none_or(Logits::holds);
    let logits = logits.map(|l| {
        json!({
            "holds": l.holds(),
            "tokens": l.tokens,
            "largest_difference": l.difference,
            "largest_logit": l.largest,
            "mean_divergence": l.mean_divergence,
            "largest_divergence": l.divergence,
            "first_choice": l.first_choice,
            "top_k": l.top_k,
            "top_k_agreement": l.agreement,
        })
    });
    json!({
        "holds": verification.holds() && logits_hold,
        "logits": logits,
        "parameters": verification.parameters,
        "elements": verification.elements,
        "differences": differences,
        "missing": both(&verification.missing),
        "extra": both(&verification.extra),
        "config": config,
        "copies": messages(&verification.copies),
        "looked_up": verification.looked_up,
        "disagreements": messages(&verification.disagreements),
        "notes": verification.notes,
    })
}
