//! Sums over chosen coordinates of an index: experts and what they are weighted by.

use super::shape::{extents, numbers};
use super::{Binding, Forward, capture};
use crate::ast::RoutedSum;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::mapping::AxisId;
use crate::model::{Dim, Element, Routed, Value, ValueKind};
use crate::source::Span;

impl<'a> Forward<'_, 'a> {
    /// `sum expert in experts[chosen] weighted w { … }`.
    pub(super) fn routed(&mut self, sum: &'a RoutedSum, span: Span) -> Option<Value> {
        let fresh = self.check_shadowing(&sum.name);
        let path = self.indexed_scope(&sum.over.text, sum.over.span);
        let (indices, weights) = (self.value(&sum.indices), self.tensor(&sum.weights));
        let path = path.filter(|_| fresh)?;
        let (indices, weights) = (indices?, weights?);
        let axis = path.0.last().and_then(|s| s.index.as_ref()).map(|i| i.axis)?;
        self.check_choice(sum, axis, &indices)?;
        self.check_weights(&indices, &weights)?;
        let scope = self.scope(&path, sum.over.span);
        self.bind(&sum.name.text, Binding::Scope(path));
        self.fixed.push((sum.name.text.clone(), sum.name.span));
        let body = self.block(&sum.block, sum.name.span);
        self.fixed.pop();
        self.bindings.pop();
        let body = body?;
        self.check_numeric(&body.result)?;
        self.check_summed(&body.result, &indices)?;
        let ty = numbers(body.result.ty.dims.clone());
        let captured = capture::of_block(&body);
        let routed = Routed { scope, indices, weights, captured, body };
        Some(Value { kind: ValueKind::Routed(Box::new(routed)), ty, span })
    }

    /// What is chosen are coordinates of the index, some for each position.
    fn check_choice(&mut self, sum: &RoutedSum, axis: AxisId, indices: &Value) -> Option<()> {
        let chosen = extents(&indices.ty.dims) + 1 == indices.ty.dims.len();
        if indices.ty.element == Element::Index(axis) && chosen {
            return Some(());
        }
        let name = self.resolver.mapping.axis(axis).name.clone();
        let is = self.show_type(&indices.ty);
        self.error(
            Diagnostic::error(
                Code::WrongTable,
                indices.span,
                format!("`{}` goes over `{name}`, and this is {is}", sum.over.text),
                format!("not a choice of `{name}`"),
            )
            .with(sum.over.span, format!("one for each `{name}`"))
            .help(format!("choose some: `let (score, chosen) = top(scores, {name}, COUNT)`")),
        );
        None
    }

    fn check_weights(&mut self, indices: &Value, weights: &Value) -> Option<()> {
        if weights.ty.dims == indices.ty.dims {
            return Some(());
        }
        let (a, b) = (self.show(&weights.ty.dims), self.show(&indices.ty.dims));
        let why = self.meets(&weights.ty.dims, &indices.ty.dims);
        self.error(
            Diagnostic::error(
                Code::AxesDiffer,
                weights.span,
                format!("there is not one weight for each choice: {why}"),
                format!("this is {a}"),
            )
            .with(indices.span, format!("this is {b}"))
            .help("weights are over the axes of what is chosen"),
        );
        None
    }

    /// The body has a value for each position of what is chosen.
    fn check_summed(&mut self, body: &Value, indices: &Value) -> Option<()> {
        let around: &[Dim] = &indices.ty.dims[..indices.ty.dims.len().saturating_sub(1)];
        if body.ty.dims.starts_with(around) {
            return Some(());
        }
        let (a, b) = (self.show(&body.ty.dims), self.show(around));
        self.error(
            Diagnostic::error(
                Code::AxesDiffer,
                body.span,
                format!("what is summed is {a}, and the choices are made over {b}"),
                format!("this is {a}"),
            )
            .with(indices.span, format!("chosen over {b}"))
            .help("the block computes a value for each position of what is chosen"),
        );
        None
    }
}
