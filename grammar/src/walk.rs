//! Walks over what a model computes, and what they tell of its parameters.

use crate::layout::Layout;
use crate::mapping::{Guard, Mapping, SideId, Stored};
use crate::model::{
    Block, Model, Parameter, ParameterId, Scope, ScopeId, Statement, Value, ValueKind, VariableId,
};
use crate::template::{IndexPart, Part, Template};

impl Block {
    /// Every value in it, what a value is made of before the value itself, in the order of the statements.
    pub fn visit<'m>(&'m self, visit: &mut dyn FnMut(&'m Value)) {
        self.statements.iter().for_each(|statement| statement.visit(visit));
        self.result.visit(visit);
    }
}

impl Statement {
    /// Every value in it, as [`Block::visit`].
    pub fn visit<'m>(&'m self, visit: &mut dyn FnMut(&'m Value)) {
        match self {
            Statement::For { body, .. } => body.iter().for_each(|statement| statement.visit(visit)),
            _ => self.value().into_iter().for_each(|value| value.visit(visit)),
        }
    }

    /// The value that it names or takes apart; none for a loop.
    #[must_use]
    pub fn value(&self) -> Option<&Value> {
        match self {
            Statement::Let { value, .. } | Statement::Split { value, .. } | Statement::TopK { value, .. } => {
                Some(value)
            }
            Statement::For { .. } => None,
        }
    }

    /// The variables that it names for what comes after it.
    #[must_use]
    pub fn named(&self) -> Vec<VariableId> {
        match self {
            Statement::Let { variable, .. } => vec![*variable],
            Statement::Split { parts, .. } => parts.clone(),
            Statement::TopK { values, indices, .. } => vec![*values, *indices],
            Statement::For { carried, .. } => carried.iter().map(|one| one.result).collect(),
        }
    }
}

impl Value {
    /// Every value in it, itself last.
    pub fn visit<'m>(&'m self, visit: &mut dyn FnMut(&'m Value)) {
        match &self.kind {
            ValueKind::Choose { arms, .. } => arms.iter().for_each(|(_, block)| block.visit(visit)),
            ValueKind::Routed(routed) => {
                routed.indices.visit(visit);
                routed.weights.visit(visit);
                routed.body.visit(visit);
            }
            _ => self.operands().into_iter().for_each(|operand| operand.visit(visit)),
        }
        visit(self);
    }

    /// The values that it is made of directly, blocks aside.
    #[must_use]
    pub fn operands(&self) -> Vec<&Value> {
        match &self.kind {
            ValueKind::Variable(_)
            | ValueKind::Parameter(_)
            | ValueKind::Scalar(_)
            | ValueKind::Position
            | ValueKind::Choose { .. } => Vec::new(),
            ValueKind::Gather { index: input, .. }
            | ValueKind::Linear { input, .. }
            | ValueKind::Norm { input, .. }
            | ValueKind::Activation { input, .. }
            | ValueKind::Softmax { input, .. }
            | ValueKind::Reduce { input, .. }
            | ValueKind::Pick { input, .. }
            | ValueKind::Cast { input, .. } => vec![input],
            ValueKind::Attention(attention) => {
                let three = [&attention.query, &attention.key, &attention.value];
                three.into_iter().chain(&attention.mask).collect()
            }
            ValueKind::Rotary(rotary) => vec![&rotary.input],
            ValueKind::Binary { left, right, .. } => vec![left, right],
            ValueKind::Join { parts } => parts.iter().collect(),
            ValueKind::Routed(routed) => vec![&routed.indices, &routed.weights],
        }
    }
}

/// How a kernel takes a weight of two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelOrder {
    /// As [`Parameter::layout`] has them: `[out in]` for a linear layer, the rows of a table.
    AsWritten,
    /// The second operand outermost, where the layout is `[in out]`.
    Swapped,
}

impl Model {
    /// How a parameter lies for the kernels that use it. A matrix that products alone take has what is contracted
    /// innermost, as the products with one row want it; everything else lies as its layout is written.
    #[must_use]
    pub fn kernel_order(&self, parameter: ParameterId) -> KernelOrder {
        let mut taken = None;
        self.block.visit(&mut |value| {
            if let ValueKind::Linear { weight, contracted, .. } = &value.kind
                && *weight == parameter
            {
                taken.get_or_insert(*contracted);
            }
        });
        match taken {
            Some(0) if !self.is_taken_whole(parameter) => KernelOrder::Swapped,
            _ => KernelOrder::AsWritten,
        }
    }

    /// Whether something else than a product takes a parameter, such as the lookup of an embedding.
    #[must_use]
    pub fn is_taken_whole(&self, parameter: ParameterId) -> bool {
        let mut found = false;
        self.block.visit(&mut |value| {
            if let ValueKind::Gather { table: other, .. } | ValueKind::Parameter(other) = &value.kind {
                found |= *other == parameter;
            }
        });
        found
    }

    /// The layout in which a parameter is loaded; see [`kernel_order`](Model::kernel_order).
    #[must_use]
    pub fn kernel_layout(&self, parameter: ParameterId) -> Layout {
        let mut layout = self.parameter(parameter).layout.clone();
        if self.kernel_order(parameter) == KernelOrder::Swapped {
            layout.dims.reverse();
        }
        layout
    }

    /// The scopes from the top to a scope, the top left out.
    #[must_use]
    pub fn path(&self, scope: ScopeId) -> Vec<ScopeId> {
        let mut path = Vec::new();
        let mut at = Some(scope);
        while let Some(scope) = at {
            at = self.scope(scope).parent;
            if at.is_some() {
                path.push(scope);
            }
        }
        path.reverse();
        path
    }

    /// The index axes that tell the instances of a parameter apart, outermost first.
    pub fn indices(&self, scope: ScopeId) -> impl Iterator<Item = &IndexPart> {
        self.path(scope).into_iter().filter_map(|scope| self.scope(scope).index.as_ref())
    }

    /// What the weights of the model are called in [`Mapping::laid_out_for`]: `@3.1` is parameter 3 at coordinate 1.
    #[must_use]
    pub fn kernel_name(parameter: ParameterId, coordinates: &[u64]) -> String {
        let numbers: String = coordinates.iter().map(|at| format!(".{at}")).collect();
        format!("@{}{numbers}", parameter.0)
    }

    fn kernel_template(&self, number: usize, parameter: &Parameter) -> Template {
        let mut template = Template { absolute: true, parts: Vec::new() };
        template.push_text(&format!("@{number}"));
        for index in self.indices(parameter.scope) {
            template.push_text(".");
            let index = IndexPart { scale: 1, offset: 0, width: None, ranks: Vec::new(), ..index.clone() };
            template.push(Part::Index(index));
        }
        template
    }
}

impl Scope {
    /// The axis that numbers it.
    #[must_use]
    pub fn axis(&self) -> Option<crate::mapping::AxisId> {
        self.index.as_ref().map(|index| index.axis)
    }
}

impl Mapping {
    /// The mapping from checkpoints of side `from` to the weights of a model, each laid out as its kernel takes it and
    /// called by [`Model::kernel_name`]. Other parameters of the model's side keep their names.
    #[must_use]
    pub fn laid_out_for(&self, model: &Model, from: SideId) -> Mapping {
        let mut mapping = if from == model.side { self.mirrored(from) } else { self.clone() };
        let to = from.other();
        mapping.reflected = false;
        mapping.sides[to.index()].format = crate::mapping::Format::Safetensors;
        mapping.sides[to.index()].dtype = None;
        mapping.config.writes.clear();
        mapping.config.fields.iter_mut().for_each(|field| field.written[to.index()] = false);
        mapping.emits.retain(|emit| emit.side == from);
        mapping.ties.retain(|tie| tie.side == from);
        for (number, parameter) in model.parameters.iter().enumerate() {
            let id = ParameterId::from_index(number);
            let name = model.kernel_template(number, parameter);
            for source in &parameter.sources {
                let entry = mapping.rules.get_mut(source.rule);
                let Some(entry) = entry.and_then(|rule| rule.sides[to.index()].get_mut(source.entry)) else {
                    continue;
                };
                let span = entry.stored.first().map_or(parameter.span, |stored| stored.span);
                entry.stored = vec![Stored {
                    name: name.clone(),
                    layouts: vec![(Guard::default(), model.kernel_layout(id))],
                    affine: crate::mapping::Affine::IDENTITY,
                    dtype: None,
                    written_when: None,
                    span,
                }];
            }
        }
        mapping
    }
}
