//! The struct of a mapping's config values.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Ident, Path, Visibility};
use transship_grammar::{ExprKind, Field, FieldId, Mapping, Symbol, Type, Value};

use crate::names::ident;
use crate::tree::file_and_line;

/// The Rust type of a config value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Size,
    Int,
    Float,
    Bool,
    Text,
    Any,
}

struct Entry<'m> {
    field: &'m Field,
    ident: Ident,
    kind: Kind,
    optional: bool,
}

pub(crate) fn emit_config(
    mapping: &Mapping,
    owner: &Ident,
    krate: &Path,
    visibility: &Visibility,
) -> TokenStream {
    let entries: Vec<Entry<'_>> =
        (0..).zip(&mapping.config.fields).map(|(i, f)| entry(mapping, FieldId(i), f)).collect();
    let fields = entries.iter().map(|e| {
        let (name, ty, docs) = (&e.ident, full_type(e, krate), docs(mapping, e.field));
        quote!(#[doc = #docs] pub #name: #ty,)
    });
    let reads = entries.iter().map(|e| {
        let (name, text) = (&e.ident, &e.field.name);
        let read = if e.optional { quote!(optional) } else { quote!(required) };
        quote!(#name: #krate::__private::#read(value, #text)?,)
    });
    let settings = entries.iter().map(|e| {
        let (name, text) = (&e.ident, &e.field.name);
        quote!(#krate::__private::setting(#text, &self.#name))
    });
    let title = format!("The config values of the mapping `{}`.", mapping.name);
    let serde_path = quote!(#krate::__private::serde).to_string().replace(' ', "");
    quote! {
        #[doc = #title]
        #[derive(Clone, Debug, PartialEq, #krate::__private::serde::Serialize, #krate::__private::serde::Deserialize)]
        #[serde(crate = #serde_path)]
        #visibility struct Config { #(#fields)* }

        impl #krate::port::PortConfig for Config {
            type Port = super::#owner;

            fn from_values(
                value: &dyn ::core::ops::Fn(&str) -> ::core::option::Option<#krate::grammar::Value>,
            ) -> ::core::result::Result<Self, ::std::string::String> {
                ::core::result::Result::Ok(Self { #(#reads)* })
            }

            fn settings(&self) -> ::std::vec::Vec<#krate::Setting> {
                #krate::__private::settings([#(#settings),*])
            }
        }
    }
}

/// The type of a config value, if it is there for every config.
pub(crate) fn certain_kind(mapping: &Mapping, id: FieldId) -> Option<Kind> {
    let entry = entry(mapping, id, mapping.field(id));
    (!entry.optional).then_some(entry.kind)
}

fn entry<'m>(mapping: &Mapping, id: FieldId, field: &'m Field) -> Entry<'m> {
    let symbol = Symbol::Field(id);
    let size = mapping.axes.iter().any(|a| a.size.symbols().contains(&symbol))
        || mapping.config.equations.iter().flat_map(|e| &e.sides).any(|s| s.symbols().contains(&symbol));
    let kind = match (size, field.ty, field.defaults.iter().flatten().next().map(|d| &d.kind)) {
        (true, ..) => Kind::Size,
        (_, Type::Int, _) => Kind::Int,
        (_, Type::Float, _) | (_, Type::Any, Some(ExprKind::Literal(Value::Int(_) | Value::Float(_)))) => {
            Kind::Float
        }
        (_, Type::Bool, _) | (_, Type::Any, Some(ExprKind::Literal(Value::Bool(_)))) => Kind::Bool,
        (_, Type::Text, _) | (_, Type::Any, Some(ExprKind::Literal(Value::Text(_)))) => Kind::Text,
        (_, Type::List | Type::Any, _) => Kind::Any,
    };
    let certain =
        kind == Kind::Size || field.defaults.iter().all(Option::is_some) || field.computed.is_some();
    Entry { field, ident: ident(&field.name), kind, optional: !certain }
}

fn full_type(entry: &Entry<'_>, krate: &Path) -> TokenStream {
    let ty = match entry.kind {
        Kind::Size => quote!(usize),
        Kind::Int => quote!(i64),
        Kind::Float => quote!(f64),
        Kind::Bool => quote!(bool),
        Kind::Text => quote!(::std::string::String),
        Kind::Any => quote!(#krate::port::AnyValue),
    };
    if entry.optional { quote!(::core::option::Option<#ty>) } else { ty }
}

/// Where the value comes from on either side.
fn docs(mapping: &Mapping, field: &Field) -> String {
    let mut places = Vec::new();
    for (side, list) in mapping.sides.iter().zip(&field.places) {
        if !list.is_empty() {
            let list: Vec<String> = list.iter().map(|p| format!("`{p}`")).collect();
            places.push(format!("{} of {}", list.join(" or "), side.name));
        }
    }
    let from = if places.is_empty() { "No document holds it".to_owned() } else { places.join(", ") };
    format!("{from}; {}.", file_and_line(mapping, field.span))
}
