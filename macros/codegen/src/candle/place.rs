//! Values as the emitted code has them.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::quote;
use transship_grammar::model::{Dim, Scalar};

/// How the dimensions of a value lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Extents as dimensions of their own, then one of all axes, if there are any.
    Flat,
    /// `[batch heads seq dim]`: the axes but for the last are the heads.
    Heads,
}

/// An expression of a tensor.
#[derive(Clone)]
pub(super) struct Emitted {
    tokens: TokenStream,
    kind: Kind,
    pub(super) form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A variable or field that is a tensor.
    Owned,
    /// A variable that is a reference to one.
    Reference,
    /// A block that gives one.
    Block,
    /// A call that can fail, without its `?`.
    Call,
}

impl Emitted {
    pub(super) fn owned(tokens: TokenStream, form: Form) -> Emitted {
        Emitted { tokens, kind: Kind::Owned, form }
    }

    pub(super) fn reference(ident: &Ident) -> Emitted {
        Emitted { tokens: quote!(#ident), kind: Kind::Reference, form: Form::Flat }
    }

    pub(super) fn block(tokens: TokenStream) -> Emitted {
        Emitted { tokens, kind: Kind::Block, form: Form::Flat }
    }

    pub(super) fn call(tokens: TokenStream, form: Form) -> Emitted {
        Emitted { tokens, kind: Kind::Call, form }
    }

    /// Whether it is a call on the result of another one, or a block.
    pub(super) fn is_nested(&self) -> bool {
        match self.kind {
            Kind::Owned | Kind::Reference => false,
            Kind::Block => true,
            Kind::Call => has_question_mark(&self.tokens),
        }
    }

    /// As an argument of type `&Tensor`.
    pub(super) fn by_reference(&self) -> TokenStream {
        let tokens = &self.tokens;
        match self.kind {
            Kind::Owned | Kind::Block => quote!(&#tokens),
            Kind::Reference => quote!(#tokens),
            Kind::Call => quote!(&#tokens?),
        }
    }

    /// What a method is called on, or an operand that is used up.
    pub(super) fn receiver(&self) -> TokenStream {
        let tokens = &self.tokens;
        match self.kind {
            Kind::Owned | Kind::Reference | Kind::Block => quote!(#tokens),
            Kind::Call => quote!(#tokens?),
        }
    }

    /// An operand of an operator; variables outlive it.
    pub(super) fn operand(&self) -> TokenStream {
        let tokens = &self.tokens;
        match self.kind {
            Kind::Owned => quote!(&#tokens),
            Kind::Reference | Kind::Block => quote!(#tokens),
            Kind::Call => quote!(#tokens?),
        }
    }

    /// A tensor of one's own.
    pub(super) fn into_tensor(self) -> TokenStream {
        let tokens = &self.tokens;
        match self.kind {
            Kind::Owned | Kind::Reference => quote!(#tokens.clone()),
            Kind::Block => quote!(#tokens),
            Kind::Call => quote!(#tokens?),
        }
    }

    /// As the result of a function.
    pub(super) fn into_result(self) -> TokenStream {
        let tokens = &self.tokens;
        match self.kind {
            Kind::Owned | Kind::Block => quote!(Ok(#tokens)),
            Kind::Reference => quote!(Ok(#tokens.clone())),
            Kind::Call => quote!(#tokens),
        }
    }
}

fn has_question_mark(tokens: &TokenStream) -> bool {
    tokens.clone().into_iter().any(|token| match token {
        TokenTree::Punct(punct) => punct.as_char() == '?',
        TokenTree::Group(group) => has_question_mark(&group.stream()),
        TokenTree::Ident(_) | TokenTree::Literal(_) => false,
    })
}

/// What a variable of a model stands for in the emitted code.
#[derive(Clone)]
pub(super) enum Place {
    /// A tensor.
    Tensor(Emitted),
    /// An `Option<&Tensor>` of this name.
    Optional(Ident),
    /// A number, which is put in where it is used.
    Number(Scalar),
    /// The gate and what it gates, in one tensor; the first of both variables.
    GateUp(Emitted),
}

/// The axes of a value: its dimensions without the extents.
pub(super) fn axes(dims: &[Dim]) -> &[Dim] {
    let extents = dims.iter().take_while(|dim| matches!(dim, Dim::Extent(_))).count();
    &dims[extents..]
}

/// How many extents a value has.
pub(super) fn extents(dims: &[Dim]) -> usize {
    dims.len() - axes(dims).len()
}
