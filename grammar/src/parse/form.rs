//! Syntax errors that the parser meets only after the mistake: what was written is found before the place where reading
//! stopped.

use super::Rule;
use super::error::found_token;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::source::Span;

/// A text that was read up to `at`, where one of `rules` would have to follow.
struct Stop<'t> {
    text: &'t str,
    at: usize,
    rules: &'t [Rule],
    before: &'t str,
    /// `before` without the white space at its end.
    read: &'t str,
    found: &'t str,
}

/// The mistake, where its form is a known one.
pub(super) fn known_form(text: &str, at: usize, rules: &[Rule]) -> Option<Diagnostic> {
    let before = text.get(..at)?;
    let stop = Stop { text, at, rules, before, read: before.trim_end(), found: found_token(&text[at..]) };
    stop.rank_after_set()
        .or_else(|| stop.part_without_label())
        .or_else(|| stop.element_of_list())
        .or_else(|| stop.slash_in_name())
        .or_else(|| stop.sum_in_a_value())
        .or_else(|| stop.place_after_a_colon())
        .or_else(|| stop.value_before_a_place())
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn error(
    start: usize,
    end: usize,
    message: impl Into<String>,
    label: &str,
    help: impl Into<String>,
) -> Diagnostic {
    Diagnostic::error(Code::Syntax, Span::new(start, end), message, label).help(help)
}

impl<'t> Stop<'t> {
    fn expects(&self, any: &[Rule]) -> bool {
        any.iter().any(|rule| self.rules.contains(rule))
    }

    /// The word that the item begins with in which reading stopped.
    fn item(&self) -> &'t str {
        let margin =
            self.before.lines().rev().find(|line| line.starts_with(|c: char| c.is_ascii_alphabetic()));
        margin.and_then(|line| line.split(|c| !is_word(c)).next()).unwrap_or_default()
    }

    /// Where the word at the end of `text` begins.
    fn word_at_end(text: &str) -> usize {
        text.trim_end_matches(is_word).len()
    }

    /// `{layer in sparse@pp}`.
    fn rank_after_set(&self) -> Option<Diagnostic> {
        let open = self.before.rfind('{')?;
        let (index, set) = self.before[open + 1..].split_once(" in ")?;
        if self.found != "@" || set.contains('}') {
            return None;
        }
        let rest = &self.text[self.at..];
        let ranks = &rest[..rest.find(|c| !(is_word(c) || c == '@')).unwrap_or(rest.len())];
        let help = format!("write `{{{}{ranks} in {}}}`", index.trim(), set.trim());
        let end = self.at + ranks.len();
        Some(error(self.at, end, "ranks stand before `in`", "these follow the index itself", help))
    }

    /// `{ a [hidden]  b [hidden] } <=> …`.
    fn part_without_label(&self) -> Option<Diagnostic> {
        let open = self.before.rfind('{')?;
        let name = self.before[open + 1..].trim();
        let plain = !name.is_empty() && name.chars().all(|c| is_word(c) || c == '.' || c == '-');
        let around = self.before[..open].trim_end_matches([' ', '\t']);
        let begins = around.is_empty() || around.ends_with('\n') || around.ends_with("=>");
        if self.found != "[" || !plain || !begins {
            return None;
        }
        let start = open + 1 + self.before[open + 1..].find(name)?;
        let label = name.rsplit('.').next().unwrap_or(name);
        let help =
            format!("write `{label}: {name} […]`, with the label that the other side has for this part");
        Some(error(
            start,
            start + name.len(),
            "a parameter in braces has no label",
            "which part is it?",
            help,
        ))
    }

    /// `kinds[layer] == 0`, `0..depths[stage]`: the bracket is read as the beginning of a list.
    fn element_of_list(&self) -> Option<Diagnostic> {
        let value = [Rule::product_op, Rule::sum_op, Rule::compare_op, Rule::kw_or, Rule::kw_and];
        if !self.expects(&value) || ["model", "fn", "repr"].contains(&self.item()) {
            return None;
        }
        let (open, end) = if self.found == "[" {
            let length = self.text[self.at..].find(']').map_or(1, |close| close + 1);
            (self.at, self.at + length)
        } else {
            let open = self.read.strip_suffix(']')?.rfind('[')?;
            (open, self.read.len())
        };
        let start = Stop::word_at_end(&self.text[..open]);
        if start == open {
            return None;
        }
        let message = format!("`{}` cannot be asked for here", &self.text[start..end]);
        let help = "only layouts pick from a list, as in `[(groups[layer] head_dim)]`";
        Some(error(start, end, message, "an element of a list", help))
    }

    /// `encoder/norm/scale`: a slash divides.
    fn slash_in_name(&self) -> Option<Diagnostic> {
        let name = |c: char| is_word(c) || matches!(c, '/' | '.' | '-');
        let divided = self.before.strip_suffix('/')?;
        if !self.expects(&[Rule::number]) || !divided.ends_with(is_word) || !self.found.starts_with(is_word) {
            return None;
        }
        let start = self.before.trim_end_matches(name).len();
        let rest = &self.text[self.at..];
        let end = self.at + rest.find(|c| !name(c)).unwrap_or(rest.len());
        let written = &self.text[start..end];
        let help = format!("quote a name that has `/` in it: `\"{written}\"`");
        Some(error(start, end, format!("`{written}` is no name"), "`/` divides what is stored", help))
    }

    /// `x + sum e in experts[i] …`.
    fn sum_in_a_value(&self) -> Option<Diagnostic> {
        // Reading stops at the name after `sum`, or behind it.
        let name = if self.found == "in" { Stop::word_at_end(self.read) } else { self.at };
        let sum = self.before[..name].trim_end();
        let start = Stop::word_at_end(sum);
        let mut words = self.text[name..].split_whitespace();
        let (Some(bound), Some("in")) = (words.next(), words.next()) else { return None };
        if &sum[start..] != "sum" {
            return None;
        }
        let help = format!("put it into parentheses, as in `x + (sum {bound} in … {{ … }})`");
        Some(error(start, start + "sum".len(), "a `sum` is no operand", "a value of its own", help))
    }

    /// `hidden: args.hidden` in `config`.
    fn place_after_a_colon(&self) -> Option<Diagnostic> {
        let ty = Stop::word_at_end(self.before);
        let name = self.before[..ty].trim_end().strip_suffix(':')?.trim_end();
        if self.found != "." || self.item() != "config" || ty == self.at {
            return None;
        }
        let rest = &self.text[ty..];
        let place = &rest[..rest.find(|c| !(is_word(c) || matches!(c, '.' | '-'))).unwrap_or(rest.len())];
        let help = format!("write `{} = {place}`", &name[Stop::word_at_end(name)..]);
        let message = "a place follows `=`, and a type follows `:`";
        Some(error(ty, ty + place.len(), message, "a place, where a type belongs", help))
    }

    /// `"gpt2" <= model_type` in `config`.
    fn value_before_a_place(&self) -> Option<Diagnostic> {
        let line = self.read.rfind('\n').map_or(0, |end| end + 1);
        let start = line + self.read[line..].len() - self.read[line..].trim_start().len();
        let literal = self.read[start..].strip_prefix('"')?;
        let end = start + 2 + literal.find('"')?;
        let rest = self.read[end..].trim_start();
        if self.item() != "config" || !rest.starts_with("<=") || rest.starts_with("<=>") {
            return None;
        }
        let text = &self.read[start..end];
        let help =
            format!("write `PLACE <= {text}` for the left side, or `{text} => PLACE` for the right one");
        Some(error(start, end, "what is written to the left stands right of its place", "a value", help))
    }
}
