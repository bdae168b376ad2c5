//! Operators between values, and with numbers.

use proc_macro2::{Literal, TokenStream, TokenTree};
use quote::quote;
use transship_grammar::model::{Dim, Scalar, ScalarOp, Value, ValueKind};

use super::Emit;
use super::block::{Body, gate_of};
use super::place::{Emitted, Form, Place, axes, extents};
use super::scalar;

impl<'m> Body<'_, 'm> {
    fn gated(&mut self, value: &Value) -> Option<Emitted> {
        let (gate, up) = gate_of(value)?;
        let Some(Place::GateUp(both)) = self.places.get(&gate).cloned() else { return None };
        let ValueKind::Binary { left, right, .. } = &value.kind else { return None };
        let function = [left, right].into_iter().find_map(|side| match &side.kind {
            ValueKind::Activation { function, .. } => Some(*function),
            _ => None,
        })?;
        self.read(gate);
        self.read(up);
        let (function, both) = (self.activation_of(function), both.by_reference());
        Some(Emitted::call(quote!(#function.gated(#both)), Form::Flat))
    }

    pub(super) fn binary(
        &mut self,
        value: &Value,
        op: ScalarOp,
        left: &'m Value,
        right: &'m Value,
    ) -> Emit<Emitted> {
        if let Some(gated) = self.gated(value) {
            return Ok(gated);
        }
        if let Some(number) = self.scalar(right) {
            return self.with_number(op, left, &number);
        }
        if let Some(number) = self.scalar(left) {
            return self.number_with(op, &number, right);
        }
        let (a, b) = (self.flat_value(left)?, self.flat_value(right)?);
        let (ours, theirs) = (&left.ty.dims, &right.ty.dims);
        let sign = scalar::sign(op);
        if ours == theirs {
            let (a, b) = (a.operand(), b.operand());
            return Ok(Emitted::call(quote!((#a #sign #b)), Form::Flat));
        }
        let (a, b) = if ours.len() >= theirs.len() {
            (a.receiver(), self.spread(b, theirs, ours, value)?)
        } else {
            let spread = self.spread(a, ours, theirs, value)?;
            (quote!((#spread)), b.by_reference())
        };
        let call = match op {
            ScalarOp::Add => quote!(broadcast_add),
            ScalarOp::Subtract => quote!(broadcast_sub),
            ScalarOp::Multiply => quote!(broadcast_mul),
            ScalarOp::Divide => quote!(broadcast_div),
        };
        Ok(Emitted::call(quote!(#a.#call(#b)), Form::Flat))
    }

    /// A value with fewer dimensions, as a reference to one that broadcasts to those of `whole`.
    fn spread(&mut self, x: Emitted, own: &[Dim], whole: &[Dim], at: &Value) -> Emit<TokenStream> {
        let (all_axes, own_axes) = (axes(whole), axes(own));
        let mut x = x;
        if !own_axes.is_empty() && own_axes != all_axes {
            let scope = self.scope;
            let mut sizes = Vec::new();
            let mut present = Vec::new();
            let mut left = own_axes.iter().peekable();
            for dim in all_axes {
                sizes.push(self.parts.size(scope, std::slice::from_ref(dim), at)?);
                present.push(left.next_if(|own| *own == dim).is_some());
            }
            let tokens = x.by_reference();
            x = Emitted::call(
                quote!(nn::repeat_last(#tokens, &[#(self.#sizes),*], &[#(#present),*])),
                Form::Flat,
            );
        }
        let mut tokens = x.by_reference();
        let mut left = own[..extents(own)].iter().peekable();
        let mut is_leading = true;
        for (place, dim) in whole[..extents(whole)].iter().enumerate() {
            if left.next_if(|own| *own == dim).is_some() {
                is_leading = false;
            } else if !is_leading {
                let receiver = strip_reference(&tokens);
                let place = Literal::usize_unsuffixed(place);
                tokens = quote!(&#receiver.unsqueeze(#place)?);
            }
        }
        if own_axes.is_empty() && !all_axes.is_empty() {
            let receiver = strip_reference(&tokens);
            tokens = quote!(&#receiver.unsqueeze(D::Minus1)?);
        }
        Ok(tokens)
    }

    /// A tensor and a number on its right.
    fn with_number(&mut self, op: ScalarOp, left: &'m Value, number: &Scalar) -> Emit<Emitted> {
        let x = self.any_value(left)?;
        let form = x.form;
        let (x, number) = (x.operand(), self.number("factor", number));
        let sign = scalar::sign(op);
        Ok(Emitted::call(quote!((#x #sign #number)), form))
    }

    /// A tensor and a number on its left.
    fn number_with(&mut self, op: ScalarOp, number: &Scalar, right: &'m Value) -> Emit<Emitted> {
        let x = self.any_value(right)?;
        let form = x.form;
        let number = self.number("factor", number);
        let tokens = match op {
            ScalarOp::Add => {
                let x = x.operand();
                quote!((#x + #number))
            }
            ScalarOp::Multiply => {
                let x = x.operand();
                quote!((#x * #number))
            }
            ScalarOp::Subtract => {
                let x = x.receiver();
                quote!(#x.affine(-1.0, #number))
            }
            ScalarOp::Divide => {
                let x = x.receiver();
                quote!((#x.recip()? * #number))
            }
        };
        Ok(Emitted::call(tokens, form))
    }
}

/// `x` of `&x`, to call a method on; other references as they are.
fn strip_reference(tokens: &TokenStream) -> TokenStream {
    let mut rest = tokens.clone().into_iter();
    match rest.next() {
        Some(TokenTree::Punct(punct)) if punct.as_char() == '&' => rest.collect(),
        _ => tokens.clone(),
    }
}
