//! Whether the boxes of a rule's two sides pair up, for every size.

use std::collections::BTreeMap;

use crate::budget::Budget;
use crate::code::Code;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::layout::{AxisUse, Labels, Layout};
use crate::mapping::{AxisId, Entry, Guard, Mapping, Rule, SideId, Stored};
use crate::resolve::too_much;
use crate::size::{Size, Symbol};
use crate::source::Span;

/// A box of one side of a rule, with the axes and labels that live in names.
struct Piece {
    labels: Labels,
    axes: Vec<AxisUse>,
    span: Span,
}

pub(super) fn check_pairs(mapping: &Mapping, diagnostics: &mut Diagnostics) {
    let mut budget = Budget::of(&mapping.source);
    for rule in &mapping.rules {
        let found = super::homes::check_rule(mapping, rule).or_else(|| {
            let bare = |s: &Stored| s.layouts.is_empty();
            let mut all = rule.sides.iter().flatten().flat_map(|e| &e.stored);
            if all.clone().all(bare) {
                return super::renames::check_renaming(mapping, rule).or_else(|| ranges(mapping, rule));
            }
            if all.any(bare) {
                return Some(layout_on_one_side(rule));
            }
            check_layouts(mapping, rule, &mut budget)
        });
        let Some(diagnostic) = found else { continue };
        let spent = diagnostic.code == Code::UnfoldsTooFar;
        diagnostics.push(diagnostic);
        if spent {
            return;
        }
    }
}

fn layout_on_one_side(rule: &Rule) -> Diagnostic {
    let has =
        |side: SideId| rule.sides[side.index()].iter().flat_map(|e| &e.stored).all(|s| !s.layouts.is_empty());
    let which = if has(SideId::Left) { "right" } else { "left" };
    let bare = rule.sides.iter().flatten().flat_map(|e| &e.stored).find(|s| s.layouts.is_empty());
    Diagnostic::error(
        Code::LayoutOnOneSide,
        bare.map_or(rule.span, |s| s.span),
        format!("the parameter on the {which} has no layout"),
        "the other side has one",
    )
    .help("give both sides a layout, or neither where the tensor stays as it is")
}

/// Every era of one side against the first era of the other, in every combination of branches.
fn check_layouts(mapping: &Mapping, rule: &Rule, budget: &mut Budget) -> Option<Diagnostic> {
    let eras = |side: &[Entry]| side.iter().map(|e| e.stored.len()).max().unwrap_or(1);
    let [left, right] = &rule.sides;
    let pairs = (0..eras(left)).map(|i| (i, 0)).chain((1..eras(right)).map(|j| (0, j)));
    for (i, j) in pairs {
        let Some(lefts) = pieces(left, i, &rule.guard, budget) else {
            return Some(too_much(budget.whole, rule.span));
        };
        for (guard, lefts) in lefts {
            let Some(rights) = pieces(right, j, &guard, budget) else {
                return Some(too_much(budget.whole, rule.span));
            };
            for (_, rights) in rights {
                if let Some(diagnostic) = compare(mapping, rule, &lefts, &rights) {
                    return Some(diagnostic);
                }
            }
        }
    }
    ranges(mapping, rule)
}

/// A layout of a module is shown where the module is used: there it can be changed for this rule alone.
fn shown_at(stored: &Stored, layout: &Layout) -> Span {
    let inside = stored.span.start <= layout.span.start && layout.span.end <= stored.span.end;
    if inside { layout.span } else { stored.span }
}

/// The boxes of one side in one era, under each guard that can hold together with `outer`; `None` where these are more
/// than the budget has.
fn pieces(
    side: &[Entry],
    era: usize,
    outer: &Guard,
    budget: &mut Budget,
) -> Option<Vec<(Guard, Vec<Piece>)>> {
    type Chosen<'m> = (&'m Entry, &'m Stored, &'m Layout);
    let mut all: Vec<(Guard, Vec<Chosen<'_>>)> = vec![(outer.clone(), Vec::new())];
    for entry in side {
        let Some(stored) = entry.stored.get(era).or(entry.stored.first()) else { continue };
        let cost: usize = stored.layouts.iter().map(|(_, layout)| layout.cost()).sum();
        if !budget.charge(all.len().saturating_mul(cost)) {
            return None;
        }
        all = all
            .iter()
            .flat_map(|(guard, chosen)| {
                stored.layouts.iter().filter_map(move |(g, layout)| {
                    let mut chosen = chosen.clone();
                    chosen.push((entry, stored, layout));
                    Some((guard.and(g)?, chosen))
                })
            })
            .collect();
    }
    let boxes = |(entry, stored, layout): &Chosen<'_>| -> Vec<Piece> {
        let in_name: Vec<AxisUse> = stored
            .name
            .indices()
            .map(|i| AxisUse {
                axis: i.axis,
                by: None,
                role: None,
                ranks: i.ranks.clone(),
                broadcast: false,
                span: stored.span,
            })
            .collect();
        layout
            .symbolic_boxes()
            .into_iter()
            .filter(|b| !b.pad)
            .map(|b| {
                let mut labels = b.labels;
                labels.extend(entry.labels.iter().cloned());
                Piece { labels, axes: [in_name.clone(), b.axes].concat(), span: shown_at(stored, layout) }
            })
            .collect()
    };
    Some(all.into_iter().map(|(guard, chosen)| (guard, chosen.iter().flat_map(boxes).collect())).collect())
}

fn compare(mapping: &Mapping, rule: &Rule, lefts: &[Piece], rights: &[Piece]) -> Option<Diagnostic> {
    if let Some(diagnostic) = padding_on_both(rule) {
        return Some(diagnostic);
    }
    if let Some(diagnostic) = same_part_twice(lefts).or_else(|| same_part_twice(rights)) {
        return Some(diagnostic);
    }
    let by_label = |pieces: &'_ [Piece]| -> BTreeMap<Labels, usize> {
        pieces.iter().enumerate().map(|(i, p)| (p.labels.clone(), i)).collect()
    };
    let (left_map, right_map) = (by_label(lefts), by_label(rights));
    for (here, there, which) in
        [(&left_map, &right_map, SideId::Left), (&right_map, &left_map, SideId::Right)]
    {
        let (own, other) = if which == SideId::Left { (lefts, rights) } else { (rights, lefts) };
        if let Some((labels, i)) = here.iter().find(|(labels, _)| !there.contains_key(*labels)) {
            let other_labels = there.keys().next();
            return Some(label_on_one_side(which, labels, own[*i].span, other_labels, other.first(), rule));
        }
    }
    for (labels, i) in &left_map {
        if let Some(j) = right_map.get(labels)
            && let Some(diagnostic) = compare_axes(mapping, &lefts[*i], &rights[*j], labels)
        {
            return Some(diagnostic);
        }
    }
    None
}

/// Each part of a parameter is stored once. Eras that put different parts into names are not told apart.
fn same_part_twice(pieces: &[Piece]) -> Option<Diagnostic> {
    let mut seen: BTreeMap<&Labels, &Piece> = BTreeMap::new();
    for piece in pieces {
        if let Some(first) = seen.insert(&piece.labels, piece) {
            let part: Vec<&str> = piece.labels.values().map(String::as_str).collect();
            let what = if part.is_empty() {
                "the whole".to_owned()
            } else {
                format!("the part `{}`", part.join(" "))
            };
            return Some(
                Diagnostic::error(
                    Code::DuplicateLabel,
                    piece.span,
                    format!("{what} of one parameter is stored twice"),
                    "again here",
                )
                .with(first.span, "first here")
                .help("give each part one place; eras that split a parameter differently are two rules in branches of a `when`"),
            );
        }
    }
    None
}

fn padding_on_both(rule: &Rule) -> Option<Diagnostic> {
    let pad = |side: &[Entry]| -> Option<Span> {
        let layouts = side.iter().flat_map(|e| &e.stored).flat_map(|s| &s.layouts);
        layouts.flat_map(|(_, l)| l.sums()).flat_map(|s| &s.arms).find(|a| a.pad).map(|a| a.span)
    };
    let (left, right) = (pad(&rule.sides[0])?, pad(&rule.sides[1])?);
    Some(
        Diagnostic::error(Code::PaddingOnBothSides, right, "both sides have padding", "padded here too")
            .with(left, "padded here")
            .help("padding is what one side has beyond the other; leave it out on one of them"),
    )
}

fn label_on_one_side(
    which: SideId,
    labels: &Labels,
    span: Span,
    others: Option<&Labels>,
    other: Option<&Piece>,
    rule: &Rule,
) -> Diagnostic {
    let side = if which == SideId::Left { "left" } else { "right" };
    let there = other.map_or(rule.span, |p| p.span);
    for (set, label) in labels {
        let known = others.is_some_and(|o| o.contains_key(set));
        if known {
            continue;
        }
        let here = place_of(rule, which, set).unwrap_or(span);
        let similar = others.and_then(|o| o.keys().find(|k| k.iter().any(|l| set.contains(l))));
        if let Some(similar) = similar {
            let there = place_of(rule, which.other(), similar).unwrap_or(there);
            return parts_differ(which, (set, here), (similar, there));
        }
        return Diagnostic::error(
            Code::LabelOnOneSide,
            here,
            format!("{} are put together on the {side} only", parts(set)),
            format!("`{label}` is a part of this"),
        )
        .with(there, "the other side has no such parts")
        .help("say on both sides where each part lies, as `(q | k | v)` or as parameters `{ q: …  k: …  v: … }`");
    }
    let text: Vec<&str> = labels.values().map(String::as_str).collect();
    Diagnostic::error(
        Code::LabelOnOneSide,
        span,
        format!("the part `{}` is on the {side} only", text.join(" ")),
        format!("`{}` is here", text.join(" ")),
    )
    .with(there, "but not here")
    .help("name the same parts on both sides")
}

/// Two sets of parts that have some in common.
fn parts_differ(which: SideId, own: (&[String], Span), other: (&[String], Span)) -> Diagnostic {
    let (left, right) = if which == SideId::Left { (own, other) } else { (other, own) };
    let beyond = |a: &[String], b: &[String]| -> Vec<String> {
        a.iter().filter(|l| !b.contains(l)).cloned().collect()
    };
    let (left_only, right_only) = (beyond(left.0, right.0), beyond(right.0, left.0));
    let is = |labels: &[String]| if labels.len() == 1 { "is" } else { "are" };
    let message = match (left_only.as_slice(), right_only.as_slice()) {
        (l, []) => format!("the parts differ: {} {} on the left only", parts(l), is(l)),
        ([], r) => format!("the parts differ: {} {} on the right only", parts(r), is(r)),
        (l, r) => {
            format!("the parts differ: {} {} on the left only, {} on the right", parts(l), is(l), parts(r))
        }
    };
    let diagnostic = Diagnostic::error(
        Code::LabelOnOneSide,
        left.1,
        message,
        format!("the parts here are {}", parts(left.0)),
    )
    .with(right.1, format!("the parts here are {}", parts(right.0)));
    match (left_only.as_slice(), right_only.as_slice()) {
        ([l], [r]) => diagnostic.help(format!("write `{l}` on both sides, or `{r}`")),
        _ => diagnostic.help("name the same parts on both sides"),
    }
}

/// Where one side of a rule has these parts: its sum, or the parameters that are the parts.
fn place_of(rule: &Rule, side: SideId, set: &[String]) -> Option<Span> {
    let entries = &rule.sides[side.index()];
    let layouts = entries.iter().flat_map(|e| &e.stored).flat_map(|s| &s.layouts);
    let sum = layouts.flat_map(|(_, l)| l.sums()).find(|s| s.key() == set);
    sum.map(|s| s.span).or_else(|| {
        let named = entries.iter().filter(|e| e.labels.iter().any(|(key, _)| key == set));
        named.flat_map(|e| &e.stored).map(|s| s.span).reduce(Span::to)
    })
}

fn parts(set: &[String]) -> String {
    set.iter().map(|l| format!("`{l}`")).collect::<Vec<_>>().join(", ")
}

fn compare_axes(mapping: &Mapping, left: &Piece, right: &Piece, labels: &Labels) -> Option<Diagnostic> {
    type Key = (AxisId, Option<AxisId>);
    let count = |piece: &Piece| -> BTreeMap<Key, Vec<AxisUse>> {
        let mut all: BTreeMap<Key, Vec<AxisUse>> = BTreeMap::new();
        for axis in piece.axes.iter().filter(|a| !a.broadcast) {
            all.entry((axis.axis, axis.by)).or_default().push(axis.clone());
        }
        all
    };
    let (lefts, rights) = (count(left), count(right));
    let only = |a: &BTreeMap<Key, Vec<AxisUse>>, b: &BTreeMap<Key, Vec<AxisUse>>| -> Vec<AxisUse> {
        a.iter()
            .filter(|(k, v)| b.get(*k).map_or(0, Vec::len) < v.len())
            .map(|(_, v)| v[v.len() - 1].clone())
            .collect()
    };
    let (left_only, right_only) = (only(&lefts, &rights), only(&rights, &lefts));
    if !left_only.is_empty() || !right_only.is_empty() {
        return Some(axis_on_one_side(mapping, left, right, &left_only, &right_only, labels));
    }
    for (key, uses) in lefts.iter().filter(|(_, uses)| uses.len() > 1) {
        let roles = |uses: &[AxisUse]| -> Vec<Option<String>> {
            let mut all: Vec<_> = uses.iter().map(|a| a.role.clone()).collect();
            all.sort_unstable();
            all
        };
        let others = rights.get(key).map(|u| roles(u)).unwrap_or_default();
        if roles(uses) != others {
            let name = &mapping.axis(key.0).name;
            let show = |roles: Vec<Option<String>>| {
                roles
                    .into_iter()
                    .map(|r| format!("`{}`", r.unwrap_or_default()))
                    .collect::<Vec<_>>()
                    .join(" and ")
            };
            return Some(
                Diagnostic::error(
                    Code::RoleMismatch,
                    right.span,
                    format!("which `{name}` is which differs between the sides"),
                    format!("{} here", show(others)),
                )
                .with(left.span, format!("{} here", show(roles(uses))))
                .help("use the same roles on both sides"),
            );
        }
    }
    None
}

fn axis_on_one_side(
    mapping: &Mapping,
    left: &Piece,
    right: &Piece,
    left_only: &[AxisUse],
    right_only: &[AxisUse],
    labels: &Labels,
) -> Diagnostic {
    let names = |axes: &[AxisUse]| -> String {
        let all: Vec<String> = axes.iter().map(|a| format!("`{}`", mapping.axis(a.axis).name)).collect();
        all.join(" and ")
    };
    let phrase = |axes: &[AxisUse], side: &str| {
        let verb = if axes.len() == 1 { "is" } else { "are" };
        format!("{} {verb} on the {side} only", names(axes))
    };
    let message = match (left_only, right_only) {
        (l, []) => phrase(l, "left"),
        ([], r) => phrase(r, "right"),
        (l, r) => format!("{}, {} on the right", phrase(l, "left"), names(r)),
    };
    let (first, there, there_only) = if left_only.is_empty() {
        (&right_only[0], left, left_only)
    } else {
        (&left_only[0], right, right_only)
    };
    let other_label = if there_only.is_empty() {
        "no such axis here".to_owned()
    } else {
        format!("{} here", names(there_only))
    };
    let own_name = format!("`{}` here", mapping.axis(first.axis).name);
    let mut diagnostic = Diagnostic::error(Code::AxisOnOneSide, first.span, message, own_name)
        .with(there_only.first().map_or(there.span, |a| a.span), other_label);
    if !labels.is_empty() {
        let part: Vec<&str> = labels.values().map(String::as_str).collect();
        diagnostic = diagnostic.note(format!("in the part `{}`", part.join(" ")));
    }
    if let Some(copies) = left.axes.iter().chain(&right.axes).find(|a| a.broadcast) {
        let name = &mapping.axis(copies.axis).name;
        diagnostic = diagnostic
            .note(format!("`*{name}` stands for copies; a product is written without a sign, as in `(a b)`"));
    }
    advise_on_sizes(mapping, left_only, right_only, diagnostic)
}

/// Axes that differ may still have the same number of coordinates between them.
fn advise_on_sizes(
    mapping: &Mapping,
    left_only: &[AxisUse],
    right_only: &[AxisUse],
    diagnostic: Diagnostic,
) -> Diagnostic {
    let product =
        |axes: &[AxisUse]| axes.iter().fold(Size::constant(1), |p, a| p.times(&axis_size(mapping, a)));
    let (sizes_left, sizes_right) =
        (solve(mapping, &product(left_only)), solve(mapping, &product(right_only)));
    let names_of = |axes: &[AxisUse]| -> String {
        axes.iter().map(|a| mapping.axis(a.axis).name.clone()).collect::<Vec<_>>().join(" ")
    };
    if !left_only.is_empty() && !right_only.is_empty() && sizes_left == sizes_right {
        let (fine, coarse) = if left_only.len() > right_only.len() {
            (left_only, right_only)
        } else {
            (right_only, left_only)
        };
        diagnostic
            .note("the sizes agree, but in what order the one is made of the other does not follow from that")
            .help(format!("write `({})` in place of `{}`", names_of(fine), names_of(coarse)))
    } else {
        diagnostic.help("each axis stands on both sides; one that holds copies is written `*axis`")
    }
}

fn axis_size(mapping: &Mapping, axis: &AxisUse) -> Size {
    match (mapping.axis(axis.axis).field, axis.by) {
        (Some(field), Some(by)) => Size::symbol(Symbol::At(field, by)),
        _ => mapping.axis(axis.axis).size.clone(),
    }
}

/// The size with every value replaced that an equation gives.
fn solve(mapping: &Mapping, size: &Size) -> Size {
    let mut size = size.clone();
    for equation in &mapping.config.equations {
        if let [symbol] = equation.sides[0].symbols().as_slice() {
            size = size.substitute(*symbol, &equation.sides[1]);
        }
    }
    size
}

/// `{layer in dense}` on one side needs the same on the other.
fn ranges(mapping: &Mapping, rule: &Rule) -> Option<Diagnostic> {
    type Ranges = BTreeMap<AxisId, Vec<((Size, Size), Span)>>;
    let collect = |side: &[Entry]| -> Ranges {
        let mut all = Ranges::new();
        for stored in side.iter().flat_map(|e| &e.stored) {
            for index in stored.name.indices() {
                let whole = &mapping.axis(index.axis).range;
                let range = index.range.clone().unwrap_or_else(|| whole.clone());
                all.entry(index.axis).or_default().push((range, stored.span));
            }
            for axis in stored.layouts.iter().flat_map(|(_, layout)| layout.axes()) {
                all.entry(axis.axis).or_default().push((mapping.axis(axis.axis).range.clone(), axis.span));
            }
        }
        all
    };
    let (left, right) = (collect(&rule.sides[0]), collect(&rule.sides[1]));
    let pairs = left.iter().filter_map(|(axis, l)| Some((axis, l, right.get(axis)?)));
    let differing = pairs.flat_map(|(axis, l, r)| {
        let all = [l.as_slice(), r.as_slice()].concat();
        let first = all[0].clone();
        all.into_iter().skip(1).find(|(range, _)| *range != first.0).map(|other| (*axis, first, other))
    });
    let (axis, (l, left_span), (r, right_span)) = differing.into_iter().next()?;
    let name = &mapping.axis(axis).name;
    let show = |(from, to): &(Size, Size)| {
        let symbol = |s| mapping.symbol_name(s);
        format!("{name} in {}..{}", from.display(&symbol), to.display(&symbol))
    };
    Some(
        Diagnostic::error(
            Code::RangeMismatch,
            right_span,
            format!("`{name}` runs over different ranges in one rule"),
            show(&r),
        )
        .with(left_span, show(&l))
        .help("use the same range on both sides; a shift is written `{layer + 2}`"),
    )
}
