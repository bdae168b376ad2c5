//! Docs of generated code: shapes as axes, and the lines of the mapping.

use transship_grammar::Mapping;
use transship_grammar::model::{Dim, Model, ParameterId, ScopeId, Tensor};

use super::scalar;

/// `[batch seq hidden]`.
pub(super) fn shape(mapping: &Mapping, model: &Model, ty: &Tensor) -> String {
    let extent = |dim: &Dim| match dim {
        Dim::Extent(id) => Some(model.extent(*id).name.clone()),
        _ => None,
    };
    format!("[{}]", scalar::display(mapping, &extent, &ty.dims))
}

/// The layout that a weight is loaded in, and the lines that say how it is stored.
pub(super) fn weight(mapping: &Mapping, model: &Model, parameter: ParameterId) -> String {
    let layout = mapping.display_layout(&model.kernel_layout(parameter));
    let mut lines: Vec<usize> = Vec::new();
    for source in &model.parameter(parameter).sources {
        let line = mapping.source.position(mapping.rules[source.rule].span.start).0;
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let lines: Vec<String> = lines.iter().map(|line| format!("{}:{line}", mapping.source.name())).collect();
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
