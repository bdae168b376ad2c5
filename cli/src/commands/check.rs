//! `transship check`.

use transship::grammar::{Diagnostics, Mapping, Style, check, check_library, render};
use transship_codegen::not_derivable;

use crate::args::{Check, DiagnosticFormat};
use crate::load::mapping_or_file;
use crate::{FAILED, Failure, Streams};

pub(crate) fn run(args: &Check, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let style = match args.format {
        DiagnosticFormat::Text => Style::Full { colour: streams.terminal.colour },
        DiagnosticFormat::Short => Style::Short,
        DiagnosticFormat::Json => Style::Json,
    };
    let mut wrong = 0;
    for name in &args.mappings {
        let source = mapping_or_file(name, streams)?;
        if let Some(said) = check_library(&source) {
            wrong += usize::from(said.has_errors());
            show(&said, style, streams)?;
            if style != Style::Json && !said.has_errors() {
                writeln!(streams.out, "{name}: a library, judged with the mappings that import it")?;
            }
            continue;
        }
        let mut result = check(&source);
        let diagnostics = match &mut result {
            Ok((mapping, warnings)) => {
                not_derivable(mapping).list().iter().for_each(|warning| warnings.push(warning.clone()));
                warnings.sort();
                warnings
            }
            Err(errors) => errors,
        };
        show(diagnostics, style, streams)?;
        match &result {
            Ok((mapping, _)) if style != Style::Json => writeln!(streams.out, "{}", summary(name, mapping))?,
            Ok(_) => {}
            Err(_) => wrong += 1,
        }
    }
    if wrong == 0 {
        return Ok(());
    }
    let message = match style {
        Style::Json => String::new(),
        _ if args.mappings.len() == 1 => String::new(),
        _ => format!("{wrong} of {} mappings have mistakes\n", args.mappings.len()),
    };
    Err(Failure { message, code: FAILED })
}

/// JSON is a result; the other forms are messages.
fn show(diagnostics: &Diagnostics, style: Style, streams: &mut Streams<'_>) -> std::io::Result<()> {
    let stream: &mut dyn std::io::Write =
        if style == Style::Json { &mut *streams.out } else { &mut *streams.err };
    stream.write_all(render(diagnostics, style).as_bytes())
}

/// What was proved, and what goes one way only.
fn summary(name: &str, mapping: &Mapping) -> String {
    let [left, right] = mapping.sides.each_ref().map(|s| &s.name);
    let rules = |count: usize| if count == 1 { "1 rule".to_owned() } else { format!("{count} rules") };
    let ways = match (mapping.rules.len(), mapping.one_way_rules().count()) {
        (1, 0) => "invertible".to_owned(),
        (1, _) => "which goes one way only".to_owned(),
        (_, 0) => "all invertible".to_owned(),
        (_, 1) => "1 goes one way only".to_owned(),
        (_, n) => format!("{n} go one way only"),
    };
    let with_repr = match mapping.repr_rules.len() {
        0 => None,
        1 => Some("1 rule with a `repr`, which cannot be converted yet".to_owned()),
        n => Some(format!("{n} rules with a `repr`, which cannot be converted yet")),
    };
    let executable = (!mapping.rules.is_empty()).then(|| format!("{}, {ways}", rules(mapping.rules.len())));
    let parts: Vec<String> = executable.into_iter().chain(with_repr).collect();
    format!("{name}: {left} <=> {right}, {}", parts.join("; "))
}
