//! Mistakes as `compile_error!`, one for each, at the best place there is.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use transship_grammar::{Diagnostics, Style, render_one};

/// Mistakes found so far.
#[derive(Default)]
pub(crate) struct Errors {
    all: Vec<syn::Error>,
}

impl Errors {
    pub(crate) fn push(&mut self, error: syn::Error) {
        self.all.push(error);
    }

    pub(crate) fn at(&mut self, span: Span, message: impl std::fmt::Display) {
        self.all.push(syn::Error::new(span, message));
    }

    /// Mistakes inside a mapping, each with the mapping's own lines.
    pub(crate) fn diagnostics(&mut self, span: Span, diagnostics: &Diagnostics) {
        for diagnostic in diagnostics.list() {
            let text = render_one(diagnostic, diagnostics.source(), Style::Macro);
            self.at(span, text.trim_end());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All mistakes, and then the code: what it can be in spite of them.
    pub(crate) fn into_tokens(self, tokens: Option<&TokenStream>) -> TokenStream {
        let errors = self.all.iter().map(syn::Error::to_compile_error);
        quote!(#(#errors)* #tokens)
    }
}
