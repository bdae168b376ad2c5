//! Whether the names of a rule without layouts have the same holes.

use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::mapping::{AxisId, Mapping, Rule, Stored};
use crate::template::Part;

/// Without layouts, what is in one name must be in the other.
pub(super) fn check_renaming(mapping: &Mapping, rule: &Rule) -> Option<Diagnostic> {
    let [left, right] = &rule.sides;
    if let Some(entry) = left.iter().chain(right).find(|e| !e.labels.is_empty()) {
        return Some(
            Diagnostic::error(
                Code::LayoutOnOneSide,
                entry.stored.first().map_or(rule.span, |s| s.span),
                "labelled parameters have no layout",
                "how they lie is not said",
            )
            .help("give both sides a layout"),
        );
    }
    left.iter().flat_map(|e| &e.stored).find_map(|l| {
        let mut others = right.iter().flat_map(|e| &e.stored);
        others.find_map(|r| compare_stars(l, r).or_else(|| compare_indices(mapping, l, r)))
    })
}

fn compare_stars(left: &Stored, right: &Stored) -> Option<Diagnostic> {
    let (ours, theirs) = (stars(left), stars(right));
    if ours == theirs {
        return None;
    }
    let said = |stars: &[&str]| match stars {
        [] => "no stars here".to_owned(),
        _ => format!("`{}` here", stars.join("` and `")),
    };
    Some(
        Diagnostic::error(
            Code::WildcardMismatch,
            right.span,
            "the two names do not have the same stars",
            said(&theirs),
        )
        .with(left.span, said(&ours))
        .note("`*` stands for text without a dot, `**` for any text")
        .help("write the same stars on both sides, in the same order"),
    )
}

/// The stars of a name, in order.
fn stars(stored: &Stored) -> Vec<&'static str> {
    let star = |part: &Part| match part {
        Part::Star => Some("*"),
        Part::DoubleStar => Some("**"),
        _ => None,
    };
    stored.name.parts.iter().filter_map(star).collect()
}

fn compare_indices(mapping: &Mapping, left: &Stored, right: &Stored) -> Option<Diagnostic> {
    let has = |stored: &Stored, axis: AxisId| stored.name.indices().any(|i| i.axis == axis);
    let mut indices = left.name.indices().chain(right.name.indices());
    let axis = indices.find(|i| has(left, i.axis) != has(right, i.axis))?.axis;
    let (which, here, there) =
        if has(left, axis) { ("left", left.span, right.span) } else { ("right", right.span, left.span) };
    let name = &mapping.axis(axis).name;
    Some(
        Diagnostic::error(
            Code::AxisOnOneSide,
            here,
            format!("`{name}` is on the {which} only"),
            format!("`{name}` is in this name"),
        )
        .with(there, format!("no `{name}` here"))
        .help(format!("write `{{{name}}}` in both names, or give both sides layouts")),
    )
}
