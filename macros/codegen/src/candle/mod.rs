//! Candle modules from the `model` blocks of a mapping: a struct for each scope of parameters, how it is loaded, and
//! its forward pass.

mod arithmetic;
mod block;
mod calls;
mod choice;
mod cut;
mod docs;
mod forward;
mod heads;
mod load;
mod operation;
mod parts;
mod place;
mod root;
mod scalar;
mod traits;

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Path, Visibility};
use transship_grammar::model::{Model, Value};
use transship_grammar::{Code, Diagnostic, Diagnostics, Mapping, Span};

use crate::names::{ident, snake};
use parts::Parts;

/// Something that no code can be generated for.
pub(super) struct Unsupported {
    span: Span,
    message: String,
}

impl Unsupported {
    pub(super) fn at(span: Span, message: impl Into<String>) -> Unsupported {
        Unsupported { span, message: message.into() }
    }

    pub(super) fn of(value: &Value, message: impl Into<String>) -> Unsupported {
        Unsupported::at(value.span, message)
    }
}

/// What emitting code gives.
pub(super) type Emit<T> = Result<T, Unsupported>;

/// The modules of the models of a mapping, to stand beside its `Config`; with a diagnostic for each that no code can be
/// generated for.
pub(crate) fn emit_models(
    mapping: &Mapping,
    krate: &Path,
    visibility: &Visibility,
) -> (TokenStream, Diagnostics) {
    let mut diagnostics = Diagnostics::new(&mapping.source);
    let mut modules = TokenStream::new();
    let inner = inner_visibility(visibility);
    for model in &mapping.models {
        let name = match mapping.models.as_slice() {
            [_] => ident("model"),
            _ => format_ident!("{}_model", snake(&model.name)),
        };
        match emit_model(mapping, model, krate, &inner) {
            Ok(tokens) => {
                let docs =
                    format!("The model `{}` of the mapping `{}`, in candle.", model.name, mapping.name);
                modules.extend(quote! {
                    #[doc = #docs]
                    #visibility mod #name {
                        #tokens
                    }
                });
            }
            Err(unsupported) => diagnostics.push(
                Diagnostic::error(
                    Code::NotSupported,
                    unsupported.span,
                    unsupported.message,
                    "no code is generated for this",
                )
                .help("leave `model` out of `#[port(…)]` to have the rest of the mapping"),
            ),
        }
    }
    (modules, diagnostics)
}

fn emit_model(mapping: &Mapping, model: &Model, krate: &Path, visibility: &Visibility) -> Emit<TokenStream> {
    let mut parts = Parts::new(mapping, model);
    let methods = root::emit_root(&mut parts)?;
    let structs = load::emit_structs(&parts, krate, visibility, &methods)?;
    let prelude = load::emit_imports(krate, &structs);
    Ok(quote!(#prelude #structs))
}

/// As visible from inside one more module.
fn inner_visibility(visibility: &Visibility) -> Visibility {
    match visibility {
        Visibility::Restricted(restricted) => {
            let path = &restricted.path;
            match path.segments.first().map(|segment| segment.ident.to_string()).as_deref() {
                Some("super") => syn::parse_quote!(pub(in super::#path)),
                _ => visibility.clone(),
            }
        }
        _ => visibility.clone(),
    }
}
