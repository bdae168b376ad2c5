//! Stored layouts to operands: padding, ranks and broadcasts gone, sums outermost.

use crate::layout::{Arm, AxisUse, Factor, Layout, Sum, SymbolicBox};
use crate::model::{Dim, Part};
use crate::source::Span;

/// An axis of a parameter as an operation sees it: a factor without sums in its products, and the dimensions it gives.
#[derive(Clone, Debug)]
pub(super) struct Operand {
    pub(super) factor: Factor,
    pub(super) dims: Vec<Dim>,
}

impl Operand {
    /// The operand that these factors, side by side, are.
    pub(super) fn new(factors: &[Factor], span: Span) -> Operand {
        let whole = Layout { dims: factors.to_vec(), span };
        let order: Vec<Vec<String>> = whole
            .sums()
            .into_iter()
            .map(|s| s.real_arms().map(|a| a.label.clone()).collect::<Vec<String>>())
            .filter(|labels| labels.len() > 1)
            .collect();
        let boxes: Vec<SymbolicBox> =
            whole.symbolic_boxes().into_iter().filter(|b| !b.pad).map(plain_box).collect();
        let factors = distribute(&boxes, &order, span);
        let dims = dims(&factors);
        let mut factors = factors;
        let factor = match factors.len() {
            0 => Factor::Unit,
            1 => factors.remove(0),
            _ => Factor::Product(factors, Vec::new()),
        };
        Operand { factor, dims }
    }
}

/// What a value that has these factors as dimensions looks like.
fn dims(factors: &[Factor]) -> Vec<Dim> {
    let mut all = Vec::new();
    for factor in factors {
        match factor {
            Factor::Axis(axis) => all.push(Dim::Axis(axis.axis, axis.by)),
            Factor::Product(inner, _) => all.extend(dims(inner)),
            Factor::Unit => {}
            Factor::Sum(sum) => {
                let part = |arm: &Arm| Part { label: arm.label.clone(), dims: dims(&arm.factors) };
                all.push(Dim::Sum(sum.arms.iter().map(part).collect()));
            }
        }
    }
    all
}

fn plain_box(mut part: SymbolicBox) -> SymbolicBox {
    part.axes.retain(|axis| !axis.broadcast);
    part.axes.iter_mut().for_each(|axis| axis.ranks.clear());
    part
}

/// Puts the sum that all boxes choose from outside, and what is left of each choice inside it.
fn distribute(boxes: &[SymbolicBox], order: &[Vec<String>], span: Span) -> Vec<Factor> {
    let key = |labels: &[String]| {
        let mut key = labels.to_vec();
        key.sort_unstable();
        key
    };
    let outer = order.iter().find(|labels| boxes.iter().all(|b| b.labels.contains_key(&key(labels))));
    let Some(labels) = outer else {
        let axes: Vec<AxisUse> = boxes.first().map(|b| b.axes.clone()).unwrap_or_default();
        return axes.into_iter().map(Factor::Axis).collect();
    };
    let key = key(labels);
    let arm = |label: &String| {
        let inside: Vec<SymbolicBox> = boxes
            .iter()
            .filter(|b| b.labels.get(&key) == Some(label))
            .cloned()
            .map(|mut b| {
                b.labels.remove(&key);
                b
            })
            .collect();
        Arm { label: label.clone(), factors: distribute(&inside, order, span), pad: false, span }
    };
    vec![Factor::Sum(Sum { arms: labels.iter().map(arm).collect(), ranks: Vec::new(), span })]
}

/// The elements that a layout addresses, however it lies in memory: labels and axes of its boxes, padding and
/// broadcasts aside.
pub(super) fn elements(dims: &[Factor], span: Span) -> Vec<String> {
    let mut all: Vec<String> = Layout { dims: dims.to_vec(), span }
        .symbolic_boxes()
        .into_iter()
        .filter(|b| !b.pad)
        .map(|b| {
            let mut axes: Vec<_> = b.axes.iter().filter(|a| !a.broadcast).map(|a| (a.axis, a.by)).collect();
            axes.sort_unstable();
            format!("{:?} {axes:?}", b.labels)
        })
        .collect();
    all.sort_unstable();
    all
}
