//! Syntax errors in the reader's terms.

use pest::error::{ErrorVariant, InputLocation};

use super::Rule;
use crate::code::Code;
use crate::diagnostic::{Diagnostic, nearest};
use crate::source::{Source, Span};

/// Brackets deeper than any mapping nests are refused before the recursive parser sees them.
pub(super) fn check_nesting(text: &str, limit: usize) -> Result<(), Box<Diagnostic>> {
    let mut depth = 0usize;
    for (at, byte) in brackets(text) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            _ => depth = depth.saturating_sub(1),
        }
        if depth > limit {
            let place = Span::new(at, at + 1);
            let message = format!("brackets nest more than {limit} deep");
            return Err(Box::new(Diagnostic::error(Code::Syntax, place, message, "the innermost one")));
        }
    }
    Ok(())
}

pub(super) fn syntax_error(source: &Source, error: &pest::error::Error<Rule>) -> Diagnostic {
    let at = match error.location {
        InputLocation::Pos(at) | InputLocation::Span((at, _)) => at,
    };
    let rest = source.text().get(at..).unwrap_or("");
    let found = found_token(rest);
    let place = Span::new(at, at + found.len());
    let expected = match &error.variant {
        ErrorVariant::ParsingError { positives, .. } => expected_words(positives),
        ErrorVariant::CustomError { .. } => Vec::new(),
    };
    if source.text().trim().is_empty() {
        return Diagnostic::error(Code::Syntax, Span::new(0, 0), "the mapping is empty", "")
            .help("begin with `mapping NAME : LEFT <=> RIGHT`");
    }
    let what = if found.is_empty() { "the end of the file".to_owned() } else { format!("`{found}`") };
    let mut diagnostic =
        Diagnostic::error(Code::Syntax, place, format!("{what} does not fit here"), expected_text(&expected));
    if let Some(open) = unclosed_bracket(source.text()) {
        let bracket = &source.text()[open..=open];
        diagnostic = diagnostic.with(Span::new(open, open + 1), format!("this `{bracket}` is never closed"));
    }
    if let Some(keyword) = nearest(found, KEYWORDS.iter().copied()) {
        diagnostic = diagnostic.help(format!("did you mean `{keyword}`?"));
    }
    diagnostic
}

const KEYWORDS: &[&str] = &[
    "mapping",
    "side",
    "config",
    "module",
    "layout",
    "model",
    "repr",
    "when",
    "else",
    "match",
    "drop",
    "emit",
    "tie",
    "parameters",
    "documents",
    "rank",
    "dtype",
    "format",
    "detect",
    "require",
    "note",
];

fn found_token(rest: &str) -> &str {
    let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    if word > 0 {
        return &rest[..word];
    }
    for symbol in ["<=>", "=>", "<=", "->", "==", "**"] {
        if rest.starts_with(symbol) {
            return symbol;
        }
    }
    rest.chars().next().map_or("", |c| &rest[..c.len_utf8()])
}

fn expected_text(expected: &[&str]) -> String {
    match expected {
        [] => String::new(),
        [one] => format!("expected {one}"),
        [most @ .., last] => format!("expected {} or {last}", most.join(", ")),
    }
}

/// What may stand here, most telling first; only a few, since a long list helps nobody.
fn expected_words(rules: &[Rule]) -> Vec<&'static str> {
    let mut words: Vec<&'static str> = Vec::new();
    for rule in rules {
        if let Some(word) = describe(*rule)
            && !words.contains(&word)
        {
            words.push(word);
        }
    }
    words.truncate(6);
    words
}

fn describe(rule: Rule) -> Option<&'static str> {
    Some(match rule {
        Rule::header | Rule::kw_mapping => "`mapping NAME : LEFT <=> RIGHT`",
        Rule::arrow => "`<=>`, `=>` or `<=`",
        Rule::stored_layout | Rule::layout | Rule::layout_expr => "a layout such as `[out in]`",
        Rule::dim | Rule::axis | Rule::group | Rule::arm => "an axis or a group in parentheses",
        Rule::name | Rule::name_text | Rule::term | Rule::rule_side => "a parameter name",
        Rule::ident => "a name",
        Rule::integer | Rule::number => "a number",
        Rule::string => "a text in double quotes",
        Rule::expr | Rule::sum | Rule::operand | Rule::product | Rule::or_expr | Rule::m_expr => "a value",
        Rule::place | Rule::places => "a place such as `args.hidden_size`",
        Rule::kind_use => "a module such as `linear(out, in)`",
        Rule::pattern | Rule::pattern_choice => "a pattern such as `0`, `2..` or `_`",
        Rule::body => "`{`",
        Rule::block => "a block in braces",
        Rule::EOI => "the end of the file",
        Rule::rule_line | Rule::item => "a rule",
        Rule::emit_value => "`zeros`, `ones`, `tril`, `arange` or a number",
        Rule::kw_else => "`else`",
        Rule::module_param => "a parameter such as `weight [out in]`",
        _ => return None,
    })
}

/// The innermost bracket left open at the end of the text.
fn unclosed_bracket(text: &str) -> Option<usize> {
    let mut open: Vec<usize> = Vec::new();
    for (at, byte) in brackets(text) {
        match byte {
            b'(' | b'[' | b'{' => open.push(at),
            _ => {
                open.pop();
            }
        }
    }
    open.pop()
}

/// The brackets and where they are, those in strings and comments aside. A string that is not closed ends with its
/// line.
fn brackets(text: &str) -> impl Iterator<Item = (usize, u8)> {
    let bytes = text.as_bytes();
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
                }
                bracket @ (b'(' | b')' | b'[' | b']' | b'{' | b'}') => {
                    at += 1;
                    return Some((here, bracket));
                }
                _ => at += 1,
            }
        }
        None
    })
}
