//! Where a forward pass falls in two: what looks at other positions, and a head that takes each position by itself, so
//! that it can be run on the last token alone.

use std::collections::BTreeSet;

use transship_grammar::model::{Dim, Model, Statement, Value, ValueKind, VariableId};

use super::place::extents;

/// The first of the statements from which on every position is computed by itself; with the result they make the head.
pub(super) fn find_cut(model: &Model) -> Option<usize> {
    let all = &model.block.statements;
    if !is_by_position(model, &model.block.result) {
        return None;
    }
    let by_position =
        |statement: &Statement| statement.value().is_some_and(|value| is_by_position(model, value));
    let cut = all.iter().rposition(|statement| !by_position(statement)).map_or(0, |last| last + 1);
    let read = read_by_head(model, cut);
    // The head is given what statements before it made, a value of each token.
    let made = made_by(&all[..cut]);
    let whole = |variable: &VariableId| {
        let dims = &model.variable(*variable).ty.dims;
        made.contains(variable) && extents(dims) == 2 && dims[1] == Dim::Extent(model.sequence)
    };
    (cut > 0 && !read.is_empty() && read.iter().all(whole)).then_some(cut)
}

fn is_by_position(model: &Model, value: &Value) -> bool {
    let mut all = true;
    value.visit(&mut |value| {
        all &= match &value.kind {
            ValueKind::Attention(_) | ValueKind::Rotary(_) | ValueKind::Position | ValueKind::Routed(_) => {
                false
            }
            ValueKind::Reduce { dim, input, .. }
            | ValueKind::Pick { dim, input, .. }
            | ValueKind::Softmax { dim, input } => {
                input.ty.dims.get(*dim) != Some(&Dim::Extent(model.sequence))
            }
            _ => true,
        };
    });
    all
}

/// Variables that the head reads and does not make itself, in order.
pub(super) fn read_by_head(model: &Model, cut: usize) -> Vec<VariableId> {
    let tail = &model.block.statements[cut..];
    let own = made_by(tail);
    let mut read: Vec<VariableId> = Vec::new();
    let mut look = |value: &Value| {
        if let ValueKind::Variable(id) = value.kind
            && !own.contains(&id)
            && !model.variable(id).ty.dims.is_empty()
            && !read.contains(&id)
        {
            read.push(id);
        }
    };
    tail.iter().for_each(|statement| statement.visit(&mut look));
    model.block.result.visit(&mut look);
    read
}

fn made_by(statements: &[Statement]) -> BTreeSet<VariableId> {
    statements.iter().flat_map(Statement::named).collect()
}
