//! Calls of `fn` blocks, unfolded where they stand.

use super::call::OPERATIONS;
use super::catalogue::Target;
use super::word::Found;
use super::{Binding, Forward};
use crate::ast::{ModelDecl, ModelExpr, ModelExprKind, Operand as Given};
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::model::{Activation, Statement, Value, ValueKind};
use crate::source::Span;

/// More calls than any model has.
const MAX_CALLS: usize = 4096;

/// More calls inside one another than any model has.
const MAX_DEPTH: usize = 64;

impl<'a> Forward<'_, 'a> {
    pub(super) fn call_function(
        &mut self,
        function: &'a ModelDecl,
        at: Span,
        operands: &'a [Given],
        span: Span,
    ) -> Option<Value> {
        let name = function.name.text.as_str();
        self.resolver.mark_used(crate::resolve::Space::Model, &function.name);
        if self.open_functions.contains(&name) {
            self.error(
                Diagnostic::error(
                    Code::RecursiveFunction,
                    at,
                    format!("`{name}` calls itself"),
                    "called while it is being unfolded",
                )
                .with(function.name.span, "declared here")
                .help("a function is unfolded where it is called; repeat by `for`"),
            );
            return None;
        }
        self.unfolded += 1;
        if self.unfolded > MAX_CALLS || self.open_functions.len() >= MAX_DEPTH {
            self.too_many_calls(at);
            return None;
        }
        self.check_function(function)?;
        let names: Vec<&str> = function.arguments.iter().map(|a| a.name.text.as_str()).collect();
        let given = self.take_operands(name, &names, names.len(), &[], operands, span)?;
        let mut inside = Vec::new();
        let mut good = true;
        for (argument, given) in function.arguments.iter().zip(&given.given) {
            let Some(binding) = given.and_then(|given| self.function_argument(function, argument, given))
            else {
                good = false;
                continue;
            };
            inside.push((argument.name.text.clone(), binding));
        }
        let declared = self.declared_type(&function.result);
        let (true, Some(declared)) = (good, declared) else { return None };
        let outside = std::mem::replace(&mut self.bindings, inside);
        let fixed = std::mem::take(&mut self.fixed);
        self.open_functions.push(name);
        let result = self.unfold(&function.block, function.name.span);
        self.open_functions.pop();
        self.bindings = outside;
        self.fixed = fixed;
        let result = result?;
        self.check_result(&result, declared.as_ref(), &function.result).then_some(result)
    }

    pub(super) fn too_many_calls(&mut self, at: Span) {
        // Each call beyond the limit would say the same.
        if self.unfolded > MAX_CALLS + 1 {
            return;
        }
        self.unfolded = MAX_CALLS + 1;
        self.error(
            Diagnostic::error(
                Code::RecursiveFunction,
                at,
                format!("functions are unfolded more than {MAX_CALLS} times, or more than {MAX_DEPTH} deep"),
                "one call too many",
            )
            .help("a function is unfolded where it is called; repeat by `for`"),
        );
    }

    /// What a function cannot be, however it is called.
    fn check_function(&mut self, function: &'a ModelDecl) -> Option<()> {
        if let Some(over) = &function.over {
            let side = self.resolver.side_named(over)?;
            if side != self.model.side {
                let own = self.resolver.mapping.side(self.model.side).name.clone();
                self.error(
                    Diagnostic::error(
                        Code::Signature,
                        over.span,
                        format!(
                            "`{}` is over `{}`, and the model over `{own}`",
                            function.name.text, over.text
                        ),
                        "over the other side",
                    )
                    .help("leave `over` out: a function uses the parameters of the model that calls it"),
                );
                return None;
            }
        }
        let name = &function.name;
        if OPERATIONS.iter().any(|o| o.name == name.text) || Activation::named(&name.text).is_some() {
            self.error(
                Diagnostic::error(
                    Code::DuplicateName,
                    name.span,
                    format!("`{}` is an operation of the language", name.text),
                    "declared as a function",
                )
                .help("call the function by another name"),
            );
            return None;
        }
        let arguments = function.arguments.iter().enumerate();
        let twice = arguments.filter_map(|(at, argument)| {
            let first = function.arguments[..at].iter().find(|a| a.name.text == argument.name.text)?;
            Some((first, argument))
        });
        if let Some((first, second)) = twice.into_iter().next() {
            self.error(
                Diagnostic::error(
                    Code::DuplicateName,
                    second.name.span,
                    format!("`{}` is declared twice", second.name.text),
                    "declared again",
                )
                .with(first.name.span, "declared here")
                .help("give each argument a name of its own"),
            );
            return None;
        }
        if let Some(optional) = function.arguments.iter().find(|a| a.optional) {
            self.error(
                Diagnostic::error(
                    Code::Signature,
                    optional.name.span,
                    format!("`{}` of a function cannot be left out", optional.name.text),
                    "only an argument of a model can",
                )
                .help("remove the `?`"),
            );
            return None;
        }
        Some(())
    }

    fn function_argument(
        &mut self,
        function: &'a ModelDecl,
        argument: &'a crate::ast::ModelArgument,
        given: &'a ModelExpr,
    ) -> Option<Binding> {
        let Some(declared) = self.declared_type(argument)? else {
            return self.scope_argument(argument, given);
        };
        let value = self.value(given)?;
        if value.ty != declared {
            let (is, wanted) = (self.show_type(&value.ty), self.show_type(&declared));
            let why = if value.ty.dims == declared.dims {
                format!("this is {is}")
            } else {
                self.meets(&value.ty.dims, &declared.dims)
            };
            self.error(
                Diagnostic::error(
                    Code::AxesDiffer,
                    value.span,
                    format!("`{}` of `{}` is {wanted}: {why}", argument.name.text, function.name.text),
                    format!("this is {is}"),
                )
                .with(argument.name.span, format!("declared {wanted}"))
                .help("give it a value over these axes"),
            );
            return None;
        }
        if let ValueKind::Scalar(scalar) = value.kind {
            return Some(Binding::Number(scalar));
        }
        if let ValueKind::Variable(variable) = value.kind {
            return Some(Binding::Variable(variable));
        }
        let variable = self.variable(&argument.name.text, value.ty.clone(), argument.name.span);
        self.named.insert(variable, argument.name.span);
        self.statements.push(Statement::Let { variable, value });
        Some(Binding::Variable(variable))
    }

    /// A group of parameters that a function is given.
    fn scope_argument(
        &mut self,
        argument: &crate::ast::ModelArgument,
        given: &'a ModelExpr,
    ) -> Option<Binding> {
        if let ModelExprKind::Place(text) = &given.kind {
            match self.find(text) {
                Found::Target(Target::Scope(path)) => return Some(Binding::Scope(path)),
                Found::Lost => return None,
                Found::Nothing => {
                    self.unknown_name(text, given.span);
                    return None;
                }
                Found::Variable(_) | Found::Number(_) | Found::Target(_) => {}
            }
        }
        self.error(
            Diagnostic::error(
                Code::WrongOperand,
                given.span,
                format!("`{}` stands for a group of parameters", argument.name.text),
                "not a group of parameters",
            )
            .with(argument.name.span, "declared without axes")
            .help(format!(
                "give it a group, such as `layer`, or declare its axes: `{} [batch seq]`",
                argument.name.text
            )),
        );
        None
    }
}
