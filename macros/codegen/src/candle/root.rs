//! The forward pass of a whole model, and the traits that it has.

use std::collections::BTreeSet;

use proc_macro2::{Ident, Literal, TokenStream};
use quote::quote;
use transship_grammar::model::{
    Argument, Dim, Element, Model, ScopeId, Statement, Value, ValueKind, VariableId,
};

use super::block::Body;
use super::parts::Parts;
use super::place::{Emitted, Form, Place, axes, extents};
use super::{Emit, Unsupported, docs};

/// The methods of the struct of the whole model, and its traits.
pub(super) struct Root {
    /// Inside the struct's `impl`.
    pub(super) methods: TokenStream,
    /// Beside it, for a struct of this name.
    pub(super) traits: TokenStream,
}

/// What the forward pass is given.
struct Given {
    names: Vec<Ident>,
    parameters: Vec<TokenStream>,
    /// What the arguments are before the first statement.
    prepared: TokenStream,
}

pub(super) fn emit_root(parts: &mut Parts<'_>) -> Emit<Root> {
    let model = parts.model;
    let causal = is_causal(model);
    let cut = if causal { tail(model) } else { None };
    let methods = match cut {
        Some(cut) => in_two(parts, cut)?,
        None => in_one(parts, causal)?,
    };
    let vocab = describe(parts)?;
    let traits = traits(parts, causal, cut.is_some());
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

/// The first of the statements from which on every position is computed by itself; with the result they make the head.
fn tail(model: &Model) -> Option<usize> {
    let all = &model.block.statements;
    if !is_by_position(model, &model.block.result) {
        return None;
    }
    let by_position =
        |statement: &Statement| statement.value().is_some_and(|value| is_by_position(model, value));
    let cut = all.iter().rposition(|statement| !by_position(statement)).map_or(0, |last| last + 1);
    let read = read_by_tail(model, cut);
    // The head is given what statements before it made, a value of each token.
    let made = made_by(&all[..cut]);
    let whole = |variable: &VariableId| {
        let dims = &model.variable(*variable).ty.dims;
        made.contains(variable) && extents(dims) == 2 && dims[1] == Dim::Extent(model.sequence)
    };
    (cut > 0 && !read.is_empty() && read.iter().all(whole)).then_some(cut)
}

fn is_by_position(model: &Model, value: &Value) -> bool {
    let mut all = true;
    value.visit(&mut |value| {
        all &= match &value.kind {
            ValueKind::Attention(_) | ValueKind::Rotary(_) | ValueKind::Position | ValueKind::Routed(_) => {
                false
            }
            ValueKind::Reduce { dim, input, .. }
            | ValueKind::Pick { dim, input, .. }
            | ValueKind::Softmax { dim, input } => {
                input.ty.dims.get(*dim) != Some(&Dim::Extent(model.sequence))
            }
            _ => true,
        };
    });
    all
}

/// Variables that the head reads and does not make itself, in order.
fn read_by_tail(model: &Model, cut: usize) -> Vec<VariableId> {
    let tail = &model.block.statements[cut..];
    let own = made_by(tail);
    let mut read: Vec<VariableId> = Vec::new();
    let mut look = |value: &Value| {
        if let ValueKind::Variable(id) = value.kind
            && !own.contains(&id)
            && !model.variable(id).ty.dims.is_empty()
            && !read.contains(&id)
        {
            read.push(id);
        }
    };
    tail.iter().for_each(|statement| statement.visit(&mut look));
    model.block.result.visit(&mut look);
    read
}

fn made_by(statements: &[Statement]) -> BTreeSet<VariableId> {
    statements.iter().flat_map(Statement::named).collect()
}

/// A model whose head can be asked for the last token alone.
fn in_two(parts: &mut Parts<'_>, cut: usize) -> Emit<TokenStream> {
    let model = parts.model;
    let (mapping, block) = (parts.mapping, &model.block);
    let handed = read_by_tail(model, cut);
    let mut body = Body::new(parts, ScopeId(0));
    let given = arguments(&mut body)?;
    let statements = body.statements(&block.statements[..cut], &[])?;
    let mut ends = Vec::new();
    for variable in &handed {
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
    let numbers: Vec<(VariableId, Place)> = body
        .places
        .iter()
        .filter(|(_, place)| matches!(place, Place::Number(_)))
        .map(|(id, place)| (*id, place.clone()))
        .collect();
    let mut head = Body::new(parts, ScopeId(0));
    head.places.extend(numbers);
    let names: Vec<Ident> = handed.iter().map(|variable| head.given(*variable)).collect();
    let head_statements = head.statements(&block.statements[cut..], &[&block.result])?;
    let result = head.value(&block.result)?;
    let result = head.flat(result, &block.result)?.into_result();
    let head_before = head.take_before();
    let Given { names: arguments, parameters, prepared } = given;
    let (shown, to) = shapes(parts);
    let hidden_docs: Vec<String> = handed
        .iter()
        .map(|id| format!("`{}`", docs::shape(mapping, model, &model.variable(*id).ty)))
        .collect();
    let hidden_docs = format!("{shown} to what the head is given, {}.", hidden_docs.join(" and "));
    let head_docs = format!("The head: to `{to}`.");
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

        #[doc = #hidden_docs]
        fn hidden(&mut self, #(#parameters,)* offset: usize) -> Result<#returned> {
            #seq
            #prepared
            #statements
            #end
        }

        #[doc = #head_docs]
        fn head(&self, #(#names: &Tensor),*) -> Result<Tensor> {
            #head_statements
            #head_before
            #result
        }
    })
}

fn in_one(parts: &mut Parts<'_>, causal: bool) -> Emit<TokenStream> {
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

fn has_attention(model: &Model) -> bool {
    let mut found = false;
    model.block.visit(&mut |value| found |= matches!(value.kind, ValueKind::Attention(_)));
    found
}

/// Whether an argument is used as the mask of attentions, and as nothing else.
fn is_mask(model: &Model, argument: &Argument) -> bool {
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

/// The trait of language models, where the model takes what its method is given.
fn traits(parts: &Parts<'_>, causal: bool, has_last: bool) -> TokenStream {
    let model = parts.model;
    let name = &parts.parts[&0].name;
    let two = |dims: &[Dim]| extents(dims) == 2 && dims[1] == Dim::Extent(model.sequence);
    let result = &model.block.result.ty.dims;
    let Some((first, others)) = model.arguments.split_first() else { return TokenStream::new() };
    let ids = &model.variable(first.variable).ty;
    let is_text = !first.optional
        && matches!(ids.element, Element::Index(_))
        && ids.dims.len() == 2
        && two(&ids.dims)
        && two(result)
        && others.iter().all(|other| other.optional);
    if !is_text {
        return TokenStream::new();
    }
    let common = quote! {
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
    };
    if causal {
        let absent: Vec<TokenStream> = others.iter().map(|_| quote!(None,)).collect();
        let last = has_last.then(|| {
            quote! {
                fn forward_last(&mut self, ids: &Tensor, offset: usize) -> Result<Tensor> {
                    #name::forward_last(self, ids, #(#absent)* offset)
                }
            }
        });
        return quote! {
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
        };
    }
    if !has_attention(model) {
        return TokenStream::new();
    }
    let mut given = vec![quote!(ids)];
    let (mut types, mut mask) = (None, None);
    for other in others {
        let ty = &model.variable(other.variable).ty;
        let (slot, name) = match ty.element {
            _ if ty.dims != ids.dims => return TokenStream::new(),
            Element::Number if is_mask(model, other) => (&mut mask, quote!(mask)),
            Element::Index(_) => (&mut types, quote!(types)),
            _ => return TokenStream::new(),
        };
        if slot.replace(other.variable).is_some() {
            return TokenStream::new();
        }
        given.push(name);
    }
    let types_name = if types.is_some() { quote!(types) } else { quote!(_types) };
    let mask_name = if mask.is_some() { quote!(mask) } else { quote!(_mask) };
    quote! {
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
    }
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
