//! Syntax errors whose cause is known: what was meant, and how it is written.

use super::Rule;
use super::error::{ARROW_CHARACTERS, KEYWORDS, found_token};
use crate::code::Code;
use crate::diagnostic::{Diagnostic, nearest};
use crate::source::Span;

/// How an item that begins with a keyword goes on.
const FORMS: &[(&str, &str)] = &[
    ("import", "import NAME"),
    ("side", "side NAME { format torch }"),
    ("config", "config { hidden = args.hidden <=> n_embd }"),
    ("module", "module NAME(out, in) { weight [out in] }"),
    ("layout", "layout NAME = (heads head_dim)"),
    ("repr", "repr NAME(out, in) { weight f32 [out in] }"),
    ("model", "model NAME(x [seq]) -> y [seq] { … }"),
    ("when", "when CONDITION { … }"),
    ("match", "match VALUE { PATTERN => { … } }"),
    ("drop", "drop NAME because \"REASON\""),
    ("emit", "emit NAME [positions] as i64 = arange"),
    ("tie", "tie COPY = ORIGINAL"),
];

/// Where a word belongs that cannot begin an item.
const CLAUSES: &[(&str, &str)] = &[
    ("as", "`as DTYPE` follows a layout: `[out in] as f32`"),
    ("fill", "`fill last` follows the second layout of a rule"),
    ("replicas", "`replicas mean` follows the second layout of a rule"),
    ("on", "`on pp.first` follows the second layout of a rule"),
    ("because", "`because \"REASON\"` follows the name of a `drop`"),
    ("else", "`else` follows the closing brace of a `when` or an `if`"),
];

/// The parser takes a word that begins an item for a parameter's name, and stops only at what follows it:
/// at `norm` in `modul norm(…)`, at `f32` in `tril as f32`.
pub(super) fn word_before(text: &str, at: usize, rules: &[Rule]) -> Option<Diagnostic> {
    let before = text.get(..at)?;
    let line = before.rfind('\n').map_or(0, |n| n + 1);
    let first = line + before[line..].len() - before[line..].trim_start().len();
    let end = before.trim_end().len();
    // After a name an arrow is expected, and none of what follows a keyword in its own place.
    let after_name = rules.contains(&Rule::arrow)
        && ![Rule::string, Rule::ident, Rule::number, Rule::place].iter().any(|r| rules.contains(r));
    if first != at && !after_name {
        return None;
    }
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    // At the beginning of a line the word at fault is the one found, elsewhere the one before it.
    let start = if first == at { at } else { before[..end].trim_end_matches(is_word).len() };
    if start < line {
        return None;
    }
    let word = found_token(&text[start..]);
    let place = Span::new(start, start + word.len());
    let at_fault =
        |label: &str| Diagnostic::error(Code::Syntax, place, format!("`{word}` does not fit here"), label);
    if let Some((_, clause)) = CLAUSES.iter().find(|(w, _)| *w == word) {
        return Some(at_fault("no item begins with this word").help(*clause));
    }
    let rest = text[start + word.len()..].trim_start();
    // A name that merely resembles a keyword is followed by what makes it a rule.
    if first != at && ["[", "<", "=>", "?", ":"].iter().any(|sign| rest.starts_with(sign)) {
        return None;
    }
    if start == first {
        if let Some((keyword, form)) = FORMS.iter().find(|(keyword, _)| *keyword == word && first != at) {
            let message = format!("this `{keyword}` is not written as one");
            return Some(
                Diagnostic::error(Code::Syntax, place, message, "what follows does not fit")
                    .help(format!("write it like `{form}`")),
            );
        }
        if KEYWORDS.contains(&word) || word.len() < 3 {
            return None;
        }
        let near = nearest(word, KEYWORDS.iter().copied())?;
        return Some(at_fault("not a keyword").help(format!("did you mean `{near}`?")));
    }
    let clauses = CLAUSES.iter().map(|(w, _)| *w).filter(|w| w.len() > 2);
    let near = nearest(word, clauses).filter(|_| word.len() > 2)?;
    Some(at_fault("not a keyword").help(format!("did you mean `{near}`?")))
}

/// A first line that begins as it should and goes on otherwise.
pub(super) fn incomplete_header(text: &str, at: usize) -> Option<Diagnostic> {
    let rest = text.get(at..)?;
    let before = text[..at].lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with("//"));
    if !(before && rest.starts_with("mapping")) {
        return None;
    }
    let line = rest.lines().next().unwrap_or_default().trim_end();
    let place = Span::new(at, at + line.len());
    Some(
        Diagnostic::error(
            Code::Syntax,
            place,
            "the first line is not complete",
            "names the mapping and its sides",
        )
        .help("write `mapping NAME : LEFT <=> RIGHT`"),
    )
}

/// What to write in place of a sign or word that was found.
pub(super) fn help(found: &str, rules: &[Rule]) -> Option<String> {
    let any = |wanted: &[Rule]| wanted.iter().any(|r| rules.contains(r));
    let in_layout = any(&[Rule::dim, Rule::axis, Rule::group, Rule::arm]);
    let arrow = !found.is_empty() && found.chars().all(|c| ARROW_CHARACTERS.contains(c));
    let text = match found {
        _ if arrow && (rules.contains(&Rule::arrow) || found.contains("->") || found.contains('~')) => {
            "the arrows are `<=>` both ways, `=>` to the right and `<=` to the left"
        }
        "=" if rules.contains(&Rule::body) => "equality is written `==`",
        "," if in_layout => "axes stand side by side, without commas: `[out in]`",
        "," if rules.contains(&Rule::labelled_term) => "parameters stand side by side, without commas",
        "|" if in_layout => "parts stand in parentheses: `[(q | k | v) hidden]`",
        _ if found.starts_with(|c: char| c.is_alphabetic() && !c.is_ascii()) => {
            "names are made of `a` to `z`, digits and `_`; other letters in a parameter's name stand in double quotes"
        }
        // Only an import goes on with either.
        "." | "/" if rules.contains(&Rule::string) && rules.contains(&Rule::ident) => {
            "the path of a file stands in quotes: `import \"./common.mapping\"`"
        }
        ";" => "nothing stands between items; leave it out",
        "#" => "comments begin with `//`",
        _ => return nearest(found, KEYWORDS.iter().copied()).map(|near| format!("did you mean `{near}`?")),
    };
    Some(text.to_owned())
}
