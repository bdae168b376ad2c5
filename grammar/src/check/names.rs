//! Whether each name belongs to one rule.

use crate::code::Code;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::mapping::{Guard, Mapping, SideId};
use crate::source::Span;
use crate::template::Template;

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

pub(super) fn check_names(mapping: &Mapping, diagnostics: &mut Diagnostics) {
    for side in SideId::BOTH {
        let claims = claims(mapping, side);
        for (i, a) in claims.iter().enumerate() {
            let clash = claims[..i].iter().find(|b| clashes(a, b));
            if let Some(b) = clash {
                diagnostics.push(overlap(mapping, side, a, b));
            }
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

fn clashes(a: &Claim<'_>, b: &Claim<'_>) -> bool {
    let by_kind = match (a.kind, b.kind) {
        (Use::Drop, Use::Drop) => false,
        (Use::Rule { rule, entry, .. }, Use::Rule { rule: r, entry: e, .. }) if rule == r && entry == e => {
            true
        }
        // A parameter may go to several places, but it comes from one.
        (Use::Rule { writes, .. }, Use::Rule { writes: w, .. }) => writes && w,
        _ => true,
    };
    by_kind && !a.guard.excludes(b.guard) && a.name.meets(b.name) && !apart(a.name, b.name)
}

/// Whether an index of both templates runs over ranges that do not meet.
fn apart(a: &Template, b: &Template) -> bool {
    a.indices().zip(b.indices()).any(|(x, y)| {
        let same = (x.axis, x.scale, x.offset) == (y.axis, y.scale, y.offset);
        let (Some((x0, x1)), Some((y0, y1))) = (&x.range, &y.range) else { return false };
        let before = |end: &crate::size::Size, start: &crate::size::Size| {
            start.minus(end).as_constant().is_some_and(|gap| gap >= 0)
        };
        same && (before(x1, y0) || before(y1, x0))
    })
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
        .help("narrow one of them, or put them in branches of one `when` or `match`")
}
