//! Going on after a syntax error: items at the top of the file are parsed one by one, each in its place.

use std::ops::Range;

use super::error::KEYWORDS;
use super::limit::MAX_TEXT;
use super::{parse_file, parse_items, parse_part};
use crate::ast::File;
use crate::diagnostic::{Diagnostic, nearest};
use crate::source::Part;

/// More syntax errors than anyone reads about at once.
const MAX_ERRORS: usize = 10;

/// Words that begin a declaration. Without it, what the rest of the file says cannot be judged.
const DECLARATIONS: [&str; 10] =
    ["mapping", "library", "import", "side", "config", "module", "layout", "repr", "model", "fn"];

/// Parses a file and finds the syntax errors of each item. The tree is that of the items without one, and is
/// absent where a declaration has one.
pub(crate) fn parse_recovering(part: &Part) -> (Option<File>, Vec<Diagnostic>) {
    let whole = match parse_part(part) {
        Ok(file) => return (Some(file), Vec::new()),
        Err(error) => *error,
    };
    if part.text.len() > MAX_TEXT {
        return (None, vec![whole]);
    }
    let text = &*part.text;
    let mut items = items(text).into_iter();
    // Everything after the first line depends on it.
    let header = items.next().map(|first| parse_file(&text[first.clone()], part.start + first.start));
    let Some(Ok(mut file)) = header else { return (None, vec![whole]) };
    let mut errors: Vec<Diagnostic> = Vec::new();
    let mut judged = true;
    for item in items {
        match parse_items(&text[item.clone()], part.start + item.start) {
            Ok(more) => file.items.extend(more),
            Err(error) => {
                if errors.len() == MAX_ERRORS {
                    let note = format!("these are the first {MAX_ERRORS} syntax errors; there are more");
                    errors.last_mut().into_iter().for_each(|last| last.notes.push(note.clone()));
                    return (None, errors);
                }
                judged &= !is_declaration(&text[item]);
                errors.push(*error);
            }
        }
    }
    // No item is wrong alone, so they were not told apart rightly.
    if errors.is_empty() {
        return (None, vec![whole]);
    }
    (judged.then_some(file), errors)
}

/// The items of a file, from the line that each begins on to the next one's. An item begins at the margin;
/// inside braces that are open, only after lines that are indented, since the braces may have been forgotten.
fn items(text: &str) -> Vec<Range<usize>> {
    let mut starts: Vec<usize> = Vec::new();
    let mut open: Vec<char> = Vec::new();
    let mut indented = false;
    // Whether the line before ended in a brace: others belong to names.
    let mut body = false;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let code = line.split("//").next().unwrap_or_default();
        let margin = code.starts_with(|c: char| c.is_alphanumeric() || "_/{(\"*#;@".contains(c));
        let inside = body && open.last() == Some(&'{') && !indented;
        let goes_on = ["else", "fill", "on", "replicas", "as"].iter().any(|w| first_word(code) == *w);
        if margin && !inside && !goes_on {
            starts.push(offset);
            open.clear();
        }
        if !code.trim().is_empty() {
            indented = code.starts_with(char::is_whitespace);
            body = code.trim_end().ends_with('{') || (body && !indented);
        }
        for c in code.chars() {
            match c {
                '(' | '[' | '{' => open.push(c),
                ')' | ']' | '}' => {
                    open.pop();
                }
                _ => {}
            }
        }
        offset += line.len();
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
}

fn first_word(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    &text[..end]
}

fn is_declaration(item: &str) -> bool {
    let word = first_word(item);
    let meant = if KEYWORDS.contains(&word) { Some(word) } else { nearest(word, KEYWORDS.iter().copied()) };
    DECLARATIONS.contains(&word) || meant.is_some_and(|m| DECLARATIONS.contains(&m))
}
