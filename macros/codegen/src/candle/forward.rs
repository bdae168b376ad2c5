//! The forward pass of a whole model: one method, or two where it has a head.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::quote;
use transship_grammar::model::{Argument, Dim, Element, Model, ScopeId, Value, ValueKind, VariableId};

use super::block::Body;
use super::cut::read_by_head;
use super::parts::Parts;
use super::place::{Emitted, Form, Place};
use super::{Emit, Unsupported, docs};

/// What the forward pass is given.
struct Given {
    names: Vec<Ident>,
    parameters: Vec<TokenStream>,
    /// What the arguments are before the first statement.
    prepared: TokenStream,
}

/// A model whose head can be asked for the last token alone.
pub(super) fn in_two(parts: &mut Parts<'_>, cut: usize) -> Emit<TokenStream> {
    let model = parts.model;
    let handed = read_by_head(model, cut);
    let Hidden { given, numbers, method: hidden } = emit_hidden(parts, cut, &handed)?;
    let Head { names, method: head } = emit_head(parts, cut, &handed, numbers)?;
    let Given { names: arguments, parameters, .. } = given;
    let (shown, to) = shapes(parts);
    let all_docs = format!(
        "{shown} to `{} {to}`. The first token is at position `offset`; those before it must have been given before.",
        model.result
    );
    let last_docs = format!("`{}` of the last token alone.", model.result);
    let pattern = match names.as_slice() {
        [one] => quote!(#one),
        several => quote!((#(#several),*)),
    };
    Ok(quote! {
        #[doc = #all_docs]
        ///
        /// # Errors
        /// Where tokens or positions are not the model's.
        pub fn forward(&mut self, #(#parameters,)* offset: usize) -> Result<Tensor> {
            let #pattern = self.hidden(#(#arguments,)* offset)?;
            self.head(#(&#names),*)
        }

        #[doc = #last_docs]
        ///
        /// # Errors
        /// As [`forward`](Self::forward).
        pub fn forward_last(&mut self, #(#parameters,)* offset: usize) -> Result<Tensor> {
            let #pattern = self.hidden(#(#arguments,)* offset)?;
            self.head(#(&nn::last(&#names)?),*)
        }

        #hidden

        #head
    })
}

/// The statements before the cut.
struct Hidden {
    given: Given,
    /// Variables that are numbers; what comes behind the cut may read them too.
    numbers: Vec<(VariableId, Place)>,
    method: TokenStream,
}

fn emit_hidden(parts: &mut Parts<'_>, cut: usize, handed: &[VariableId]) -> Emit<Hidden> {
    let (mapping, model) = (parts.mapping, parts.model);
    let mut body = Body::new(parts, ScopeId(0));
    let given = arguments(&mut body)?;
    let statements = body.statements(&model.block.statements[..cut], &[])?;
    let mut ends = Vec::new();
    for variable in handed {
        let declared = model.variable(*variable);
        let Some(Place::Tensor(tensor)) = body.places.get(variable).cloned() else {
            return Err(Unsupported::at(declared.span, "what the head is given is no tensor"));
        };
        ends.push(body.flat_of(tensor, &declared.ty, declared.span)?);
    }
    let (returned, end) = match ends.as_slice() {
        [one] => (quote!(Tensor), one.clone().into_result()),
        several => {
            let types = several.iter().map(|_| quote!(Tensor));
            let tensors = several.iter().cloned().map(Emitted::into_tensor);
            (quote!((#(#types),*)), quote!(Ok((#(#tensors),*))))
        }
    };
    let seq = sequence(&body, &given);
    let numbers = body.places.iter().filter(|(_, place)| matches!(place, Place::Number(_)));
    let numbers = numbers.map(|(id, place)| (*id, place.clone())).collect();
    let to: Vec<String> = handed
        .iter()
        .map(|id| format!("`{}`", docs::shape(mapping, model, &model.variable(*id).ty)))
        .collect();
    let (shown, _) = shapes(parts);
    let docs = format!("{shown} to what the head is given, {}.", to.join(" and "));
    let (parameters, prepared) = (&given.parameters, &given.prepared);
    let method = quote! {
        #[doc = #docs]
        fn hidden(&mut self, #(#parameters,)* offset: usize) -> Result<#returned> {
            #seq
            #prepared
            #statements
            #end
        }
    };
    Ok(Hidden { given, numbers, method })
}

/// The statements behind the cut, and the result.
struct Head {
    /// What its method calls the tensors that it is given.
    names: Vec<Ident>,
    method: TokenStream,
}

fn emit_head(
    parts: &mut Parts<'_>,
    cut: usize,
    handed: &[VariableId],
    numbers: Vec<(VariableId, Place)>,
) -> Emit<Head> {
    let block = &parts.model.block;
    let mut body = Body::new(parts, ScopeId(0));
    body.places.extend(numbers);
    let names: Vec<Ident> = handed.iter().map(|variable| body.given(*variable)).collect();
    let statements = body.statements(&block.statements[cut..], &[&block.result])?;
    let result = body.value(&block.result)?;
    let result = body.flat(result, &block.result)?.into_result();
    let before = body.take_before();
    let (_, to) = shapes(parts);
    let docs = format!("The head: to `{to}`.");
    let method = quote! {
        #[doc = #docs]
        fn head(&self, #(#names: &Tensor),*) -> Result<Tensor> {
            #statements
            #before
            #result
        }
    };
    Ok(Head { names, method })
}

/// A model that is run as a whole.
pub(super) fn in_one(parts: &mut Parts<'_>, causal: bool) -> Emit<TokenStream> {
    let model = parts.model;
    let mut body = Body::new(parts, ScopeId(0));
    let given = arguments(&mut body)?;
    let statements = body.statements(&model.block.statements, &[&model.block.result])?;
    let result = body.value(&model.block.result)?;
    let result = body.flat(result, &model.block.result)?.into_result();
    let before = body.take_before();
    let seq = sequence(&body, &given);
    let start = (body.reads_offset && !causal).then(|| quote!(let offset = 0;));
    let receiver = if causal { quote!(&mut self) } else { quote!(&self) };
    let Given { mut parameters, prepared, .. } = given;
    if causal {
        parameters.push(quote!(offset: usize));
    }
    let (shown, to) = shapes(parts);
    let place = if causal {
        " The first token is at position `offset`; those before it must have been given before."
    } else {
        ""
    };
    let docs = format!("{shown} to `{} {to}`.{place}", model.result);
    Ok(quote! {
        #[doc = #docs]
        ///
        /// # Errors
        /// Where tokens or positions are not the model's.
        pub fn forward(#receiver, #(#parameters),*) -> Result<Tensor> {
            #seq
            #start
            #prepared
            #statements
            #before
            #result
        }
    })
}

/// The shapes of what goes in, and of what comes out.
fn shapes(parts: &Parts<'_>) -> (String, String) {
    let (mapping, model) = (parts.mapping, parts.model);
    let arguments: Vec<String> = model
        .arguments
        .iter()
        .map(|argument| {
            let variable = model.variable(argument.variable);
            let what = match (variable.ty.element, argument.optional) {
                (Element::Number, false) => "",
                (Element::Number, true) => ", 1 everywhere where absent",
                (_, false) => " of u32",
                (_, true) => " of u32, 0 everywhere where absent",
            };
            format!("`{} {}`{what}", variable.name, docs::shape(mapping, model, &variable.ty))
        })
        .collect();
    (arguments.join(", "), docs::shape(mapping, model, &model.block.result.ty))
}

fn arguments(body: &mut Body<'_, '_>) -> Emit<Given> {
    let model = body.parts.model;
    let mut given = Given { names: Vec::new(), parameters: Vec::new(), prepared: TokenStream::new() };
    for argument in &model.arguments {
        if !argument.optional {
            let name = body.given(argument.variable);
            given.parameters.push(quote!(#name: &Tensor));
            given.names.push(name);
            continue;
        }
        let name = body.bind(argument.variable);
        given.parameters.push(quote!(#name: Option<&Tensor>));
        if is_mask(model, argument) {
            body.places.insert(argument.variable, Place::Optional(name.clone()));
        } else {
            let like = like(model, argument, &given)?;
            let variable = model.variable(argument.variable);
            let default = match variable.ty.element {
                Element::Number => quote!(Tensor::ones(#like.shape(), self.dtype, #like.device())?),
                _ => quote!(Tensor::zeros(#like.shape(), DType::U32, #like.device())?),
            };
            given.prepared.extend(quote! {
                let #name = match #name {
                    Some(#name) => #name.clone(),
                    None => #default,
                };
            });
            body.places.insert(argument.variable, Place::Tensor(Emitted::owned(quote!(#name), Form::Flat)));
        }
        given.names.push(name);
    }
    Ok(given)
}

/// An argument with the dimensions of one that is left out.
fn like(model: &Model, argument: &Argument, given: &Given) -> Emit<Ident> {
    let dims = |argument: &Argument| &model.variable(argument.variable).ty.dims;
    let same = model
        .arguments
        .iter()
        .zip(&given.names)
        .find(|(other, _)| !other.optional && dims(other) == dims(argument));
    same.map(|(_, name)| name.clone()).ok_or_else(|| {
        let variable = model.variable(argument.variable);
        Unsupported::at(
            variable.span,
            format!("`{}` may be left out, but no argument that may not has its dimensions", variable.name),
        )
    })
}

/// Whether an argument is used as the mask of attentions, and as nothing else.
pub(super) fn is_mask(model: &Model, argument: &Argument) -> bool {
    let is_it = |value: &Value| matches!(value.kind, ValueKind::Variable(id) if id == argument.variable);
    let (mut all, mut masks) = (0_usize, 0_usize);
    model.block.visit(&mut |value| {
        all += usize::from(is_it(value));
        if let ValueKind::Attention(attention) = &value.kind {
            masks += usize::from(attention.mask.as_ref().is_some_and(is_it));
        }
    });
    all == masks && masks > 0
}

/// The number of tokens, where statements ask for it.
fn sequence(body: &Body<'_, '_>, given: &Given) -> Option<TokenStream> {
    let model = body.parts.model;
    let first = model.arguments.first()?;
    let dims = &model.variable(first.variable).ty.dims;
    let at = dims.iter().position(|dim| *dim == Dim::Extent(model.sequence))?;
    let name = given.names.first()?;
    let at = Literal::usize_unsuffixed(at);
    body.reads_seq.then(|| quote!(let seq = #name.dim(#at)?;))
}
