//! Stored names against the templates of rules.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use transship_grammar as grammar;

use grammar::{
    AxisId, Captures, Code, Diagnostic, Diagnostics, EvalError, Mapping, RankId, Rule, SideId, Span,
    Template, Value,
};

use super::{Binding, Known, Origin, Scope};
use crate::Checkpoint;

/// Coordinates of indices, by axis.
pub(crate) type Key = Vec<(AxisId, u64)>;

/// Which tensor is what, under the mapping.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// Tensors of a rule's entry by the coordinates in their names: index of the tensor, and of the era.
    pub(crate) entries: HashMap<(usize, usize, Key), Claimed>,
    /// Tensors of rules with stars or without layouts.
    pub(crate) renamed: Vec<Renamed>,
    /// Copies that are tied: the tensor, the tie, what its name holds.
    pub(crate) tied: Vec<(usize, usize, Captures)>,
    /// Tensors of the side's parameters that nothing claims.
    pub(crate) unmapped: Vec<usize>,
    /// How many tensors each `drop` takes, by its number.
    pub(crate) dropped: BTreeMap<usize, usize>,
    /// How many tensors lie outside the side's parameters.
    pub(crate) outside: usize,
}

/// A parameter and the tensors that store it: one, or as many as ranks and chunks.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    /// The first tensor.
    pub(crate) tensor: usize,
    /// Which of the names of its entry it has.
    pub(crate) era: usize,
    /// Which of the side's roots it is below.
    pub(crate) root: usize,
    /// The other tensors, in order.
    pub(crate) others: Vec<usize>,
}

impl Claimed {
    /// All tensors, in order.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = usize> {
        [self.tensor].into_iter().chain(self.others.iter().copied())
    }
}

/// A parameter that is stored under two names.
struct Twice {
    rule: usize,
    tensors: [usize; 2],
}

/// A tensor that keeps how it lies.
#[derive(Debug)]
pub(crate) struct Renamed {
    pub(crate) tensor: usize,
    pub(crate) rule: usize,
    pub(crate) entry: usize,
    pub(crate) era: usize,
    /// Which of the side's roots it is below.
    pub(crate) root: usize,
    pub(crate) captures: Captures,
}

impl Claims {
    /// Tensors that some rule takes.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = usize> {
        let entries = self.entries.values().flat_map(Claimed::tensors);
        entries.chain(self.renamed.iter().map(|r| r.tensor))
    }
}

/// A stored name as rules see it: the whole, and what is below the side's roots.
pub(crate) struct Relative<'n> {
    whole: &'n str,
    /// Below each root that it is under, in the order of the roots.
    below: Vec<Below<'n>>,
}

/// What of a name is below a root.
struct Below<'n> {
    /// The number of the root.
    root: usize,
    name: &'n str,
    /// Numbers of ranks in the root.
    ranks: Vec<(RankId, u64)>,
}

impl Relative<'_> {
    /// Whether it is a name of a parameter of the side, by where it lies.
    fn is_inside(&self) -> bool {
        !self.below.is_empty()
    }

    /// Numbers of ranks in the first root that it is below.
    pub(super) fn ranks(&self) -> &[(RankId, u64)] {
        self.below.first().map_or(&[], |below| &below.ranks)
    }
}

pub(crate) fn relative<'n>(mapping: &Mapping, side: SideId, name: &'n str) -> Relative<'n> {
    let roots = mapping.side(side).roots.iter().enumerate();
    let below = roots.filter_map(|(number, root)| {
        if root.parts.is_empty() {
            return Some(Below { root: number, name, ranks: Vec::new() });
        }
        let mut ends = name.match_indices('.').map(|(at, _)| at);
        ends.find_map(|at| {
            Some(Below { root: number, name: &name[at + 1..], ranks: root.matches(&name[..at])?.ranks })
        })
    });
    Relative { whole: name, below: below.collect() }
}

pub(crate) fn captures(template: &Template, stored: &Relative<'_>) -> Option<Captures> {
    Some(captures_below(template, stored)?.1)
}

/// The same, with the number of the first root below which the name fits; 0 for one from the top.
fn captures_below(template: &Template, stored: &Relative<'_>) -> Option<(usize, Captures)> {
    if template.absolute {
        return Some((0, template.matches(stored.whole)?));
    }
    stored.below.iter().find_map(|below| {
        let mut found = template.matches(below.name)?;
        found.ranks.extend(&below.ranks);
        Some((below.root, found))
    })
}

/// The whole name that a template gives on a side, the first root and all.
pub(crate) fn full_name(
    mapping: &Mapping,
    side: SideId,
    template: &Template,
    holes: &Captures,
) -> Option<String> {
    name_below(mapping, side, 0, template, holes)
}

/// The same below another of the side's roots.
pub(crate) fn name_below(
    mapping: &Mapping,
    side: SideId,
    root: usize,
    template: &Template,
    holes: &Captures,
) -> Option<String> {
    let name = template.render(holes)?;
    let root = &mapping.side(side).roots[root];
    if template.absolute || root.parts.is_empty() {
        return Some(name);
    }
    Some(format!("{}.{name}", root.render(holes)?))
}

pub(super) fn has_marks(mapping: &Mapping, side: SideId, checkpoint: &Checkpoint) -> bool {
    mapping.side(side).detect.iter().all(|ways| has_mark(mapping, side, checkpoint, ways))
}

/// Whether a checkpoint has one of the names of a mark.
pub(super) fn has_mark(mapping: &Mapping, side: SideId, checkpoint: &Checkpoint, ways: &[Template]) -> bool {
    let mut names = checkpoint.tensors().iter().map(|t| relative(mapping, side, &t.name));
    names.any(|n| ways.iter().any(|m| captures(m, &n).is_some()))
}

pub(super) fn count_claimed(mapping: &Mapping, side: SideId, checkpoint: &Checkpoint) -> usize {
    let templates: Vec<&Template> = mapping
        .rules
        .iter()
        .flat_map(|r| &r.sides[side.index()])
        .flat_map(|e| &e.stored)
        .map(|s| &s.name)
        .collect();
    let names = checkpoint.tensors().iter().map(|t| relative(mapping, side, &t.name));
    names.filter(|n| templates.iter().any(|t| captures(t, n).is_some())).count()
}

/// Coordinates in a fixed order, so that equal ones are equal keys.
pub(crate) fn sorted_key(captures: &Captures) -> Key {
    let mut key = captures.indices.clone();
    key.sort_unstable();
    key
}

/// The coordinates of both.
pub(crate) fn joined_key(one: &Key, other: &Key) -> Key {
    let mut key = [one.as_slice(), other].concat();
    key.sort_unstable();
    key.dedup();
    key
}

/// Whether a rule moves tensors as they lie.
pub(crate) fn is_renaming(rule: &Rule) -> bool {
    rule.sides.iter().flatten().flat_map(|e| &e.stored).all(|s| s.layouts.is_empty())
}

impl Binding<'_> {
    /// Values that shapes and names tell, before defaults have a say in choices. Only rules whose choices are
    /// decided already take part; what contradicts itself is told later.
    pub(super) fn decide_by_shapes(&mut self) {
        let open = |binding: &Self| {
            binding
                .mapping
                .choices
                .iter()
                .flat_map(|c| c.on.fields())
                .any(|f| binding.values[f.index()].is_none())
        };
        if !open(self) {
            return;
        }
        let mut ignored = Diagnostics::new(&self.mapping.source);
        for (i, choice) in self.mapping.choices.iter().enumerate().filter(|(_, c)| !c.on.has_index()) {
            let value = choice.on.evaluate(&Scope { binding: self, key: None });
            self.branches[i] = value.ok().and_then(|v| choice.patterns.iter().position(|p| p.fits(&v)));
        }
        self.claim_names(&mut ignored);
        let equations = self.shape_equations(&mut ignored);
        self.solve_by_shapes(&equations);
        self.branches.fill(None);
    }

    /// Decides every choice that depends on config alone.
    pub(super) fn decide(&mut self, diagnostics: &mut Diagnostics) {
        for (i, choice) in self.mapping.choices.iter().enumerate() {
            for field in choice.on.fields() {
                if self.values[field.index()].is_none() {
                    self.take_default(field, diagnostics);
                }
            }
            if choice.on.has_index() {
                continue;
            }
            let value = match choice.on.evaluate(&Scope { binding: self, key: None }) {
                Ok(value) => value,
                Err(error) => {
                    diagnostics.push(self.evaluation_error(&error, choice.on.span));
                    continue;
                }
            };
            match choice.patterns.iter().position(|p| p.fits(&value)) {
                Some(branch) => self.branches[i] = Some(branch),
                None => diagnostics.push(self.no_arm(choice.on.span, &value)),
            }
        }
    }

    pub(super) fn no_arm(&self, span: Span, value: &Value) -> Diagnostic {
        let text = self.mapping.source.slice(span);
        let origin = self.mapping.field_named(text).and_then(|f| self.values[f.index()].as_ref());
        let mut diagnostic = Diagnostic::error(
            Code::NoArm,
            span,
            format!("`{text}` is {value}, which no arm takes"),
            match origin {
                Some(known) => format!("{value} is {}", known.origin),
                None => String::new(),
            },
        );
        if self.mapping.field_named(text).is_some() {
            diagnostic =
                diagnostic.help(format!("if the checkpoint is wrong, say so with `--set {text}=VALUE`"));
        }
        diagnostic
    }

    pub(crate) fn evaluation_error(&self, error: &EvalError, span: Span) -> Diagnostic {
        match error {
            EvalError::Unknown(field) => {
                let name = &self.mapping.field(*field).name;
                let diagnostic = Diagnostic::error(
                    Code::UnknownValue,
                    span,
                    format!("`{name}` is not known"),
                    format!("needed here; looked for in {}", self.sources_of(*field)),
                );
                self.with_documents(diagnostic).help(format!("give it with `--set {name}=VALUE`"))
            }
            EvalError::NoIndex(axis) => Diagnostic::error(
                Code::UnknownValue,
                span,
                format!("`{}` has no single value here", self.mapping.axis(*axis).name),
                "this is asked outside the parameters that it numbers",
            ),
            EvalError::Type(at, what) => Diagnostic::error(Code::TypeMismatch, *at, what.clone(), ""),
            EvalError::NoArm(at, value) => {
                Diagnostic::error(Code::NoArm, *at, format!("no arm takes {value}"), "")
            }
        }
    }

    /// Sets a value to its default; does nothing where it has none.
    pub(super) fn take_default(&mut self, field: grammar::FieldId, diagnostics: &mut Diagnostics) -> bool {
        let Some(default) = &self.mapping.field(field).defaults[self.from.index()] else { return false };
        match default.evaluate(&Scope { binding: self, key: None }) {
            Ok(value) => {
                self.values[field.index()] = Some(Known { value, origin: Origin::Default });
                self.check_type(self.mapping.field(field), field.index(), diagnostics);
                true
            }
            Err(EvalError::Unknown(_)) => false,
            Err(error) => {
                diagnostics.push(self.evaluation_error(&error, default.span));
                false
            }
        }
    }

    /// Finds what each stored tensor is.
    pub(super) fn claim_names(&mut self, diagnostics: &mut Diagnostics) {
        let mut claims = Claims::default();
        let mut twice = Vec::new();
        for (number, tensor) in self.checkpoint.tensors().iter().enumerate() {
            let stored = relative(self.mapping, self.from, &tensor.name);
            let known = self.claim(number, &stored, &mut claims, &mut twice);
            if !known && !stored.is_inside() {
                claims.outside += 1;
            } else if !known && let Some(drop) = self.dropped_by(&stored) {
                *claims.dropped.entry(drop).or_default() += 1;
            } else if !known && !self.is_emitted(&stored) {
                claims.unmapped.push(number);
            }
        }
        let mut seen = HashMap::new();
        for r in &claims.renamed {
            let parameter = (r.rule, sorted_key(&r.captures), r.captures.stars.clone());
            let name =
                |tensor: usize| relative(self.mapping, self.from, &self.checkpoint.tensors()[tensor].name);
            let same = |first: usize| first == r.tensor || self.is_part_of(first, &name(r.tensor));
            if let Some(first) = seen.insert(parameter, r.tensor).filter(|first| !same(*first)) {
                twice.push(Twice { rule: r.rule, tensors: [first, r.tensor] });
            }
        }
        self.claims = claims;
        self.report_two_eras(&twice, diagnostics);
    }

    fn claim(
        &self,
        number: usize,
        stored: &Relative<'_>,
        claims: &mut Claims,
        twice: &mut Vec<Twice>,
    ) -> bool {
        let mut known = false;
        for (rule_number, rule) in self.mapping.rules.iter().enumerate() {
            if !self.may_hold(&rule.guard) {
                continue;
            }
            for (entry_number, entry) in rule.sides[self.from.index()].iter().enumerate() {
                for (era, way) in entry.stored.iter().enumerate() {
                    let Some((root, found)) = captures_below(&way.name, stored) else { continue };
                    let found = self.over_ranks(&way.name, found, number);
                    let key = sorted_key(&found);
                    if !self.holds(&rule.guard, &key) || !self.in_ranges(&way.name, &key) {
                        continue;
                    }
                    known = true;
                    if !self.takes(rule) {
                        continue;
                    }
                    if is_renaming(rule) {
                        claims.renamed.push(Renamed {
                            tensor: number,
                            rule: rule_number,
                            entry: entry_number,
                            era,
                            root,
                            captures: found,
                        });
                        continue;
                    }
                    match claims.entries.entry((rule_number, entry_number, key)) {
                        Entry::Vacant(place) => {
                            place.insert(Claimed { tensor: number, era, root, others: Vec::new() });
                        }
                        Entry::Occupied(mut place) if self.is_part_of(place.get().tensor, stored) => {
                            place.get_mut().others.push(number);
                        }
                        Entry::Occupied(place) => {
                            twice.push(Twice { rule: rule_number, tensors: [place.get().tensor, number] });
                        }
                    }
                }
            }
        }
        for (tie_number, tie) in self.mapping.ties.iter().enumerate() {
            if tie.side == self.from
                && let Some(found) = captures(&tie.alias, stored)
                && let found = self.over_ranks(&tie.alias, found, number)
                && self.holds(&tie.guard, &sorted_key(&found))
            {
                claims.tied.push((number, tie_number, found));
                known = true;
            }
        }
        known
    }

    /// Whether a name is that of a claimed tensor again, on another rank or of another chunk.
    fn is_part_of(&self, claimed: usize, stored: &Relative<'_>) -> bool {
        let first = relative(self.mapping, self.from, &self.checkpoint.tensors()[claimed].name);
        match (first.below.first(), stored.below.first()) {
            (Some(first), Some(other)) => (first.root, first.name) == (other.root, other.name),
            _ => first.whole == stored.whole,
        }
    }

    /// Whether the coordinates are in the ranges that a template's indices state, as far as those are known.
    fn in_ranges(&self, template: &Template, key: &Key) -> bool {
        template.indices().all(|index| {
            let Some((from, to)) = &index.range else { return true };
            let Some((_, at)) = key.iter().find(|(axis, _)| *axis == index.axis) else { return true };
            self.evaluate_size(from).is_none_or(|from| *at >= from)
                && self.evaluate_size(to).is_none_or(|to| *at < to)
        })
    }

    /// The number of the first `drop` that takes a name.
    fn dropped_by(&self, stored: &Relative<'_>) -> Option<usize> {
        let mut drops = self.mapping.drops.iter();
        drops.position(|d| d.side == self.from && self.reaches(&d.name, stored, Some(&d.guard)))
    }

    /// What a mapping makes up is left out whether or not it would make it up now.
    fn is_emitted(&self, stored: &Relative<'_>) -> bool {
        let mut emits = self.mapping.emits.iter();
        emits.any(|e| e.side == self.from && self.reaches(&e.name, stored, None))
    }

    /// Whether a name fits a template at coordinates in its ranges, and under a guard.
    fn reaches(&self, template: &Template, stored: &Relative<'_>, guard: Option<&grammar::Guard>) -> bool {
        let Some(found) = captures(template, stored) else { return false };
        let key = sorted_key(&found);
        guard.is_none_or(|guard| self.holds(guard, &key)) && self.in_ranges(template, &key)
    }

    /// Two names of one parameter: told once, however many parameters it is true of.
    fn report_two_eras(&self, twice: &[Twice], diagnostics: &mut Diagnostics) {
        let Some(first) = twice.first() else { return };
        let name = |number: usize| &self.checkpoint.tensors()[number].name;
        let [one, other] = first.tensors.map(name);
        let mut diagnostic = Diagnostic::error(
            Code::TwoEras,
            self.mapping.rules[first.rule].span,
            format!("`{one}` and `{other}` are both there, but they are one parameter"),
            "this rule takes one of them",
        );
        diagnostic = match twice.len() - 1 {
            0 => diagnostic,
            1 => diagnostic.note("the same is true of another pair"),
            n => diagnostic.note(format!("the same is true of {n} more pairs")),
        };
        diagnostics.push(diagnostic.note(format!("in {}", self.file())).help(
            "find out which of them the model used; in a copy of the mapping, remove the other name from the rule and `drop` it",
        ));
    }
}
