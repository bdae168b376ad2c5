//! Parameters and modules as operations use them: which axes each operand has.

use super::Forward;
use super::catalogue::{Found, StoredPlace};
use super::operand::{Operand, elements};
use super::shape::numbers;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::layout::{Factor, Layout};
use crate::mapping::{Guard, Stored};
use crate::model::{
    Dim, Module, ModuleId, ModuleKind, Parameter, ParameterId, ParameterSource, Value, ValueKind,
};
use crate::source::Span;

impl<'a> Forward<'_, 'a> {
    /// A parameter as a value: all its axes, outermost first.
    pub(super) fn whole_parameter(&mut self, place: usize, span: Span) -> Option<Value> {
        self.check_given(place, span)?;
        let (id, operands) = self.parameter(place, span)?;
        let dims = operands.into_iter().flat_map(|o| o.dims).collect();
        Some(Value { kind: ValueKind::Parameter(id), ty: numbers(dims), span })
    }

    /// A parameter that is used, and its operands.
    pub(super) fn parameter(&mut self, place: usize, span: Span) -> Option<(ParameterId, Vec<Operand>)> {
        self.check_presence(place, span)?;
        let operands = self.operands(place, span)?;
        let known = self.known_parameter(place, span)?;
        let stored = &mut self.catalogue.parameters[place];
        stored.used.get_or_insert(span);
        if let Some(id) = known {
            self.parameters.insert(place, id);
            return Some((id, operands));
        }
        let (name, module) = (stored.own.clone(), stored.module);
        let rules = &self.resolver.mapping.rules;
        let optional = stored.found.iter().any(|found| rules[found.rule].optional);
        let source = |found: &Found| ParameterSource {
            guard: rules[found.rule].guard.clone(),
            rule: found.rule,
            entry: found.entry,
        };
        let sources = stored.found.iter().map(source).collect();
        let path = stored.path.clone().unwrap_or_default();
        let below = module.map_or_else(|| path.parent(), |m| self.catalogue.modules[m].path.parent());
        let scope = self.scope(&below, span);
        let layout = Layout { dims: operands.iter().map(|o| o.factor.clone()).collect(), span };
        let id = ParameterId::from_index(self.model.parameters.len());
        let parameter = Parameter { scope, name, module: None, sources, layout, optional, span };
        self.model.parameters.push(parameter);
        self.parameters.insert(place, id);
        let module = module.and_then(|m| self.module_of(m, span));
        self.model.parameters[id.index()].module = module;
        Some((id, operands))
    }

    /// The parameter that is used already, under this name or another. Two names are of one parameter where all rules
    /// that have the one have the other.
    fn known_parameter(&mut self, place: usize, span: Span) -> Option<Option<ParameterId>> {
        if let Some(id) = self.parameters.get(&place) {
            return Some(Some(*id));
        }
        let found = &self.catalogue.parameters[place].found;
        let shares = |other: &usize| {
            let others = &self.catalogue.parameters[*other].found;
            found.iter().any(|one| others.iter().any(|other| one.is_of(other)))
        };
        let Some((other, id)) = self.parameters.iter().find(|(other, _)| shares(other)) else {
            return Some(None);
        };
        let (other, id) = (&self.catalogue.parameters[*other], *id);
        let within = |a: &[Found], b: &[Found]| a.iter().all(|one| b.iter().any(|other| one.is_of(other)));
        if within(found, &other.found) && within(&other.found, found) {
            return Some(Some(id));
        }
        let shown = |p: &StoredPlace<'a>| self.resolver.mapping.display_template(&p.template);
        let (name, first) = (shown(&self.catalogue.parameters[place]), shown(other));
        let at = other.used.unwrap_or(other.span);
        self.error(
            Diagnostic::error(
                Code::NamesOfOneParameter,
                span,
                format!("`{name}` and `{first}` are one parameter only in some rules"),
                "under one name here",
            )
            .with(at, "under the other here")
            .help("use one of the names throughout, one that all branches have"),
        );
        None
    }

    /// The module that a parameter is used from, where its kind is known.
    fn module_of(&mut self, module: usize, span: Span) -> Option<ModuleId> {
        self.catalogue.modules[module].declaration.kind.as_ref()?;
        self.module(module, span)
    }

    /// A module that is used, with all of its parameters.
    pub(super) fn module(&mut self, place: usize, span: Span) -> Option<ModuleId> {
        if let Some(known) = self.modules.get(&place).copied() {
            let parameters = self.catalogue.modules[place].parameters.clone();
            for parameter in parameters {
                self.check_presence(parameter, span)?;
                self.catalogue.parameters[parameter].used.get_or_insert(span);
            }
            return Some(known);
        }
        self.check_one_module(place, span)?;
        let declaration = self.catalogue.modules[place].declaration;
        let Some(kind) = &declaration.kind else {
            self.without_kind(place, span);
            return None;
        };
        let path = self.catalogue.modules[place].path.clone();
        let scope = self.scope(&path.parent(), span);
        let name = path.0.last().map(|s| s.name.clone()).unwrap_or_default();
        // Taken before its parameters, which refer to it; its kind is filled in after them.
        let nothing = ModuleKind::RmsNorm { weight: ParameterId(0) };
        let id = self.module_id(place, Module { scope, name, kind: nothing, span });
        let (mut weight, mut bias) = (None, None);
        for parameter in self.catalogue.modules[place].parameters.clone() {
            let slot = self.catalogue.parameters[parameter].slot.clone();
            let (found, _) = self.parameter(parameter, span)?;
            match slot.as_deref() {
                Some("bias") => bias = Some(found),
                _ => {
                    self.check_given(parameter, span)?;
                    weight = Some(found);
                }
            }
        }
        let Some(weight) = weight else {
            self.error(
                Diagnostic::error(
                    Code::LayoutForOperation,
                    span,
                    format!("the module `{}` has no `weight`", declaration.name.text),
                    format!("used as `{}` here", kind.text),
                )
                .with(declaration.span, "declared here")
                .help(format!("call its main parameter `weight`, as in `weight: {} […]`", "kernel")),
            );
            return None;
        };
        self.model.modules[id.index()].kind = match kind.text.as_str() {
            "linear" => ModuleKind::Linear { weight, bias },
            "embedding" => ModuleKind::Embedding { weight },
            "layer_norm" => ModuleKind::LayerNorm { weight, bias },
            _ => ModuleKind::RmsNorm { weight },
        };
        Some(id)
    }

    /// A name may stand for two modules with other parameters each, which only the parameters' names tell apart.
    fn check_one_module(&mut self, place: usize, span: Span) -> Option<()> {
        let all = self.catalogue.modules_at(&self.catalogue.modules[place].path);
        if all.len() == 1 {
            return Some(());
        }
        let names: Vec<&str> =
            all.iter().map(|m| self.catalogue.modules[*m].declaration.name.text.as_str()).collect();
        let path = &self.catalogue.modules[place].path;
        let shown = path.0.last().map(|s| s.name.clone()).unwrap_or_default();
        let first = self.catalogue.modules[place].parameters.first()?;
        let stored = &self.catalogue.parameters[*first];
        let (own, at) = (stored.own.clone(), stored.span);
        self.error(
            Diagnostic::error(
                Code::LayoutForOperation,
                span,
                format!("`{shown}` stands for several modules: {}", names.join(", ")),
                "which of them is meant cannot be told",
            )
            .with(at, "one of them")
            .help(format!("name the parameter, as in `{shown}.{own}`")),
        );
        None
    }

    /// What a checkpoint may lack can be a bias of a module, and nothing else that is computed with.
    pub(super) fn check_given(&mut self, place: usize, span: Span) -> Option<()> {
        let stored = &self.catalogue.parameters[place];
        let rules = &self.resolver.mapping.rules;
        if !stored.found.iter().any(|found| rules[found.rule].optional) {
            return Some(());
        }
        let name = self.resolver.mapping.display_template(&stored.template);
        let at = stored.span;
        self.error(
            Diagnostic::error(
                Code::GuardedParameter,
                span,
                format!("`{name}` may be absent from a checkpoint"),
                "used as if it were there",
            )
            .with(at, "written with `?`")
            .help("make it the `bias` of a module, or have its rules under a `when` over config"),
        );
        None
    }

    fn without_kind(&mut self, place: usize, span: Span) {
        let module = &self.catalogue.modules[place];
        let declaration = module.declaration;
        let formals: Vec<&str> = declaration.formals.iter().map(|f| f.text.as_str()).collect();
        let shown = module.path.0.last().map(|s| s.name.clone()).unwrap_or_default();
        let kind = if formals.len() == 1 { "layer_norm` or `rms_norm" } else { "linear" };
        self.error(
            Diagnostic::error(
                Code::ModuleWithoutKind,
                span,
                format!("what `{shown}` computes is not said"),
                format!("a module `{}`", declaration.name.text),
            )
            .with(declaration.name.span, "declared without a kind")
            .help(format!(
                "say it after the axes: `module {}({}) : KIND`, such as `{kind}`",
                declaration.name.text,
                formals.join(", ")
            )),
        );
    }

    fn operands(&mut self, place: usize, span: Span) -> Option<Vec<Operand>> {
        let stored = &self.catalogue.parameters[place];
        if stored.path.is_none() {
            let name = self.resolver.mapping.display_template(&stored.template);
            let at = stored.span;
            self.layout_error(
                span,
                format!("a model cannot name `{name}`"),
                at,
                "its number is not between dots",
            );
            return None;
        }
        let factors = match self.module_factors(stored) {
            Ok(Some(factors)) => factors,
            Ok(None) => match self.first_layout(stored) {
                Some(layout) => layout.dims.iter().map(|d| vec![d.clone()]).collect(),
                None => {
                    let at = stored.span;
                    let name = self.resolver.mapping.display_template(&stored.template);
                    self.layout_error(
                        span,
                        format!("`{name}` has no layout"),
                        at,
                        "a rename says nothing of axes",
                    );
                    return None;
                }
            },
            Err(message) => {
                let at = stored.span;
                self.layout_error(span, message, at, "this parameter");
                return None;
            }
        };
        let operands: Vec<Operand> = factors.iter().map(|f| Operand::new(f, span)).collect();
        self.check_elements(place, &operands, span)?;
        Some(operands)
    }

    fn layout_error(&mut self, span: Span, message: String, at: Span, label: &str) {
        self.error(
            Diagnostic::error(Code::LayoutForOperation, span, message, "used here")
                .with(at, label)
                .help("a model uses parameters whose rule gives each axis, under one form"),
        );
    }

    fn way(&self, found: &Found) -> &Stored {
        let side = self.model.side.index();
        &self.resolver.mapping.rules[found.rule].sides[side][found.entry].stored[found.way]
    }

    fn first_layout(&self, stored: &StoredPlace<'a>) -> Option<&Layout> {
        self.way(stored.found.first()?).layouts.first().map(|(_, layout)| layout)
    }

    /// The operands of a module's parameter by the formals of its kind; none where there is no kind.
    fn module_factors(&self, stored: &StoredPlace<'a>) -> Result<Option<Vec<Vec<Factor>>>, String> {
        let Some(origin) = &stored.origin else { return Ok(None) };
        let Some(kind) = &origin.module.kind else { return Ok(None) };
        let slot = stored.slot.as_deref().unwrap_or_default();
        let formals: &[usize] = match (kind.text.as_str(), slot) {
            ("linear" | "embedding", "weight") => &[0, 1],
            ("linear" | "layer_norm", "bias") | ("layer_norm" | "rms_norm", "weight") => &[0],
            (kind, slot) => return Err(format!("a `{kind}` has no `{slot}`")),
        };
        let factors =
            formals.iter().map(|f| origin.operands.get(*f)?.first().map(|(_, factors)| factors.clone()));
        Ok(factors.collect())
    }

    /// Every form of a parameter must hold the elements that its operands address.
    fn check_elements(&mut self, place: usize, operands: &[Operand], span: Span) -> Option<()> {
        let stored = &self.catalogue.parameters[place];
        let factors: Vec<Factor> = operands.iter().map(|o| o.factor.clone()).collect();
        let wanted = elements(&factors, span);
        let mut layouts = stored.found.iter().flat_map(|found| &self.way(found).layouts);
        let other = layouts.find(|(_, layout)| elements(&layout.dims, span) != wanted);
        let Some((_, layout)) = other else { return Some(()) };
        let wanted = self.resolver.mapping.display_layout(&Layout { dims: factors, span });
        let other = self.resolver.mapping.display_layout(layout);
        let (own, at) = (stored.own.clone(), layout.span);
        self.error(
            Diagnostic::error(
                Code::LayoutForOperation,
                span,
                format!("`{own}` is used as {wanted}, and is stored as {other} too"),
                "used here",
            )
            .with(at, format!("stored as {other}"))
            .help("in whatever order they lie, all forms of a parameter that a model uses have the same axes and parts"),
        );
        None
    }

    /// A parameter of one branch of a choice can be used only where that branch is taken.
    fn check_presence(&mut self, place: usize, span: Span) -> Option<()> {
        let stored = &self.catalogue.parameters[place];
        let rules = &self.resolver.mapping.rules;
        let guards: Vec<&Guard> = stored.found.iter().map(|found| &rules[found.rule].guard).collect();
        let Some(lacking) = self.resolver.mapping.lacking(&guards, &self.context) else { return Some(()) };
        let choice = &self.resolver.mapping.choices[lacking.index()];
        let condition = self.resolver.source.slice(choice.on.span).to_owned();
        let name = self.resolver.mapping.display_template(&stored.template);
        let at = choice.on.span;
        self.error(
            Diagnostic::error(
                Code::GuardedParameter,
                span,
                format!("`{name}` is not there for every config"),
                "used whatever the config",
            )
            .with(at, "its rules depend on this")
            .help(format!("use it where the same choice is made: `if {condition} {{ … }} else {{ … }}`")),
        );
        None
    }

    /// The type that comes out where `input` ends in `contracted` and gets `rest` instead.
    pub(super) fn contract(&mut self, input: &Value, contracted: &[Dim], rest: &[Dim]) -> Option<Vec<Dim>> {
        let dims = &input.ty.dims;
        let kept = dims.len().checked_sub(contracted.len()).filter(|at| dims[*at..] == *contracted)?;
        Some(dims[..kept].iter().chain(rest).cloned().collect())
    }
}
