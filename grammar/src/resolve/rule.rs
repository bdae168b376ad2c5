//! Rules: modules unfolded, alternatives and labels gathered, one checked rule per pair of parameters.

use std::rc::Rc;

use indexmap::IndexMap;

use super::Resolver;
use super::layout::{Actuals, Guarded, LayoutContext, set_role};
use super::name::Expanded;
use super::scope::Scope;
use crate::ast::{self, Alternative, Arrow, Ident, RuleOption, RuleOptionKind, RuleSide, Term, TermContent};
use crate::code::Code;
use crate::diagnostic::{Diagnostic, nearest};
use crate::layout::{Factor, Layout};
use crate::mapping::{
    Affine, Direction, Entry, Fill, Guard, RankEnd, RankId, Replicas, Rule, SideId, Stored,
};
use crate::source::Span;
use crate::template::Template;
use crate::value::Pattern;

/// All parameters that one side of a rule names.
fn terms_of(side: &RuleSide) -> Vec<&Term> {
    match side {
        RuleSide::Term(term) => vec![term],
        RuleSide::Alternatives(terms, _) => terms.iter().map(|a| &a.term).collect(),
        RuleSide::Labelled(terms, _) => terms.iter().map(|(_, term)| term).collect(),
    }
}

/// The module that a parameter is part of.
pub(super) struct Origin<'a> {
    pub(super) module: &'a ast::ModuleDecl,
    pub(super) path: Template,
    /// What each formal axis stands for, in order; the formals are the roles.
    pub(super) operands: Rc<Vec<Guarded<Vec<Factor>>>>,
}

/// A parameter of one side, as it is written: in which rule, and as part of which module.
pub(super) struct Place<'a> {
    pub(super) rule: usize,
    pub(super) entry: usize,
    pub(super) slot: Option<String>,
    /// For each way in which it is stored.
    pub(super) origins: Vec<Option<Rc<Origin<'a>>>>,
}

/// A parameter of one side of a written rule, before names are grouped.
struct Found<'a> {
    lists: Vec<usize>,
    labels: Vec<(Vec<String>, String)>,
    stored: Stored,
    origin: Option<Rc<Origin<'a>>>,
}

/// What one side says under one slot: `weight`, `bias`, or the nameless slot of a plain parameter.
#[derive(Default)]
struct Slot<'a> {
    optional: bool,
    span: Span,
    found: Vec<Found<'a>>,
}

type Slots<'a> = IndexMap<Option<String>, Slot<'a>>;

/// An entry, and the module that each of its names is part of.
type Written<'a> = (Entry, Vec<Option<Rc<Origin<'a>>>>);

impl<'a> Resolver<'a> {
    pub(super) fn resolve_rule(&mut self, rule: &'a ast::Rule, scope: &Scope) {
        let left = self.side_slots(&rule.left, SideId::Left, scope);
        let right = self.side_slots(&rule.right, SideId::Right, scope);
        let options = self.rule_options(&rule.options);
        if self.uses_repr(rule) {
            self.mapping.repr_rules.push(rule.left.span().to(rule.right.span()));
        }
        let (Some(left), Some(right)) = (left, right) else { return self.lose_rule(rule, scope) };
        let span = rule.left.span().to(rule.right.span());
        if !self.same_slots(&left, &right, rule) {
            return self.lose_rule(rule, scope);
        }
        self.check_fill(rule, [&left, &right]);
        let direction = match rule.arrow {
            Arrow::Both => Direction::Both,
            Arrow::Right => Direction::To(SideId::Right),
            Arrow::Left => Direction::To(SideId::Left),
        };
        for (name, left) in left {
            let Some(right) = right.get(&name) else { continue };
            let optional = left.optional || right.optional;
            for written in self.by_list(&left, right, rule) {
                let at = self.mapping.rules.len();
                let sides = [SideId::Left, SideId::Right].map(|side| {
                    let entries = &written[side.index()];
                    for (entry, (_, origins)) in entries.iter().enumerate() {
                        let (slot, origins) = (name.clone(), origins.clone());
                        self.places[side.index()].push(Place { rule: at, entry, slot, origins });
                    }
                    entries.iter().map(|(entry, _)| entry.clone()).collect()
                });
                self.remember_names(&sides);
                self.mapping.rules.push(Rule {
                    guard: scope.guard.clone(),
                    direction,
                    sides,
                    optional,
                    fill: options.fill,
                    on: options.on,
                    replicas: options.replicas,
                    span,
                });
            }
        }
    }

    /// Remembers the names of a rule, which ties may copy.
    fn remember_names(&mut self, sides: &[Vec<Entry>; 2]) {
        for (names, entries) in self.stored_names.iter_mut().zip(sides) {
            names.extend(entries.iter().flat_map(|e| &e.stored).map(|stored| stored.name.clone()));
        }
    }

    /// Whether a parameter of the rule has a stored representation instead of a module.
    fn uses_repr(&self, rule: &'a ast::Rule) -> bool {
        let mut terms = [&rule.left, &rule.right].into_iter().flat_map(terms_of);
        terms.any(|term| match &term.content {
            TermContent::Kind(kind, _) => self.reprs.contains_key(kind.text.as_str()),
            TermContent::Bare | TermContent::Layout(_) => false,
        })
    }

    /// Remembers the names of a rule that is left out, so that ties to them are not reported too.
    fn lose_rule(&mut self, rule: &'a ast::Rule, scope: &Scope) {
        for (side, written) in SideId::BOTH.into_iter().zip([&rule.left, &rule.right]) {
            for term in terms_of(written) {
                for name in self.scoped_name(&term.name, side, scope).unwrap_or_default() {
                    let shown = self.mapping.display_template(&name.template);
                    self.lost_names[side.index()].push(shown);
                }
            }
        }
    }

    /// `fill` says what padding holds, so there must be some.
    fn check_fill(&mut self, rule: &ast::Rule, sides: [&Slots<'_>; 2]) {
        let fill = rule.options.iter().find(|o| matches!(o.kind, RuleOptionKind::Fill(..)));
        let Some(fill) = fill else { return };
        let mut layouts = sides
            .into_iter()
            .flat_map(Slots::values)
            .flat_map(|slot| &slot.found)
            .flat_map(|found| &found.stored.layouts);
        if !layouts.any(|(_, layout)| layout.dims.iter().any(|d| d.padding().is_some())) {
            self.error(
                Diagnostic::error(
                    Code::Misplaced,
                    fill.span,
                    "there is no padding to fill",
                    "no layout of this rule has a `_` part",
                )
                .help("pad one side, as in `(rows: vocab | pad: _)`, or remove `fill`"),
            );
        }
    }

    fn side_slots(&mut self, side: &'a RuleSide, id: SideId, scope: &Scope) -> Option<Slots<'a>> {
        match side {
            RuleSide::Term(term) => self.term_slots(term, id, scope),
            RuleSide::Alternatives(terms, _) => {
                let mut all = Slots::new();
                let parts: Vec<_> = terms
                    .iter()
                    .enumerate()
                    .map(|(at, alternative)| {
                        let written = self.written_when(alternative, at == 0);
                        let mut slots = self.term_slots(&alternative.term, id, scope)?;
                        let found = slots.values_mut().flat_map(|slot| &mut slot.found);
                        found.for_each(|found| found.stored.written_when.clone_from(&written));
                        Some(slots)
                    })
                    .collect();
                for part in parts {
                    merge(&mut all, part?);
                }
                Some(all)
            }
            RuleSide::Labelled(terms, span) => {
                let labels: Vec<&Ident> = terms.iter().map(|(l, _)| l).collect();
                // Each of them knows the names of all.
                self.charge(labels.len().saturating_mul(labels.len()), *span)?;
                let key = self.label_set(&labels);
                let mut all = Slots::new();
                let parts: Vec<_> = terms.iter().map(|(_, t)| self.term_slots(t, id, scope)).collect();
                let key = key?;
                for ((label, _), part) in terms.iter().zip(parts) {
                    let mut part = part?;
                    for slot in part.values_mut() {
                        slot.span = *span;
                        for found in &mut slot.found {
                            found.labels.insert(0, (key.clone(), label.text.clone()));
                        }
                    }
                    merge(&mut all, part);
                }
                Some(all)
            }
        }
    }

    /// The branch under which an alternative is the one that is written. It is decided once for a whole checkpoint, and
    /// the first alternative is what is written where no other's condition holds.
    fn written_when(&mut self, alternative: &Alternative, is_first: bool) -> Option<Guard> {
        let written = alternative.condition.as_ref()?;
        let condition = self.resolve_expr(written, None)?;
        let at = written.span;
        let mistake = if is_first {
            Some((
                "the first alternative has a condition",
                "it is the one that is written where no other's condition holds",
                "put one without a condition first",
            ))
        } else if condition.has_index() {
            Some((
                "which alternative is written depends on an index",
                "it is decided once for the whole checkpoint",
                "test config values only, or have rules of their own under a `when`",
            ))
        } else {
            None
        };
        if let Some((message, label, help)) = mistake {
            self.error(Diagnostic::error(Code::AlternativeCondition, at, message, label).help(help));
            return None;
        }
        let choice = self.choice(condition, vec![Pattern::truth(at), Pattern::any(at)], at);
        Some(Guard(vec![(choice, 0)]))
    }

    fn term_slots(&mut self, term: &'a Term, side: SideId, scope: &Scope) -> Option<Slots<'a>> {
        let names = self.scoped_name(&term.name, side, scope);
        // A mistake in these leaves the layouts as they are, and those may hold mistakes of their own.
        let affine = self.affine(&term.affine).unwrap_or(Affine::IDENTITY);
        let dtype = term.cast.as_ref().and_then(|cast| self.dtype(cast));
        let context = LayoutContext { side, actuals: None };
        match &term.content {
            TermContent::Kind(kind, arguments) => self.module_slots(term, kind, arguments, names, side),
            TermContent::Bare | TermContent::Layout(_) => {
                let layouts = match &term.content {
                    TermContent::Layout(layout) => self.layouts(layout, context)?,
                    _ => Vec::new(),
                };
                let stored = StoredParts { layouts, affine, dtype, span: term.span };
                let found = names?.iter().map(|name| stored.named(name, None)).collect();
                let slot = Slot { optional: term.optional, span: term.span, found };
                Some(Slots::from([(None, slot)]))
            }
        }
    }

    fn module_slots(
        &mut self,
        term: &'a Term,
        kind: &'a Ident,
        arguments: &'a [ast::LayoutExpr],
        names: Option<Vec<Expanded>>,
        side: SideId,
    ) -> Option<Slots<'a>> {
        let module = self.module(kind)?;
        if self.changes_elements(term, kind) {
            return None;
        }
        let outer = LayoutContext { side, actuals: None };
        let given: Vec<Option<Guarded<_>>> = arguments.iter().map(|a| self.whole_factors(a, outer)).collect();
        if module.formals.len() != arguments.len() {
            self.wrong_arity(module, kind, arguments.len());
            return None;
        }
        let mut actuals = Actuals::new();
        for (formal, actual) in module.formals.iter().zip(given) {
            actuals.insert(&formal.text, actual?);
        }
        let inner = LayoutContext { side, actuals: Some(&actuals) };
        let operands = Rc::new(module.formals.iter().map(|f| operand(f, &actuals)).collect::<Vec<_>>());
        let origin = |name: &Expanded| {
            Rc::new(Origin { module, path: name.template.clone(), operands: Rc::clone(&operands) })
        };
        let names: Vec<(Expanded, Rc<Origin<'a>>)> =
            names?.into_iter().map(|n| (n.clone(), origin(&n))).collect();
        let mut slots = Slots::new();
        for param in &module.params {
            let suffixes = self.expand_name(&param.name, side)?;
            self.charge(names.len().saturating_mul(suffixes.len()), term.span)?;
            let below = |(prefix, _): &(Expanded, Rc<Origin<'a>>)| suffixes.first().map(|s| prefix.child(s));
            let whole: Vec<Expanded> = names.iter().filter_map(below).collect();
            if !self.check_indices_once(&whole, term.span) {
                return None;
            }
            let layouts = self.layouts(&param.layout, inner)?;
            let affine = self.affine(&param.affine).unwrap_or(Affine::IDENTITY);
            let dtype = param.cast.as_ref().and_then(|cast| self.dtype(cast));
            let stored = StoredParts { layouts, affine, dtype, span: term.span };
            let found = names
                .iter()
                .flat_map(|(prefix, origin)| {
                    suffixes.iter().map(|suffix| stored.named(&prefix.child(suffix), Some(Rc::clone(origin))))
                })
                .collect();
            let slot = match &param.slot {
                Some(slot) => slot.text.clone(),
                None => self.source.slice(param.name.span).to_owned(),
            };
            let optional = param.optional || term.optional;
            merge(&mut slots, Slots::from([(Some(slot), Slot { optional, span: term.span, found })]));
        }
        Some(slots)
    }

    /// Reports a module whose elements are said to be scaled, shifted or cast.
    fn changes_elements(&mut self, term: &Term, kind: &Ident) -> bool {
        let affine = term.affine.first().map(|a| a.span);
        let Some(extra) = affine.or(term.cast.as_ref().map(|c| c.span)) else { return false };
        self.error(
            Diagnostic::error(
                Code::Misplaced,
                extra,
                "this applies to a parameter, not to a module",
                "which of its parameters is meant?",
            )
            .help(format!("write it in `module {}`, at the parameter", kind.text)),
        );
        true
    }

    fn wrong_arity(&mut self, module: &ast::ModuleDecl, kind: &Ident, given: usize) {
        let formals: Vec<&str> = module.formals.iter().map(|f| f.text.as_str()).collect();
        let axes = |n: usize| if n == 1 { "1 axis".to_owned() } else { format!("{n} axes") };
        self.error(
            Diagnostic::error(
                Code::WrongArity,
                kind.span,
                format!("`{}` takes {}, but is given {}", kind.text, axes(formals.len()), axes(given)),
                format!("declared as `{}({})`", kind.text, formals.join(", ")),
            )
            .with(module.name.span, "declared here")
            .help("an axis made of several is written in parentheses: `(heads head_dim)`"),
        );
    }

    /// `[d] * 2 + 1`: read from left to right, the value that both sides share.
    fn affine(&mut self, steps: &[ast::Affine]) -> Option<Affine> {
        let mut all = Affine::IDENTITY;
        for step in steps {
            let number: f64 = step.number.text.parse().unwrap_or(f64::NAN);
            match step.op {
                '+' => all.offset += number,
                '-' => all.offset -= number,
                op => {
                    let factor = if op == '*' { number } else { 1.0 / number };
                    all = Affine { scale: all.scale * factor, offset: all.offset * factor };
                }
            }
            if !(all.scale.is_finite() && all.scale != 0.0 && all.offset.is_finite()) {
                self.error(
                    Diagnostic::error(
                        Code::NotInvertible,
                        step.span,
                        "this step has no inverse",
                        "after it the stored value cannot be told",
                    )
                    .help("multiply and divide by finite numbers other than 0"),
                );
                return None;
            }
        }
        Some(all)
    }

    /// Modules of both sides must have the same slots.
    fn same_slots(&mut self, left: &Slots<'_>, right: &Slots<'_>, rule: &'a ast::Rule) -> bool {
        let plain = |slots: &Slots<'_>| slots.contains_key(&None);
        if plain(left) != plain(right) {
            let (module, parameter) =
                if plain(left) { (&rule.right, &rule.left) } else { (&rule.left, &rule.right) };
            self.error(
                Diagnostic::error(
                    Code::ModuleAgainstParameter,
                    parameter.span(),
                    "one side is a module, the other a single parameter",
                    "a single parameter",
                )
                .with(module.span(), "a module")
                .help("make both sides modules, or give both the names of parameters"),
            );
            return false;
        }
        let mut same = true;
        let mut suggested: Vec<String> = Vec::new();
        for (here, there, side) in [(left, right, SideId::Left), (right, left, SideId::Right)] {
            for (name, slot) in here {
                if there.contains_key(name) {
                    continue;
                }
                same = false;
                let name = name.clone().unwrap_or_default();
                if suggested.contains(&name) {
                    continue;
                }
                let other_span = if side == SideId::Left { rule.right.span() } else { rule.left.span() };
                let which = if side == SideId::Left { "left" } else { "right" };
                let mut diagnostic = Diagnostic::error(
                    Code::SlotOnOneSide,
                    slot.span,
                    format!("`{name}` is on the {which} only"),
                    format!("this module has `{name}`"),
                )
                .with(other_span, format!("this one has no `{name}`"));
                let others: Vec<&str> = there.keys().flatten().map(String::as_str).collect();
                let unpaired = others.iter().copied().filter(|o| !here.contains_key(&Some((*o).to_owned())));
                diagnostic = match nearest(&name, unpaired) {
                    Some(near) => {
                        suggested.push(near.to_owned());
                        diagnostic.help(format!(
                            "did you mean `{near}`? If it is really called so there, write `{name}: {near} […]`"
                        ))
                    }
                    None => diagnostic.help(format!(
                        "use modules with the same parameters; one that is called otherwise is written `{name}: ITS_NAME […]`"
                    )),
                };
                self.error(diagnostic);
            }
        }
        same
    }

    /// `{wi_0,wi_1} <=> {w1,w3}` is as many rules as the lists are long.
    fn by_list(
        &mut self,
        left: &Slot<'a>,
        right: &Slot<'a>,
        rule: &'a ast::Rule,
    ) -> Vec<[Vec<Written<'a>>; 2]> {
        let (lefts, rights) = (group_lists(left), group_lists(right));
        if lefts.keys().ne(rights.keys()) {
            let count = |g: &IndexMap<Vec<usize>, Vec<&Found<'_>>>| g.len();
            self.error(
                Diagnostic::error(
                    Code::ListMismatch,
                    rule.left.span(),
                    "the lists of names on the two sides do not pair up",
                    format!("{} names", count(&lefts)),
                )
                .with(rule.right.span(), format!("{} names", count(&rights)))
                .help("write lists of equal length, in the same order: `{wi_0,wi_1} <=> {w1,w3}`"),
            );
            return Vec::new();
        }
        lefts.values().zip(rights.values()).map(|(l, r)| [entries(l), entries(r)]).collect()
    }

    fn rule_options(&mut self, options: &[RuleOption]) -> Options {
        let mut all = Options { fill: Fill::Zeros, on: None, replicas: Replicas::Equal };
        for option in options {
            match &option.kind {
                RuleOptionKind::Fill(mode, numbers) => {
                    all.fill = self.fill(mode, numbers).unwrap_or(all.fill);
                }
                RuleOptionKind::On(place) => all.on = self.rank_end(place),
                RuleOptionKind::Replicas(mode) => {
                    all.replicas = match mode.text.as_str() {
                        "first" => Replicas::First,
                        "mean" => Replicas::Mean,
                        "sum" => Replicas::Sum,
                        _ => {
                            self.unknown_option(mode, "way to join replicas", &["first", "mean", "sum"]);
                            continue;
                        }
                    };
                }
            }
        }
        all
    }

    fn fill(&mut self, mode: &Ident, numbers: &[Ident]) -> Option<Fill> {
        let number = |i: usize| numbers.get(i).and_then(|n| n.text.parse::<f64>().ok());
        match mode.text.as_str() {
            "zeros" => Some(Fill::Zeros),
            "last" => Some(Fill::Last),
            "mean" => Some(Fill::Mean),
            "normal" => {
                let seed = numbers.first().and_then(|n| n.text.parse().ok());
                if seed.is_none() {
                    self.error(Diagnostic::error(
                        Code::UnknownOption,
                        mode.span,
                        "noise needs a seed, so that a conversion can be repeated",
                        "write `normal(SEED)` or `normal(SEED, STANDARD_DEVIATION)`",
                    ));
                }
                Some(Fill::Normal(seed?, number(1).unwrap_or(0.02)))
            }
            _ => {
                self.unknown_option(mode, "filling", &["zeros", "last", "mean", "normal"]);
                None
            }
        }
    }

    pub(super) fn rank_end(&mut self, place: &Ident) -> Option<(RankId, RankEnd)> {
        let (rank, end) = place.text.split_once('.').unwrap_or((place.text.as_str(), ""));
        let end = match end {
            "first" => RankEnd::First,
            "last" => RankEnd::Last,
            _ => {
                self.unknown_option(place, "end of a rank axis", &["pp.first", "pp.last"]);
                return None;
            }
        };
        let name = Ident { text: rank.to_owned(), span: place.span };
        let side = if self.mapping.ranks.iter().any(|r| r.name == rank && r.side == SideId::Right) {
            SideId::Right
        } else {
            SideId::Left
        };
        Some((self.rank(&name, side)?, end))
    }

    fn unknown_option(&mut self, word: &Ident, what: &str, known: &[&str]) {
        let mut diagnostic = Diagnostic::error(
            Code::UnknownOption,
            word.span,
            format!("unknown {what} `{}`", word.text),
            format!("expected {}", known.join(", ")),
        );
        if let Some(near) = nearest(&word.text, known.iter().copied()) {
            diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
        }
        self.error(diagnostic);
    }
}

struct Options {
    fill: Fill,
    on: Option<(RankId, RankEnd)>,
    replicas: Replicas,
}

/// All of a stored parameter but its name.
struct StoredParts {
    layouts: Guarded<Layout>,
    affine: Affine,
    dtype: Option<String>,
    span: Span,
}

impl StoredParts {
    fn named<'a>(&self, name: &Expanded, origin: Option<Rc<Origin<'a>>>) -> Found<'a> {
        Found {
            origin,
            lists: name.lists.clone(),
            labels: name.labels.clone(),
            stored: Stored {
                name: name.template.clone(),
                layouts: self.layouts.clone(),
                affine: self.affine,
                dtype: self.dtype.clone(),
                written_when: None,
                span: self.span,
            },
        }
    }
}

/// What a formal axis stands for, with the formal as its role.
fn operand(formal: &Ident, actuals: &Actuals<'_>) -> Guarded<Vec<Factor>> {
    let mut all = actuals.get(formal.text.as_str()).cloned().unwrap_or_default();
    all.iter_mut().flat_map(|(_, factors)| factors).for_each(|factor| set_role(factor, &formal.text));
    all
}

fn merge<'a>(all: &mut Slots<'a>, part: Slots<'a>) {
    for (name, slot) in part {
        match all.get_mut(&name) {
            Some(there) => {
                there.optional |= slot.optional;
                there.found.extend(slot.found);
            }
            None => {
                all.insert(name, slot);
            }
        }
    }
}

fn group_lists<'s, 'a>(slot: &'s Slot<'a>) -> IndexMap<Vec<usize>, Vec<&'s Found<'a>>> {
    let mut groups: IndexMap<Vec<usize>, Vec<&Found<'a>>> = IndexMap::new();
    for found in &slot.found {
        groups.entry(found.lists.clone()).or_default().push(found);
    }
    groups
}

/// Alternatives are what shares all labels.
fn entries<'a>(found: &[&Found<'a>]) -> Vec<Written<'a>> {
    let mut groups: IndexMap<&[(Vec<String>, String)], Written<'a>> = IndexMap::new();
    for f in found {
        match groups.get_mut(f.labels.as_slice()) {
            Some((entry, origins)) => {
                entry.stored.push(f.stored.clone());
                origins.push(f.origin.clone());
            }
            None => {
                let entry = Entry { labels: f.labels.clone(), stored: vec![f.stored.clone()] };
                groups.insert(&f.labels, (entry, vec![f.origin.clone()]));
            }
        }
    }
    groups.into_values().collect()
}
