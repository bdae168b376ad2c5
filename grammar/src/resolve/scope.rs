//! Items in their scopes: prefixes of names, and the branches they stand in.

use super::name::Expanded;
use super::{Resolver, Space};
use crate::ast::{self, Arrow, Ident, Item, Name, RuleSide, TermContent};
use crate::code::Code;
use crate::diagnostic::{Diagnostic, nearest};
use crate::layout::Layout;
use crate::mapping::{ChoiceId, Drop, Emit, EmitValue, Guard, SideId, Tie};
use crate::resolve::layout::LayoutContext;
use crate::template::Part;
use crate::value::Pattern;

/// What an item inherits from around it.
#[derive(Clone)]
pub(super) struct Scope {
    prefixes: [Vec<Expanded>; 2],
    pub(super) guard: Guard,
    nested: bool,
}

impl Scope {
    pub(super) fn top() -> Scope {
        let here = || vec![Expanded::default()];
        Scope { prefixes: [here(), here()], guard: Guard::default(), nested: false }
    }

    fn branch(&self, choice: ChoiceId, branch: usize) -> Option<Scope> {
        let guard = self.guard.and(&Guard(vec![(choice, branch)]))?;
        Some(Scope { guard, nested: true, ..self.clone() })
    }
}

impl<'a> Resolver<'a> {
    pub(super) fn resolve_items(&mut self, items: &'a [Item], scope: &Scope) {
        for item in items {
            match item {
                Item::Import(_)
                | Item::Side(_)
                | Item::Config(_)
                | Item::Module(_)
                | Item::Layout(_)
                | Item::Repr(_)
                    if scope.nested =>
                {
                    self.error(
                        Diagnostic::error(
                            Code::Misplaced,
                            item.span(),
                            "a declaration stands among nested rules",
                            "declarations stand at the top of the file",
                        )
                        .help("move it out of the braces around it"),
                    );
                }
                // At the top, imports have been replaced by what they stand for.
                Item::Import(_)
                | Item::Side(_)
                | Item::Config(_)
                | Item::Module(_)
                | Item::Layout(_)
                | Item::Repr(_) => {}
                // Models use what all rules give, and are resolved after them.
                Item::Model(model) => self.check_place_of_model(model, scope),
                Item::Rule(rule) => match &rule.body {
                    Some(body) => self.resolve_scope(rule, body, scope),
                    None => self.resolve_rule(rule, scope),
                },
                Item::When(when) => self.resolve_when(when, scope),
                Item::Match(choice) => self.resolve_rule_match(choice, scope),
                Item::Drop(drop) => self.resolve_drop(drop, None, scope),
                Item::Emit(emit) => self.resolve_emit(emit, scope),
                Item::Tie(tie) => self.resolve_tie(tie, scope),
            }
        }
    }

    fn check_place_of_model(&mut self, model: &ast::ModelDecl, scope: &Scope) {
        if scope.nested {
            self.error(
                Diagnostic::error(
                    Code::Misplaced,
                    model.name.span,
                    "a model stands among nested rules",
                    "models stand at the top of the file",
                )
                .help("move it out of the braces around it"),
            );
        }
    }

    /// A name with the prefixes of its scope before it.
    pub(super) fn scoped_name(
        &mut self,
        name: &'a Name,
        side: SideId,
        scope: &Scope,
    ) -> Option<Vec<Expanded>> {
        let names = self.expand_name(name, side)?;
        let numbered = |n: &Expanded| n.template.parts.iter().any(|p| matches!(p, Part::Rank(..)));
        if !name.absolute && names.iter().any(numbered) {
            self.error(
                Diagnostic::error(
                    Code::Misplaced,
                    name.span,
                    "a rank's number stands in the name of a parameter",
                    "rules are written for the whole parameter, whichever rank holds it",
                )
                .help(
                    "keep the number in `parameters` of the `side` block, and write `@RANK` at an axis here",
                ),
            );
            return None;
        }
        if name.absolute {
            if !self.check_indices_once(&names, name.span) {
                return None;
            }
            if scope.prefixes[side.index()].iter().any(|p| !p.template.parts.is_empty()) {
                self.error(
                    Diagnostic::error(
                        Code::Misplaced,
                        name.span,
                        "a name from the top of the checkpoint stands inside a scope",
                        "the scope's prefix would not apply",
                    )
                    .help("move the rule out of the scope"),
                );
                return None;
            }
            return Some(names);
        }
        let prefixes = &scope.prefixes[side.index()];
        self.check_ways(name, prefixes.len().saturating_mul(names.len()))?;
        let whole: Vec<Expanded> = prefixes.iter().flat_map(|p| names.iter().map(|n| p.child(n))).collect();
        self.check_indices_once(&whole, name.span).then_some(whole)
    }

    fn resolve_scope(&mut self, rule: &'a ast::Rule, body: &'a [Item], scope: &Scope) {
        let mut problem = None;
        if rule.arrow != Arrow::Both {
            problem = Some((rule.arrow_span, "write `<=>`; the rules inside say which way they go"));
        }
        if let Some(option) = rule.options.first() {
            problem = Some((option.span, "this belongs to the rules inside"));
        }
        let mut prefixes = Vec::new();
        for (side, written) in SideId::BOTH.into_iter().zip([&rule.left, &rule.right]) {
            match written {
                RuleSide::Term(term)
                    if matches!(term.content, TermContent::Bare)
                        && term.affine.is_empty()
                        && term.cast.is_none()
                        && !term.optional =>
                {
                    prefixes.push(self.scoped_name(&term.name, side, scope));
                }
                other => problem = Some((other.span(), "a scope has a name on each side and nothing else")),
            }
        }
        if let Some((span, why)) = problem {
            self.error(Diagnostic::error(Code::Misplaced, span, "this does not fit a scope", why));
        }
        if let Ok([Some(left), Some(right)]) = <[_; 2]>::try_from(prefixes) {
            let inner = Scope { prefixes: [left, right], nested: true, ..scope.clone() };
            self.resolve_items(body, &inner);
        } else {
            self.resolve_lost_items(body, scope);
        }
    }

    /// Finds the mistakes inside a scope or branch that is broken itself, and keeps none of its rules.
    fn resolve_lost_items(&mut self, items: &'a [Item], scope: &Scope) {
        let m = &self.mapping;
        let (rules, drops, emits, ties) = (m.rules.len(), m.drops.len(), m.emits.len(), m.ties.len());
        self.lost_scope = true;
        self.resolve_items(items, &Scope { nested: true, ..scope.clone() });
        self.mapping.rules.truncate(rules);
        self.mapping.drops.truncate(drops);
        self.mapping.emits.truncate(emits);
        self.mapping.ties.truncate(ties);
        self.places.iter_mut().for_each(|places| places.retain(|place| place.rule < rules));
    }

    fn resolve_when(&mut self, when: &'a ast::When, scope: &Scope) {
        let Some(condition) = self.resolve_expr(&when.condition, None) else {
            for items in std::iter::once(&when.then).chain(&when.otherwise) {
                self.resolve_lost_items(items, scope);
            }
            return;
        };
        let at = when.condition.span;
        let choice = self.choice(condition, vec![Pattern::truth(at), Pattern::any(at)], when.span);
        let branches = [Some(&when.then), when.otherwise.as_ref()];
        for (branch, items) in branches.into_iter().enumerate() {
            if let (Some(items), Some(inner)) = (items, scope.branch(choice, branch)) {
                self.resolve_items(items, &inner);
            }
        }
    }

    fn resolve_rule_match(&mut self, choice: &'a ast::RuleMatch, scope: &Scope) {
        let on = self.resolve_expr(&choice.scrutinee, None);
        let patterns: Vec<&ast::Pattern> = choice.arms.iter().map(|(p, _)| p).collect();
        let patterns = self.resolve_patterns(&patterns);
        let Some(on) = on else {
            choice.arms.iter().for_each(|(_, items)| self.resolve_lost_items(items, scope));
            return;
        };
        let id = self.choice(on, patterns, choice.span);
        for (branch, (_, items)) in choice.arms.iter().enumerate() {
            if let Some(inner) = scope.branch(id, branch) {
                self.resolve_items(items, &inner);
            }
        }
    }

    pub(super) fn resolve_drop(&mut self, drop: &'a ast::Drop, block: Option<SideId>, scope: &Scope) {
        let Some(side) = self.chosen_side(drop.side.as_ref(), block.unwrap_or(SideId::Left)) else { return };
        let names: Vec<_> =
            drop.names.iter().filter_map(|name| self.scoped_name(name, side, scope)).collect();
        for expanded in names.into_iter().flatten() {
            self.mapping.drops.push(Drop {
                guard: scope.guard.clone(),
                side,
                name: expanded.template,
                reason: drop.reason.as_ref().map(|r| r.text.clone()),
                span: drop.span,
            });
        }
    }

    fn chosen_side(&mut self, named: Option<&Ident>, default: SideId) -> Option<SideId> {
        named.map_or(Some(default), |name| self.side_named(name))
    }

    fn resolve_emit(&mut self, emit: &'a ast::Emit, scope: &Scope) {
        let Some(side) = self.chosen_side(emit.side.as_ref(), SideId::Right) else { return };
        let names = self.scoped_name(&emit.name, side, scope);
        let value = self.emit_value(&emit.value, emit.layout.dims.len());
        let dtype = emit.cast.as_ref().map(|c| self.dtype(c));
        let layout = self.emit_layout(&emit.layout, side);
        let (Some(names), Some(value), Some(layout)) = (names, value, layout) else { return };
        let mut written = Vec::new();
        for expanded in names {
            // Of alternatives the first is written; what lies under another is left out when it is read.
            let parameter = (expanded.lists.clone(), expanded.labels.clone());
            if written.contains(&parameter) {
                self.mapping.drops.push(Drop {
                    guard: Guard::default(),
                    side,
                    name: expanded.template,
                    reason: None,
                    span: emit.span,
                });
                continue;
            }
            written.push(parameter);
            self.mapping.emits.push(Emit {
                guard: scope.guard.clone(),
                side,
                name: expanded.template,
                layout: layout.clone(),
                dtype: dtype.clone().flatten(),
                value,
                span: emit.span,
            });
        }
    }

    /// An emitted parameter has one layout: no choice, no padding, no sum.
    fn emit_layout(&mut self, layout: &'a ast::Layout, side: SideId) -> Option<Layout> {
        let context = LayoutContext { side, actuals: None };
        let layouts = self.plain_layouts(layout, context)?;
        match layouts.as_slice() {
            [(guard, one)] if guard.0.is_empty() && one.sums().is_empty() => Some(one.clone()),
            _ => {
                self.error(Diagnostic::error(
                    Code::Misplaced,
                    layout.span,
                    "an emitted parameter has plain axes only",
                    "no choices, sums or padding here",
                ));
                None
            }
        }
    }

    fn emit_value(&mut self, value: &Ident, dims: usize) -> Option<EmitValue> {
        let known = ["zeros", "ones", "tril", "arange"];
        let resolved = match value.text.as_str() {
            "zeros" => EmitValue::Constant(0.0),
            "ones" => EmitValue::Constant(1.0),
            "tril" => EmitValue::Tril,
            "arange" => EmitValue::Arange,
            text => match text.parse::<f64>() {
                Ok(x) if x.is_finite() => EmitValue::Constant(x),
                _ => {
                    let mut diagnostic = Diagnostic::error(
                        Code::UnknownOption,
                        value.span,
                        format!("`{text}` cannot be emitted"),
                        format!("expected {} or a number", known.join(", ")),
                    );
                    if let Some(near) = nearest(text, known) {
                        diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
                    }
                    self.error(diagnostic);
                    return None;
                }
            },
        };
        if resolved == EmitValue::Tril && dims < 2 {
            self.error(Diagnostic::error(
                Code::UnknownOption,
                value.span,
                "a triangle has two dimensions",
                format!("the layout has {dims}"),
            ));
            return None;
        }
        Some(resolved)
    }

    fn resolve_tie(&mut self, tie: &'a ast::Tie, scope: &Scope) {
        let named = match &tie.side {
            Some(name) => match self.side_named(name) {
                Some(side) => Some(side),
                None => return,
            },
            None => None,
        };
        let candidates = named.map_or(SideId::BOTH.to_vec(), |side| vec![side]);
        let mut found = Vec::new();
        for side in candidates {
            let alias = self.scoped_name(&tie.alias, side, scope);
            let of = self.scoped_name(&tie.of, side, scope);
            let (Some(alias), Some(of)) = (alias, of) else { return };
            if of.iter().any(|o| self.stored_names[side.index()].contains(&o.template)) {
                found.push((side, alias, of));
            }
        }
        match found.as_slice() {
            [(side, alias, of)] => {
                if self.charge(alias.len().saturating_mul(of.len()), tie.span).is_none() {
                    return;
                }
                let on = tie.on.as_ref().and_then(|place| self.rank_end(place));
                for (alias, of) in alias.iter().flat_map(|a| of.iter().map(move |o| (a, o))) {
                    self.mapping.ties.push(Tie {
                        guard: scope.guard.clone(),
                        side: *side,
                        alias: alias.template.clone(),
                        of: of.template.clone(),
                        on,
                        span: tie.span,
                    });
                }
            }
            [] => self.tie_to_nothing(tie, named),
            _ => {
                let names = self.mapping.sides.each_ref().map(|s| s.name.clone());
                self.error(
                    Diagnostic::error(
                        Code::UnknownTie,
                        tie.of.span,
                        "both sides have a parameter of this name",
                        "which side is tied cannot be told",
                    )
                    .help(format!("write `tie {}: …` or `tie {}: …`", names[0], names[1])),
                );
            }
        }
    }

    fn tie_to_nothing(&mut self, tie: &ast::Tie, side: Option<SideId>) {
        if self.diagnostics.is_full() {
            return;
        }
        let sides = side.map_or(SideId::BOTH.to_vec(), |s| vec![s]);
        let names: Vec<String> = self
            .mapping
            .rules
            .iter()
            .flat_map(|r| sides.iter().flat_map(|s| &r.sides[s.index()]))
            .flat_map(|e| &e.stored)
            .map(|s| self.mapping.display_template(&s.name))
            .collect();
        let written = self.source.slice(tie.of.span).to_owned();
        let lost: Vec<String> = sides.iter().flat_map(|s| self.lost_names[s.index()].clone()).collect();
        // A rule that was left out may well have had this parameter; one mistake is told once.
        if self.lost_scope || lost.iter().any(|name| written.starts_with(name.as_str())) {
            return;
        }
        let mut diagnostic = Diagnostic::error(
            Code::UnknownTie,
            tie.of.span,
            format!("no rule has a parameter `{written}`"),
            "a copy is tied to a parameter of a rule that stands before it",
        );
        if let Some(near) = nearest(&written, names.iter().chain(&lost).map(String::as_str)) {
            diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
        }
        self.error(diagnostic);
    }

    /// The module called `name`, marked as used.
    pub(super) fn module(&mut self, name: &Ident) -> Option<&'a ast::ModuleDecl> {
        if let Some(module) = self.modules.get(name.text.as_str()).copied() {
            self.mark_used(Space::Module, name);
            return Some(module);
        }
        if self.reprs.contains_key(name.text.as_str()) {
            self.mark_used(Space::Module, name);
            return None;
        }
        let known: Vec<&str> = self.modules.keys().copied().collect();
        let near = nearest(&name.text, known.iter().copied());
        if near.is_none() && !self.first_report(Code::UnknownModule, &name.text) {
            return None;
        }
        let mut diagnostic = Diagnostic::error(
            Code::UnknownModule,
            name.span,
            format!("unknown module `{}`", name.text),
            if known.is_empty() {
                "no modules are declared".to_owned()
            } else {
                format!("the modules are {}", known.join(", "))
            },
        );
        diagnostic = match near {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => {
                diagnostic.help(format!("declare it: `module {}(out, in) {{ weight [out in] }}`", name.text))
            }
        };
        self.error(diagnostic);
        None
    }
}
