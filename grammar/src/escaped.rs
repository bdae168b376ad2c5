//! Names from files as a terminal can show them.

use std::borrow::Cow;

/// `text` with what a terminal would act upon, or show in another order, written as escapes: control characters, line
/// ends among them, and marks of writing direction. Names in checkpoints can hold any of these.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' | '\r' | '\t' => shown.extend(c.escape_default()),
            c if acts(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_a_terminal_acts_upon_is_escaped() {
        assert_eq!(escaped("a\u{1b}[31m\u{7}\nb"), r"a\u{1b}[31m\u{7}\nb");
        assert_eq!(escaped("x\u{202e}y\u{9b}"), r"x\u{202e}y\u{9b}");
        assert_eq!(escaped("Größe.重み"), "Größe.重み");
    }
}
