//! What a model or function is given and what comes out: the types that are written.

use super::shape::numbers;
use super::{Binding, Forward};
use crate::ast::{self, DimKind, Ident};
use crate::code::Code;
use crate::diagnostic::{Diagnostic, nearest};
use crate::mapping::AxisId;
use crate::model::{Argument, Dim, Element, Extent, ExtentId, Part, Tensor, Value};
use crate::source::Span;

impl<'a> Forward<'_, 'a> {
    /// Arguments of the model; whether all are right.
    pub(super) fn arguments(&mut self, declaration: &'a ast::ModelDecl) -> bool {
        let mut good = true;
        for argument in &declaration.arguments {
            if let Some((_, first)) = self.fixed.iter().find(|(name, _)| *name == argument.name.text) {
                let first = *first;
                self.error(
                    Diagnostic::error(
                        Code::DuplicateName,
                        argument.name.span,
                        format!("the argument `{}` is declared twice", argument.name.text),
                        "declared again here",
                    )
                    .with(first, "first declared here")
                    .help("remove one, or give it another name"),
                );
                good = false;
                continue;
            }
            self.fixed.push((argument.name.text.clone(), argument.name.span));
            let Some(ty) = self.argument_type(argument) else {
                self.bind(&argument.name.text, Binding::Lost);
                good = false;
                continue;
            };
            let variable = self.variable(&argument.name.text, ty, argument.name.span);
            self.named.insert(variable, argument.name.span);
            self.bind(&argument.name.text, Binding::Variable(variable));
            self.model.arguments.push(Argument { variable, optional: argument.optional });
        }
        let first = declaration.arguments.first();
        good && self.check_first(first, declaration)
    }

    /// The first argument has the positions, and must be given.
    fn check_first(
        &mut self,
        first: Option<&'a ast::ModelArgument>,
        declaration: &'a ast::ModelDecl,
    ) -> bool {
        let Some(first) = first else {
            self.error(
                Diagnostic::error(
                    Code::Signature,
                    declaration.name.span,
                    format!("the model `{}` is given nothing", declaration.name.text),
                    "no arguments",
                )
                .help("give it tokens, as in `(tokens [batch seq] in vocab)`"),
            );
            return false;
        };
        let dims = self.model.arguments.first().map(|a| self.model.variable(a.variable).ty.dims.clone());
        let last = dims.as_ref().and_then(|dims| dims.last());
        let Some(Dim::Extent(sequence)) = last else {
            let at = first.layout.as_ref().map_or(first.name.span, |l| l.span);
            self.error(
                Diagnostic::error(
                    Code::Signature,
                    at,
                    "the first argument does not end in an axis of the input",
                    "positions count along its last axis",
                )
                .note("an axis that is no config value, such as `seq`, has the size that the input brings along")
                .help("write it like `tokens [batch seq] in vocab`"),
            );
            return false;
        };
        self.model.sequence = *sequence;
        if first.optional {
            self.error(
                Diagnostic::error(
                    Code::Signature,
                    first.name.span,
                    "the first argument cannot be left out",
                    "positions count along its last axis",
                )
                .help(format!("remove the `?`, or put another argument before `{}`", first.name.text)),
            );
        }
        !first.optional
    }

    fn argument_type(&mut self, argument: &'a ast::ModelArgument) -> Option<Tensor> {
        let Some(layout) = &argument.layout else {
            self.error(
                Diagnostic::error(
                    Code::Signature,
                    argument.name.span,
                    format!("the argument `{}` has no axes", argument.name.text),
                    "only a `fn` is given groups of parameters",
                )
                .help(format!("write its axes, as in `{} [batch seq]`", argument.name.text)),
            );
            return None;
        };
        let dims = self.written_dims(layout, true);
        let element = self.element(argument);
        Some(Tensor { dims: dims?, element: element? })
    }

    /// The type that a result, or a function's argument, is declared to have; within, none where nothing is said.
    pub(super) fn declared_type(&mut self, argument: &'a ast::ModelArgument) -> Option<Option<Tensor>> {
        let Some(layout) = &argument.layout else { return Some(None) };
        let dims = self.written_dims(layout, false);
        let element = self.element(argument);
        Some(Some(Tensor { dims: dims?, element: element? }))
    }

    fn element(&mut self, argument: &'a ast::ModelArgument) -> Option<Element> {
        argument
            .along
            .as_ref()
            .map_or(Some(Element::Number), |name| self.resolver.axis(name).map(Element::Index))
    }

    fn written_dims(&mut self, layout: &'a ast::Layout, new_extents: bool) -> Option<Vec<Dim>> {
        let dims: Vec<Option<Dim>> = layout.dims.iter().map(|d| self.written_dim(d, new_extents)).collect();
        dims.into_iter().collect()
    }

    fn written_dim(&mut self, dim: &'a ast::Dim, new_extents: bool) -> Option<Dim> {
        match &dim.kind {
            DimKind::Axis { name, index, ranks } if ranks.is_empty() && dim.role.is_none() => {
                let by = match index {
                    Some(index) => Some(self.resolver.axis(index)?),
                    None => None,
                };
                self.written_axis(name, by, new_extents)
            }
            DimKind::Group { arms, ranks } if ranks.is_empty() && arms.len() > 1 => {
                let parts: Vec<Option<Part>> = arms.iter().map(|arm| self.written_part(arm)).collect();
                Some(Dim::Sum(parts.into_iter().collect::<Option<_>>()?))
            }
            _ => {
                self.not_a_dim(dim.span);
                None
            }
        }
    }

    /// `q: heads head_dim`, or a label alone.
    fn written_part(&mut self, arm: &'a [ast::Dim]) -> Option<Part> {
        let first = arm.first()?;
        let word = |dim: &'a ast::Dim| match &dim.kind {
            DimKind::Axis { name, index: None, ranks } if ranks.is_empty() => Some(name),
            _ => None,
        };
        if let (None, [one]) = (&first.role, arm) {
            let Some(label) = word(one) else {
                self.not_a_dim(first.span);
                return None;
            };
            return Some(Part { label: label.text.clone(), dims: Vec::new() });
        }
        let mut dims = Vec::new();
        for dim in arm {
            let Some(name) = word(dim) else {
                self.not_a_dim(dim.span);
                return None;
            };
            dims.push(self.written_axis(name, None, false)?);
        }
        let label = first.role.as_ref().map(|l| l.text.clone()).unwrap_or_default();
        Some(Part { label, dims })
    }

    fn not_a_dim(&mut self, span: Span) {
        self.error(
            Diagnostic::error(
                Code::Signature,
                span,
                "a value has plain axes and labelled parts only",
                "no ranks, roles, padding or products here",
            )
            .help("write each axis by itself: `[batch seq heads head_dim]`"),
        );
    }

    fn written_axis(&mut self, name: &Ident, by: Option<AxisId>, new_extents: bool) -> Option<Dim> {
        if let Some(extent) = self.model.extents.iter().position(|e| e.name == name.text) {
            return Some(Dim::Extent(ExtentId::from_index(extent)));
        }
        if self.is_axis(&name.text) {
            return self.resolver.axis(name).map(|axis| Dim::Axis(axis, by));
        }
        if new_extents {
            let near = self.near_axis(&name.text);
            // One letter off a config value is no axis of the input.
            if let Some(near) =
                near.filter(|n| n.len() > 3 && strsim::damerau_levenshtein(n, &name.text) == 1)
            {
                self.unknown_axis(name, Some(near));
                return None;
            }
            self.model.extents.push(Extent { name: name.text.clone(), span: name.span });
            return Some(Dim::Extent(ExtentId::from_index(self.model.extents.len() - 1)));
        }
        let near = self.near_axis(&name.text);
        self.unknown_axis(name, near);
        None
    }

    fn is_axis(&self, name: &str) -> bool {
        let mapping = &self.resolver.mapping;
        self.resolver.axes_by_name.contains_key(name)
            || mapping.field_named(name).is_some()
            || mapping.field_named(&format!("{name}s")).is_some()
    }

    fn near_axis(&self, name: &str) -> Option<String> {
        let fields = self.resolver.mapping.config.fields.iter().map(|f| f.name.as_str());
        let known: Vec<&str> = fields.chain(self.model.extents.iter().map(|e| e.name.as_str())).collect();
        nearest(name, known).map(str::to_owned)
    }

    fn unknown_axis(&mut self, name: &Ident, near: Option<String>) {
        let diagnostic = Diagnostic::error(
            Code::UnknownAxis,
            name.span,
            format!("unknown axis `{}`", name.text),
            "no config value, and no axis of the model's arguments",
        );
        self.error(match near {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => diagnostic.help("name a config value, or an axis that an argument of the model has"),
        });
    }

    /// Whether a block's value is what is declared.
    pub(super) fn check_result(
        &mut self,
        value: &Value,
        declared: Option<&Tensor>,
        result: &ast::ModelArgument,
    ) -> bool {
        let wanted = match declared {
            Some(declared) if value.ty == *declared => return true,
            Some(declared) => declared.clone(),
            None if !value.ty.dims.is_empty() => return true,
            None => numbers(Vec::new()),
        };
        let at = result.layout.as_ref().map_or(result.name.span, |l| l.span);
        let (given, wanted) = (self.show_type(&value.ty), self.show_type(&wanted));
        self.error(
            Diagnostic::error(
                Code::ResultType,
                value.span,
                format!("the result is {given}, and `{}` is declared {wanted}", result.name.text),
                format!("this is {given}"),
            )
            .with(at, format!("declared {wanted}"))
            .help("change the declaration, or the last line of the block"),
        );
        false
    }
}
