//! Layouts: words become axes, labels or other layouts; choices are multiplied out under guards.

use std::collections::HashMap;

use super::{Resolver, Space};
use crate::ast::{self, Dim, DimKind, Ident, LayoutExpr};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::layout::{Arm, AxisUse, Factor, Layout, Sum};
use crate::mapping::{Guard, RankId, SideId};
use crate::source::Span;
use crate::value::Pattern;

/// More parts than any parameter is stored in.
const MAX_BOXES: usize = 4096;

/// What one layout may unfold to: its factors, those of the layouts it names, under all combinations of choices.
const MAX_LAYOUT_PIECES: usize = 1 << 14;

/// A value under each of the guards that it depends on; the guards exclude one another.
pub(super) type Guarded<T> = Vec<(Guard, T)>;

/// What the formal axes of a module stand for.
pub(super) type Actuals<'a> = HashMap<&'a str, Guarded<Vec<Factor>>>;

/// Where a layout is resolved: its side, and the module whose formals it may use.
#[derive(Clone, Copy)]
pub(super) struct LayoutContext<'c, 'a> {
    pub(super) side: SideId,
    pub(super) actuals: Option<&'c Actuals<'a>>,
}

/// Lists of every combination of two guarded lists that can hold at once, one after the other.
fn append<T: Clone>(mut all: Guarded<Vec<T>>, next: &Guarded<Vec<T>>) -> Guarded<Vec<T>> {
    if let [(guard, one)] = next.as_slice()
        && guard.0.is_empty()
    {
        all.iter_mut().for_each(|(_, list)| list.extend_from_slice(one));
        return all;
    }
    let both = |(ga, a): &(Guard, Vec<T>), (gb, b): &(Guard, Vec<T>)| {
        Some((ga.and(gb)?, [a.as_slice(), b.as_slice()].concat()))
    };
    all.iter().flat_map(|a| next.iter().filter_map(move |b| both(a, b))).collect()
}

impl<'a> Resolver<'a> {
    /// The stored layouts that an expression chooses among.
    pub(super) fn layouts(
        &mut self,
        expr: &'a LayoutExpr,
        context: LayoutContext<'_, 'a>,
    ) -> Option<Guarded<Layout>> {
        let factors = self.whole_factors(expr, context)?;
        self.checked_layouts(factors, layout_span(expr))
    }

    /// The factors of an expression that is no part of another one.
    pub(super) fn whole_factors(
        &mut self,
        expr: &'a LayoutExpr,
        context: LayoutContext<'_, 'a>,
    ) -> Option<Guarded<Vec<Factor>>> {
        self.layout_pieces = 0;
        self.factors(expr, context)
    }

    /// Counts what the layout at hand unfolds to; `None` once it is too much, which is told at `place`.
    fn unfold(&mut self, pieces: usize, place: Span) -> Option<()> {
        let before = self.layout_pieces;
        self.layout_pieces = before.saturating_add(pieces);
        if self.layout_pieces <= MAX_LAYOUT_PIECES {
            return self.charge(pieces, place);
        }
        if before <= MAX_LAYOUT_PIECES {
            self.error(
                Diagnostic::error(
                    Code::UnfoldsTooFar,
                    place,
                    format!("this layout unfolds to more than {MAX_LAYOUT_PIECES} pieces"),
                    "the limit is reached here",
                )
                .note("choices that do not depend on one another multiply, and so do layouts that are used twice")
                .help("decide once, by a `match` over whole layouts"),
            );
        }
        None
    }

    /// [`append`], counted.
    fn append<T: Clone>(
        &mut self,
        all: Guarded<Vec<T>>,
        next: &Guarded<Vec<T>>,
        place: Span,
    ) -> Option<Guarded<Vec<T>>> {
        let length = |list: &Guarded<Vec<T>>| list.iter().map(|(_, list)| list.len()).max().unwrap_or(0);
        // What is added to a single list is counted where it was resolved.
        if next.len() > 1 {
            let lists = all.len().saturating_mul(next.len());
            self.unfold(lists.saturating_mul(1 + length(&all) + length(next)), place)?;
        }
        Some(append(all, next))
    }

    /// The same for a layout that is no choice itself.
    pub(super) fn plain_layouts(
        &mut self,
        layout: &'a ast::Layout,
        context: LayoutContext<'_, 'a>,
    ) -> Option<Guarded<Layout>> {
        self.layout_pieces = 0;
        let factors = self.dims(&layout.dims, context)?;
        self.checked_layouts(factors, layout.span)
    }

    fn checked_layouts(&mut self, factors: Guarded<Vec<Factor>>, span: Span) -> Option<Guarded<Layout>> {
        let layouts: Guarded<Layout> =
            factors.into_iter().map(|(guard, dims)| (guard, Layout { dims, span })).collect();
        let good: Vec<bool> = layouts.iter().map(|(_, l)| self.check_layout(l)).collect();
        good.into_iter().all(|g| g).then_some(layouts)
    }

    /// The factors that an expression puts side by side.
    pub(super) fn factors(
        &mut self,
        expr: &'a LayoutExpr,
        context: LayoutContext<'_, 'a>,
    ) -> Option<Guarded<Vec<Factor>>> {
        match expr {
            LayoutExpr::Layout(layout) => self.dims(&layout.dims, context),
            LayoutExpr::Dim(dim) => self.dim(dim, context),
            LayoutExpr::If(choice) => {
                let on = self.resolve_expr(&choice.condition, None);
                let at = choice.condition.span;
                let branches = [&*choice.then, &*choice.otherwise];
                let values: Vec<_> = branches.into_iter().map(|b| self.factors(b, context)).collect();
                self.guarded(on?, vec![Pattern::truth(at), Pattern::any(at)], values, choice.span)
            }
            LayoutExpr::Match(choice) => {
                let on = self.resolve_expr(&choice.scrutinee, None);
                let patterns: Vec<&ast::Pattern> = choice.arms.iter().map(|(p, _)| p).collect();
                let patterns = self.resolve_patterns(&patterns);
                let values: Vec<_> = choice.arms.iter().map(|(_, v)| self.factors(v, context)).collect();
                self.guarded(on?, patterns, values, choice.span)
            }
        }
    }

    fn guarded(
        &mut self,
        on: crate::value::Expr,
        patterns: Vec<Pattern>,
        values: Vec<Option<Guarded<Vec<Factor>>>>,
        span: Span,
    ) -> Option<Guarded<Vec<Factor>>> {
        let choice = self.choice(on, patterns, span);
        let mut all = Vec::new();
        for (branch, value) in values.into_iter().enumerate() {
            let here = Guard(vec![(choice, branch)]);
            all.extend(value?.into_iter().filter_map(|(guard, v)| Some((here.and(&guard)?, v))));
        }
        Some(all)
    }

    fn dims(&mut self, dims: &'a [Dim], context: LayoutContext<'_, 'a>) -> Option<Guarded<Vec<Factor>>> {
        let at = dims.first().map_or_else(Span::default, |dim| dim.span);
        let parts: Vec<Option<Guarded<Vec<Factor>>>> =
            dims.iter().map(|dim| self.dim(dim, context)).collect();
        let mut all: Guarded<Vec<Factor>> = vec![(Guard::default(), Vec::new())];
        for part in parts {
            all = self.append(all, &part?, at)?;
        }
        Some(all)
    }

    fn dim(&mut self, dim: &'a Dim, context: LayoutContext<'_, 'a>) -> Option<Guarded<Vec<Factor>>> {
        let mut all = self.dim_of_kind(dim, context)?;
        if let Some(role) = &dim.role {
            all.iter_mut().flat_map(|(_, fs)| fs).for_each(|f| set_role(f, &role.text));
        }
        Some(all)
    }

    /// A dim without the role before it, which is the label of an arm where it stands first in one.
    fn dim_of_kind(&mut self, dim: &'a Dim, context: LayoutContext<'_, 'a>) -> Option<Guarded<Vec<Factor>>> {
        self.unfold(1, dim.span)?;
        match &dim.kind {
            DimKind::Axis { name, index, ranks } => self.word(name, index.as_ref(), ranks, context),
            DimKind::Broadcast(name) => {
                let mut axis = self.axis_use(name, None, &[], context.side)?;
                axis.broadcast = true;
                Some(vec![(Guard::default(), vec![Factor::Axis(axis)])])
            }
            DimKind::Unit(number) if number.text == "1" => Some(vec![(Guard::default(), vec![Factor::Unit])]),
            DimKind::Unit(number) => {
                self.error(
                    Diagnostic::error(
                        Code::BareNumber,
                        number.span,
                        format!("a dimension of size {} has no name", number.text),
                        "only `1` may stand without one",
                    )
                    .help("label its parts, as in `(q | k | v)`, or name the axis and give its size in `config`"),
                );
                None
            }
            DimKind::Pad => {
                self.error(
                    Diagnostic::error(
                        Code::MisplacedPadding,
                        dim.span,
                        "padding stands outside a sum",
                        "`_` is whatever is left beside other parts",
                    )
                    .help("write it as a part: `(rows: vocab | pad: _)`"),
                );
                None
            }
            DimKind::Group { arms, ranks } => self.group(dim, arms, ranks, context),
        }
    }

    /// A word in a layout: a formal of the module, a layout's name, or an axis.
    fn word(
        &mut self,
        name: &'a Ident,
        index: Option<&'a Ident>,
        ranks: &'a [Ident],
        context: LayoutContext<'_, 'a>,
    ) -> Option<Guarded<Vec<Factor>>> {
        if let Some(actual) = context.actuals.and_then(|a| a.get(name.text.as_str())) {
            self.unfold(actual.iter().map(|(_, factors)| 1 + factors.len()).sum(), name.span)?;
            let mut all = actual.clone();
            all.iter_mut().flat_map(|(_, fs)| fs).for_each(|f| set_role(f, &name.text));
            return self.distributed(all, name, index, ranks, context.side);
        }
        if let Some(layout) = self.layouts.get(name.text.as_str()).copied() {
            self.mark_used(Space::Layout, name);
            let all = self.named_layout(layout, name, context)?;
            return self.distributed(all, name, index, ranks, context.side);
        }
        let axis = self.axis_use(name, index, ranks, context.side)?;
        Some(vec![(Guard::default(), vec![Factor::Axis(axis)])])
    }

    /// `dim@tp`, where `dim` stands for what a module is used with, or for a layout.
    fn distributed(
        &mut self,
        factors: Guarded<Vec<Factor>>,
        name: &Ident,
        index: Option<&Ident>,
        ranks: &[Ident],
        side: SideId,
    ) -> Option<Guarded<Vec<Factor>>> {
        if let Some(index) = index {
            self.error(
                Diagnostic::error(
                    Code::Misplaced,
                    index.span,
                    format!("`{}` is no list of sizes", name.text),
                    "only a config value has a size for each index",
                )
                .help(format!(
                    "write `[{}]` at the config value that `{}` stands for",
                    index.text, name.text
                )),
            );
            return None;
        }
        let ranks: Vec<_> = ranks.iter().map(|r| self.rank(r, side)).collect();
        let ranks: Vec<RankId> = ranks.into_iter().collect::<Option<_>>()?;
        if ranks.is_empty() {
            return Some(factors);
        }
        let over_ranks = |mut parts: Vec<Factor>| match parts.as_mut_slice() {
            [Factor::Axis(axis)] => {
                axis.ranks.extend(&ranks);
                parts
            }
            [Factor::Sum(Sum { ranks: own, .. }) | Factor::Product(_, own)] => {
                own.extend(&ranks);
                parts
            }
            _ => vec![Factor::Product(parts, ranks.clone())],
        };
        Some(factors.into_iter().map(|(guard, parts)| (guard, over_ranks(parts))).collect())
    }

    fn named_layout(
        &mut self,
        layout: &'a ast::LayoutDef,
        used: &Ident,
        context: LayoutContext<'_, 'a>,
    ) -> Option<Guarded<Vec<Factor>>> {
        if self.open_layouts.contains(&layout.name.text.as_str()) {
            self.error(
                Diagnostic::error(
                    Code::RecursiveLayout,
                    used.span,
                    format!("the layout `{}` contains itself", used.text),
                    "used inside its own definition",
                )
                .with(layout.name.span, "defined here")
                .help("a layout is made of axes, and of layouts that do not use it"),
            );
            return None;
        }
        self.open_layouts.push(&layout.name.text);
        let factors = self.factors(&layout.value, LayoutContext { actuals: None, ..context });
        self.open_layouts.pop();
        factors
    }

    fn axis_use(
        &mut self,
        name: &Ident,
        index: Option<&Ident>,
        ranks: &[Ident],
        side: SideId,
    ) -> Option<AxisUse> {
        let axis = self.axis(name);
        let by = index.map(|i| self.axis(i));
        let ranks: Vec<_> = ranks.iter().map(|r| self.rank(r, side)).collect();
        let axis = axis?;
        if let Some(field) = self.mapping.axis(axis).field {
            match index {
                None => self.expect_integer(field.index(), name.span),
                Some(_) => self.expect_list(field.index(), name.span),
            }
        }
        Some(AxisUse {
            axis,
            by: match by {
                None => None,
                Some(by) => Some(by?),
            },
            role: None,
            ranks: ranks.into_iter().collect::<Option<_>>()?,
            broadcast: false,
            span: name.span,
        })
    }

    fn group(
        &mut self,
        dim: &'a Dim,
        arms: &'a [Vec<Dim>],
        ranks: &'a [Ident],
        context: LayoutContext<'_, 'a>,
    ) -> Option<Guarded<Vec<Factor>>> {
        let ranks: Option<Vec<_>> = ranks.iter().map(|r| self.rank(r, context.side)).collect();
        if let [product] = arms {
            let factors = self.dims(product, context)?;
            let ranks = ranks?;
            return Some(
                factors.into_iter().map(|(g, fs)| (g, vec![Factor::Product(fs, ranks.clone())])).collect(),
            );
        }
        let labelled: Option<Vec<Ident>> = arms.iter().map(|arm| self.arm_label(arm, context)).collect();
        let labels = labelled?;
        // Each of them knows the names of all.
        self.charge(labels.len().saturating_mul(labels.len()), dim.span)?;
        self.label_set(&labels.iter().collect::<Vec<_>>())?;
        let mut all: Guarded<Vec<Arm>> = vec![(Guard::default(), Vec::new())];
        for (arm, label) in arms.iter().zip(&labels) {
            let ways = self.arm(arm, label, context)?;
            let ways = ways.into_iter().map(|(guard, way)| (guard, vec![way])).collect();
            all = self.append(all, &ways, label.span)?;
        }
        let ranks = ranks?;
        let sum = |arms| Factor::Sum(Sum { arms, ranks: ranks.clone(), span: dim.span });
        Some(all.into_iter().map(|(guard, arms)| (guard, vec![sum(arms)])).collect())
    }

    /// `q: rep` has the label `q`; a bare word is a label of one unit; `_` is padding.
    fn arm_label(&mut self, arm: &'a [Dim], context: LayoutContext<'_, 'a>) -> Option<Ident> {
        let first = arm.first()?;
        match (&first.role, &first.kind) {
            (Some(label), _) => Some(label.clone()),
            (None, DimKind::Pad) => Some(Ident { text: "_".to_owned(), span: first.span }),
            (None, DimKind::Axis { name, index: None, ranks }) if arm.len() == 1 && ranks.is_empty() => {
                if self.layouts.contains_key(name.text.as_str())
                    || context.actuals.is_some_and(|a| a.contains_key(name.text.as_str()))
                {
                    self.unlabelled(arm, first);
                    return None;
                }
                Some(name.clone())
            }
            _ => {
                self.unlabelled(arm, first);
                None
            }
        }
    }

    fn unlabelled(&mut self, arm: &[Dim], first: &Dim) {
        let at = arm.last().map_or(first.span, |last| first.span.to(last.span));
        let text = self.source.slice(at).to_owned();
        self.error(
            Diagnostic::error(
                Code::UnlabelledArm,
                at,
                "a part of a sum has a size but no label",
                "which part it is cannot be said",
            )
            .help(format!("give it one, as in `q: {text}`")),
        );
    }

    fn arm(&mut self, arm: &'a [Dim], label: &Ident, context: LayoutContext<'_, 'a>) -> Option<Guarded<Arm>> {
        let first = arm.first()?;
        let span = arm.last().map_or(first.span, |last| first.span.to(last.span));
        let make = |factors, pad| Arm { label: label.text.clone(), factors, pad, span };
        if matches!(first.kind, DimKind::Pad) {
            if let Some(extra) = arm.get(1) {
                self.error(
                    Diagnostic::error(
                        Code::MisplacedPadding,
                        extra.span,
                        "padding has no axes",
                        "`_` alone is whatever is left",
                    )
                    .help("write `pad: _`; axes around the sum hold for the padding too"),
                );
                return None;
            }
            return Some(vec![(Guard::default(), make(Vec::new(), true))]);
        }
        let unit = first.role.is_none();
        if unit {
            return Some(vec![(Guard::default(), make(Vec::new(), false))]);
        }
        // The label is not a role.
        let first_factors = self.dim_of_kind(first, context)?;
        let rest = self.dims(&arm[1..], context)?;
        let factors = self.append(first_factors, &rest, span)?;
        Some(factors.into_iter().map(|(g, fs)| (g, make(fs, false))).collect())
    }
}

/// Gives a role to every axis that has none of its own.
pub(super) fn set_role(factor: &mut Factor, role: &str) {
    match factor {
        Factor::Axis(axis) => {
            axis.role.get_or_insert_with(|| role.to_owned());
        }
        Factor::Product(factors, _) => factors.iter_mut().for_each(|f| set_role(f, role)),
        Factor::Sum(sum) => {
            sum.arms.iter_mut().flat_map(|a| &mut a.factors).for_each(|f| set_role(f, role));
        }
        Factor::Unit => {}
    }
}

pub(super) fn layout_span(expr: &LayoutExpr) -> Span {
    match expr {
        LayoutExpr::Layout(layout) => layout.span,
        LayoutExpr::Dim(dim) => dim.span,
        LayoutExpr::Match(choice) => choice.span,
        LayoutExpr::If(choice) => choice.span,
    }
}

impl Resolver<'_> {
    /// A set of parts may be chosen from once on the way to an element, like an axis.
    fn check_sums(&mut self, factors: &[Factor], seen: &mut Vec<(Vec<String>, Span)>) -> bool {
        let mut good = true;
        for factor in factors {
            match factor {
                Factor::Product(inner, _) => good &= self.check_sums(inner, seen),
                Factor::Sum(sum) => {
                    let key = sum.key();
                    if let Some((_, first)) = seen.iter().find(|(k, _)| key.len() > 1 && *k == key) {
                        let first = *first;
                        let parts = key.iter().map(|l| format!("`{l}`")).collect::<Vec<_>>().join(", ");
                        self.error(
                            Diagnostic::error(
                                Code::DuplicateLabel,
                                sum.span,
                                format!("the parts {parts} stand twice in this layout"),
                                "again here",
                            )
                            .with(first, "first here")
                            .help("give one of the two sums other labels"),
                        );
                        good = false;
                    }
                    // The arms do not see one another's sums; what follows sees them all.
                    let before = seen.len();
                    let mut inside = Vec::new();
                    for arm in &sum.arms {
                        good &= self.check_sums(&arm.factors, seen);
                        inside.extend(seen.drain(before..));
                    }
                    seen.extend(inside);
                    seen.push((key, sum.span));
                }
                Factor::Axis(_) | Factor::Unit => {}
            }
        }
        good
    }

    /// What is wrong with a layout whatever it is paired with.
    fn check_layout(&mut self, layout: &Layout) -> bool {
        if layout.box_count() > MAX_BOXES {
            self.error(
                Diagnostic::error(
                    Code::LayoutTooWide,
                    layout.span,
                    format!("this layout has more than {MAX_BOXES} parts"),
                    "its sums multiply",
                )
                .help("name the parts by an axis where there is nothing to tell them apart by"),
            );
            return false;
        }
        if self.charge(layout.cost(), layout.span).is_none() {
            return false;
        }
        let mut good = self.check_paddings(layout);
        good &= self.check_sums(&layout.dims, &mut Vec::new());
        good & self.check_twins(layout)
    }

    /// A dimension's padding is whatever its parts leave over, so there is one at most.
    fn check_paddings(&mut self, layout: &Layout) -> bool {
        let mut good = true;
        for dim in &layout.dims {
            let pads: Vec<Span> = Layout { dims: vec![dim.clone()], span: layout.span }
                .sums()
                .into_iter()
                .flat_map(|s| s.arms.iter().filter(|a| a.pad).map(|a| a.span))
                .collect();
            if let [first, second, ..] = pads.as_slice() {
                good = false;
                self.error(
                    Diagnostic::error(
                        Code::MisplacedPadding,
                        *second,
                        "one dimension has two paddings",
                        "how much of each cannot be told",
                    )
                    .with(*first, "the other one")
                    .help("keep one; it is whatever is left"),
                );
            }
        }
        good
    }

    fn ambiguous_axis(&mut self, first: &AxisUse, again: &AxisUse) {
        let name = &self.mapping.axis(again.axis).name;
        let (why, help) = match (&first.role, &again.role) {
            (Some(role), None) | (None, Some(role)) => (
                "only one of the two has a role",
                format!("give the other one a role too, beside `{role}:{name}`"),
            ),
            _ => ("nothing tells the two apart", format!("give each a role, as in `[out:{name} in:{name}]`")),
        };
        let message = format!("`{name}` stands twice in this layout, and {why}");
        self.error(
            Diagnostic::error(Code::AmbiguousAxis, again.span, message, "again here")
                .with(first.span, "first here")
                .note("equal sizes hide a missing transpose; which axis is which is never guessed")
                .help(help),
        );
    }

    /// An axis that stands twice in one place needs roles that tell the two apart.
    fn check_twins(&mut self, layout: &Layout) -> bool {
        let mut good = true;
        for b in layout.symbolic_boxes() {
            for (i, axis) in b.axes.iter().enumerate() {
                let twin = b.axes[..i].iter().find(|a| {
                    (a.axis, a.by) == (axis.axis, axis.by)
                        && (a.role == axis.role || a.role.is_none() || axis.role.is_none())
                });
                if let Some(twin) = twin {
                    good = false;
                    self.ambiguous_axis(twin, axis);
                }
            }
        }
        good
    }
}
