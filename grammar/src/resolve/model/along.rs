//! Operations by name: what goes along one axis, the largest of several, casts and roots.

use super::Forward;
use super::call::{Operands, Operation};
use super::shape::numbers;
use crate::ast::{Ident, ModelExpr, ModelExprKind, Operand as Given};
use crate::code::Code;
use crate::diagnostic::{Diagnostic, nearest};
use crate::mapping::{AxisId, Type};
use crate::model::{Dim, Element, Scalar, Statement, Tensor, Value, ValueKind};
use crate::source::Span;

impl<'a> Forward<'_, 'a> {
    pub(super) fn call_operation(
        &mut self,
        operation: &Operation,
        operands: &'a [Given],
        span: Span,
    ) -> Option<Value> {
        let name = operation.name;
        let given =
            self.take_operands(name, operation.operands, operation.needed, operation.flags, operands, span)?;
        match name {
            "attention" => self.attention(&given, span),
            "rotary" => self.rotary(&given, span),
            "top" => {
                self.wrong_operand(
                    span,
                    "`top` gives two values, the largest and where they are",
                    "one value is needed here",
                    "bind both: `let (score, chosen) = top(…)`",
                );
                None
            }
            "cast" => self.cast(&given, span),
            "sqrt" => {
                let inner = self.scalar(given.needed(0)?)?;
                self.computed(Scalar::Sqrt(Box::new(inner)), span)
            }
            _ => self.along(name, &given, span),
        }
    }

    /// What goes along one axis of a value.
    fn along(&mut self, name: &str, given: &Operands<'a>, span: Span) -> Option<Value> {
        let input = self.tensor(given.needed(0)?)?;
        let dim = self.axis_of(&input, given.needed(1)?)?;
        let mut dims = input.ty.dims.clone();
        if name != "softmax" {
            dims.remove(dim);
        }
        let input = Box::new(input);
        let kind = match name {
            "softmax" => ValueKind::Softmax { dim, input },
            "sum" | "mean" => ValueKind::Reduce { mean: name == "mean", dim, input },
            _ => ValueKind::Pick { last: name == "last", dim, input },
        };
        Some(Value { kind, ty: numbers(dims), span })
    }

    /// The dimension of a value that an operand names.
    fn axis_of(&mut self, value: &Value, expr: &'a ModelExpr) -> Option<usize> {
        let ModelExprKind::Place(name) = &expr.kind else {
            self.wrong_operand(
                expr.span,
                "an axis is needed here",
                "no name of an axis",
                "name an axis of the value",
            );
            return None;
        };
        if let Some(dim) = self.dim_named(value, name) {
            return Some(dim);
        }
        let shown = self.show(&value.ty.dims);
        let known: Vec<String> = value.ty.dims.iter().map(|d| self.show_dim(d)).collect();
        let diagnostic = Diagnostic::error(
            Code::WrongAxis,
            expr.span,
            format!("the value has no axis `{name}`"),
            "not an axis of it",
        )
        .with(value.span, format!("this is {shown}"));
        self.error(match nearest(name, known.iter().map(String::as_str)) {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => diagnostic.help("name one of its axes"),
        });
        None
    }

    fn cast(&mut self, given: &Operands<'a>, span: Span) -> Option<Value> {
        let input = self.tensor(given.needed(0)?);
        let expr = given.needed(1)?;
        let ModelExprKind::Place(text) = &expr.kind else {
            self.wrong_operand(expr.span, "a dtype is needed here", "no dtype", "write `cast(x, f32)`");
            return None;
        };
        let name = Ident { text: text.clone(), span: expr.span };
        let found = self.resolver.dtype(&name)?;
        let Some(dtype) = ["f32", "f16", "bf16", "f64"].into_iter().find(|d| *d == found) else {
            self.error(
                Diagnostic::error(
                    Code::UnknownDType,
                    expr.span,
                    format!("a model does not compute in `{text}`"),
                    "no dtype of numbers with a fraction",
                )
                .help("write one of f32, f16, bf16, f64"),
            );
            return None;
        };
        let input = input?;
        let ty = input.ty.clone();
        Some(Value { kind: ValueKind::Cast { dtype, input: Box::new(input) }, ty, span })
    }

    /// `let (score, chosen) = top(scores, expert, count)`.
    pub(super) fn top(
        &mut self,
        names: &'a [(Option<Ident>, Ident)],
        operands: &'a [Given],
        span: Span,
    ) -> Option<()> {
        let given = self.take_operands("top", &["value", "axis", "count"], 3, &[], operands, span)?;
        let value = self.tensor(given.needed(0)?)?;
        let dim = self.axis_of(&value, given.needed(1)?)?;
        let count = self.count(given.needed(2)?)?;
        let Dim::Axis(axis, None) = value.ty.dims[dim] else {
            let shown = self.show_dim(&value.ty.dims[dim]);
            self.error(
                Diagnostic::error(
                    Code::WrongAxis,
                    span,
                    format!("`{shown}` is no axis of the mapping, whose coordinates could be chosen"),
                    "chosen from here",
                )
                .help("choose along an axis of a parameter, such as `expert`"),
            );
            return None;
        };
        let mut dims = value.ty.dims.clone();
        dims.remove(dim);
        dims.push(Dim::Axis(count, None));
        let [(_, first), (_, second)] = names else { return None };
        let values = self.let_variable(first, numbers(dims.clone()));
        let indices = self.let_variable(second, Tensor { dims, element: Element::Index(axis) });
        self.statements.push(Statement::TopK { dim, count, values, indices, value });
        Some(())
    }

    /// How many are chosen: a config value, which is the axis of what comes out.
    fn count(&mut self, expr: &'a ModelExpr) -> Option<AxisId> {
        if let ModelExprKind::Place(name) = &expr.kind
            && let Some(field) = self.resolver.mapping.field_named(name)
        {
            let ty = self.resolver.mapping.field(field).ty;
            if !matches!(ty, Type::Int | Type::Any) {
                let help = "how many are chosen is a whole number".to_owned();
                self.wrong_config(field, "is used as a count", "a count is needed here", expr.span, help);
                return None;
            }
            self.resolver.expect_integer(field.index(), expr.span);
            return self.resolver.axis(&Ident { text: name.clone(), span: expr.span });
        }
        self.error(
            Diagnostic::error(
                Code::WrongCount,
                expr.span,
                "how many are chosen is no config value",
                "the axis of what is chosen has no name",
            )
            .help("give the number a name in `config`, such as `chosen: int = args.moe_router_topk`, and use that"),
        );
        None
    }
}
