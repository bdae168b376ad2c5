//! Sizes and numbers that config decides, as Rust over `config` and the weights `at`.

use proc_macro2::{Literal, TokenStream};
use quote::quote;
use transship_grammar::model::{Dim, Scalar, ScalarOp};
use transship_grammar::{AxisId, FieldId, Mapping, Size, Symbol};

use crate::config::{Kind, certain_kind};
use crate::names::ident;

/// The size of all dimensions together; `None` where one comes with each call.
pub(super) fn size_of(mapping: &Mapping, dims: &[Dim]) -> Option<TokenStream> {
    let factors: Vec<TokenStream> =
        dims.iter().map(|dim| dim_size(mapping, dim, dims.len() > 1)).collect::<Option<_>>()?;
    Some(product(&factors))
}

fn product(factors: &[TokenStream]) -> TokenStream {
    match factors {
        [] => quote!(1),
        [one] => one.clone(),
        [first, rest @ ..] => quote!(#first #(* #rest)*),
    }
}

fn dim_size(mapping: &Mapping, dim: &Dim, is_factor: bool) -> Option<TokenStream> {
    match dim {
        Dim::Extent(_) => None,
        Dim::Axis(axis, by) => Some(axis_size(mapping, *axis, by.is_some(), is_factor)),
        Dim::Sum(parts) => {
            let parts: Vec<TokenStream> =
                parts.iter().map(|part| size_of(mapping, &part.dims)).collect::<Option<_>>()?;
            let (first, rest) = parts.split_first()?;
            Some(if is_factor { quote!((#first #(+ #rest)*)) } else { quote!(#first #(+ #rest)*) })
        }
    }
}

fn axis_size(mapping: &Mapping, id: AxisId, by_index: bool, is_factor: bool) -> TokenStream {
    let axis = mapping.axis(id);
    let terms = if by_index { None } else { polynomial(mapping, &axis.size) };
    let name = &axis.name;
    match terms.as_deref() {
        Some([one]) => one.clone(),
        Some([first, rest @ ..]) if is_factor => quote!((#first #(+ #rest)*)),
        Some([first, rest @ ..]) => quote!(#first #(+ #rest)*),
        _ => quote!(at.size(#name)?),
    }
}

/// A size as a sum of products of config values; `None` where it is more than that.
fn polynomial(mapping: &Mapping, size: &Size) -> Option<Vec<TokenStream>> {
    let term = |(symbols, coefficient): (&[Symbol], i128)| {
        let number = usize::try_from(coefficient).ok()?;
        let field = |symbol: &Symbol| match symbol {
            Symbol::Field(field) if certain_kind(mapping, *field) == Some(Kind::Size) => {
                let name = ident(&mapping.field(*field).name);
                Some(quote!(config.#name))
            }
            Symbol::Field(_) | Symbol::At(..) => None,
        };
        let mut factors: Vec<TokenStream> = symbols.iter().map(field).collect::<Option<_>>()?;
        if number != 1 || factors.is_empty() {
            let number = Literal::usize_unsuffixed(number);
            factors.insert(0, quote!(#number));
        }
        Some(product(&factors))
    };
    size.terms().map(term).collect()
}

/// A number as an expression of `f64`.
pub(super) fn number(mapping: &Mapping, scalar: &Scalar) -> TokenStream {
    match scalar {
        Scalar::Number(number) => literal(*number),
        Scalar::Config(field) => config_number(mapping, *field),
        Scalar::Index(axis) => {
            let name = &mapping.axis(*axis).name;
            quote!(at.coordinate(#name)?)
        }
        Scalar::Sqrt(inner) => {
            let inner = number(mapping, inner);
            quote!(f64::sqrt(#inner))
        }
        Scalar::Binary(op, left, right) => {
            let operand = |scalar: &Scalar| {
                let tokens = number(mapping, scalar);
                if matches!(scalar, Scalar::Binary(..)) { quote!((#tokens)) } else { tokens }
            };
            let (left, right) = (operand(left), operand(right));
            let sign = sign(*op);
            quote!(#left #sign #right)
        }
    }
}

/// An operation as an operator of Rust.
pub(super) fn sign(op: ScalarOp) -> TokenStream {
    match op {
        ScalarOp::Add => quote!(+),
        ScalarOp::Subtract => quote!(-),
        ScalarOp::Multiply => quote!(*),
        ScalarOp::Divide => quote!(/),
    }
}

/// A literal of `f64`; in parentheses where it is negative, so that methods can follow.
pub(super) fn literal(number: f64) -> TokenStream {
    let literal = Literal::f64_unsuffixed(number.abs());
    if number.is_sign_negative() { quote!((-#literal)) } else { quote!(#literal) }
}

fn config_number(mapping: &Mapping, field: FieldId) -> TokenStream {
    let name = &mapping.field(field).name;
    let id = ident(name);
    match certain_kind(mapping, field) {
        Some(Kind::Size | Kind::Int) => quote!((config.#id as f64)),
        Some(Kind::Float) => quote!(config.#id),
        _ => quote!(at.number(#name)?),
    }
}

/// What a dimension is called in docs: `heads`, `(q: groups rep | k: groups)`.
pub(super) fn display(mapping: &Mapping, extent: &dyn Fn(&Dim) -> Option<String>, dims: &[Dim]) -> String {
    let one = |dim: &Dim| match dim {
        Dim::Extent(_) => extent(dim).unwrap_or_default(),
        Dim::Axis(axis, _) => mapping.axis(*axis).name.clone(),
        Dim::Sum(parts) => {
            let part = |part: &transship_grammar::model::Part| match part.dims.as_slice() {
                [] => part.label.clone(),
                dims => format!("{}: {}", part.label, display(mapping, extent, dims)),
            };
            format!("({})", parts.iter().map(part).collect::<Vec<_>>().join(" | "))
        }
    };
    dims.iter().map(one).collect::<Vec<_>>().join(" ")
}
