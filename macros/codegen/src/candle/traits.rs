//! The traits of language models, for a model that takes what their methods are given.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use transship_grammar::model::{Argument, Dim, Element, Model, Tensor, ValueKind};

use super::forward::is_mask;
use super::parts::Parts;
use super::place::extents;

/// The implementation of the trait that the model fits; nothing where it fits none.
pub(super) fn emit_traits(parts: &Parts<'_>, causal: bool, has_last: bool) -> TokenStream {
    let model = parts.model;
    let name = &parts.parts[&0].name;
    let Some((ids, others)) = text_arguments(model) else { return TokenStream::new() };
    if causal {
        return causal_lm(name, others, has_last);
    }
    if !has_attention(model) {
        return TokenStream::new();
    }
    masked_lm(model, name, ids, others).unwrap_or_default()
}

/// The type of the tokens' ids, and the arguments after them, of a model from tokens to a value for each of them.
fn text_arguments(model: &Model) -> Option<(&Tensor, &[Argument])> {
    let two = |dims: &[Dim]| extents(dims) == 2 && dims[1] == Dim::Extent(model.sequence);
    let result = &model.block.result.ty.dims;
    let (first, others) = model.arguments.split_first()?;
    let ids = &model.variable(first.variable).ty;
    let is_text = !first.optional
        && matches!(ids.element, Element::Index(_))
        && ids.dims.len() == 2
        && two(&ids.dims)
        && two(result)
        && others.iter().all(|other| other.optional);
    is_text.then_some((ids, others))
}

fn has_attention(model: &Model) -> bool {
    let mut found = false;
    model.block.visit(&mut |value| found |= matches!(value.kind, ValueKind::Attention(_)));
    found
}

/// What both traits ask of a model.
fn common(name: &Ident) -> TokenStream {
    quote! {
        fn vocab(&self) -> usize {
            #name::outputs(self)
        }

        fn positions(&self) -> Option<usize> {
            #name::positions(self)
        }

        fn device(&self) -> &Device {
            #name::device(self)
        }

        fn dtype(&self) -> DType {
            #name::dtype(self)
        }
    }
}

fn causal_lm(name: &Ident, others: &[Argument], has_last: bool) -> TokenStream {
    let common = common(name);
    let absent: Vec<TokenStream> = others.iter().map(|_| quote!(None,)).collect();
    let last = has_last.then(|| {
        quote! {
            fn forward_last(&mut self, ids: &Tensor, offset: usize) -> Result<Tensor> {
                #name::forward_last(self, ids, #(#absent)* offset)
            }
        }
    });
    quote! {
        impl CausalLm for #name {
            fn forward(&mut self, ids: &Tensor, offset: usize) -> Result<Tensor> {
                #name::forward(self, ids, #(#absent)* offset)
            }

            #last

            fn clear_kv_cache(&mut self) {
                #name::clear_kv_cache(self);
            }

            #common
        }
    }
}

/// `None` where the model takes more than token types and a mask, each of a value for each token.
fn masked_lm(model: &Model, name: &Ident, ids: &Tensor, others: &[Argument]) -> Option<TokenStream> {
    let mut given = vec![quote!(ids)];
    let (mut types, mut mask) = (None, None);
    for other in others {
        let ty = &model.variable(other.variable).ty;
        let (slot, name) = match ty.element {
            _ if ty.dims != ids.dims => return None,
            Element::Number if is_mask(model, other) => (&mut mask, quote!(mask)),
            Element::Index(_) => (&mut types, quote!(types)),
            _ => return None,
        };
        if slot.replace(other.variable).is_some() {
            return None;
        }
        given.push(name);
    }
    let types_name = if types.is_some() { quote!(types) } else { quote!(_types) };
    let mask_name = if mask.is_some() { quote!(mask) } else { quote!(_mask) };
    let common = common(name);
    Some(quote! {
        impl MaskedLm for #name {
            fn forward(
                &self,
                ids: &Tensor,
                #types_name: Option<&Tensor>,
                #mask_name: Option<&Tensor>,
            ) -> Result<Tensor> {
                #name::forward(self, #(#given),*)
            }

            #common
        }
    })
}
