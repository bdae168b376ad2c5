//! Diagnostics as data: what is wrong, where, why, and what to write.

use crate::code::Code;
use crate::source::{Source, Span};

/// How bad a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The mapping cannot be used.
    Error,
    /// The mapping can be used; something about it is worth a look.
    Warning,
}

/// A remark at a place of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What is at this place; may be empty.
    pub text: String,
}

/// One mistake: a stable code, a message in the reader's terms, places, notes and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Diagnostic {
    /// The stable code; `transship explain CODE` gives its long form.
    pub code: Code,
    /// Error or warning.
    pub severity: Severity,
    /// One lower-case phrase, names in backticks.
    pub message: String,
    /// The place of the mistake; absent only where a whole file is meant.
    pub primary: Option<Label>,
    /// Other places that take part.
    pub secondary: Vec<Label>,
    /// Facts that help to see why.
    pub notes: Vec<String>,
    /// What to write or do instead.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// An error at `span`, which is said to hold `label`.
    pub fn error(code: Code, span: Span, message: impl Into<String>, label: impl Into<String>) -> Diagnostic {
        Diagnostic {
            code,
            severity: Severity::Error,
            message: message.into(),
            primary: Some(Label { span, text: label.into() }),
            secondary: Vec::new(),
            notes: Vec::new(),
            help: Vec::new(),
        }
    }

    /// A warning at `span`.
    pub fn warning(
        code: Code,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, span, message, label) }
    }

    /// An error about a whole file or checkpoint.
    pub fn without_place(code: Code, message: impl Into<String>) -> Diagnostic {
        Diagnostic { primary: None, ..Diagnostic::error(code, Span::default(), message, "") }
    }

    /// Adds another place.
    pub fn with(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.secondary.push(Label { span, text: text.into() });
        self
    }

    /// Moves every place by `bytes`, from a part of a text to the whole.
    pub(crate) fn shift(&mut self, bytes: usize) {
        for label in self.primary.iter_mut().chain(&mut self.secondary) {
            let place = label.span.range();
            label.span = Span::new(place.start.saturating_add(bytes), place.end.saturating_add(bytes));
        }
    }

    /// Adds a note.
    pub fn note(mut self, text: impl Into<String>) -> Diagnostic {
        self.notes.push(text.into());
        self
    }

    /// Adds what to write or do.
    pub fn help(mut self, text: impl Into<String>) -> Diagnostic {
        self.help.push(text.into());
        self
    }
}

/// More errors, and more warnings, than anyone reads about at once.
const MAX_TOLD: usize = 50;

/// Diagnostics of one source, in the order of their places. Of very many only the first that are found are kept.
#[derive(Clone, Debug)]
#[must_use = "diagnostics must be shown or passed on"]
pub struct Diagnostics {
    source: Source,
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// No diagnostics yet.
    pub fn new(source: &Source) -> Diagnostics {
        Diagnostics { source: source.clone(), list: Vec::new() }
    }

    /// The text that the spans refer to.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Adds one; a repetition of one already there is left out, and so is what comes after very many.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let told = self.told(diagnostic.severity);
        if told > MAX_TOLD || self.list.contains(&diagnostic) {
            return;
        }
        self.list.push(if told < MAX_TOLD { diagnostic } else { more_than_told(diagnostic) });
    }

    fn told(&self, severity: Severity) -> usize {
        self.list.iter().filter(|d| d.severity == severity).count()
    }

    /// Whether errors that are added from here on are left out.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.told(Severity::Error) > MAX_TOLD
    }

    /// All of them: by place, those without a place last.
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    /// Whether one of them is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|d| d.severity == Severity::Error)
    }

    /// Sorts by place, so that the order of checks does not show. What is imported stands where its import does.
    pub fn sort(&mut self) {
        let source = &self.source;
        self.list.sort_by_cached_key(|d| match &d.primary {
            Some(label) => source.order(label.span.start),
            None => vec![u32::MAX],
        });
    }
}

/// What stands for a diagnostic that is one too many, and for all that come after it.
fn more_than_told(diagnostic: Diagnostic) -> Diagnostic {
    let what = match diagnostic.severity {
        Severity::Error => "mistakes",
        Severity::Warning => "warnings",
    };
    Diagnostic {
        code: Code::TooManyMistakes,
        message: format!("there are more than {MAX_TOLD} {what}; the others are not shown"),
        primary: diagnostic.primary.map(|label| Label { text: "another one is here".to_owned(), ..label }),
        secondary: Vec::new(),
        notes: Vec::new(),
        help: Vec::new(),
        severity: diagnostic.severity,
    }
}

/// The candidate nearest to a misspelt `word`, if one is near enough to be meant.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |c: &&str| strsim::damerau_levenshtein(word, c);
    let best = candidates.into_iter().filter(|c| *c != word).min_by_key(near)?;
    (near(&best) <= (word.len().max(best.len()) / 3).max(1)).then_some(best)
}
