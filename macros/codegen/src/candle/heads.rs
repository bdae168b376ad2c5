//! Attention and rotary embedding, on heads.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::quote;
use transship_grammar::model::{Attention, Rotary, RotaryPairs, Value, ValueKind};

use super::block::Body;
use super::place::{Emitted, Form, Place, axes, extents};
use super::{Emit, Unsupported, scalar};

impl<'m> Body<'_, 'm> {
    /// A value as `[batch heads seq dim]`.
    pub(super) fn heads_value(&mut self, value: &'m Value) -> Emit<Emitted> {
        let emitted = self.any_value(value)?;
        if emitted.form == Form::Heads {
            return Ok(emitted);
        }
        let own = axes(&value.ty.dims);
        let Some((_, heads)) = own.split_last() else {
            return Err(Unsupported::of(value, "heads have a dimension"));
        };
        if extents(&value.ty.dims) != 2 {
            return Err(Unsupported::of(value, "heads are of values with a batch and a sequence"));
        }
        let x = emitted.by_reference();
        let heads = if heads.is_empty() {
            quote!(1)
        } else {
            let scope = self.scope;
            let field = self.parts.size(scope, heads, value)?;
            quote!(self.#field)
        };
        Ok(Emitted::call(quote!(nn::split_heads(#x, #heads)), Form::Heads))
    }

    /// Attention on heads in the order that kernels take them: those that share a key innermost.
    pub(super) fn attention(&mut self, attention: &'m Attention, value: &Value) -> Emit<Emitted> {
        let heads: Vec<usize> = attention.groups.iter().chain(&attention.shared).map(|dim| dim - 2).collect();
        let query = self.heads_value(&attention.query)?;
        if heads.windows(2).all(|pair| pair[0] < pair[1]) {
            return Ok(Emitted::call(self.attend(attention, &query, value)?, Form::Heads));
        }
        let own = axes(&attention.query.ty.dims);
        let scope = self.scope;
        let mut sizes = Vec::new();
        for dim in &own[..own.len() - 1] {
            sizes.push(self.parts.size(scope, std::slice::from_ref(dim), value)?);
        }
        let q = query.by_reference();
        let order = heads.iter().map(|at| Literal::usize_unsuffixed(*at));
        let query = quote!(nn::permute_heads(#q, &[#(self.#sizes),*], &[#(#order),*]));
        let call = self.attend(attention, &Emitted::call(query, Form::Heads), value)?;
        let turned: Vec<&Ident> = heads.iter().map(|at| &sizes[*at]).collect();
        let back = (0..heads.len()).map(|at| heads.iter().position(|h| *h == at).unwrap_or(at));
        let back = back.map(Literal::usize_unsuffixed);
        Ok(Emitted::call(
            quote!(nn::permute_heads(&#call?, &[#(self.#turned),*], &[#(#back),*])),
            Form::Heads,
        ))
    }

    /// The call that attends, from a query whose heads are in order; causal attention keeps keys and values.
    fn attend(&mut self, attention: &'m Attention, query: &Emitted, value: &Value) -> Emit<TokenStream> {
        let key = self.heads_value(&attention.key)?;
        let answer = self.heads_value(&attention.value)?;
        let [q, k, v] = [query, &key, &answer].map(Emitted::by_reference);
        let scale = self.score_scale(attention, value)?;
        let scope = self.scope;
        Ok(if attention.causal {
            let docs = "Attention to the tokens so far, and their keys and values.";
            let field = self.parts.new_member(
                scope,
                "attention",
                docs,
                quote!(Attention),
                quote!(Attention::new(#scale, at.positions().unwrap_or(usize::MAX))),
            );
            self.changes = true;
            self.reads_offset = true;
            quote!(self.#field.forward(#q, #k, #v, offset))
        } else {
            let mask = match &attention.mask {
                None => quote!(None),
                Some(mask) => self.mask(mask)?,
            };
            let docs = "What scores of attention are multiplied by.";
            let key = format!("scale {scale}");
            let is_plain = self.guards.is_empty();
            let field = self.guarded((scope, "scale"), &key, docs, &quote!(f64), &scale);
            let field = if is_plain { field } else { quote!(*#field) };
            quote!(nn::attention(#q, #k, #v, #field, Mask::Full(#mask)))
        })
    }

    /// What scores are multiplied by: what is said, or 1 / sqrt of the query's last dimension.
    fn score_scale(&mut self, attention: &Attention, value: &Value) -> Emit<TokenStream> {
        if let Some(scale) = &attention.scale {
            return Ok(scalar::number(self.parts.mapping, scale));
        }
        let own = axes(&attention.query.ty.dims);
        let width = self.parts.size_tokens(&own[own.len() - 1..], value)?;
        let width = if width.clone().into_iter().count() > 3 { quote!((#width)) } else { width };
        Ok(quote!(1.0 / (#width as f64).sqrt()))
    }

    fn mask(&mut self, mask: &'m Value) -> Emit<TokenStream> {
        if let ValueKind::Variable(id) = &mask.kind
            && let Some(Place::Optional(name)) = self.places.get(id).cloned()
        {
            self.read(*id);
            return Ok(quote!(#name));
        }
        let mask = self.flat_value(mask)?.by_reference();
        Ok(quote!(Some(#mask)))
    }

    pub(super) fn rotary(&mut self, rotary: &'m Rotary, value: &Value) -> Emit<Emitted> {
        let x = self.heads_value(&rotary.input)?.by_reference();
        let mapping = self.parts.mapping;
        let own = axes(&rotary.input.ty.dims);
        let width = match &rotary.width {
            Some(width) => {
                let width = scalar::number(mapping, width);
                quote!(nn::size(#width)?)
            }
            None => self.parts.size_tokens(&own[own.len() - 1..], value)?,
        };
        let pairs = match rotary.pairs {
            RotaryPairs::Half => quote!(Pairs::Halves),
            RotaryPairs::Interleaved => quote!(Pairs::Interleaved),
        };
        let base = scalar::number(mapping, &rotary.base);
        let interpolation =
            rotary.interpolation.as_ref().map_or_else(|| quote!(1.0), |s| scalar::number(mapping, s));
        let init = quote!(at.rotary(RotaryOptions {
            pairs: #pairs,
            width: #width,
            base: #base,
            interpolation: #interpolation,
        })?);
        let scope = self.scope;
        let docs = "Turns queries and keys by their positions; all layers share its table.";
        let field = self.guarded((scope, "rotary"), &format!("rotary {init}"), docs, &quote!(Rotary), &init);
        self.reads_offset = true;
        Ok(Emitted::call(quote!(#field.forward(#x, offset)), Form::Heads))
    }
}
