//! Whether each axis, label and rank has one home, and what depends on an index has one.

use std::collections::HashSet;

use crate::code::Code;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::layout::{AxisUse, Factor, Layout};
use crate::mapping::{Axis, AxisId, Entry, Guard, Mapping, RankId, Rule, Stored};
use crate::source::Span;
use crate::template::Template;
use crate::value::ExprKind;

/// The first thing wrong with one side of a rule taken alone.
pub(super) fn check_rule(mapping: &Mapping, rule: &Rule) -> Option<Diagnostic> {
    rule.sides.iter().flatten().find_map(|entry| {
        entry.stored.iter().find_map(|stored| {
            check_stored(mapping, entry, stored)
                .or_else(|| check_guard(mapping, &rule.guard, &stored.name, stored.span))
        })
    })
}

/// The same for what is emitted or tied.
pub(super) fn check_made_up(mapping: &Mapping, diagnostics: &mut Diagnostics) {
    for emit in &mapping.emits {
        let found = if emit.name.stars() == (0, 0) {
            check_name(mapping, &emit.name, emit.span)
                .or_else(|| check_layout(mapping, &emit.name, &emit.layout, emit.span))
                .or_else(|| check_guard(mapping, &emit.guard, &emit.name, emit.span))
        } else {
            Some(
                Diagnostic::error(
                    Code::WildcardMismatch,
                    emit.span,
                    "an emitted name has stars",
                    "what a star stands for cannot be told when nothing is read",
                )
                .help("write the name out; a number in it can be an index such as `{layer}`"),
            )
        };
        found.into_iter().for_each(|d| diagnostics.push(d));
    }
    for tie in &mapping.ties {
        let known = |axis| tie.alias.indices().any(|i| i.axis == axis);
        if let Some(index) = tie.of.indices().find(|i| !known(i.axis)) {
            let name = &mapping.axis(index.axis).name;
            diagnostics.push(
                Diagnostic::error(
                    Code::UnknownTie,
                    tie.span,
                    format!("which `{name}` is copied cannot be told"),
                    format!("`{}` has no `{name}`", mapping.display_template(&tie.alias)),
                )
                .help(format!("write `{{{name}}}` in both names, or the number of the one that is copied")),
            );
        }
    }
}

fn check_stored(mapping: &Mapping, entry: &Entry, stored: &Stored) -> Option<Diagnostic> {
    if stored.name.stars() != (0, 0) && !stored.layouts.is_empty() {
        return Some(
            Diagnostic::error(
                Code::WildcardMismatch,
                stored.span,
                "a name with stars has a layout",
                "parameters that differ in name only are renamed as they are",
            )
            .help("write the names out, or leave the layouts away on both sides"),
        );
    }
    check_name(mapping, &stored.name, stored.span).or_else(|| {
        stored.layouts.iter().find_map(|(guard, layout)| {
            check_layout(mapping, &stored.name, layout, stored.span)
                .or_else(|| check_labels(entry, stored, layout))
                .or_else(|| check_guard(mapping, guard, &stored.name, stored.span))
        })
    })
}

/// Every coordinate of an index must give a number that a name can hold.
fn check_name(mapping: &Mapping, name: &Template, span: Span) -> Option<Diagnostic> {
    name.indices().find_map(|index| {
        let axis = mapping.axis(index.axis);
        let (from, _) = index.range.as_ref().unwrap_or(&axis.range);
        let first = from.as_constant()?;
        let number = first.checked_mul(i128::from(index.scale))?.checked_add(i128::from(index.offset))?;
        if number >= 0 && index.scale > 0 {
            return None;
        }
        let (which, help) = if index.scale < 0 {
            ("falls below 0".to_owned(), "count upwards: the factor of an index is positive".to_owned())
        } else {
            let short = format!("`{0} in {1}..COUNT`", axis.name, -i128::from(index.offset));
            (format!("is {number}"), format!("start the index later, as in {short}, or add less"))
        };
        Some(
            Diagnostic::error(
                Code::IndexNotInvertible,
                span,
                "a number in this name would be negative",
                format!("for `{}` = {first} it {which}", axis.name),
            )
            .help(help),
        )
    })
}

/// An index in a name is no axis in memory too, a rank axis is used once, and a size that depends on an index
/// finds it in the name.
fn check_layout(mapping: &Mapping, name: &Template, layout: &Layout, span: Span) -> Option<Diagnostic> {
    let in_name = |axis: AxisId| name.indices().any(|i| i.axis == axis);
    for axis in layout.axes() {
        let text = &mapping.axis(axis.axis).name;
        if in_name(axis.axis) {
            return Some(
                Diagnostic::error(
                    Code::TwoHomes,
                    axis.span,
                    format!("`{text}` is both in the name and in memory"),
                    "an axis lives in one place",
                )
                .with(span, format!("its name already says which `{text}` it is"))
                .help(format!("remove `{text}` from the layout or from the name")),
            );
        }
        if let Some(by) = axis.by.filter(|by| !in_name(*by)) {
            let index = &mapping.axis(by).name;
            return Some(index_not_in_name(axis.span, span, index, &format!("`{text}[{index}]`")));
        }
    }
    let mut seen: Vec<RankId> = name.indices().flat_map(|i| i.ranks.clone()).collect();
    ranks_twice(&layout.dims, &mut seen).map(|(rank, place)| {
        let rank = &mapping.ranks[rank.index()].name;
        Diagnostic::error(
            Code::RankTwice,
            place.unwrap_or(layout.span),
            format!("`@{rank}` stands twice for one parameter"),
            format!("distributed over `{rank}` again"),
        )
        .note("a rank holds one block of a parameter, and one number cannot say which block of two axes")
        .help(format!("keep `@{rank}` at the axis that is distributed"))
    })
}

/// The first rank axis met a second time on the way to an element, and where.
fn ranks_twice(factors: &[Factor], seen: &mut Vec<RankId>) -> Option<(RankId, Option<Span>)> {
    let add = |ranks: &[RankId], seen: &mut Vec<RankId>, place: Option<Span>| {
        for rank in ranks {
            if seen.contains(rank) {
                return Some((*rank, place));
            }
            seen.push(*rank);
        }
        None
    };
    factors.iter().find_map(|factor| match factor {
        Factor::Axis(AxisUse { ranks, span, .. }) => add(ranks, seen, Some(*span)),
        Factor::Product(inner, ranks) => ranks_twice(inner, seen).or_else(|| add(ranks, seen, None)),
        Factor::Sum(sum) => {
            let before = seen.len();
            let mut inside = Vec::new();
            let found = sum.arms.iter().find_map(|arm| {
                let found = ranks_twice(&arm.factors, seen);
                inside.extend(seen.drain(before..));
                found
            });
            seen.extend(inside);
            found.or_else(|| add(&sum.ranks, seen, Some(sum.span)))
        }
        Factor::Unit => None,
    })
}

/// A part that the name chooses is not chosen in memory too.
fn check_labels(entry: &Entry, stored: &Stored, layout: &Layout) -> Option<Diagnostic> {
    let sums = layout.sums();
    let (sum, label) = entry
        .labels
        .iter()
        .find_map(|(key, label)| sums.iter().find(|s| s.key() == *key).map(|sum| (sum, label)))?;
    Some(
        Diagnostic::error(
            Code::TwoHomes,
            sum.span,
            "these parts are both in the name and in memory",
            "one parameter would hold all of them",
        )
        .with(stored.span, format!("this is the part `{label}` alone"))
        .help("remove the parts from the layout, or do not label the name")
        .help("labels in a name are for parts that are stored alike; others stand in braces, each with its layout: `{ q: q_proj […]  k: k_proj […] }`"),
    )
}

/// A choice over an index is made for one coordinate, so the name must have it.
fn check_guard(mapping: &Mapping, guard: &Guard, name: &Template, span: Span) -> Option<Diagnostic> {
    guard.0.iter().find_map(|(choice, _)| {
        let on = &mapping.choices[choice.index()].on;
        let mut missing = None;
        on.visit(&mut |e| {
            if let ExprKind::Index(axis) = e.kind
                && !name.indices().any(|i| i.axis == axis)
            {
                missing.get_or_insert((axis, e.span));
            }
        });
        let (axis, place) = missing?;
        Some(index_not_in_name(place, span, &mapping.axis(axis).name, "this choice"))
    })
}

/// An index and its count may have one name, of which a choice takes the count: the same for all coordinates.
pub(super) fn check_choices(mapping: &Mapping, diagnostics: &mut Diagnostics) {
    let mut told: HashSet<Span> = HashSet::new();
    for rule in &mapping.rules {
        for stored in rule.sides.iter().flatten().flat_map(|entry| &entry.stored) {
            let guards = stored.layouts.iter().map(|(guard, _)| guard).chain([&rule.guard]);
            for (choice, _) in guards.flat_map(|guard| &guard.0) {
                mapping.choices[choice.index()].on.visit(&mut |e| {
                    let ExprKind::Field(field) = e.kind else { return };
                    let name = &mapping.field(field).name;
                    let counts = |axis: &Axis| axis.field == Some(field) && axis.name == *name;
                    if stored.name.indices().any(|i| counts(mapping.axis(i.axis))) && told.insert(e.span) {
                        diagnostics.push(index_read_as_value(name, e.span, stored.span));
                    }
                });
            }
        }
    }
}

fn index_read_as_value(name: &str, asked: Span, parameter: Span) -> Diagnostic {
    Diagnostic::warning(
        Code::IndexReadAsValue,
        asked,
        format!("`{name}` is a config value here, and not the index `{{{name}}}`"),
        "how many there are, for each of them alike",
    )
    .with(parameter, format!("a name with `{{{name}}}`"))
    .help(format!("call the config value `{name}s`; then `{name}` alone is the index"))
}

fn index_not_in_name(place: Span, parameter: Span, index: &str, what: &str) -> Diagnostic {
    Diagnostic::error(
        Code::IndexNotInName,
        place,
        format!("which `{index}` is meant here cannot be told"),
        format!("{what} differs from one `{index}` to the next"),
    )
    .with(parameter, format!("this name has no `{{{index}}}`"))
    .help(format!("put `{{{index}}}` in the name on both sides, or do not depend on `{index}`"))
}
