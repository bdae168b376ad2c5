//! Diagnostics as text: rustc's look, one line each, or JSON lines. The only file that knows the renderer.

use annotate_snippets::{Annotation, AnnotationKind, Level, Renderer, Snippet};
use serde_json::json;

use crate::diagnostic::{Diagnostic, Diagnostics, Label, Severity};
use crate::escaped::escaped;
use crate::source::{Part, Source, Span};

/// How diagnostics are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// With the lines of the source; colours for a terminal or not.
    Full {
        /// Whether to use terminal colours.
        colour: bool,
    },
    /// For `compile_error!`, which puts its own `error:` before the text: no colour, the code in brackets.
    Macro,
    /// `path:line:column: error[CODE]: message`.
    Short,
    /// One JSON object a line.
    Json,
}

/// All diagnostics in one text, which ends in a newline unless there are none.
#[must_use]
pub fn render(diagnostics: &Diagnostics, style: Style) -> String {
    diagnostics.list().iter().map(|d| render_one(d, diagnostics.source(), style)).collect()
}

/// One diagnostic; the text ends in a newline.
#[must_use]
pub fn render_one(diagnostic: &Diagnostic, source: &Source, style: Style) -> String {
    match style {
        Style::Full { colour } => full(diagnostic, source, level(diagnostic), colour),
        Style::Macro => full(diagnostic, source, level(diagnostic).no_name(), false),
        Style::Short => short(diagnostic, source),
        Style::Json => json_line(diagnostic, source),
    }
}

fn level(diagnostic: &Diagnostic) -> Level<'static> {
    match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    }
}

fn full(diagnostic: &Diagnostic, source: &Source, level: Level<'_>, colour: bool) -> String {
    let mut group = level
        .primary_title(escaped(&diagnostic.message))
        .id(diagnostic.code.as_str())
        .elements(Vec::<annotate_snippets::Element<'_>>::new());
    if let Some(primary) = &diagnostic.primary {
        let first = source.part_at(primary.span.start);
        let mut snippet = snippet_of(first).annotation(annotation(AnnotationKind::Primary, first, primary));
        let mut others: Vec<(&Part, Vec<&Label>)> = Vec::new();
        for other in &diagnostic.secondary {
            let part = source.part_at(other.span.start);
            if part == first {
                snippet = snippet.annotation(annotation(AnnotationKind::Context, part, other));
            } else if let Some((_, labels)) = others.iter_mut().find(|(p, _)| *p == part) {
                labels.push(other);
            } else {
                others.push((part, vec![other]));
            }
        }
        group = group.element(snippet);
        for (part, labels) in others {
            let annotations = labels.into_iter().map(|l| annotation(AnnotationKind::Context, part, l));
            group = group.element(snippet_of(part).annotations(annotations));
        }
    }
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.message(escaped(note)));
    }
    if let Some(note) = imported_by(diagnostic, source) {
        group = group.element(Level::NOTE.message(note));
    }
    for help in &diagnostic.help {
        group = group.element(Level::HELP.message(escaped(help)));
    }
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut text = renderer.render(&[group]);
    text.push_str("\n\n");
    text
}

/// How the text that a diagnostic points into came to be part of the mapping.
fn imported_by(diagnostic: &Diagnostic, source: &Source) -> Option<String> {
    let at = diagnostic.primary.as_ref()?.span.start;
    let importers: Vec<String> = source.importers(at).iter().map(|name| format!("`{name}`")).collect();
    (!importers.is_empty()).then(|| {
        format!("`{}` is imported by {}", source.name_at(at), importers.join(", which is imported by "))
    })
}

fn snippet_of(part: &Part) -> Snippet<'_, Annotation<'_>> {
    Snippet::source(&*part.text).path(&*part.name)
}

fn annotation<'a>(kind: AnnotationKind, part: &Part, label: &'a Label) -> Annotation<'a> {
    kind.span(part.local(label.span)).label((!label.text.is_empty()).then(|| escaped(&label.text)))
}

fn severity(diagnostic: &Diagnostic) -> &'static str {
    match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn short(diagnostic: &Diagnostic, source: &Source) -> String {
    let place = match &diagnostic.primary {
        Some(label) => {
            let (line, column) = source.position(label.span.start);
            format!("{}:{line}:{column}", source.name_at(label.span.start))
        }
        None => source.name().to_owned(),
    };
    format!("{place}: {}[{}]: {}\n", severity(diagnostic), diagnostic.code, escaped(&diagnostic.message))
}

fn json_line(diagnostic: &Diagnostic, source: &Source) -> String {
    let place = |span: Span| {
        let (line, column) = source.position(span.start);
        let part = source.part_at(span.start);
        let local = part.local(span);
        let end = part.start + local.end;
        let (end_line, end_column) = source.position(u32::try_from(end).unwrap_or(u32::MAX));
        json!({
            "file": &*part.name, "start": local.start, "end": local.end,
            "line": line, "column": column, "end_line": end_line, "end_column": end_column,
        })
    };
    let label = |l: &crate::diagnostic::Label| json!({ "span": place(l.span), "text": l.text });
    let value = json!({
        "code": diagnostic.code.as_str(),
        "severity": severity(diagnostic),
        "message": diagnostic.message,
        "file": diagnostic.primary.as_ref().map_or(source.name(), |l| source.name_at(l.span.start)),
        "primary": diagnostic.primary.as_ref().map(label),
        "secondary": diagnostic.secondary.iter().map(label).collect::<Vec<_>>(),
        "notes": diagnostic.notes,
        "help": diagnostic.help,
    });
    format!("{value}\n")
}
