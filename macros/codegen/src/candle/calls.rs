//! Blocks that are methods of other structs: loops, and what experts compute.

use std::collections::HashMap;

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use transship_grammar::Span;
use transship_grammar::model::{Block, Carried, Dim, ScopeId, Statement, Value, VariableId};

use super::block::{Body, Borrowed};
use super::place::{Emitted, Form, Place};
use super::{Emit, Unsupported, docs};
use crate::names::{ident, snake};

/// A method of a scope's struct, and what it is to be called with.
pub(super) struct Method {
    name: Ident,
    given: Vec<VariableId>,
    borrowed: Vec<Borrowed>,
    changes: bool,
    reads_offset: bool,
    reads_seq: bool,
}

impl<'m> Body<'_, 'm> {
    pub(super) fn repeat(
        &mut self,
        scope: ScopeId,
        carried: &[Carried],
        captured: &[VariableId],
        body: &'m [Statement],
        span: Span,
    ) -> Emit<TokenStream> {
        let list = self.list(scope, span)?;
        let method = self.method(scope, carried, captured, body, None)?;
        let mut tokens = TokenStream::new();
        let mut names = Vec::new();
        for one in carried {
            let Some(Place::Tensor(initial)) = self.places.get(&one.initial).cloned() else {
                return Err(Unsupported::at(span, "a number is carried through this loop"));
            };
            let variable = self.parts.model.variable(one.initial);
            let initial = self.flat_of(initial, &variable.ty, span)?;
            let tensor = initial.clone().into_tensor();
            self.read(one.initial);
            let name = self.bind(one.result);
            // A variable that was made for this is there under this name, and mutable.
            if initial.by_reference().to_string() != quote!(&#name).to_string() {
                tokens.extend(quote!(let mut #name = #tensor;));
            }
            self.places.insert(one.result, Place::Tensor(Emitted::owned(quote!(#name), Form::Flat)));
            names.push(name);
        }
        let arguments = self.arguments(&method, carried, &names)?;
        let item = self.parts.model.scope(scope).axis();
        let item = item.map_or_else(String::new, |axis| self.parts.mapping.axis(axis).name.clone());
        let item = self.fresh(&snake(&item));
        let call = &method.name;
        let lent = if method.changes { quote!(&mut #list) } else { quote!(&#list) };
        self.changes |= method.changes;
        let assigned = match names.as_slice() {
            [one] => quote!(#one),
            several => quote!((#(#several),*)),
        };
        tokens.extend(quote! {
            for #item in #lent {
                #assigned = #item.#call(#(#arguments),*)?;
            }
        });
        Ok(tokens)
    }

    /// Writes a method of another scope's struct; without a result it gives what is carried.
    pub(super) fn method(
        &mut self,
        scope: ScopeId,
        carried: &[Carried],
        captured: &[VariableId],
        statements: &'m [Statement],
        result: Option<&'m Value>,
    ) -> Emit<Method> {
        let (mapping, model) = (self.parts.mapping, self.parts.model);
        let guards = self.guards.clone();
        let mut inner = Body::new(self.parts, scope);
        inner.guards = guards;
        let mut parameters = Vec::new();
        for one in carried {
            let name = inner.given(one.start);
            parameters.push(quote!(#name: &Tensor));
        }
        let (given, captured) = inner.capture(&self.places, captured);
        parameters.extend(captured);
        let after: Vec<&Value> = result.into_iter().collect();
        let tokens = inner.statements(statements, &after)?;
        let (returned, end) = match result {
            Some(value) => inner.value_result(value)?,
            None => inner.carried_result(carried)?,
        };
        let to = match result {
            Some(value) => vec![&value.ty],
            None => carried.iter().map(|one| &model.variable(one.end).ty).collect(),
        };
        let from = carried.iter().map(|one| one.start).chain(given.iter().copied());
        let shapes = docs::from_to(mapping, model, from, &to);
        let line = docs::line(mapping, statements.first().map_or(model.span, span_of));
        let docs = format!("{shapes}; {line}.");
        let Body { borrowed, changes, reads_offset, reads_seq, .. } = inner;
        for one in &borrowed {
            let (name, ty) = (&one.ident, &one.ty);
            parameters.push(quote!(#name: &#ty));
        }
        parameters.extend(reads_seq.then(|| quote!(seq: usize)));
        parameters.extend(reads_offset.then(|| quote!(offset: usize)));
        let receiver = if changes { quote!(&mut self) } else { quote!(&self) };
        let part = self.parts.part(scope);
        let name = match part.methods.is_empty() {
            true => ident("forward"),
            false => part.fresh("forward"),
        };
        part.methods.extend(quote! {
            #[doc = #docs]
            fn #name(#receiver, #(#parameters),*) -> #returned {
                #tokens
                #end
            }
        });
        self.reads_offset |= reads_offset;
        self.reads_seq |= reads_seq;
        Ok(Method { name, given, borrowed, changes, reads_offset, reads_seq })
    }

    /// Takes variables over from the body that this one is called from: those that it is to be given, and how its
    /// method declares them. Numbers are known without that.
    fn capture(
        &mut self,
        outside: &HashMap<VariableId, Place>,
        captured: &[VariableId],
    ) -> (Vec<VariableId>, Vec<TokenStream>) {
        let (mut given, mut parameters) = (Vec::new(), Vec::new());
        for variable in captured {
            match outside.get(variable) {
                Some(Place::Number(scalar)) => {
                    self.places.insert(*variable, Place::Number(scalar.clone()));
                }
                Some(Place::Optional(_)) => {
                    let name = self.bind(*variable);
                    parameters.push(quote!(#name: Option<&Tensor>));
                    self.places.insert(*variable, Place::Optional(name));
                    given.push(*variable);
                }
                _ => {
                    let name = self.given(*variable);
                    parameters.push(quote!(#name: &Tensor));
                    given.push(*variable);
                }
            }
        }
        (given, parameters)
    }

    /// The type of a result, and the expression that a method ends with.
    fn value_result(&mut self, result: &'m Value) -> Emit<(TokenStream, TokenStream)> {
        let emitted = self.value(result)?;
        let end = self.flat(emitted, result)?.into_result();
        let before = self.take_before();
        Ok((quote!(Result<Tensor>), quote!(#before #end)))
    }

    /// The type of what a method hands to the next pass of a loop, and the expression that it ends with.
    fn carried_result(&mut self, carried: &[Carried]) -> Emit<(TokenStream, TokenStream)> {
        let mut ends = Vec::new();
        for one in carried {
            let variable = self.parts.model.variable(one.end);
            let Some(Place::Tensor(end)) = self.places.get(&one.end).cloned() else {
                return Err(Unsupported::at(variable.span, "a number is carried through a loop"));
            };
            self.read(one.end);
            ends.push(self.flat_of(end, &variable.ty, variable.span)?);
        }
        if ends.len() == 1
            && let Some(end) = ends.pop()
        {
            return Ok((quote!(Result<Tensor>), end.into_result()));
        }
        let types = ends.iter().map(|_| quote!(Tensor));
        let types = quote!(Result<(#(#types),*)>);
        let ends = ends.into_iter().map(Emitted::into_tensor);
        Ok((types, quote!(Ok((#(#ends),*)))))
    }

    /// What a method is called with.
    fn arguments(&mut self, method: &Method, carried: &[Carried], names: &[Ident]) -> Emit<Vec<TokenStream>> {
        debug_assert_eq!(carried.len(), names.len());
        let mut arguments: Vec<TokenStream> = names.iter().map(|name| quote!(&#name)).collect();
        for variable in &method.given {
            arguments.push(self.argument(*variable)?);
        }
        for one in &method.borrowed {
            arguments.push(self.field_by_reference(one.scope, &one.field));
        }
        arguments.extend(method.reads_seq.then(|| quote!(seq)));
        arguments.extend(method.reads_offset.then(|| quote!(offset)));
        Ok(arguments)
    }

    /// A variable as a method takes it.
    pub(super) fn argument(&mut self, variable: VariableId) -> Emit<TokenStream> {
        let declared = self.parts.model.variable(variable);
        match self.places.get(&variable).cloned() {
            Some(Place::Tensor(tensor)) => {
                Ok(self.flat_of(tensor, &declared.ty, declared.span)?.by_reference())
            }
            Some(Place::Optional(name)) => Ok(quote!(#name)),
            _ => Err(Unsupported::at(declared.span, format!("`{}` cannot be handed on here", declared.name))),
        }
    }

    /// A block as an expression.
    pub(super) fn inline(&mut self, block: &'m Block) -> Emit<TokenStream> {
        let outside = (self.names.clone(), std::mem::take(&mut self.before), std::mem::take(&mut self.own));
        let statements = self.statements(&block.statements, &[&block.result])?;
        let emitted = self.value(&block.result)?;
        let result = self.flat(emitted, &block.result)?.into_tensor();
        let before = self.take_before();
        (self.names, self.before, self.own) = outside;
        Ok(quote!(#statements #before #result))
    }

    /// What the experts of a sum compute, and their call on `expert`.
    pub(super) fn experts(
        &mut self,
        scope: ScopeId,
        captured: &[VariableId],
        block: &'m Block,
    ) -> Emit<(Vec<VariableId>, TokenStream)> {
        let method = self.method(scope, &[], captured, &block.statements, Some(&block.result))?;
        if method.changes || method.reads_offset || method.reads_seq {
            return Err(Unsupported::of(
                &block.result,
                "what is summed depends on positions, or on other tokens",
            ));
        }
        let call = &method.name;
        let mut tokens: Vec<Ident> = Vec::new();
        let mut inputs = Vec::new();
        let mut arguments = Vec::new();
        for variable in &method.given {
            let declared = self.parts.model.variable(*variable);
            if !declared.ty.dims.iter().any(|dim| matches!(dim, Dim::Extent(_))) {
                arguments.push(self.argument(*variable)?);
                continue;
            }
            let mut name = ident(&snake(&declared.name));
            if tokens.contains(&name) {
                name = format_ident!("{name}_{}", tokens.len());
            }
            arguments.push(quote!(&#name));
            tokens.push(name);
            inputs.push(*variable);
        }
        for one in &method.borrowed {
            arguments.push(self.field_by_reference(one.scope, &one.field));
        }
        let list = self.list(scope, block.result.span)?;
        Ok((inputs, quote!(|expert, [#(#tokens),*]| #list[expert].#call(#(#arguments),*))))
    }
}

fn span_of(statement: &Statement) -> Span {
    match statement {
        Statement::For { span, .. } => *span,
        _ => statement.value().map_or_else(Span::default, |value| value.span),
    }
}
