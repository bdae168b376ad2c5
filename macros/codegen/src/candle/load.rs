//! Structs, and how they are loaded.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use quote::quote;
use syn::{Path, Visibility};
use transship_grammar::model::ScopeId;

use super::parts::{IMPORTS, Part, Parts};
use super::root::Root;
use super::{Emit, docs};

/// Names that the imports bring and that every crate has without them.
const OF_PRELUDE: [&str; 8] = ["Option", "Some", "None", "Ok", "Err", "Vec", "String", "Box"];

pub(super) fn emit_structs(
    parts: &Parts<'_>,
    krate: &Path,
    visibility: &Visibility,
    root: &Root,
) -> Emit<TokenStream> {
    let mut tokens = TokenStream::new();
    for part in parts.parts.values() {
        let is_root = part.scope == ScopeId(0);
        tokens.extend(emit_struct(parts, part, krate, visibility, is_root.then_some(root)));
    }
    tokens.extend(root.traits.clone());
    Ok(tokens)
}

fn emit_struct(
    parts: &Parts<'_>,
    part: &Part,
    krate: &Path,
    visibility: &Visibility,
    root: Option<&Root>,
) -> TokenStream {
    let (mapping, model) = (parts.mapping, parts.model);
    let name = &part.name;
    let docs = match root {
        Some(_) => format!("The model `{}`; {}.", model.name, docs::line(mapping, model.span)),
        None => {
            let scope = docs::scope(mapping, model, part.scope);
            format!("`{scope}`; {}.", docs::line(mapping, model.scope(part.scope).span))
        }
    };
    let children = part.children.iter().map(|(field, child)| {
        let ty = &parts.parts[&child.0].name;
        let docs = format!("`{}`.", docs::scope(mapping, model, *child));
        let ty = if model.scope(*child).index.is_some() { quote!(Vec<#ty>) } else { quote!(#ty) };
        quote!(#[doc = #docs] #field: #ty,)
    });
    let members = part.members.iter().map(|member| {
        let (field, ty, docs) = (&member.ident, &member.ty, &member.docs);
        let docs = (!docs.is_empty()).then(|| quote!(#[doc = #docs]));
        quote!(#docs #field: #ty,)
    });
    let fields: TokenStream = children.chain(members).collect();
    let constructor = emit_new(parts, part, krate, root.is_some());
    let methods = &part.methods;
    let (public, loading) = match root {
        Some(root) => (quote!(#visibility), emit_load(parts, krate, &root.methods)),
        None => (TokenStream::new(), TokenStream::new()),
    };
    quote! {
        #[doc = #docs]
        #[derive(Debug)]
        #public struct #name { #fields }

        impl #name {
            #loading
            #constructor
            #methods
        }
    }
}

fn emit_load(parts: &Parts<'_>, krate: &Path, methods: &TokenStream) -> TokenStream {
    let model = &parts.model.name;
    let [left, right] = parts.mapping.sides.each_ref().map(|side| &side.name);
    let docs = format!(
        "Loads the model from a checkpoint of `{left}` or of `{right}`, over all ranks and without a file between."
    );
    quote! {
        #[doc = #docs]
        ///
        /// # Errors
        /// Where mapping and checkpoint do not go together, or the device refuses.
        pub fn load(
            checkpoint: &#krate::Checkpoint,
            options: &#krate::BindOptions,
            device: &Device,
            dtype: DType,
        ) -> Result<Self, #krate::port::PortError> {
            nn::load(#model, checkpoint, options, device, dtype, Self::new)
        }

        #methods
    }
}

fn emit_new(parts: &Parts<'_>, part: &Part, krate: &Path, is_root: bool) -> TokenStream {
    let children: Vec<TokenStream> = part
        .children
        .iter()
        .map(|(field, child)| {
            let ty = &parts.parts[&child.0].name;
            let scope = parts.model.scope(*child);
            let name = &scope.name;
            let config = reads_config(parts, *child).then(|| quote!(config,));
            let init = if scope.index.is_some() && config.is_none() {
                quote!(at.each(#name, #ty::new)?)
            } else if scope.index.is_some() {
                quote!(at.each(#name, |at| #ty::new(#config at))?)
            } else {
                quote!(#ty::new(#config &at.scope(#name)?)?)
            };
            quote!(#field: #init,)
        })
        .collect();
    let members: Vec<TokenStream> = part
        .members
        .iter()
        .map(|member| {
            let (field, init) = (&member.ident, &member.init);
            quote!(#field: #init,)
        })
        .collect();
    let fields: TokenStream = children.into_iter().chain(members).collect();
    let config = match (reads_config(parts, part.scope), is_root) {
        (true, _) => quote!(config: &Config,),
        (false, true) => quote!(_config: &Config,),
        (false, false) => TokenStream::new(),
    };
    let at = if mentions(&fields, "at") { quote!(at) } else { quote!(_at) };
    quote! {
        fn new(#config #at: &Weights<'_, '_>) -> Result<Self, #krate::port::PortError> {
            Ok(Self { #fields })
        }
    }
}

/// Whether config decides anything of a struct or of what it holds.
fn reads_config(parts: &Parts<'_>, scope: ScopeId) -> bool {
    let Some(part) = parts.parts.get(&scope.0) else { return false };
    part.members.iter().any(|member| mentions(&member.init, "config"))
        || part.children.iter().any(|(_, child)| reads_config(parts, *child))
}

/// Imports of the names that code mentions.
pub(super) fn emit_imports(krate: &Path, tokens: &TokenStream) -> TokenStream {
    let mut used = BTreeSet::new();
    idents(tokens, &mut used);
    let named: Vec<_> = IMPORTS
        .iter()
        .filter(|name| used.contains(**name) && **name != "Config" && !OF_PRELUDE.contains(name))
        .map(|name| crate::names::ident(name))
        .collect();
    quote! {
        use ::std::prelude::rust_2021::*;

        use super::Config;
        use #krate::__private::nn::{self, #(#named),*};
    }
}

fn mentions(tokens: &TokenStream, name: &str) -> bool {
    let mut all = BTreeSet::new();
    idents(tokens, &mut all);
    all.contains(name)
}

fn idents(tokens: &TokenStream, all: &mut BTreeSet<String>) {
    for token in tokens.clone() {
        match token {
            TokenTree::Ident(ident) => {
                all.insert(ident.to_string());
            }
            TokenTree::Group(group) => idents(&group.stream(), all),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}
