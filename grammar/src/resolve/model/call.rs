//! Calls: of modules and parameters, of operations, of activations.

use super::Forward;
use super::catalogue::Target;
use super::operand::Operand;
use super::shape::numbers;
use super::word::Found;
use crate::ast::{Ident, ModelExpr, ModelExprKind, Operand as Given};
use crate::code::Code;
use crate::diagnostic::{Diagnostic, nearest};
use crate::mapping::Type;
use crate::model::{Activation, ActivationChoice, Dim, ModuleKind, Scalar, Value, ValueKind};
use crate::source::Span;

/// An operation, what it is given in order, how much of that it needs, and words that stand for themselves.
pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) operands: &'static [&'static str],
    pub(super) needed: usize,
    pub(super) flags: &'static [&'static str],
}

const fn operation(
    name: &'static str,
    operands: &'static [&'static str],
    needed: usize,
    flags: &'static [&'static str],
) -> Operation {
    Operation { name, operands, needed, flags }
}

/// All operations but activations.
pub(super) const OPERATIONS: [Operation; 10] = [
    operation("attention", &["query", "key", "value", "mask", "scale"], 3, &["causal"]),
    operation("rotary", &["value", "base", "width", "interpolation"], 2, &["half", "interleaved"]),
    operation("softmax", &["value", "axis"], 2, &[]),
    operation("sum", &["value", "axis"], 2, &[]),
    operation("mean", &["value", "axis"], 2, &[]),
    operation("first", &["value", "axis"], 2, &[]),
    operation("last", &["value", "axis"], 2, &[]),
    operation("top", &["value", "axis", "count"], 3, &[]),
    operation("cast", &["value", "dtype"], 2, &[]),
    operation("sqrt", &["number"], 1, &[]),
];

/// What was given to an operation: by its place among the operation's operands, and the flags.
pub(super) struct Operands<'a> {
    pub(super) given: Vec<Option<&'a ModelExpr>>,
    pub(super) flags: Vec<(&'a str, Span)>,
}

impl<'a> Operands<'a> {
    /// An operand that is needed and so is there.
    pub(super) fn needed(&self, at: usize) -> Option<&'a ModelExpr> {
        self.optional(at)
    }

    pub(super) fn optional(&self, at: usize) -> Option<&'a ModelExpr> {
        self.given.get(at).copied().flatten()
    }
}

impl<'a> Forward<'_, 'a> {
    pub(super) fn call(&mut self, base: &'a ModelExpr, operands: &'a [Given], span: Span) -> Option<Value> {
        let ModelExprKind::Place(text) = &base.kind else {
            self.wrong_operand(
                base.span,
                "only a module, a parameter or an operation is called",
                "this is a value",
                "multiply values by `*`",
            );
            return None;
        };
        match self.find(text) {
            Found::Target(Target::Module(module)) => {
                return self.call_module(module, text, base.span, operands, span);
            }
            Found::Target(Target::Parameter(place)) => {
                return self.call_parameter(place, text, base.span, operands, span);
            }
            Found::Lost => return None,
            Found::Variable(_) | Found::Number(_) => {
                self.wrong_operand(
                    base.span,
                    &format!("`{text}` is a value, and is not called"),
                    "a value",
                    "multiply values by `*`",
                );
                return None;
            }
            Found::Target(Target::Scope(_)) => {
                let help = format!("name one of them, as in `{text}.weight(x)`");
                self.wrong_operand(
                    base.span,
                    &format!("`{text}` is a group of parameters, and is not called"),
                    "several parameters",
                    &help,
                );
                return None;
            }
            Found::Nothing => {}
        }
        if let Some(function) = self.resolver.functions.get(text.as_str()).copied() {
            return self.call_function(function, base.span, operands, span);
        }
        if let Some(operation) = OPERATIONS.iter().find(|o| o.name == text) {
            return self.call_operation(operation, operands, span);
        }
        if let Some(activation) = Activation::named(text) {
            return self.activation(ActivationChoice::Fixed(activation), text, operands, span);
        }
        if let Some(field) = self.resolver.mapping.field_named(text) {
            return self.call_config(field, text, base.span, operands, span);
        }
        self.unknown_name(text, base.span);
        None
    }

    /// An activation that config names.
    fn call_config(
        &mut self,
        field: crate::mapping::FieldId,
        text: &str,
        at: Span,
        operands: &'a [Given],
        span: Span,
    ) -> Option<Value> {
        self.mark_field(field, at);
        let slot = &mut self.resolver.mapping.config.fields[field.index()];
        match slot.ty {
            Type::Any => slot.ty = Type::Text,
            Type::Text => {}
            _ => {
                let help = "an activation is a config value that is a string, such as `gelu_new`".to_owned();
                self.wrong_config(field, "is used as an activation", "called here", at, help);
                return None;
            }
        }
        let defaults = self.resolver.mapping.field(field).defaults.iter().flatten();
        let unknown = defaults.filter_map(|default| match &default.kind {
            crate::value::ExprKind::Literal(crate::value::Value::Text(name)) => {
                Some((name.clone(), default.span))
            }
            _ => None,
        });
        if let Some((name, at_default)) =
            unknown.into_iter().find(|(name, _)| Activation::named(name).is_none())
        {
            let known: Vec<&str> = Activation::names().collect();
            let diagnostic = Diagnostic::error(
                Code::UnknownOption,
                at_default,
                format!("unknown activation `{name}`"),
                format!("the activations are {}", known.join(", ")),
            )
            .with(at, format!("`{text}` is used as an activation here"));
            self.error(match nearest(&name, known.iter().copied()) {
                Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                None => diagnostic.help("use one of these names"),
            });
            return None;
        }
        self.activation(ActivationChoice::ByConfig(field), text, operands, span)
    }

    fn activation(
        &mut self,
        function: ActivationChoice,
        name: &str,
        operands: &'a [Given],
        span: Span,
    ) -> Option<Value> {
        let given = self.take_operands(name, &["value"], 1, &[], operands, span)?;
        let input = self.tensor(given.needed(0)?)?;
        let ty = input.ty.clone();
        Some(Value { kind: ValueKind::Activation { function, input: Box::new(input) }, ty, span })
    }

    /// Puts what is given in the order of what is wanted.
    pub(super) fn take_operands(
        &mut self,
        what: &str,
        names: &[&str],
        needed: usize,
        flags: &[&str],
        operands: &'a [Given],
        span: Span,
    ) -> Option<Operands<'a>> {
        let mut all = Operands { given: vec![None; names.len()], flags: Vec::new() };
        let mut next = 0;
        let mut good = true;
        for operand in operands {
            let place = match (&operand.name, &operand.value.kind) {
                (None, ModelExprKind::Place(word)) if flags.contains(&word.as_str()) => {
                    all.flags.push((word, operand.value.span));
                    continue;
                }
                (None, _) => {
                    next += 1;
                    next - 1
                }
                (Some(name), _) => match names.iter().position(|n| *n == name.text) {
                    Some(place) => place,
                    None => {
                        self.unknown_operand(what, name, names, flags);
                        good = false;
                        continue;
                    }
                },
            };
            match all.given.get_mut(place) {
                Some(slot @ None) => *slot = Some(&operand.value),
                Some(Some(first)) => {
                    let first = first.span;
                    let at = operand.name.as_ref().map_or(operand.value.span, |n| n.span);
                    self.error(
                        Diagnostic::error(
                            Code::WrongOperands,
                            at,
                            format!("`{}` of `{what}` is given twice", names[place]),
                            "given again here",
                        )
                        .with(first, "first given here")
                        .help("keep one of them"),
                    );
                    good = false;
                }
                None => {
                    self.operand_count(what, names, needed, operands.len() - all.flags.len(), span);
                    return None;
                }
            }
        }
        if good && all.given[..needed].iter().any(Option::is_none) {
            self.operand_count(what, names, needed, operands.len() - all.flags.len(), span);
            return None;
        }
        good.then_some(all)
    }

    fn unknown_operand(&mut self, what: &str, name: &Ident, names: &[&str], flags: &[&str]) {
        let known: Vec<&str> = names.iter().chain(flags).copied().collect();
        let diagnostic = Diagnostic::error(
            Code::WrongOperands,
            name.span,
            format!("`{what}` has no `{}`", name.text),
            format!("it takes {}", known.join(", ")),
        );
        self.error(match nearest(&name.text, known.iter().copied()) {
            Some(near) if flags.contains(&near) => diagnostic.help(format!("write `{near}` alone")),
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None if flags.contains(&name.text.as_str()) => {
                diagnostic.help(format!("write `{}` alone", name.text))
            }
            None => diagnostic.help("use one of these names, or give values in this order without a name"),
        });
    }

    fn operand_count(&mut self, what: &str, names: &[&str], needed: usize, given: usize, span: Span) {
        let wants =
            if needed == names.len() { needed.to_string() } else { format!("{needed} to {}", names.len()) };
        self.error(
            Diagnostic::error(
                Code::WrongOperands,
                span,
                format!(
                    "`{what}` takes {wants} operand{}, and is given {given}",
                    if names.len() == 1 { "" } else { "s" }
                ),
                format!("given {given}"),
            )
            .help(format!("write `{what}({})`", names[..needed].join(", "))),
        );
    }

    fn call_module(
        &mut self,
        place: usize,
        text: &str,
        at: Span,
        operands: &'a [Given],
        span: Span,
    ) -> Option<Value> {
        let id = self.module(place, at)?;
        let kind = self.model.module(id).kind;
        let norm = matches!(kind, ModuleKind::LayerNorm { .. } | ModuleKind::RmsNorm { .. });
        let names: &[&str] = if norm { &["value", "epsilon"] } else { &["value"] };
        if let ModuleKind::Embedding { .. } = kind {
            self.wrong_operand(
                span,
                &format!("`{text}` is a table, whose rows are looked up"),
                "called here",
                &format!("write `{text}[x]`; to multiply by it, `{text}.weight(x)`"),
            );
            return None;
        }
        let given = self.take_operands(text, names, 1, &[], operands, span)?;
        let input = self.tensor(given.needed(0)?);
        match kind {
            ModuleKind::Linear { weight, bias } => {
                let operands = self.operands_of_weight(place, at)?;
                let (input, [out, within]) = (input?, operands.as_slice()) else { return None };
                let Some(dims) = self.contract(&input, &within.dims, &out.dims) else {
                    self.unlike_product(&input, &within.dims, text, at);
                    return None;
                };
                let module = Some(id);
                let kind = ValueKind::Linear { weight, contracted: 1, bias, module, input: Box::new(input) };
                Some(Value { kind, ty: numbers(dims), span })
            }
            ModuleKind::LayerNorm { weight, .. } | ModuleKind::RmsNorm { weight } => {
                let epsilon = self.epsilon(given.optional(1), text, span);
                let operands = self.operands_of_weight(place, at)?;
                let (input, epsilon) = (input?, epsilon?);
                let over = &operands.first()?.dims;
                let Some(dims) = self.contract(&input, over, over) else {
                    self.unlike_product(&input, over, text, at);
                    return None;
                };
                let (centred, bias) = match kind {
                    ModuleKind::LayerNorm { bias, .. } => (true, bias),
                    _ => (false, None),
                };
                let module = Some(id);
                let kind = ValueKind::Norm { centred, weight, bias, module, epsilon, input: Box::new(input) };
                Some(Value { kind, ty: numbers(dims), span })
            }
            ModuleKind::Embedding { .. } => None,
        }
    }

    fn operands_of_weight(&mut self, place: usize, span: Span) -> Option<Vec<Operand>> {
        let parameters = self.catalogue.modules[place].parameters.clone();
        let weight = parameters
            .into_iter()
            .find(|p| self.catalogue.parameters[*p].slot.as_deref() == Some("weight"))?;
        self.parameter(weight, span).map(|(_, operands)| operands)
    }

    /// What a norm adds to the variance: what is given, or the config value `epsilon`.
    fn epsilon(&mut self, given: Option<&'a ModelExpr>, norm: &str, span: Span) -> Option<Scalar> {
        if let Some(given) = given {
            return self.scalar(given);
        }
        let Some(field) = self.resolver.mapping.field_named("epsilon") else {
            self.error(
                Diagnostic::error(
                    Code::WrongOperands,
                    span,
                    format!("what `{norm}` adds to the variance is not said"),
                    "no `epsilon`",
                )
                .help("write `epsilon: 1e-5` after the value, or have a config value `epsilon`"),
            );
            return None;
        };
        match self.word("epsilon", span)?.kind {
            ValueKind::Scalar(scalar) => Some(scalar),
            _ => Some(Scalar::Config(field)),
        }
    }

    fn unlike_product(&mut self, input: &Value, within: &[Dim], text: &str, at: Span) {
        let (a, b) = (self.show(&input.ty.dims), self.show(within));
        let tail = input.ty.dims.len().saturating_sub(within.len());
        let why = self.meets(&input.ty.dims[tail..], within);
        self.error(
            Diagnostic::error(
                Code::AxesDiffer,
                input.span,
                format!("`{text}` takes what ends in {b}: {why}"),
                format!("this is {a}"),
            )
            .with(at, format!("takes what ends in {b}"))
            .help("give it a value whose last axes are these"),
        );
    }

    /// A parameter of two axes, multiplied along the one that the value ends in.
    fn call_parameter(
        &mut self,
        place: usize,
        text: &str,
        at: Span,
        operands: &'a [Given],
        span: Span,
    ) -> Option<Value> {
        let given = self.take_operands(text, &["value"], 1, &[], operands, span)?;
        let input = self.tensor(given.needed(0)?);
        self.check_given(place, at)?;
        let (weight, operands) = self.parameter(place, at)?;
        let input = input?;
        let [a, b] = operands.as_slice() else {
            let whole: Vec<Dim> = operands.iter().flat_map(|o| o.dims.clone()).collect();
            let shown = self.show(&whole);
            let stored = self.catalogue.parameters[place].span;
            self.error(
                Diagnostic::error(
                    Code::LayoutForOperation,
                    at,
                    format!(
                        "`{text}` has {} dimension{}, and a matrix has two",
                        operands.len(),
                        if operands.len() == 1 { "" } else { "s" }
                    ),
                    format!("this is {shown}"),
                )
                .with(stored, "stored as this")
                .help("add or multiply it as it is: `x * weight`"),
            );
            return None;
        };
        let (first, second) =
            (self.contract(&input, &a.dims, &b.dims), self.contract(&input, &b.dims, &a.dims));
        let (dims, contracted) = match (first, second) {
            (Some(_), Some(_)) => {
                self.error(
                    Diagnostic::error(
                        Code::LayoutForOperation,
                        at,
                        format!("both axes of `{text}` are what the value ends in"),
                        "which of them is contracted cannot be told",
                    )
                    .with(input.span, format!("this is {}", self.show(&input.ty.dims)))
                    .help("make it part of a module `(out, in) : linear`, whose axes have roles"),
                );
                return None;
            }
            (Some(dims), None) => (dims, 0),
            (None, Some(dims)) => (dims, 1),
            (None, None) => {
                self.unlike_matrix(&input, a, b, text, at);
                return None;
            }
        };
        let kind = ValueKind::Linear { weight, contracted, bias: None, module: None, input: Box::new(input) };
        Some(Value { kind, ty: numbers(dims), span })
    }

    fn unlike_matrix(&mut self, input: &Value, a: &Operand, b: &Operand, text: &str, at: Span) {
        let (shown, first, second) = (self.show(&input.ty.dims), self.show(&a.dims), self.show(&b.dims));
        let tail = input.ty.dims.len().saturating_sub(b.dims.len());
        let why = self.meets(&input.ty.dims[tail..], &b.dims);
        self.error(
            Diagnostic::error(
                Code::AxesDiffer,
                input.span,
                format!("`{text}` takes what ends in {second} or {first}: {why}"),
                format!("this is {shown}"),
            )
            .with(at, format!("over {first} and {second}"))
            .help("give it a value that ends in one of its axes"),
        );
    }
}
