//! Syntax errors in the reader's terms.

use pest::error::{ErrorVariant, InputLocation};

use super::limit::brackets;
use super::{Rule, form, hint};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::source::Span;

/// A syntax error in a text that begins at `begin` of its source; its places count from the text's own beginning.
pub(super) fn syntax_error(
    text: &str,
    rule: Rule,
    begin: usize,
    error: &pest::error::Error<Rule>,
) -> Diagnostic {
    let at = match error.location {
        InputLocation::Pos(at) | InputLocation::Span((at, _)) => at,
    };
    let rules: &[Rule] = match &error.variant {
        ErrorVariant::ParsingError { positives, .. } => positives,
        ErrorVariant::CustomError { .. } => &[],
    };
    if text.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with("//")) {
        return Diagnostic::error(
            Code::Syntax,
            Span::default(),
            "the mapping is empty",
            "nothing is written here",
        )
        .help(if begin == 0 {
            "begin with `mapping NAME : LEFT <=> RIGHT`"
        } else {
            "begin with `library NAME`"
        });
    }
    let header = || if rule == Rule::file { hint::incomplete_header(text, at) } else { None };
    if let Some(diagnostic) = form::known_form(text, at, rules) {
        return diagnostic;
    }
    if let Some(diagnostic) = hint::word_before(text, at, rules).or_else(header) {
        return diagnostic;
    }
    let at = whole_sign(text, at);
    let found = found_token(text.get(at..).unwrap_or(""));
    let place = Span::new(at, at + found.len());
    let mut diagnostic = match found {
        "" => Diagnostic::error(Code::Syntax, place, "this ends too early", expected_text(rules)),
        "\"" if rules.contains(&Rule::string) => Diagnostic::error(
            Code::Syntax,
            place,
            "this text is never closed",
            "no `\"` before the line ends",
        ),
        blank if blank.trim().is_empty() => {
            Diagnostic::error(Code::Syntax, place, "white space does not fit here", expected_text(rules))
        }
        _ => Diagnostic::error(
            Code::Syntax,
            place,
            format!("`{found}` does not fit here"),
            expected_text(rules),
        ),
    };
    if let Some(open) = unclosed_bracket(text) {
        let bracket = &text[open..=open];
        diagnostic = diagnostic.with(Span::new(open, open + 1), format!("this `{bracket}` is never closed"));
    }
    match hint::help(found, rules) {
        Some(help) => diagnostic.help(help),
        None => diagnostic,
    }
}

pub(super) const ARROW_CHARACTERS: &str = "<=>-~";

pub(super) const KEYWORDS: &[&str] = &[
    "mapping",
    "library",
    "import",
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
    "nested",
    "family",
    "plain",
    "ignored",
    "keeps",
    "require",
    "note",
];

/// The parser may have taken `<` of `<->` for a comparison and stopped in the middle of the sign.
fn whole_sign(text: &str, at: usize) -> usize {
    let sign = |c: char| ARROW_CHARACTERS.contains(c);
    match (text.get(..at), text.get(at..)) {
        (Some(before), Some(rest)) if rest.starts_with(sign) => before.trim_end_matches(sign).len(),
        _ => at,
    }
}

pub(super) fn found_token(rest: &str) -> &str {
    let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    if word > 0 {
        return &rest[..word];
    }
    let symbols = rest.find(|c: char| !ARROW_CHARACTERS.contains(c)).unwrap_or(rest.len());
    if symbols > 0 {
        return &rest[..symbols];
    }
    if rest.starts_with("**") {
        return &rest[..2];
    }
    rest.chars().next().map_or("", |c| &rest[..c.len_utf8()])
}

/// What may stand here in a few words, since a long list helps nobody; never empty.
fn expected_text(rules: &[Rule]) -> String {
    if rules.contains(&Rule::parameters) {
        return "expected `parameters`, `documents`, `rank`, `dtype`, `format`, `detect`, `nested`, `family`, \
                `plain`, `ignored`, `keeps` or `drop`"
            .to_owned();
    }
    if (rules.contains(&Rule::EOI) || rules.contains(&Rule::items)) && !rules.contains(&Rule::arrow) {
        return "expected a rule or a declaration".to_owned();
    }
    let mut words: Vec<&'static str> = rules.iter().filter_map(|r| describe(*r)).collect();
    let mut seen = Vec::new();
    words.retain(|w| {
        !seen.contains(w) && {
            seen.push(*w);
            true
        }
    });
    words.sort_by_key(|w| !w.starts_with("an arrow"));
    words.truncate(3);
    match words.as_slice() {
        [] if rules.contains(&Rule::cast) || rules.contains(&Rule::kw_as) => {
            "expected `=` and what the parameter holds".to_owned()
        }
        [] => "nothing here can go on like this".to_owned(),
        [one] => format!("expected {one}"),
        [most @ .., last] => format!("expected {} or {last}", most.join(", ")),
    }
}

fn describe(rule: Rule) -> Option<&'static str> {
    Some(match rule {
        Rule::file | Rule::header | Rule::kw_mapping => "`mapping NAME : LEFT <=> RIGHT`",
        Rule::arrow => "an arrow (`<=>`, `=>`, `<=`)",
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
        Rule::m_operand | Rule::m_primary | Rule::m_product => "a value",
        Rule::m_name | Rule::m_pattern => "a name",
        Rule::layout_arm | Rule::match_arm | Rule::rule_arm => "an arm such as `0 => …`",
        Rule::rule_line | Rule::item => "a rule",
        Rule::emit_value => "`zeros`, `ones`, `tril`, `arange` or a number",
        Rule::kw_else => "`else`",
        Rule::module_param => "a parameter such as `weight [out in]`",
        _ => return None,
    })
}

fn closes(opened: u8, closed: u8) -> bool {
    matches!((opened, closed), (b'(', b')') | (b'[', b']') | (b'{', b'}'))
}

/// The first bracket that another kind closes, or the innermost one left open at the end of the text.
fn unclosed_bracket(text: &str) -> Option<usize> {
    let mut open: Vec<(usize, u8)> = Vec::new();
    for (at, byte) in brackets(text) {
        match byte {
            b'(' | b'[' | b'{' => open.push((at, byte)),
            closed => match open.pop() {
                Some((opener, opened)) if !closes(opened, closed) => return Some(opener),
                _ => {}
            },
        }
    }
    open.pop().map(|(at, _)| at)
}
