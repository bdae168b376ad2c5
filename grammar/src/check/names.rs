//! Whether each name belongs to one rule.

use crate::budget::Budget;
use crate::code::Code;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::mapping::{Guard, Mapping, SideId};
use crate::size::Size;
use crate::source::Span;
use crate::template::{IndexPart, Names, Part, Template};

/// What a name is claimed for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// An alternative of an entry of a rule: rule, entry, whether the rule writes this side.
    Rule {
        rule: usize,
        entry: usize,
        writes: bool,
    },
    Drop,
    Emit,
    Tie,
}

struct Claim<'m> {
    name: &'m Template,
    guard: &'m Guard,
    span: Span,
    kind: Use,
}

/// Steps over names for each piece that a mapping may unfold to.
const STEPS_PER_PIECE: usize = 16;

/// Names with stars can each meet all others, so the steps taken are counted.
pub(super) fn check_names(mapping: &Mapping, diagnostics: &mut Diagnostics) {
    let mut left = Budget::of(&mapping.source).whole.saturating_mul(STEPS_PER_PIECE);
    for side in SideId::BOTH {
        let claims = claims(mapping, side);
        let mut names = Names::default();
        for a in &claims {
            let mut step = |steps: usize| {
                left = left.saturating_sub(steps);
                left > 0
            };
            let Some(meeting) = names.meeting(a.name, &mut step) else {
                diagnostics.push(
                    Diagnostic::error(
                        Code::UnfoldsTooFar,
                        a.span,
                        "the names of this mapping are too many and too alike to be told apart",
                        "more than can be compared up to here",
                    )
                    .help("write fewer stars; a name with `**` is compared with every other"),
                );
                return;
            };
            if let Some(b) = meeting.into_iter().map(|other| &claims[other]).find(|b| clashes(mapping, a, b))
            {
                diagnostics.push(overlap(mapping, side, a, b));
            }
            names.add(a.name);
        }
    }
}

fn claims(mapping: &Mapping, side: SideId) -> Vec<Claim<'_>> {
    let mut all = Vec::new();
    for (rule_number, rule) in mapping.rules.iter().enumerate() {
        for (entry_number, entry) in rule.sides[side.index()].iter().enumerate() {
            for stored in &entry.stored {
                let writes = rule.direction.goes_to(side);
                let kind = Use::Rule { rule: rule_number, entry: entry_number, writes };
                all.push(Claim { name: &stored.name, guard: &rule.guard, span: stored.span, kind });
            }
        }
    }
    let emits = mapping.emits.iter().filter(|e| e.side == side);
    all.extend(emits.map(|e| Claim { name: &e.name, guard: &e.guard, span: e.span, kind: Use::Emit }));
    let ties = mapping.ties.iter().filter(|t| t.side == side);
    all.extend(ties.map(|t| Claim { name: &t.alias, guard: &t.guard, span: t.span, kind: Use::Tie }));
    let drops = mapping.drops.iter().filter(|d| d.side == side);
    all.extend(drops.map(|d| Claim { name: &d.name, guard: &d.guard, span: d.span, kind: Use::Drop }));
    all
}

/// Whether two claims, whose names can be the same but for their ranges, cannot stand beside one another.
fn clashes(mapping: &Mapping, a: &Claim<'_>, b: &Claim<'_>) -> bool {
    let by_kind = match (a.kind, b.kind) {
        (Use::Drop, Use::Drop) => false,
        // One statement, its alternatives multiplied out.
        (Use::Tie, Use::Tie) if a.span == b.span => false,
        (Use::Rule { rule, entry, .. }, Use::Rule { rule: r, entry: e, .. }) if rule == r && entry == e => {
            true
        }
        // A parameter may go to several places, but it comes from one.
        (Use::Rule { writes, .. }, Use::Rule { writes: w, .. }) => writes && w,
        _ => true,
    };
    by_kind && !exclusive(mapping, a, b) && !apart(a.name, b.name)
}

/// Whether two claims stand in different branches of one choice. A choice that asks an index decides between two
/// names only where they show that index alike.
fn exclusive(mapping: &Mapping, a: &Claim<'_>, b: &Claim<'_>) -> bool {
    let shown = |name: &Template, axis| name.indices().find(|i| i.axis == axis).map(|i| (i.scale, i.offset));
    a.guard.0.iter().any(|(choice, branch)| {
        let other = b.guard.0.iter().find(|(c, taken)| c == choice && taken != branch);
        let indices = mapping.choices[choice.index()].on.indices();
        other.is_some() && indices.into_iter().all(|axis| shown(a.name, axis) == shown(b.name, axis))
    })
}

/// Whether the numbers in two names never agree, for ranges that do not meet or steps that miss one another.
fn apart(a: &Template, b: &Template) -> bool {
    match (a.parts.as_slice(), b.parts.as_slice()) {
        ([Part::Literal(name)], _) => outside(b, name),
        (_, [Part::Literal(name)]) => outside(a, name),
        _ => same_skeleton(a, b) && a.indices().zip(b.indices()).any(|(x, y)| numbers_differ(x, y)),
    }
}

/// Whether two templates are the same but for what their indices are, so that these stand in the same places.
fn same_skeleton(a: &Template, b: &Template) -> bool {
    a.parts.len() == b.parts.len()
        && a.parts.iter().zip(&b.parts).all(|pair| match pair {
            (Part::Literal(x), Part::Literal(y)) => x == y,
            (Part::Index(_), Part::Index(_)) => true,
            _ => false,
        })
}

/// Whether a whole name fits the template with a coordinate that an index does not run over.
fn outside(template: &Template, name: &str) -> bool {
    let Some(captures) = template.matches(name) else { return false };
    template.indices().any(|index| {
        let Some(coordinate) = captures.index(index.axis).map(i128::from) else { return false };
        let Some((from, to)) = &index.range else { return false };
        from.as_constant().is_some_and(|from| coordinate < from)
            || to.as_constant().is_some_and(|to| coordinate >= to)
    })
}

fn numbers_differ(a: &IndexPart, b: &IndexPart) -> bool {
    // `s x + o = t y + p` has whole solutions only where the common divisor of s and t divides p - o.
    let divisor = gcd(a.scale.unsigned_abs(), b.scale.unsigned_abs());
    let difference = i128::from(b.offset) - i128::from(a.offset);
    if difference % i128::from(divisor.max(1)) != 0 {
        return true;
    }
    let (Some((a_first, a_end)), Some((b_first, b_end))) = (numbers(a), numbers(b)) else { return false };
    let before = |end: &Size, first: &Size| first.minus(end).as_constant().is_some_and(|gap| gap >= 0);
    before(&a_end, &b_first) || before(&b_end, &a_first)
}

/// The first number of an index whose range is stated at the name, and one past the last.
fn numbers(index: &IndexPart) -> Option<(Size, Size)> {
    let (from, to) = index.range.as_ref().filter(|_| index.scale > 0)?;
    let one = Size::constant(1);
    let number = |c: &Size| c.times(&Size::constant(index.scale)).plus(&Size::constant(index.offset));
    Some((number(from), number(&to.minus(&one)).plus(&one)))
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn overlap(mapping: &Mapping, side: SideId, a: &Claim<'_>, b: &Claim<'_>) -> Diagnostic {
    let names = [mapping.display_template(b.name), mapping.display_template(a.name)];
    let side_name = &mapping.side(side).name;
    let said = |kind: Use| match kind {
        Use::Rule { .. } => "a rule has it here",
        Use::Drop => "dropped here",
        Use::Emit => "emitted here",
        Use::Tie => "tied here",
    };
    let what = if names[0] == names[1] {
        format!("`{}` of {side_name} is claimed twice", names[0])
    } else {
        format!("`{}` and `{}` of {side_name} can be the same name", names[0], names[1])
    };
    Diagnostic::error(Code::NamesOverlap, a.span, what, said(a.kind))
        .with(b.span, said(b.kind))
        .note("each name must belong to one rule, so that nothing is written twice or read by chance")
        .help("narrow one of them, as in `{layer in 1..layers}`, or put them in branches of one `when` or `match`")
}
