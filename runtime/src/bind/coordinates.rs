//! Coordinates of indices once sizes are known: their ranges, what lies outside them, and choices they decide.
//!
//! After this every claimed tensor is at coordinates that its rule runs over, and every choice has a branch there.

use transship_grammar as grammar;

use grammar::{
    AxisId, ChoiceId, Code, Diagnostic, Diagnostics, FieldId, Rule, Size, Span, Symbol, Template, Value,
};

use super::names::sorted_key;
use super::{Binding, Key, Scope};

/// More coordinates than tensors, by so much that they are no mistake of a few missing parameters.
const BEYOND_TENSORS: u64 = 1 << 16;

impl Binding<'_> {
    pub(super) fn check_coordinates(&mut self, diagnostics: &mut Diagnostics) {
        self.check_ranges(diagnostics);
        if diagnostics.has_errors() {
            return;
        }
        self.check_choices(diagnostics);
        self.set_aside_what_is_outside();
        self.check_lists(diagnostics);
    }

    /// Templates that are enumerated, with their places.
    fn enumerated(&self) -> Vec<(&Template, Span)> {
        let rules = self.mapping.rules.iter().filter(|r| self.takes(r) && self.may_hold(&r.guard));
        let stored =
            rules.flat_map(|r| r.sides.iter().flatten()).flat_map(|e| &e.stored).map(|s| (&s.name, s.span));
        let emits = self.mapping.emits.iter().filter(|e| e.side == self.to() && self.may_hold(&e.guard));
        stored.chain(emits.map(|e| (&e.name, e.span))).collect()
    }

    /// Every range is known, and none is so long that listing it would be the mistake.
    fn check_ranges(&self, diagnostics: &mut Diagnostics) {
        let most = (self.checkpoint.tensors().len() as u64).saturating_mul(16).saturating_add(BEYOND_TENSORS);
        let mut told: Vec<Vec<AxisId>> = Vec::new();
        for (template, span) in self.enumerated() {
            let axes: Vec<AxisId> = template.indices().map(|index| index.axis).collect();
            let mut product = 1u64;
            for index in template.indices() {
                let (from, to) = index.range.as_ref().unwrap_or(&self.mapping.axis(index.axis).range);
                match (self.evaluate_size(from), self.evaluate_size(to)) {
                    (Some(from), Some(to)) => product = product.saturating_mul(to.saturating_sub(from)),
                    _ => diagnostics.push(self.unknown_range(index.axis, from, to, span)),
                }
            }
            if product > most && !told.contains(&axes) {
                told.push(axes);
                let name = self.mapping.display_template(template);
                diagnostics.push(
                    Diagnostic::error(
                        Code::IndexGap,
                        span,
                        format!(
                            "`{name}` stands for {product} parameters, but the checkpoint has {} in all",
                            self.checkpoint.tensors().len()
                        ),
                        "numbered by config or by names",
                    )
                    .note(format!("in {}", self.file()))
                    .help("a number in a name or in the config is wrong; `transship inspect` shows both"),
                );
            }
        }
    }

    fn unknown_range(&self, axis: AxisId, from: &Size, to: &Size, span: Span) -> Diagnostic {
        let name = &self.mapping.axis(axis).name;
        let unknown = [from.symbols(), to.symbols()].concat().into_iter().find_map(|symbol| match symbol {
            Symbol::Field(field) if self.symbol(symbol).is_none() => Some(field),
            _ => None,
        });
        let diagnostic = Diagnostic::error(
            Code::UnknownValue,
            span,
            format!("how many `{name}` there are is not known"),
            "needed here",
        );
        match unknown {
            Some(field) => {
                diagnostic.help(format!("give it with `--set {}=N`", self.mapping.field(field).name))
            }
            None => diagnostic.help("its range runs backwards or below 0; correct the values it is made of"),
        }
    }

    /// A choice that asks an index has a branch at every coordinate of the parameters that depend on it.
    fn check_choices(&self, diagnostics: &mut Diagnostics) {
        let mut failed: Vec<ChoiceId> = Vec::new();
        for rule in self.mapping.rules.iter().filter(|r| self.may_hold(&r.guard)) {
            for stored in rule.sides.iter().flatten().flat_map(|e| &e.stored) {
                let guards = stored.layouts.iter().map(|(g, _)| g).chain([&rule.guard]);
                let choices: Vec<ChoiceId> = guards.flat_map(|g| g.0.iter().map(|(c, _)| *c)).collect();
                for key in self.keys(&stored.name) {
                    for choice in choices.iter().filter(|c| self.branches[c.index()].is_none()) {
                        if !failed.contains(choice)
                            && let Some(diagnostic) = self.no_branch(*choice, &key)
                        {
                            failed.push(*choice);
                            diagnostics.push(diagnostic);
                        }
                    }
                }
            }
        }
    }

    fn no_branch(&self, choice: ChoiceId, key: &Key) -> Option<Diagnostic> {
        let choice = &self.mapping.choices[choice.index()];
        if choice.on.indices().iter().any(|axis| !key.iter().any(|(a, _)| a == axis)) {
            return None;
        }
        let at: Vec<String> =
            key.iter().map(|(axis, at)| format!("{} {at}", self.mapping.axis(*axis).name)).collect();
        let diagnostic = match choice.on.evaluate(&Scope { binding: self, key: Some(key) }) {
            Ok(value) if choice.patterns.iter().any(|p| p.fits(&value)) => return None,
            Ok(value) => self.no_arm(choice.on.span, &value).help(
                "add an arm for it, or `_`, to a copy of the mapping, or keep the rule from running that far",
            ),
            Err(error) => self.evaluation_error(&error, choice.on.span),
        };
        Some(diagnostic.note(format!("for {}", at.join(", "))))
    }

    /// Every list that an index picks sizes from has one for each coordinate.
    fn check_lists(&self, diagnostics: &mut Diagnostics) {
        let mut claims: Vec<_> = self.claims.entries.iter().collect();
        claims.sort_unstable_by_key(|((rule, entry, _), claimed)| (claimed.tensor, *rule, *entry));
        let mut told: Vec<FieldId> = Vec::new();
        for ((rule, entry, key), claimed) in claims {
            let stored = &self.mapping.rules[*rule].sides[self.from.index()][*entry].stored[claimed.era];
            let axes = self.layout(stored, key).map(grammar::Layout::axes).unwrap_or_default();
            for axis in axes.into_iter().filter(|axis| self.axis_len(axis, key).is_none()) {
                if let (Some(field), Some(by)) = (self.mapping.axis(axis.axis).field, axis.by)
                    && !told.contains(&field)
                    && let Some(diagnostic) = self.no_size_at(field, by, key, axis.span, claimed.tensor)
                {
                    told.push(field);
                    diagnostics.push(diagnostic);
                }
            }
        }
    }

    /// A list without a size for a coordinate of an index; a list that is not known is told of elsewhere.
    fn no_size_at(
        &self,
        field: FieldId,
        by: AxisId,
        key: &Key,
        span: Span,
        tensor: usize,
    ) -> Option<Diagnostic> {
        let known = self.values[field.index()].as_ref()?;
        let at = key.iter().find(|(axis, _)| *axis == by)?.1;
        let tensor = &self.checkpoint.tensors()[tensor].name;
        let list = &self.mapping.field(field).name;
        let index = &self.mapping.axis(by).name;
        let message = match &known.value {
            Value::List(items) => match usize::try_from(at).ok().and_then(|at| items.get(at)) {
                Some(item) => {
                    format!("`{list}` has {item} for {index} {at} of `{tensor}`, which is no size")
                }
                None => {
                    format!("`{list}` has {} sizes, but `{tensor}` needs one for {index} {at}", items.len())
                }
            },
            other => format!("`{list}` is {other}, but `{tensor}` needs a list with a size for {index} {at}"),
        };
        Some(
            Diagnostic::error(Code::ConfigConflict, span, message, "the size is picked from the list here")
                .note(format!("{list} = {}: {}", known.value, known.origin))
                .note(format!("in {}", self.file()))
                .help(format!(
                    "give one size for each {index}, the first for 0, with `--set {list}=[A, B, …]`"
                )),
        )
    }

    /// Tensors at coordinates that no rule runs over, or whose branch is not taken, are nobody's.
    fn set_aside_what_is_outside(&mut self) {
        let rules = &self.mapping.rules;
        let stays = |rule: &Rule, template: &Template, key: &Key| {
            self.holds(&rule.guard, key) && self.is_inside(template, key)
        };
        let side = self.from;
        let template =
            |rule: usize, entry: usize, era: usize| &rules[rule].sides[side.index()][entry].stored[era].name;
        let outside: Vec<_> = self
            .claims
            .entries
            .iter()
            .filter(|((rule, entry, key), claimed)| {
                !stays(&rules[*rule], template(*rule, *entry, claimed.era), key)
            })
            .map(|(claim, claimed)| (claim.clone(), claimed.clone()))
            .collect();
        let renamed: Vec<bool> = self
            .claims
            .renamed
            .iter()
            .map(|r| stays(&rules[r.rule], template(r.rule, r.entry, r.era), &sorted_key(&r.captures)))
            .collect();
        let mut left: Vec<usize> = outside.iter().flat_map(|(_, claimed)| claimed.tensors()).collect();
        outside.iter().for_each(|(claim, _)| {
            self.claims.entries.remove(claim);
        });
        let mut stays = renamed.iter();
        self.claims.renamed.retain(|r| {
            let keep = stays.next().copied().unwrap_or(true);
            if !keep {
                left.push(r.tensor);
            }
            keep
        });
        // A tensor that another rule keeps is not left over.
        let kept: std::collections::HashSet<usize> = self.claims.tensors().collect();
        left.retain(|tensor| !kept.contains(tensor));
        self.claims.unmapped.extend(left);
        self.claims.unmapped.sort_unstable();
        self.claims.unmapped.dedup();
    }

    /// Whether coordinates lie in the ranges of a template's indices, all of which are known.
    fn is_inside(&self, template: &Template, key: &Key) -> bool {
        template.indices().all(|index| {
            let (from, to) = index.range.as_ref().unwrap_or(&self.mapping.axis(index.axis).range);
            let Some((_, at)) = key.iter().find(|(axis, _)| *axis == index.axis) else { return true };
            self.evaluate_size(from).is_some_and(|from| *at >= from)
                && self.evaluate_size(to).is_some_and(|to| *at < to)
        })
    }
}
