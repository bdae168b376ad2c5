//! Types of values: how they are shown, and where two differ.

use super::Forward;
use crate::mapping::AxisId;
use crate::model::{Dim, Element, Part, Tensor, Value};

/// Numbers of these dimensions.
pub(super) fn numbers(dims: Vec<Dim>) -> Tensor {
    Tensor { dims, element: Element::Number }
}

impl Forward<'_, '_> {
    /// `[batch seq heads]`.
    pub(super) fn show(&self, dims: &[Dim]) -> String {
        format!("[{}]", self.show_each(dims).join(" "))
    }

    fn show_each(&self, dims: &[Dim]) -> Vec<String> {
        dims.iter().map(|dim| self.show_dim(dim)).collect()
    }

    pub(super) fn show_dim(&self, dim: &Dim) -> String {
        match dim {
            Dim::Extent(extent) => self.model.extent(*extent).name.clone(),
            Dim::Axis(axis, by) => {
                let name = |a: AxisId| self.resolver.mapping.axis(a).name.clone();
                by.map_or_else(|| name(*axis), |by| format!("{}[{}]", name(*axis), name(by)))
            }
            Dim::Sum(parts) => {
                let part = |part: &Part| match part.dims.as_slice() {
                    [] => part.label.clone(),
                    dims => format!("{}: {}", part.label, self.show_each(dims).join(" ")),
                };
                format!("({})", parts.iter().map(part).collect::<Vec<_>>().join(" | "))
            }
        }
    }

    /// `coordinates of `vocab``, or nothing said for numbers.
    pub(super) fn show_type(&self, ty: &Tensor) -> String {
        let dims = self.show(&ty.dims);
        match ty.element {
            Element::Number if ty.dims.is_empty() => "a number".to_owned(),
            Element::Number => dims,
            Element::Position => format!("{dims}, positions"),
            Element::Index(axis) => {
                format!("{dims}, coordinates of `{}`", self.resolver.mapping.axis(axis).name)
            }
        }
    }

    /// What is said of two lists of dimensions that should be one: the first pair from the end that differs.
    pub(super) fn meets(&self, given: &[Dim], wanted: &[Dim]) -> String {
        let differ = given.iter().rev().zip(wanted.iter().rev()).find(|(a, b)| a != b);
        match differ {
            Some((a, b)) => format!("`{}` meets `{}`", self.show_dim(a), self.show_dim(b)),
            None if given.len() < wanted.len() => {
                let lacking = &wanted[..wanted.len() - given.len()];
                format!("`{}` meets nothing", self.show_each(lacking).join(" "))
            }
            None => {
                let extra = &given[..given.len() - wanted.len()];
                format!("`{}` meets nothing", self.show_each(extra).join(" "))
            }
        }
    }

    /// The place of an axis or extent of this name among the dimensions of a value.
    pub(super) fn dim_named(&self, value: &Value, name: &str) -> Option<usize> {
        value.ty.dims.iter().position(|dim| match dim {
            Dim::Extent(extent) => self.model.extent(*extent).name == name,
            Dim::Axis(axis, _) => self.resolver.mapping.axis(*axis).name == name,
            Dim::Sum(_) => false,
        })
    }
}

/// How many dimensions at the front are extents.
pub(super) fn extents(dims: &[Dim]) -> usize {
    dims.iter().take_while(|d| matches!(d, Dim::Extent(_))).count()
}
