//! Docs of generated code: shapes as axes, and the lines of the mapping.

use transship_grammar::model::{Dim, Model, ParameterId, ScopeId, Tensor, VariableId};
use transship_grammar::{Mapping, Span};

use super::scalar;
use crate::names::snake;

/// `[batch seq hidden]`.
pub(super) fn shape(mapping: &Mapping, model: &Model, ty: &Tensor) -> String {
    let extent = |dim: &Dim| match dim {
        Dim::Extent(id) => Some(model.extent(*id).name.clone()),
        _ => None,
    };
    format!("[{}]", scalar::display(mapping, &extent, &ty.dims))
}

/// What a method takes and what it gives: `` `x [batch seq hidden]` to `[batch seq hidden]` ``.
pub(super) fn from_to(
    mapping: &Mapping,
    model: &Model,
    from: impl Iterator<Item = VariableId>,
    to: &[&Tensor],
) -> String {
    let given = from.map(|id| {
        let variable = model.variable(id);
        format!("`{} {}`", snake(&variable.name), shape(mapping, model, &variable.ty))
    });
    let given: Vec<String> = given.collect();
    let to: Vec<String> = to.iter().map(|ty| shape(mapping, model, ty)).collect();
    format!("{} to `{}`", given.join(", "), to.join(" and "))
}

/// `gpt2.mapping:12`.
pub(super) fn line(mapping: &Mapping, span: Span) -> String {
    let source = &mapping.source;
    format!("{}:{}", source.name_at(span.start), source.position(span.start).0)
}

/// The layout that a weight is loaded in, and the lines that say how it is stored.
pub(super) fn weight(mapping: &Mapping, model: &Model, parameter: ParameterId) -> String {
    let layout = mapping.display_layout(&model.kernel_layout(parameter));
    let mut lines: Vec<String> = Vec::new();
    for source in &model.parameter(parameter).sources {
        let line = line(mapping, mapping.rules[source.rule].span);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    format!("`{layout}`, {}.", lines.join(" and "))
}

/// The name of a scope, indices in braces.
pub(super) fn scope(mapping: &Mapping, model: &Model, scope: ScopeId) -> String {
    let words: Vec<String> = model
        .path(scope)
        .into_iter()
        .map(|scope| {
            let scope = model.scope(scope);
            match scope.axis() {
                Some(axis) => format!("{}.{{{}}}", scope.name, mapping.axis(axis).name),
                None => scope.name.clone(),
            }
        })
        .collect();
    words.join(".")
}
