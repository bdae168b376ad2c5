//! Which variables of its surroundings a block reads.

use std::collections::BTreeSet;

use crate::model::{Block, Statement, Value, ValueKind, VariableId};

/// What is read and not named inside.
#[derive(Default)]
struct Free {
    read: BTreeSet<VariableId>,
    named: BTreeSet<VariableId>,
}

/// The variables that statements read from outside, in the order of their numbers.
pub(super) fn of_statements(statements: &[Statement]) -> Vec<VariableId> {
    let mut free = Free::default();
    free.statements(statements);
    free.outside()
}

/// The variables that a block reads from outside, in the order of their numbers.
pub(super) fn of_block(block: &Block) -> Vec<VariableId> {
    let mut free = Free::default();
    free.block(block);
    free.outside()
}

impl Free {
    fn outside(self) -> Vec<VariableId> {
        self.read.difference(&self.named).copied().collect()
    }

    fn block(&mut self, block: &Block) {
        self.statements(&block.statements);
        self.value(&block.result);
    }

    fn statements(&mut self, statements: &[Statement]) {
        for statement in statements {
            match statement {
                Statement::Let { variable, value } => {
                    self.value(value);
                    self.named.insert(*variable);
                }
                Statement::Split { parts, value, .. } => {
                    self.value(value);
                    self.named.extend(parts);
                }
                Statement::TopK { values, indices, value, .. } => {
                    self.value(value);
                    self.named.extend([*values, *indices]);
                }
                Statement::For { carried, captured, body, .. } => {
                    for one in carried {
                        self.read.extend([one.initial, one.end]);
                        self.named.extend([one.start, one.result]);
                    }
                    self.read.extend(captured);
                    self.statements(body);
                }
            }
        }
    }

    fn value(&mut self, value: &Value) {
        match &value.kind {
            ValueKind::Variable(variable) => {
                self.read.insert(*variable);
            }
            ValueKind::Parameter(_) | ValueKind::Scalar(_) | ValueKind::Position => {}
            ValueKind::Gather { index: input, .. }
            | ValueKind::Linear { input, .. }
            | ValueKind::Norm { input, .. }
            | ValueKind::Activation { input, .. }
            | ValueKind::Softmax { input, .. }
            | ValueKind::Reduce { input, .. }
            | ValueKind::Pick { input, .. }
            | ValueKind::Cast { input, .. } => self.value(input),
            ValueKind::Attention(attention) => {
                let operands = [&attention.query, &attention.key, &attention.value];
                operands.into_iter().chain(&attention.mask).for_each(|v| self.value(v));
            }
            ValueKind::Rotary(rotary) => self.value(&rotary.input),
            ValueKind::Binary { left, right, .. } => {
                self.value(left);
                self.value(right);
            }
            ValueKind::Join { parts } => parts.iter().for_each(|v| self.value(v)),
            ValueKind::Choose { arms, .. } => arms.iter().for_each(|(_, block)| self.block(block)),
            ValueKind::Routed(routed) => {
                self.value(&routed.indices);
                self.value(&routed.weights);
                self.block(&routed.body);
            }
        }
    }
}
