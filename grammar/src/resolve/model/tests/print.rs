//! A lowered model as text, for snapshots.

use std::fmt::Write as _;

use crate::Mapping;
use crate::model::{
    ActivationChoice, Block, Dim, Element, Model, ModuleId, ParameterId, Part, Scalar, ScalarOp, ScopeId,
    Statement, Tensor, Value, ValueKind, VariableId,
};

#[derive(Clone, Copy)]
pub(super) struct Printer<'m> {
    pub(super) mapping: &'m Mapping,
    pub(super) model: &'m Model,
}

impl Printer<'_> {
    pub(super) fn model(self) -> String {
        let model = self.model;
        let mut text = String::new();
        for argument in &model.arguments {
            let optional = if argument.optional { "?" } else { "" };
            let ty = self.ty(&model.variable(argument.variable).ty);
            let _ = writeln!(text, "given {}{optional} {ty}", self.variable(argument.variable));
        }
        for module in &model.modules {
            let _ = writeln!(text, "module {}.{} = {:?}", self.scope(module.scope), module.name, module.kind);
        }
        for parameter in &model.parameters {
            let module = parameter.module.map_or(String::new(), |m| self.module(m));
            let optional = if parameter.optional { "?" } else { "" };
            let layout = self.mapping.display_layout(&parameter.layout);
            let sources = parameter.sources.iter().map(|s| format!("{:?}/{}/{}", s.guard.0, s.rule, s.entry));
            let sources: Vec<String> = sources.collect();
            let _ = writeln!(
                text,
                "parameter {}{module}.{}{optional} {layout} from {}",
                self.scope(parameter.scope),
                parameter.name,
                sources.join(", ")
            );
        }
        let _ = writeln!(text, "{} {} =", model.name, model.result);
        self.block(&model.block, 1, &mut text);
        text
    }

    fn variable(self, id: VariableId) -> String {
        format!("{}{}", self.model.variable(id).name, id.0)
    }

    fn scope(self, id: ScopeId) -> String {
        let scope = self.model.scope(id);
        let Some(parent) = scope.parent else { return String::new() };
        let index =
            scope.index.as_ref().map_or(String::new(), |i| format!("[{}]", self.mapping.axis(i.axis).name));
        format!("{}.{}{index}", self.scope(parent), scope.name)
    }

    fn module(self, id: ModuleId) -> String {
        format!(".{}", self.model.module(id).name)
    }

    fn parameter(self, id: ParameterId) -> String {
        let parameter = self.model.parameter(id);
        let module = parameter.module.map_or(String::new(), |m| self.module(m));
        format!("{}{module}.{}", self.scope(parameter.scope), parameter.name)
    }

    pub(super) fn dim(self, dim: &Dim) -> String {
        match dim {
            Dim::Extent(extent) => self.model.extent(*extent).name.clone(),
            Dim::Axis(axis, _) => self.mapping.axis(*axis).name.clone(),
            Dim::Sum(parts) => {
                let part = |p: &Part| format!("{}: {}", p.label, self.dims(&p.dims));
                format!("({})", parts.iter().map(part).collect::<Vec<_>>().join(" | "))
            }
        }
    }

    fn dims(self, dims: &[Dim]) -> String {
        dims.iter().map(|d| self.dim(d)).collect::<Vec<_>>().join(" ")
    }

    fn ty(self, ty: &Tensor) -> String {
        let of = match ty.element {
            Element::Number => String::new(),
            Element::Position => " of positions".to_owned(),
            Element::Index(axis) => format!(" of {}", self.mapping.axis(axis).name),
        };
        format!("[{}]{of}", self.dims(&ty.dims))
    }

    fn block(self, block: &Block, depth: usize, text: &mut String) {
        self.statements(&block.statements, depth, text);
        let indent = "    ".repeat(depth);
        let value = self.value(&block.result, depth);
        let _ = writeln!(text, "{indent}{value} : {}", self.ty(&block.result.ty));
    }

    fn statements(self, statements: &[Statement], depth: usize, text: &mut String) {
        let indent = "    ".repeat(depth);
        for statement in statements {
            match statement {
                Statement::Let { variable, value } => {
                    let (name, shown) = (self.variable(*variable), self.value(value, depth));
                    let _ = writeln!(text, "{indent}{name} = {shown} : {}", self.ty(&value.ty));
                }
                Statement::Split { dim, parts, value } => {
                    let typed = |p: &VariableId| {
                        format!("{} : {}", self.variable(*p), self.ty(&self.model.variable(*p).ty))
                    };
                    let parts: Vec<String> = parts.iter().map(typed).collect();
                    let shown = self.value(value, depth);
                    let _ = writeln!(text, "{indent}({}) = split {dim} {shown}", parts.join(", "));
                }
                Statement::TopK { dim, count, values, indices, value } => {
                    let count = &self.mapping.axis(*count).name;
                    let _ = writeln!(
                        text,
                        "{indent}({}, {} : {}) = top {count} of {dim} {}",
                        self.variable(*values),
                        self.variable(*indices),
                        self.ty(&self.model.variable(*indices).ty),
                        self.value(value, depth)
                    );
                }
                Statement::For { scope, carried, captured, body, .. } => {
                    let one = |v: VariableId| self.variable(v);
                    let carried: Vec<String> = carried
                        .iter()
                        .map(|c| {
                            format!("{}/{}/{}/{}", one(c.initial), one(c.start), one(c.end), one(c.result))
                        })
                        .collect();
                    let captured: Vec<String> = captured.iter().map(|v| one(*v)).collect();
                    let _ = writeln!(
                        text,
                        "{indent}for {} carry {} read {}",
                        self.scope(*scope),
                        carried.join(", "),
                        captured.join(", ")
                    );
                    self.statements(body, depth + 1, text);
                }
            }
        }
    }

    fn value(self, value: &Value, depth: usize) -> String {
        let inner = |v: &Value| self.value(v, depth);
        match &value.kind {
            ValueKind::Variable(v) => self.variable(*v),
            ValueKind::Parameter(p) => self.parameter(*p),
            ValueKind::Scalar(scalar) => self.scalar(scalar),
            ValueKind::Position => "position".to_owned(),
            ValueKind::Gather { table, index, .. } => format!("{}[{}]", self.parameter(*table), inner(index)),
            ValueKind::Linear { weight, contracted, bias, input, .. } => {
                let bias = bias.map_or(String::new(), |_| " + bias".to_owned());
                format!("({} ·{contracted} {}{bias})", inner(input), self.parameter(*weight))
            }
            ValueKind::Norm { centred, weight, epsilon, input, .. } => {
                let kind = if *centred { "layer_norm" } else { "rms_norm" };
                let (weight, epsilon) = (self.parameter(*weight), self.scalar(epsilon));
                format!("{kind}({}, {weight}, {epsilon})", inner(input))
            }
            ValueKind::Attention(a) => {
                let mask = a.mask.as_ref().map_or(String::new(), |m| format!(", mask {}", inner(m)));
                let causal = if a.causal { ", causal" } else { "" };
                let (q, k, v) = (inner(&a.query), inner(&a.key), inner(&a.value));
                format!("attention({q}, {k}, {v}{causal}{mask}, groups {:?} shared {:?})", a.groups, a.shared)
            }
            ValueKind::Rotary(r) => {
                format!("rotary({}, {:?}, {})", inner(&r.input), r.pairs, self.scalar(&r.base))
            }
            ValueKind::Activation { function: ActivationChoice::Fixed(f), input } => {
                format!("{f:?}({})", inner(input))
            }
            ValueKind::Activation { function: ActivationChoice::ByConfig(f), input } => {
                format!("config.{}({})", self.mapping.field(*f).name, inner(input))
            }
            ValueKind::Binary { op, left, right } => format!("({} {op:?} {})", inner(left), inner(right)),
            ValueKind::Softmax { dim, input } => format!("softmax({}, {dim})", inner(input)),
            ValueKind::Reduce { mean, dim, input } => format!("reduce({}, {dim}, mean {mean})", inner(input)),
            ValueKind::Pick { last, dim, input } => format!("pick({}, {dim}, last {last})", inner(input)),
            ValueKind::Cast { dtype, input } => format!("cast({}, {dtype})", inner(input)),
            ValueKind::Join { parts } => {
                format!("join({})", parts.iter().map(inner).collect::<Vec<_>>().join(", "))
            }
            ValueKind::Choose { on, arms } => {
                let mut text = format!("choose {} {{\n", self.mapping.source.slice(on.span));
                for (pattern, block) in arms {
                    let _ = writeln!(text, "{}{:?} =>", "    ".repeat(depth + 1), pattern.choices);
                    self.block(block, depth + 2, &mut text);
                }
                text + &"    ".repeat(depth) + "}"
            }
            ValueKind::Routed(r) => {
                let (scope, indices, weights) = (self.scope(r.scope), inner(&r.indices), inner(&r.weights));
                let mut text = format!("sum {scope} of {indices} weighted {weights} {{\n");
                self.block(&r.body, depth + 1, &mut text);
                text + &"    ".repeat(depth) + "}"
            }
        }
    }

    fn scalar(self, scalar: &Scalar) -> String {
        match scalar {
            Scalar::Number(n) => format!("{n}"),
            Scalar::Config(field) => format!("config.{}", self.mapping.field(*field).name),
            Scalar::Index(axis) => self.mapping.axis(*axis).name.clone(),
            Scalar::Sqrt(inner) => format!("sqrt({})", self.scalar(inner)),
            Scalar::Binary(op, a, b) => {
                let op = match op {
                    ScalarOp::Add => "+",
                    ScalarOp::Subtract => "-",
                    ScalarOp::Multiply => "*",
                    ScalarOp::Divide => "/",
                };
                format!("({} {op} {})", self.scalar(a), self.scalar(b))
            }
        }
    }
}
