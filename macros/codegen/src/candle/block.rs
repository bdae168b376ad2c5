//! Statements, as the body of a method of a scope's struct.

use std::collections::HashMap;

use proc_macro2::{Ident, Literal, TokenStream};
use quote::quote;
use transship_grammar::model::{
    Dim, Part, Scalar, ScalarOp, ScopeId, Statement, Value, ValueKind, VariableId,
};

use super::parts::{Parts, snake_words};
use super::place::{Emitted, Form, Place, axes};
use super::{Emit, Unsupported, scalar};
use crate::names::{ident, snake};

/// A method that is being written.
pub(super) struct Body<'p, 'm> {
    pub(super) parts: &'p mut Parts<'m>,
    /// Whose method it is.
    pub(super) scope: ScopeId,
    pub(super) places: HashMap<VariableId, Place>,
    /// Which variable a name stands for.
    pub(super) names: HashMap<String, Option<VariableId>>,
    /// Fields of structs around this one that it is given.
    pub(super) borrowed: Vec<Borrowed>,
    /// The decisions and arms that what is being written is in.
    pub(super) guards: Vec<(usize, usize)>,
    /// What comes before the statement that is being written, and the names it has for itself.
    pub(super) before: TokenStream,
    pub(super) own: Vec<String>,
    /// Whether it changes caches.
    pub(super) changes: bool,
    /// Whether it has to know the first token's position.
    pub(super) reads_offset: bool,
    /// Whether it has to know the number of tokens.
    pub(super) reads_seq: bool,
}

/// A field of a struct around.
pub(super) struct Borrowed {
    pub(super) scope: ScopeId,
    pub(super) field: Ident,
    pub(super) ident: Ident,
    pub(super) ty: TokenStream,
}

impl<'p, 'm> Body<'p, 'm> {
    pub(super) fn new(parts: &'p mut Parts<'m>, scope: ScopeId) -> Body<'p, 'm> {
        let names = ["offset", "seq", "self", "config", "at"].map(|name| (name.to_owned(), None));
        Body {
            parts,
            scope,
            places: HashMap::new(),
            names: names.into(),
            borrowed: Vec::new(),
            guards: Vec::new(),
            before: TokenStream::new(),
            own: Vec::new(),
            changes: false,
            reads_offset: false,
            reads_seq: false,
        }
    }

    /// The name of a variable in the code: its own, unless it would hide one that is still read.
    pub(super) fn bind(&mut self, variable: VariableId) -> Ident {
        let name = self.parts.model.variable(variable).name.clone();
        self.bind_as(variable, &name)
    }

    pub(super) fn bind_as(&mut self, variable: VariableId, wanted: &str) -> Ident {
        let plain = snake(wanted);
        let mut name = plain.clone();
        let mut number = 1;
        while self.is_taken(&name) {
            number += 1;
            name = format!("{plain}_{number}");
        }
        self.names.insert(name.clone(), Some(variable));
        ident(&name)
    }

    pub(super) fn is_taken(&self, name: &str) -> bool {
        match self.names.get(name) {
            None => false,
            Some(None) => true,
            Some(Some(holder)) => self.parts.reads.get(holder).is_some_and(|reads| *reads > 0),
        }
    }

    /// A name that nothing else has.
    pub(super) fn fresh(&mut self, wanted: &str) -> Ident {
        let mut name = wanted.to_owned();
        let mut number = 1;
        while self.names.contains_key(&name) {
            number += 1;
            name = format!("{wanted}_{number}");
        }
        self.names.insert(name.clone(), None);
        ident(&name)
    }

    /// An operand that is a call on a call gets a name, so that lines stay readable.
    pub(super) fn settle(&mut self, emitted: Emitted) -> Emitted {
        if !emitted.is_nested() {
            return emitted;
        }
        let name = self.fresh("h");
        self.own.push(name.to_string());
        let form = emitted.form;
        let tensor = emitted.into_tensor();
        self.before.extend(quote!(let #name = #tensor;));
        Emitted::owned(quote!(#name), form)
    }

    /// What has to come before the expression that was written last.
    pub(super) fn take_before(&mut self) -> TokenStream {
        for name in self.own.drain(..) {
            self.names.remove(&name);
        }
        std::mem::take(&mut self.before)
    }

    pub(super) fn read(&mut self, variable: VariableId) {
        if let Some(reads) = self.parts.reads.get_mut(&variable) {
            *reads = reads.saturating_sub(1);
        }
    }

    /// A tensor that is given as `&Tensor`.
    pub(super) fn given(&mut self, variable: VariableId) -> Ident {
        let name = self.bind(variable);
        self.places.insert(variable, Place::Tensor(Emitted::reference(&name)));
        name
    }

    /// The number that a value is, if it is one.
    pub(super) fn scalar(&self, value: &Value) -> Option<Scalar> {
        match &value.kind {
            ValueKind::Scalar(scalar) => Some(scalar.clone()),
            ValueKind::Variable(id) => match self.places.get(id) {
                Some(Place::Number(scalar)) => Some(scalar.clone()),
                _ => None,
            },
            ValueKind::Binary { op, left, right } => {
                let (left, right) = (self.scalar(left)?, self.scalar(right)?);
                Some(Scalar::Binary(*op, Box::new(left), Box::new(right)))
            }
            _ => None,
        }
    }

    /// The path to a field of this struct, or the name under which one of a struct around is given.
    pub(super) fn field(&mut self, scope: ScopeId, field: &Ident) -> TokenStream {
        if let Some(path) = self.path_to(scope) {
            return quote!(#path.#field);
        }
        let known = self.borrowed.iter().find(|b| b.scope == scope && b.field == *field);
        if let Some(known) = known {
            let name = &known.ident;
            return quote!(#name);
        }
        let name = self.fresh(&field.to_string());
        let part = self.parts.part(scope);
        let ty = part.members.iter().find(|m| m.ident == *field).map(|m| m.ty.clone()).unwrap_or_default();
        self.borrowed.push(Borrowed { scope, field: field.clone(), ident: name.clone(), ty });
        quote!(#name)
    }

    /// A field, as an expression. In an arm of a decision it is there only where config leads to that arm, since only
    /// there what it is made of has to be known.
    pub(super) fn guarded(
        &mut self,
        wanted: (ScopeId, &str),
        key: &str,
        docs: &str,
        ty: &TokenStream,
        init: &TokenStream,
    ) -> TokenStream {
        let (scope, name) = wanted;
        if self.guards.is_empty() {
            let field = self.parts.member(scope, key, name, docs, || (ty.clone(), init.clone()));
            return self.field(scope, &field);
        }
        let taken = self.guards.iter().map(|(choice, arm)| {
            let (choice, arm) = (Literal::usize_unsuffixed(*choice), Literal::usize_unsuffixed(*arm));
            quote!(at.arm(#choice)? == #arm)
        });
        let init = quote!(if #(#taken)&&* { Some(#init) } else { None });
        let key = format!("{key} {:?}", self.guards);
        let field = self.parts.member(scope, &key, name, docs, || (quote!(Option<#ty>), init));
        let field = self.field(scope, &field);
        quote!(#field.as_ref().ok_or_else(|| nn::absent(#name))?)
    }

    /// A number, in place where it is a literal, else a field.
    pub(super) fn number(&mut self, name: &str, scalar: &Scalar) -> TokenStream {
        let init = scalar::number(self.parts.mapping, scalar);
        if matches!(scalar, Scalar::Number(_)) {
            return init;
        }
        let (scope, key, docs) =
            (self.scope, format!("number {init}"), "A number that config decides.".to_owned());
        let is_plain = self.guards.is_empty();
        let field = self.guarded((scope, name), &key, &docs, &quote!(f64), &init);
        if is_plain { field } else { quote!(*#field) }
    }

    /// The same as an argument of a reference type.
    pub(super) fn field_by_reference(&mut self, scope: ScopeId, field: &Ident) -> TokenStream {
        let is_own = self.path_to(scope).is_some();
        let field = self.field(scope, field);
        if is_own { quote!(&#field) } else { field }
    }

    /// `self` and the fields down to a scope that is below this one.
    fn path_to(&mut self, scope: ScopeId) -> Option<TokenStream> {
        if scope == self.scope {
            return Some(quote!(self));
        }
        let declared = self.parts.model.scope(scope);
        let (parent, numbered) = (declared.parent?, declared.index.is_some());
        if numbered {
            return None;
        }
        let path = self.path_to(parent)?;
        self.parts.part(scope);
        let field = self.child_field(parent, scope);
        Some(quote!(#path.#field))
    }

    pub(super) fn child_field(&mut self, parent: ScopeId, scope: ScopeId) -> Ident {
        let part = self.parts.part(parent);
        let child = part.children.iter().find(|(_, child)| *child == scope);
        child.map(|(field, _)| field.clone()).expect("bug: a part that its parent does not have")
    }

    /// The list of structs of a numbered scope.
    pub(super) fn list(&mut self, scope: ScopeId, at: transship_grammar::Span) -> Emit<TokenStream> {
        let parent = self.parts.model.scope(scope).parent.unwrap_or(ScopeId(0));
        let path = self.path_to(parent).ok_or_else(|| {
            Unsupported::at(at, "a loop over parameters that are not below those of the loop around it")
        })?;
        self.parts.part(scope);
        let field = self.child_field(parent, scope);
        Ok(quote!(#path.#field))
    }

    /// Statements in order. `after` is what reads their variables next.
    pub(super) fn statements(&mut self, all: &'m [Statement], after: &[&'m Value]) -> Emit<TokenStream> {
        let mut tokens = TokenStream::new();
        for (at, statement) in all.iter().enumerate() {
            let rest = &all[at + 1..];
            let written = match statement {
                Statement::Let { variable, value } => self.bind_value(*variable, value, rest)?,
                Statement::Split { dim, parts, value } => self.split(*dim, parts, value, rest, after)?,
                Statement::TopK { dim, count, values, indices, value } => {
                    let count = Dim::Axis(*count, None);
                    self.top_k(*dim, &count, [*values, *indices], value)?
                }
                Statement::For { scope, carried, captured, body, span } => {
                    self.repeat(*scope, carried, captured, body, *span)?
                }
            };
            tokens.extend(self.take_before());
            tokens.extend(written);
        }
        Ok(tokens)
    }

    fn bind_value(
        &mut self,
        variable: VariableId,
        value: &'m Value,
        rest: &[Statement],
    ) -> Emit<TokenStream> {
        if let Some(scalar) = self.scalar(value) {
            if let ValueKind::Variable(id) = &value.kind {
                self.read(*id);
            }
            self.places.insert(variable, Place::Number(scalar));
            return Ok(TokenStream::new());
        }
        let emitted = self.value(value)?;
        let form = emitted.form;
        let tensor = emitted.into_tensor();
        let name = self.bind(variable);
        self.places.insert(variable, Place::Tensor(Emitted::owned(quote!(#name), form)));
        // A loop that goes on with the variable changes it in place.
        let carries = matches!(rest.first(), Some(Statement::For { carried, .. })
            if carried.iter().any(|c| c.initial == variable && self.parts.reads.get(&variable) == Some(&1)));
        let mutable = (carries && form == Form::Flat).then(|| quote!(mut));
        Ok(quote!(let #mutable #name = #tensor;))
    }

    fn split(
        &mut self,
        dim: usize,
        parts: &[VariableId],
        value: &'m Value,
        rest: &[Statement],
        after: &[&'m Value],
    ) -> Emit<TokenStream> {
        let ty = &value.ty;
        let Some(Dim::Sum(labelled)) = ty.dims.get(dim) else {
            return Err(Unsupported::of(value, "what is taken apart here is no sum"));
        };
        let own = axes(&ty.dims);
        let emitted = self.value(value)?;
        let whole = self.flat(emitted, value)?;
        if let [gate, up] = parts
            && own.len() == 1
            && labelled.iter().all(|part| part.dims == labelled[0].dims)
            && is_gate(*gate, *up, rest, after)
            && [gate, up].into_iter().all(|v| self.parts.reads.get(v) == Some(&1))
        {
            let names = [gate, up].map(|v| self.parts.model.variable(*v).name.clone());
            let name = self.bind_as(*gate, &names.join("_"));
            self.places.insert(*gate, Place::GateUp(Emitted::owned(quote!(#name), Form::Flat)));
            let tensor = whole.into_tensor();
            return Ok(quote!(let #name = #tensor;));
        }
        let call = self.split_call(&whole, dim, labelled, value)?;
        let mut squeezed = TokenStream::new();
        let mut names = Vec::new();
        for (variable, part) in parts.iter().zip(labelled) {
            let name = self.bind(*variable);
            self.places.insert(*variable, Place::Tensor(Emitted::owned(quote!(#name), Form::Flat)));
            // A part of one unit has no axis.
            if own.len() == 1 && part.dims.is_empty() {
                squeezed.extend(quote!(let #name = #name.squeeze(D::Minus1)?;));
            }
            names.push(name);
        }
        Ok(quote!(let [#(#names),*] = #call; #squeezed))
    }

    /// The call that cuts a flat tensor along the parts of the sum that is its value's dimension `dim`.
    fn split_call(
        &mut self,
        whole: &Emitted,
        dim: usize,
        labelled: &[Part],
        value: &Value,
    ) -> Emit<TokenStream> {
        let own = axes(&value.ty.dims);
        let place = dim + own.len() - value.ty.dims.len();
        let sizes: Vec<TokenStream> =
            labelled.iter().map(|part| self.parts.size_tokens(&part.dims, value)).collect::<Emit<_>>()?;
        let labels: Vec<&str> = labelled.iter().map(|part| part.label.as_str()).collect();
        let docs = format!("The sizes of `{}`.", labels.join("`, `"));
        let count = Literal::usize_unsuffixed(sizes.len());
        let init = quote!([#(#sizes),*]);
        let scope = self.scope;
        let key = format!("sizes {init}");
        let field = self.parts.member(scope, &key, &snake_words(&labels.join(" ")), &docs, || {
            (quote!([usize; #count]), init.clone())
        });
        let whole = whole.by_reference();
        if own.len() == 1 {
            return Ok(quote!(nn::split(#whole, self.#field)?));
        }
        let before = self.parts.size(scope, &own[..place], value)?;
        let behind = self.parts.size(scope, &own[place + 1..], value)?;
        Ok(quote!(nn::split_within(#whole, self.#before, self.#field, self.#behind)?))
    }

    fn top_k(
        &mut self,
        dim: usize,
        count: &Dim,
        [values, indices]: [VariableId; 2],
        value: &'m Value,
    ) -> Emit<TokenStream> {
        if axes(&value.ty.dims).len() != 1 || dim + 1 != value.ty.dims.len() {
            return Err(Unsupported::of(value, "the largest are chosen along the only axis of a value"));
        }
        let emitted = self.value(value)?;
        let from = self.flat(emitted, value)?.by_reference();
        let scope = self.scope;
        let field = self.parts.size(scope, std::slice::from_ref(count), value)?;
        let (first, second) = (self.bind(values), self.bind(indices));
        for (variable, name) in [(values, &first), (indices, &second)] {
            self.places.insert(variable, Place::Tensor(Emitted::owned(quote!(#name), Form::Flat)));
        }
        Ok(quote!(let (#first, #second) = nn::top_k(#from, self.#field)?;))
    }
}

/// Whether one activation of `gate` times `up` is what reads both.
fn is_gate(gate: VariableId, up: VariableId, rest: &[Statement], after: &[&Value]) -> bool {
    let mut found = false;
    let mut look = |value: &Value| found |= gate_of(value) == Some((gate, up));
    for statement in rest {
        if !matches!(statement, Statement::For { .. }) {
            statement.visit(&mut look);
        }
    }
    after.iter().for_each(|value| value.visit(&mut look));
    found
}

/// The variables of `activation(gate) * up`.
pub(super) fn gate_of(value: &Value) -> Option<(VariableId, VariableId)> {
    let ValueKind::Binary { op: ScalarOp::Multiply, left, right } = &value.kind else { return None };
    [(left, right), (right, left)].into_iter().find_map(|(activated, other)| {
        let ValueKind::Activation { input, .. } = &activated.kind else { return None };
        match (&input.kind, &other.kind) {
            (ValueKind::Variable(gate), ValueKind::Variable(up)) => Some((*gate, *up)),
            _ => None,
        }
    })
}
