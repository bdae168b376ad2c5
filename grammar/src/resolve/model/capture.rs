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
            if let Some(value) = statement.value() {
                self.value(value);
            }
            if let Statement::For { carried, captured, body, .. } = statement {
                for one in carried {
                    self.read.extend([one.initial, one.end]);
                    self.named.insert(one.start);
                }
                self.read.extend(captured);
                self.statements(body);
            }
            self.named.extend(statement.named());
        }
    }

    fn value(&mut self, value: &Value) {
        match &value.kind {
            ValueKind::Variable(variable) => {
                self.read.insert(*variable);
            }
            ValueKind::Choose { arms, .. } => arms.iter().for_each(|(_, block)| self.block(block)),
            ValueKind::Routed(routed) => self.block(&routed.body),
            _ => {}
        }
        value.operands().into_iter().for_each(|operand| self.value(operand));
    }
}
