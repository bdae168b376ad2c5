//! Limits of what is parsed. Nesting is counted before the recursive parser sees a text; what later passes go through
//! once for each term, arm or alternative is counted after it.

use pest::iterators::{Pair, Pairs};

use super::Rule;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::source::{Part, Span};

/// Nesting that no mapping needs; beyond it the parser's own recursion would be at risk.
const MAX_NESTING: usize = 64;

/// Terms of one expression and of those around it, or alternatives of one `else if`, that no mapping needs; later
/// passes go into each of them from the one before.
const MAX_TERMS: usize = 256;

/// The same for models, whose code is written with one more step of indent for each term.
const MAX_MODEL_TERMS: usize = 64;

/// Patterns in the arms of one `match`, each of which is compared with those before it.
const MAX_PATTERNS: usize = 1024;

/// Bytes of one text. The largest mapping known has 20 kB.
pub(crate) const MAX_TEXT: usize = 1 << 20;

fn over(at: usize, message: String, label: &str) -> Box<Diagnostic> {
    Box::new(Diagnostic::error(Code::OverLimit, Span::new(at, at + 1), message, label))
}

pub(super) fn check_length(part: &Part) -> Result<(), Box<Diagnostic>> {
    if part.text.len() <= MAX_TEXT {
        return Ok(());
    }
    let message = format!("this text has {} bytes; a mapping has at most {MAX_TEXT}", part.text.len());
    Err(Box::new(
        Diagnostic::error(Code::OverLimit, Span::new(part.start, part.start), message, "it begins here")
            .help("rules that differ in a number only are one rule with an index, such as `{layer}`"),
    ))
}

/// What can be told of a text before it is parsed.
pub(super) fn check_text(text: &str) -> Result<(), Box<Diagnostic>> {
    check_nesting(text)?;
    check_alternatives(text)
}

/// Brackets, and `not` before a value, each inside the one before for the recursive parser.
fn check_nesting(text: &str) -> Result<(), Box<Diagnostic>> {
    // How many `not` stand directly before what comes next, for each open bracket and outside of all.
    let mut negations = vec![0usize];
    let mut depth = 0usize;
    for sign in signs(text) {
        match sign {
            Sign::Bracket(_, b'(' | b'[' | b'{') => {
                negations.push(0);
                depth += 1;
            }
            Sign::Bracket(..) => {
                let inside = negations.pop().unwrap_or(0);
                depth = depth.saturating_sub(inside + usize::from(!negations.is_empty()));
                if negations.is_empty() {
                    negations.push(0);
                }
                end_negations(&mut negations, &mut depth);
            }
            Sign::Word(_, "not") => {
                if let Some(here) = negations.last_mut() {
                    *here += 1;
                    depth += 1;
                }
            }
            Sign::Word(..) | Sign::Other => end_negations(&mut negations, &mut depth),
        }
        if depth > MAX_NESTING
            && let Sign::Bracket(at, _) | Sign::Word(at, _) = sign
        {
            let message = format!("brackets and `not` nest more than {MAX_NESTING} deep");
            return Err(over(at, message, "the innermost one"));
        }
    }
    Ok(())
}

fn end_negations(negations: &mut [usize], depth: &mut usize) {
    if let Some(here) = negations.last_mut() {
        *depth -= *here;
        *here = 0;
    }
}

/// `else if` after `else if`, each inside the one before for the recursive parser.
fn check_alternatives(text: &str) -> Result<(), Box<Diagnostic>> {
    let mut chains = vec![0usize];
    for (at, byte) in brackets(text) {
        match byte {
            b'(' | b'[' | b'{' => chains.push(0),
            _ => {
                if chains.len() > 1 {
                    chains.pop();
                }
                let Some(chain) = chains.last_mut() else { continue };
                *chain = if begins_with_else(&text[at + 1..]) { *chain + 1 } else { 0 };
                if *chain > MAX_TERMS {
                    let message = format!("more than {MAX_TERMS} alternatives follow one another");
                    let mut error = over(at, message, "one too many after this");
                    error.help.push("write a `match`".to_owned());
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

fn begins_with_else(text: &str) -> bool {
    let mut text = text.trim_start();
    while text.starts_with("//") {
        text = text.find('\n').map_or("", |end| text[end..].trim_start());
    }
    text.starts_with("else")
}

/// Expressions of more terms, and choices of more patterns, than any mapping needs; and products with a sign, which
/// parse as something else.
pub(super) fn check_tree(text: &str, pairs: Pairs<'_, Rule>) -> Result<(), Box<Diagnostic>> {
    let mut terms = Terms::default();
    for pair in pairs.flatten() {
        let start = pair.as_span().start();
        terms.leave(start);
        match pair.as_rule() {
            Rule::or_expr | Rule::and_expr | Rule::sum | Rule::product => terms.enter(pair, 2, MAX_TERMS)?,
            Rule::m_expr | Rule::m_product => terms.enter(pair, 2, MAX_MODEL_TERMS)?,
            Rule::m_postfix => terms.enter(pair, 1, MAX_MODEL_TERMS)?,
            Rule::match_expr | Rule::layout_match | Rule::rule_match | Rule::m_match => check_patterns(pair)?,
            Rule::broadcast => check_sign(&text[..start], start)?,
            _ => {}
        }
    }
    Ok(())
}

/// The terms of the expressions around a place.
#[derive(Default)]
struct Terms {
    /// Where each expression ends, and its share of all terms.
    around: Vec<(usize, usize)>,
    share: usize,
}

impl Terms {
    fn leave(&mut self, at: usize) {
        while let Some((end, share)) = self.around.last()
            && *end <= at
        {
            self.share -= share;
            self.around.pop();
        }
    }

    /// An expression whose terms are every `step`th child, of which there are `limit` at most.
    fn enter(&mut self, pair: Pair<'_, Rule>, step: usize, limit: usize) -> Result<(), Box<Diagnostic>> {
        let at = pair.as_span();
        let more = pair.into_inner().count().saturating_sub(1) / step;
        let share = more * (MAX_TERMS / limit);
        if share > 0 {
            self.around.push((at.end(), share));
            self.share += share;
        }
        if self.share < MAX_TERMS {
            return Ok(());
        }
        let message = format!("this expression, with those around it, has more than {limit} terms");
        let mut error = over(at.start(), message, "begins here");
        error.help.push("name parts of it first".to_owned());
        Err(error)
    }
}

fn check_patterns(pair: Pair<'_, Rule>) -> Result<(), Box<Diagnostic>> {
    let start = pair.as_span().start();
    let arms = pair.into_inner().skip(1).filter_map(|arm| arm.into_inner().next());
    let patterns = arms.filter(|p| p.as_rule() == Rule::pattern).map(|p| p.into_inner().count());
    if patterns.sum::<usize>() <= MAX_PATTERNS {
        return Ok(());
    }
    let message = format!("the arms of this `match` have more than {MAX_PATTERNS} patterns");
    let mut error = over(start, message, "begins here");
    error.help.push("write ranges, such as `2..12`, or compute what differs".to_owned());
    Err(error)
}

/// A product has no sign: `heads*head_dim` would be `heads` with copies along `head_dim`.
fn check_sign(before: &str, at: usize) -> Result<(), Box<Diagnostic>> {
    if !before.ends_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ')' | ']')) {
        return Ok(());
    }
    let place = Span::new(at, at + 1);
    let message = "a product is written without a sign";
    Err(Box::new(
        Diagnostic::error(Code::ProductSign, place, message, "`*` stands for copies along an axis")
            .help("write a product side by side: `(heads head_dim)`")
            .help("if copies are meant, put white space before the `*`: `heads *rep`"),
    ))
}

/// What nesting is counted by.
enum Sign<'a> {
    Bracket(usize, u8),
    Word(usize, &'a str),
    Other,
}

/// The brackets and where they are, those in strings and comments aside.
pub(super) fn brackets(text: &str) -> impl Iterator<Item = (usize, u8)> {
    signs(text).filter_map(|sign| match sign {
        Sign::Bracket(at, byte) => Some((at, byte)),
        _ => None,
    })
}

/// The brackets, the words, and what else there is but white space and comments. A string that is not closed ends with
/// its line.
fn signs(text: &str) -> impl Iterator<Item = Sign<'_>> {
    let bytes = text.as_bytes();
    let in_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() {
            let here = at;
            match bytes[at] {
                b'/' if bytes.get(at + 1) == Some(&b'/') => {
                    while at < bytes.len() && bytes[at] != b'\n' {
                        at += 1;
                    }
                }
                b'"' => {
                    at += 1;
                    while at < bytes.len() && bytes[at] != b'"' && bytes[at] != b'\n' {
                        at += if bytes[at] == b'\\' { 2 } else { 1 };
                    }
                    at += 1;
                    return Some(Sign::Other);
                }
                bracket @ (b'(' | b')' | b'[' | b']' | b'{' | b'}') => {
                    at += 1;
                    return Some(Sign::Bracket(here, bracket));
                }
                byte if byte.is_ascii_whitespace() => at += 1,
                byte if in_word(byte) => {
                    while at < bytes.len() && in_word(bytes[at]) {
                        at += 1;
                    }
                    return Some(Sign::Word(here, &text[here..at]));
                }
                _ => {
                    at += 1;
                    return Some(Sign::Other);
                }
            }
        }
        None
    })
}
