//! The struct of a whole model: its forward pass, what it tells of itself, its caches, and the traits that it has.

use proc_macro2::TokenStream;
use quote::quote;
use transship_grammar::model::{Model, ScopeId, ValueKind};

use super::Emit;
use super::cut::find_cut;
use super::forward::{in_one, in_two};
use super::parts::Parts;
use super::place::axes;
use super::traits::emit_traits;

/// The methods of the struct of the whole model, and its traits.
pub(super) struct Root {
    /// Inside the struct's `impl`.
    pub(super) methods: TokenStream,
    /// Beside it, for a struct of this name.
    pub(super) traits: TokenStream,
}

pub(super) fn emit_root(parts: &mut Parts<'_>) -> Emit<Root> {
    let model = parts.model;
    let causal = is_causal(model);
    let cut = if causal { find_cut(model) } else { None };
    let methods = match cut {
        Some(cut) => in_two(parts, cut)?,
        None => in_one(parts, causal)?,
    };
    let vocab = describe(parts)?;
    let traits = emit_traits(parts, causal, cut.is_some());
    let caches = emit_caches(parts);
    Ok(Root { methods: quote!(#methods #caches #vocab), traits })
}

/// Whether tokens see what comes before them alone, so that keys and values are kept.
fn is_causal(model: &Model) -> bool {
    let mut causal = false;
    model.block.visit(&mut |value| {
        causal |= matches!(&value.kind, ValueKind::Attention(attention) if attention.causal);
    });
    causal
}

/// Methods that tell what the model is.
fn describe(parts: &mut Parts<'_>) -> Emit<TokenStream> {
    let result = &parts.model.block.result;
    let own = axes(&result.ty.dims);
    let top = ScopeId(0);
    let vocab = parts.size_tokens(own, result)?;
    let docs = format!("How many {} there are for each token.", parts.model.result);
    let outputs = parts.member(top, "root vocab", "outputs", &docs, || (quote!(usize), vocab));
    let positions = parts.member(
        top,
        "root positions",
        "positions",
        "How many positions there are, if they are limited.",
        || (quote!(Option<usize>), quote!(at.positions())),
    );
    let [device, dtype] = [parts.device(), parts.dtype()];
    let outputs_docs = format!("The size of the last dimension of `{}`.", parts.model.result);
    Ok(quote! {
        #[doc = #outputs_docs]
        #[must_use]
        pub fn outputs(&self) -> usize {
            self.#outputs
        }

        /// How many positions there are, if they are limited.
        #[must_use]
        pub fn positions(&self) -> Option<usize> {
            self.#positions
        }

        /// Where the weights are.
        #[must_use]
        pub fn device(&self) -> &Device {
            &self.#device
        }

        /// What the weights are of.
        #[must_use]
        pub fn dtype(&self) -> DType {
            self.#dtype
        }
    })
}

/// `clear_kv_cache` on every struct that has a cache or a part that has one.
fn emit_caches(parts: &mut Parts<'_>) -> TokenStream {
    let scopes: Vec<ScopeId> = parts.parts.values().map(|part| part.scope).collect();
    let mut of_root = TokenStream::new();
    for scope in scopes {
        if !has_cache(parts, scope) {
            continue;
        }
        let part = &parts.parts[&scope.0];
        let own = part.members.iter().filter(|member| member.ty.to_string() == "Attention").map(|member| {
            let field = &member.ident;
            quote!(self.#field.clear_kv_cache();)
        });
        let below =
            part.children.iter().filter(|(_, child)| has_cache(parts, *child)).map(|(field, child)| {
                if parts.model.scope(*child).index.is_some() {
                    quote!(for part in &mut self.#field { part.clear_kv_cache(); })
                } else {
                    quote!(self.#field.clear_kv_cache();)
                }
            });
        let clears: TokenStream = own.chain(below).collect();
        let is_root = scope == ScopeId(0);
        let visibility = is_root.then(|| quote!(pub));
        let method = quote! {
            /// Forgets all tokens.
            #visibility fn clear_kv_cache(&mut self) {
                #clears
            }
        };
        if is_root {
            of_root = method;
        } else {
            parts.part(scope).methods.extend(method);
        }
    }
    of_root
}

fn has_cache(parts: &Parts<'_>, scope: ScopeId) -> bool {
    let Some(part) = parts.parts.get(&scope.0) else { return false };
    part.members.iter().any(|member| member.ty.to_string() == "Attention")
        || part.children.iter().any(|(_, child)| has_cache(parts, *child))
}
