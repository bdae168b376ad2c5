//! Operations, as calls of layers and of candle.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::quote;
use transship_grammar::model::{
    Activation, ActivationChoice, Attention, Dim, Model, Module, ModuleKind, ParameterId, Rotary,
    RotaryPairs, Routed, Scalar, ScalarOp, ScopeId, Tensor, Value, ValueKind, VariableId,
};
use transship_grammar::{Factor, FieldId, Span};

use super::block::{Body, gate_of};
use super::parts::Wanted;
use super::place::{Emitted, Form, Place, axes, extents};
use super::{Emit, Unsupported, docs, scalar};
use crate::config::{Kind, certain_kind};
use crate::names::ident;

/// A layer: a field of a struct, and what it is made of.
struct Layer<'k> {
    key: &'k str,
    ty: TokenStream,
    wanted: Wanted,
    /// The method of weights, and what it is given besides the name.
    load: TokenStream,
    given: TokenStream,
    after: TokenStream,
    weight: ParameterId,
}

impl<'m> Body<'_, 'm> {
    /// The code of a value.
    pub(super) fn value(&mut self, value: &'m Value) -> Emit<Emitted> {
        if let Some(scalar) = self.scalar(value) {
            return self.number_tensor(&scalar);
        }
        match &value.kind {
            ValueKind::Variable(id) => self.variable(*id, value),
            ValueKind::Parameter(id) => Ok(self.parameter(*id)),
            ValueKind::Scalar(scalar) => self.number_tensor(scalar),
            ValueKind::Position => Ok(self.positions()),
            ValueKind::Gather { table, index, .. } => self.gather(*table, index),
            ValueKind::Linear { weight, contracted, bias, module, input } => {
                self.linear(value, *weight, *contracted, *bias, *module, input)
            }
            ValueKind::Norm { centred, weight, bias, module, epsilon, input } => {
                let eps = scalar::number(self.parts.mapping, epsilon);
                if bias.is_some() && (module.is_none() || !centred) {
                    return Err(Unsupported::of(value, "a norm whose bias is no part of its module"));
                }
                self.norm(*centred, *weight, &eps, input)
            }
            ValueKind::Attention(attention) => self.attention(attention, value),
            ValueKind::Rotary(rotary) => self.rotary(rotary, value),
            ValueKind::Activation { function, input } => self.activation(*function, input),
            ValueKind::Binary { op, left, right } => self.binary(value, *op, left, right),
            ValueKind::Softmax { dim, input } => self.softmax(*dim, input),
            ValueKind::Reduce { mean, dim, input } => {
                let call = if *mean { quote!(mean) } else { quote!(sum) };
                self.along(*dim, input, &|x, dim| quote!(#x.#call(#dim)))
            }
            ValueKind::Pick { last, dim, input } => {
                self.along(*dim, input, &|x, dim| quote!(nn::pick(&#x, #dim, #last)))
            }
            ValueKind::Cast { dtype, input } => {
                let dtype = ident(&dtype.to_uppercase());
                let emitted = self.any_value(input)?;
                let form = emitted.form;
                let x = emitted.receiver();
                Ok(Emitted::call(quote!(#x.to_dtype(DType::#dtype)), form))
            }
            ValueKind::Join { parts } => self.join(value, parts),
            ValueKind::Choose { arms, .. } => self.choose(value, arms),
            ValueKind::Routed(routed) => self.routed(routed, value),
        }
    }

    /// A value in the form that all operations but those on heads take.
    pub(super) fn flat(&mut self, emitted: Emitted, value: &Value) -> Emit<Emitted> {
        self.flat_of(emitted, &value.ty, value.span)
    }

    pub(super) fn flat_of(&mut self, emitted: Emitted, ty: &Tensor, span: Span) -> Emit<Emitted> {
        if emitted.form == Form::Flat {
            return Ok(emitted);
        }
        if extents(&ty.dims) != 2 {
            return Err(Unsupported::at(span, "heads are of values with a batch and a sequence"));
        }
        let x = self.settle(emitted).by_reference();
        Ok(Emitted::call(quote!(nn::join_heads(#x)), Form::Flat))
    }

    fn flat_value(&mut self, value: &'m Value) -> Emit<Emitted> {
        let emitted = self.value(value)?;
        let flat = self.flat(emitted, value)?;
        Ok(self.settle(flat))
    }

    /// A value in whatever form, as an operand.
    fn any_value(&mut self, value: &'m Value) -> Emit<Emitted> {
        let emitted = self.value(value)?;
        Ok(self.settle(emitted))
    }

    /// A value as `[batch heads seq dim]`.
    fn heads_value(&mut self, value: &'m Value) -> Emit<Emitted> {
        let emitted = self.any_value(value)?;
        if emitted.form == Form::Heads {
            return Ok(emitted);
        }
        let own = axes(&value.ty.dims);
        let Some((_, heads)) = own.split_last() else {
            return Err(Unsupported::of(value, "heads have a dimension"));
        };
        if extents(&value.ty.dims) != 2 {
            return Err(Unsupported::of(value, "heads are of values with a batch and a sequence"));
        }
        let x = emitted.by_reference();
        let heads = if heads.is_empty() {
            quote!(1)
        } else {
            let scope = self.scope;
            let field = self.parts.size(scope, heads, value)?;
            quote!(self.#field)
        };
        Ok(Emitted::call(quote!(nn::split_heads(#x, #heads)), Form::Heads))
    }

    fn variable(&mut self, id: VariableId, value: &Value) -> Emit<Emitted> {
        self.read(id);
        match self.places.get(&id) {
            Some(Place::Tensor(tensor)) => Ok(tensor.clone()),
            _ => Err(Unsupported::of(
                value,
                format!("`{}` cannot be used here", self.parts.model.variable(id).name),
            )),
        }
    }

    fn number_tensor(&mut self, scalar: &Scalar) -> Emit<Emitted> {
        let scope = self.scope;
        let number = self.parts.number(scope, "number", scalar);
        let device = self.root_field("device");
        let dtype = self.root_field("dtype");
        Ok(Emitted::call(quote!(nn::number(#number, &#device, #dtype)), Form::Flat))
    }

    /// A field of the whole model.
    fn root_field(&mut self, name: &str) -> TokenStream {
        let ty = match name {
            "device" => quote!(Device),
            _ => quote!(DType),
        };
        let getter = ident(name);
        let field = self.parts.member(ScopeId(0), &format!("root {name}"), name, "", || {
            (ty, if name == "device" { quote!(at.#getter().clone()) } else { quote!(at.#getter()) })
        });
        let is_own = self.scope == ScopeId(0);
        let field = self.field(ScopeId(0), &field);
        if is_own { field } else { quote!((*#field)) }
    }

    fn positions(&mut self) -> Emitted {
        self.reads_seq = true;
        self.reads_offset = true;
        let device = self.root_field("device");
        Emitted::call(quote!(nn::positions(offset, seq, &#device)), Form::Flat)
    }

    fn parameter(&mut self, id: ParameterId) -> Emitted {
        let layer = Layer {
            key: "tensor",
            ty: quote!(Tensor),
            wanted: self.parts.home_of(id),
            load: quote!(tensor),
            given: TokenStream::new(),
            after: TokenStream::new(),
            weight: id,
        };
        let path = {
            let declared = self.parts.model.parameter(id);
            match declared.module {
                // A bias, or a weight, that a module has.
                Some(module) => format!("{}.{}", self.parts.model.module(module).name, declared.name),
                None => layer.wanted.path.clone(),
            }
        };
        let wanted = Wanted { path, ..layer.wanted.clone() };
        let field = self.layer(&Layer { wanted, ..layer });
        Emitted::owned(field, Form::Flat)
    }

    /// The field of a layer.
    fn layer(&mut self, layer: &Layer<'_>) -> TokenStream {
        let Layer { key, ty, wanted, load, given, after, weight } = layer;
        let path = &wanted.path;
        let key = format!("{key} {} {path} {given} {after}", weight.0);
        let docs = docs::weight(self.parts.mapping, self.parts.model, *weight);
        let optional = !self.parts.model.parameter(*weight).sources.iter().any(|s| s.guard.0.is_empty());
        let field = self.parts.member(wanted.scope, &key, &wanted.name, &docs, || {
            let made = quote!(at.#load(#path #given)? #after);
            if optional {
                let made = quote!(if at.holds(#path) { Some(#made) } else { None });
                (quote!(Option<#ty>), made)
            } else {
                (ty.clone(), made)
            }
        });
        let tokens = self.field(wanted.scope, &field);
        if optional {
            return quote!(#tokens.as_ref().ok_or_else(|| nn::absent(#path))?);
        }
        tokens
    }

    fn gather(&mut self, table: ParameterId, index: &'m Value) -> Emit<Emitted> {
        let wanted = self.parts.home_of(table);
        let layer = Layer {
            key: "table",
            ty: quote!(Embedding),
            wanted,
            load: quote!(embedding),
            given: TokenStream::new(),
            after: TokenStream::new(),
            weight: table,
        };
        let field = self.layer(&layer);
        if matches!(index.kind, ValueKind::Position) {
            self.reads_seq = true;
            self.reads_offset = true;
            return Ok(Emitted::call(quote!(#field.positions(offset, seq)), Form::Flat));
        }
        let ids = self.flat_value(index)?.by_reference();
        let rows = quote!(#field.forward(#ids));
        Ok(Emitted::call(
            if axes(&index.ty.dims).is_empty() { rows } else { quote!(nn::join_last(&#rows?, 2)) },
            Form::Flat,
        ))
    }

    fn linear_layer(
        &mut self,
        weight: ParameterId,
        contracted: usize,
        bias: Option<ParameterId>,
        wanted: Wanted,
    ) -> Layer<'static> {
        let model = self.parts.model;
        let owner = model.parameter(weight).module.map(|module| model.module(module));
        let own_bias = match owner.map(|module: &Module| module.kind) {
            Some(ModuleKind::Linear { weight: own, bias }) if own == weight => bias,
            _ => None,
        };
        let is_bare = own_bias.is_some() && bias != own_bias;
        Layer {
            key: "linear",
            ty: quote!(Linear),
            wanted,
            load: if contracted == 1 { quote!(linear) } else { quote!(transposed) },
            given: TokenStream::new(),
            after: if is_bare { quote!(.without_bias()) } else { TokenStream::new() },
            weight,
        }
    }

    fn linear(
        &mut self,
        value: &Value,
        weight: ParameterId,
        contracted: usize,
        bias: Option<ParameterId>,
        module: Option<transship_grammar::model::ModuleId>,
        input: &'m Value,
    ) -> Emit<Emitted> {
        let mut wanted = self.parts.home_of(weight);
        if !self.parts.is_swapped(weight) && contracted == 1 {
            wanted.name = format!("{}_head", wanted.name);
        }
        let layer = self.linear_layer(weight, contracted, bias, wanted);
        let x = self.flat_value(input)?;
        let field = self.layer(&layer);
        let product = self.product(value, weight, contracted, input, x, &field)?;
        match (bias, module) {
            (Some(bias), None) => {
                let bias = self.parameter(bias).by_reference();
                let product = product.receiver();
                Ok(Emitted::call(quote!(#product.broadcast_add(#bias)), Form::Flat))
            }
            _ => Ok(product),
        }
    }

    /// `x` through a layer, which takes all of its axes or the last of them.
    fn product(
        &mut self,
        value: &Value,
        weight: ParameterId,
        contracted: usize,
        input: &Value,
        x: Emitted,
        field: &TokenStream,
    ) -> Emit<Emitted> {
        let layout = &self.parts.model.parameter(weight).layout;
        let count = layout.dims.get(contracted).map_or(0, dim_count);
        let own = axes(&input.ty.dims);
        let out = axes(&value.ty.dims).is_empty().then(|| quote!(.squeeze(D::Minus1)));
        let x = x.by_reference();
        let all = count == own.len() && count > 0;
        let call = if all {
            quote!(#field.forward(#x))
        } else if count == 0 {
            quote!(#field.forward(&nn::join_last(#x, 0)?))
        } else {
            let scope = self.scope;
            let kept = self.parts.size(scope, &own[..own.len() - count], value)?;
            let taken = self.parts.size(scope, &own[own.len() - count..], value)?;
            let apart = quote!(nn::split_last(#x, &[self.#kept, self.#taken])?);
            quote!(nn::join_last(&#field.forward(&#apart)?, 2))
        };
        Ok(Emitted::call(if out.is_some() { quote!(#call? #out) } else { call }, Form::Flat))
    }

    fn norm(
        &mut self,
        centred: bool,
        weight: ParameterId,
        eps: &TokenStream,
        input: &'m Value,
    ) -> Emit<Emitted> {
        let emitted = self.any_value(input)?;
        let normed =
            dim_count(&Factor::Product(self.parts.model.parameter(weight).layout.dims.clone(), Vec::new()));
        // Heads lie apart, so that what one of them has is the last dimension.
        let x = if normed == 1 { emitted } else { self.flat(emitted, input)? };
        let form = x.form;
        let layer = Layer {
            key: "norm",
            ty: if centred { quote!(LayerNorm) } else { quote!(RmsNorm) },
            wanted: self.parts.home_of(weight),
            load: if centred { quote!(layer_norm) } else { quote!(rms_norm) },
            given: quote!(, #eps),
            after: TokenStream::new(),
            weight,
        };
        let field = self.layer(&layer);
        let x = x.by_reference();
        Ok(Emitted::call(quote!(#field.forward(#x)), form))
    }

    fn attention(&mut self, attention: &'m Attention, value: &Value) -> Emit<Emitted> {
        let heads: Vec<usize> = attention.groups.iter().chain(&attention.shared).map(|dim| dim - 2).collect();
        let in_order = heads.windows(2).all(|pair| pair[0] < pair[1]);
        let mut query = self.heads_value(&attention.query)?;
        let own = axes(&attention.query.ty.dims);
        let scope = self.scope;
        let mut sizes = Vec::new();
        if !in_order {
            for dim in &own[..own.len() - 1] {
                sizes.push(self.parts.size(scope, std::slice::from_ref(dim), value)?);
            }
            let q = query.by_reference();
            query = Emitted::call(
                {
                    let order = heads.iter().map(|at| Literal::usize_unsuffixed(*at));
                    quote!(nn::permute_heads(#q, &[#(self.#sizes),*], &[#(#order),*]))
                },
                Form::Heads,
            );
        }
        let key = self.heads_value(&attention.key)?;
        let answer = self.heads_value(&attention.value)?;
        let [q, k, v] = [query, key, answer].map(|x| x.by_reference());
        let scale = match &attention.scale {
            Some(scale) => scalar::number(self.parts.mapping, scale),
            None => {
                let width = self.parts.size_tokens(&own[own.len() - 1..], value)?;
                let width = if width.clone().into_iter().count() > 3 { quote!((#width)) } else { width };
                quote!(1.0 / (#width as f64).sqrt())
            }
        };
        let call = if attention.causal {
            if attention.mask.is_some() {
                return Err(Unsupported::of(value, "causal attention with a mask besides"));
            }
            let docs = "Attention to the tokens so far, and their keys and values.";
            let field = self.parts.new_member(
                scope,
                "attention",
                docs,
                quote!(Attention),
                quote!(Attention::new(#scale, at.positions().unwrap_or(usize::MAX))),
            );
            self.changes = true;
            self.reads_offset = true;
            quote!(self.#field.forward(#q, #k, #v, offset))
        } else {
            let mask = match &attention.mask {
                None => quote!(None),
                Some(mask) => self.mask(mask)?,
            };
            let docs = "What scores of attention are multiplied by.";
            let key = format!("scale {scale}");
            let field = self.parts.member(scope, &key, "scale", docs, || (quote!(f64), scale.clone()));
            quote!(nn::attention(#q, #k, #v, self.#field, Mask::Full(#mask)))
        };
        if in_order {
            return Ok(Emitted::call(call, Form::Heads));
        }
        let turned: Vec<&Ident> = heads.iter().map(|at| &sizes[*at]).collect();
        let back = (0..heads.len()).map(|at| heads.iter().position(|h| *h == at).unwrap_or(at));
        let back = back.map(Literal::usize_unsuffixed);
        Ok(Emitted::call(
            quote!(nn::permute_heads(&#call?, &[#(self.#turned),*], &[#(#back),*])),
            Form::Heads,
        ))
    }

    fn mask(&mut self, mask: &'m Value) -> Emit<TokenStream> {
        if let ValueKind::Variable(id) = &mask.kind
            && let Some(Place::Optional(name)) = self.places.get(id).cloned()
        {
            self.read(*id);
            return Ok(quote!(#name));
        }
        let mask = self.flat_value(mask)?.by_reference();
        Ok(quote!(Some(#mask)))
    }

    fn rotary(&mut self, rotary: &'m Rotary, value: &Value) -> Emit<Emitted> {
        let x = self.heads_value(&rotary.input)?.by_reference();
        let mapping = self.parts.mapping;
        let own = axes(&rotary.input.ty.dims);
        let width = match &rotary.width {
            Some(width) => {
                let width = scalar::number(mapping, width);
                quote!(nn::size(#width)?)
            }
            None => self.parts.size_tokens(&own[own.len() - 1..], value)?,
        };
        let pairs = match rotary.pairs {
            RotaryPairs::Half => quote!(Pairs::Halves),
            RotaryPairs::Interleaved => quote!(Pairs::Interleaved),
        };
        let base = scalar::number(mapping, &rotary.base);
        let interpolation =
            rotary.interpolation.as_ref().map_or_else(|| quote!(1.0), |s| scalar::number(mapping, s));
        let init = quote!(at.rotary(RotaryOptions {
            pairs: #pairs,
            width: #width,
            base: #base,
            interpolation: #interpolation,
        })?);
        let scope = self.scope;
        let docs = "Turns queries and keys by their positions; all layers share its table.";
        let field = self
            .parts
            .member(scope, &format!("rotary {init}"), "rotary", docs, || (quote!(Rotary), init.clone()));
        self.reads_offset = true;
        Ok(Emitted::call(quote!(self.#field.forward(#x, offset)), Form::Heads))
    }

    fn activation_of(&mut self, function: ActivationChoice) -> TokenStream {
        match function {
            ActivationChoice::Fixed(function) => {
                let name = ident(match function {
                    Activation::Gelu => "Gelu",
                    Activation::GeluTanh => "GeluTanh",
                    Activation::GeluQuick => "QuickGelu",
                    Activation::Silu => "Silu",
                    Activation::Relu => "Relu",
                    Activation::ReluSquared => "SquaredRelu",
                    Activation::Tanh => "Tanh",
                    Activation::Sigmoid => "Sigmoid",
                });
                quote!(Activation::#name)
            }
            ActivationChoice::ByConfig(field) => {
                let init = self.named_activation(field);
                let name = self.parts.mapping.field(field).name.clone();
                let docs = format!("The activation that `{name}` of the config names.");
                let scope = self.scope;
                let key = format!("activation {}", field.0);
                let field = self.parts.member(scope, &key, &name, &docs, || (quote!(Activation), init));
                quote!(self.#field)
            }
        }
    }

    fn named_activation(&self, field: FieldId) -> TokenStream {
        let name = &self.parts.mapping.field(field).name;
        let id = ident(name);
        match certain_kind(self.parts.mapping, field) {
            Some(Kind::Text) => quote!(Activation::named(&config.#id)?),
            _ => quote!(at.activation(#name)?),
        }
    }

    fn activation(&mut self, function: ActivationChoice, input: &'m Value) -> Emit<Emitted> {
        let x = self.any_value(input)?;
        let form = x.form;
        let (function, x) = (self.activation_of(function), x.by_reference());
        Ok(Emitted::call(quote!(#function.forward(#x)), form))
    }

    fn gated(&mut self, value: &Value) -> Option<Emitted> {
        let (gate, up) = gate_of(value)?;
        let Some(Place::GateUp(both)) = self.places.get(&gate).cloned() else { return None };
        let ValueKind::Binary { left, right, .. } = &value.kind else { return None };
        let function = [left, right].into_iter().find_map(|side| match &side.kind {
            ValueKind::Activation { function, .. } => Some(*function),
            _ => None,
        })?;
        self.read(gate);
        self.read(up);
        let (function, both) = (self.activation_of(function), both.by_reference());
        Some(Emitted::call(quote!(#function.gated(#both)), Form::Flat))
    }

    fn binary(&mut self, value: &Value, op: ScalarOp, left: &'m Value, right: &'m Value) -> Emit<Emitted> {
        if let Some(gated) = self.gated(value) {
            return Ok(gated);
        }
        if let Some(number) = self.scalar(right) {
            return self.with_number(op, left, &number);
        }
        if let Some(number) = self.scalar(left) {
            return self.number_with(op, &number, right);
        }
        let (a, b) = (self.flat_value(left)?, self.flat_value(right)?);
        let (ours, theirs) = (&left.ty.dims, &right.ty.dims);
        let sign = match op {
            ScalarOp::Add => quote!(+),
            ScalarOp::Subtract => quote!(-),
            ScalarOp::Multiply => quote!(*),
            ScalarOp::Divide => quote!(/),
        };
        if ours == theirs {
            let (a, b) = (a.operand(), b.operand());
            return Ok(Emitted::call(quote!((#a #sign #b)), Form::Flat));
        }
        let (a, b) = if ours.len() >= theirs.len() {
            (a.receiver(), self.spread(b, theirs, ours, value)?)
        } else {
            let spread = self.spread(a, ours, theirs, value)?;
            (quote!((#spread)), b.by_reference())
        };
        let call = match op {
            ScalarOp::Add => quote!(broadcast_add),
            ScalarOp::Subtract => quote!(broadcast_sub),
            ScalarOp::Multiply => quote!(broadcast_mul),
            ScalarOp::Divide => quote!(broadcast_div),
        };
        Ok(Emitted::call(quote!(#a.#call(#b)), Form::Flat))
    }

    /// A value with fewer dimensions, as a reference to one that broadcasts to those of `whole`.
    fn spread(&mut self, x: Emitted, own: &[Dim], whole: &[Dim], at: &Value) -> Emit<TokenStream> {
        let (all_axes, own_axes) = (axes(whole), axes(own));
        let mut x = x;
        if !own_axes.is_empty() && own_axes != all_axes {
            let scope = self.scope;
            let mut sizes = Vec::new();
            let mut present = Vec::new();
            let mut left = own_axes.iter().peekable();
            for dim in all_axes {
                sizes.push(self.parts.size(scope, std::slice::from_ref(dim), at)?);
                present.push(left.next_if(|own| *own == dim).is_some());
            }
            let tokens = x.by_reference();
            x = Emitted::call(
                quote!(nn::repeat_last(#tokens, &[#(self.#sizes),*], &[#(#present),*])),
                Form::Flat,
            );
        }
        let mut tokens = x.by_reference();
        let mut left = own[..extents(own)].iter().peekable();
        let mut is_leading = true;
        for (place, dim) in whole[..extents(whole)].iter().enumerate() {
            if left.next_if(|own| *own == dim).is_some() {
                is_leading = false;
            } else if !is_leading {
                let receiver = strip_reference(&tokens);
                let place = Literal::usize_unsuffixed(place);
                tokens = quote!(&#receiver.unsqueeze(#place)?);
            }
        }
        if own_axes.is_empty() && !all_axes.is_empty() {
            let receiver = strip_reference(&tokens);
            tokens = quote!(&#receiver.unsqueeze(D::Minus1)?);
        }
        Ok(tokens)
    }

    /// A tensor and a number on its right.
    fn with_number(&mut self, op: ScalarOp, left: &'m Value, number: &Scalar) -> Emit<Emitted> {
        let scope = self.scope;
        let x = self.any_value(left)?;
        let form = x.form;
        let (x, number) = (x.operand(), self.parts.number(scope, "factor", number));
        let sign = match op {
            ScalarOp::Add => quote!(+),
            ScalarOp::Subtract => quote!(-),
            ScalarOp::Multiply => quote!(*),
            ScalarOp::Divide => quote!(/),
        };
        Ok(Emitted::call(quote!((#x #sign #number)), form))
    }

    /// A tensor and a number on its left.
    fn number_with(&mut self, op: ScalarOp, number: &Scalar, right: &'m Value) -> Emit<Emitted> {
        let scope = self.scope;
        let x = self.any_value(right)?;
        let form = x.form;
        let number = self.parts.number(scope, "factor", number);
        let tokens = match op {
            ScalarOp::Add => {
                let x = x.operand();
                quote!((#x + #number))
            }
            ScalarOp::Multiply => {
                let x = x.operand();
                quote!((#x * #number))
            }
            ScalarOp::Subtract => {
                let x = x.receiver();
                quote!(#x.affine(-1.0, #number))
            }
            ScalarOp::Divide => {
                let x = x.receiver();
                quote!((#x.recip()? * #number))
            }
        };
        Ok(Emitted::call(tokens, form))
    }

    fn softmax(&mut self, dim: usize, input: &'m Value) -> Emit<Emitted> {
        let own = axes(&input.ty.dims);
        if own.len() == 1 && dim + 1 == input.ty.dims.len() {
            let x = self.flat_value(input)?.by_reference();
            return Ok(Emitted::call(quote!(nn::softmax(#x)), Form::Flat));
        }
        let extents = extents(&input.ty.dims);
        let x = self.flat_value(input)?.by_reference();
        if dim < extents {
            let dim = Literal::usize_unsuffixed(dim);
            return Ok(Emitted::call(quote!(nn::softmax_along(#x, #dim)), Form::Flat));
        }
        let apart = self.apart(x, dim - extents, own, input)?;
        let along = Literal::usize_unsuffixed(extents + 1);
        Ok(Emitted::call(quote!(nn::join_last(&nn::softmax_along(&#apart, #along)?, 3)), Form::Flat))
    }

    /// The last dimension as three: what is before an axis, the axis, what is after it.
    fn apart(&mut self, x: TokenStream, at: usize, own: &[Dim], value: &Value) -> Emit<TokenStream> {
        let scope = self.scope;
        let before = self.parts.size(scope, &own[..at], value)?;
        let size = self.parts.size(scope, &own[at..=at], value)?;
        let after = self.parts.size(scope, &own[at + 1..], value)?;
        Ok(quote!(nn::split_last(#x, &[self.#before, self.#size, self.#after])?))
    }

    /// Something that makes a dimension go.
    fn along(
        &mut self,
        dim: usize,
        input: &'m Value,
        call: &dyn Fn(TokenStream, Literal) -> TokenStream,
    ) -> Emit<Emitted> {
        let own = axes(&input.ty.dims);
        let extents = extents(&input.ty.dims);
        let x = self.flat_value(input)?;
        if dim < extents || own.len() == 1 {
            let receiver = x.receiver();
            return Ok(Emitted::call(
                call(receiver, Literal::usize_unsuffixed(dim.min(extents))),
                Form::Flat,
            ));
        }
        let apart = self.apart(x.by_reference(), dim - extents, own, input)?;
        let reduced = call(apart, Literal::usize_unsuffixed(extents + 1));
        Ok(Emitted::call(quote!(nn::join_last(&#reduced?, 2)), Form::Flat))
    }

    fn join(&mut self, value: &Value, parts: &'m [Value]) -> Emit<Emitted> {
        let first = parts.first().map_or(0, |part| extents(&part.ty.dims));
        let mut all = Vec::new();
        for part in parts {
            let own = extents(&part.ty.dims);
            if own != first || part.ty.dims[..own] != value.ty.dims[..own] {
                return Err(Unsupported::of(value, "parts of which only some have a batch or a sequence"));
            }
            let x = self.flat_value(part)?.by_reference();
            all.push(if axes(&part.ty.dims).is_empty() { quote!(&nn::join_last(#x, 0)?) } else { x });
        }
        Ok(Emitted::call(quote!(Tensor::cat(&[#(#all),*], D::Minus1)), Form::Flat))
    }

    fn routed(&mut self, routed: &'m Routed, value: &Value) -> Emit<Emitted> {
        if extents(&routed.indices.ty.dims) != 2 || axes(&routed.indices.ty.dims).len() != 1 {
            return Err(Unsupported::of(value, "choices are made for a batch and a sequence"));
        }
        let indices = self.flat_value(&routed.indices)?.by_reference();
        let weights = self.flat_value(&routed.weights)?.by_reference();
        let list = self.list(routed.scope, value.span)?;
        let (inputs, expert) = self.experts(routed.scope, &routed.captured, &routed.body)?;
        let mut given = Vec::new();
        for variable in &inputs {
            let declared = self.parts.model.variable(*variable);
            if declared.ty.dims[..extents(&declared.ty.dims)] != routed.indices.ty.dims[..2] {
                return Err(Unsupported::of(value, "experts are given values of every token"));
            }
            given.push(self.argument(*variable)?);
        }
        Ok(Emitted::call(
            quote!(Routed::of(#indices, #weights, #list.len())?.combine([#(#given),*], #expert)),
            Form::Flat,
        ))
    }

    fn choose(
        &mut self,
        value: &'m Value,
        arms: &'m [(transship_grammar::Pattern, transship_grammar::model::Block)],
    ) -> Emit<Emitted> {
        if let Some(chosen) = self.chosen_layer(value, arms)? {
            return Ok(chosen);
        }
        let number = self.parts.choice(value);
        let number_literal = Literal::usize_unsuffixed(number);
        let scope = self.scope;
        let docs = "Which way the model goes, by its config.";
        let key = format!("choice {number}");
        let field =
            self.parts.member(scope, &key, "way", docs, || (quote!(usize), quote!(at.arm(#number_literal)?)));
        let mut tokens = TokenStream::new();
        for (at, (_, block)) in arms.iter().enumerate() {
            let block = self.inline(block)?;
            let pattern = arm_pattern(at, arms.len());
            tokens.extend(quote!(#pattern => { #block }));
        }
        // A block, since arms use `?`.
        Ok(Emitted::owned(quote!({ match self.#field { #tokens } }), Form::Flat))
    }

    /// A linear layer that config picks: of one input, decided when the model is loaded.
    fn chosen_layer(
        &mut self,
        value: &Value,
        arms: &'m [(transship_grammar::Pattern, transship_grammar::model::Block)],
    ) -> Emit<Option<Emitted>> {
        let mut layers = Vec::new();
        for (_, block) in arms {
            let ValueKind::Linear { weight, contracted, bias, module, input } = &block.result.kind else {
                return Ok(None);
            };
            let below = self.path_below(*weight);
            let (true, Some(path)) =
                (block.statements.is_empty() && !(bias.is_some() && module.is_none()), below)
            else {
                return Ok(None);
            };
            let ValueKind::Variable(input_variable) = &input.kind else { return Ok(None) };
            let wanted = self.parts.home_of(*weight);
            let layer = self.linear_layer(*weight, *contracted, *bias, Wanted { path, ..wanted });
            layers.push((layer, *input_variable, &**input, *weight, *contracted));
        }
        let Some((_, variable, input, weight, contracted)) = layers.last() else { return Ok(None) };
        let (variable, input, weight, contracted) = (*variable, *input, *weight, *contracted);
        let same = |w: ParameterId, c: usize| self.parts.model.parameter(w).layout.dims.get(c).map(dim_count);
        let alike =
            layers.iter().all(|(_, v, _, w, c)| *v == variable && same(*w, *c) == same(weight, contracted));
        if !alike {
            return Ok(None);
        }
        let number = self.parts.choice(value);
        let number_literal = Literal::usize_unsuffixed(number);
        let mut init = TokenStream::new();
        for (at, (layer, ..)) in layers.iter().enumerate() {
            let Layer { load, given, after, wanted, .. } = layer;
            let path = &wanted.path;
            let pattern = arm_pattern(at, layers.len());
            init.extend(quote!(#pattern => at.#load(#path #given)? #after,));
        }
        let init = self
            .decision(arms, number, &layers.iter().map(|(l, ..)| l).collect::<Vec<_>>())
            .unwrap_or_else(|| quote!(match at.arm(#number_literal)? { #init }));
        let name = layers.last().map_or(String::new(), |(layer, ..)| layer.wanted.name.clone());
        let docs: Vec<String> = layers
            .iter()
            .map(|(_, _, _, w, _)| docs::weight(self.parts.mapping, self.parts.model, *w))
            .collect();
        let scope = self.scope;
        let key = format!("chosen {number}");
        let docs = docs.join(" Or ");
        let field = self.parts.member(scope, &key, &name, &docs, || (quote!(Linear), init));
        // Every arm reads the variable.
        for _ in 1..layers.len() {
            self.read(variable);
        }
        let x = self.flat_value(input)?;
        self.product(value, weight, contracted, input, x, &quote!(self.#field)).map(Some)
    }

    /// `if config.tied { … } else { … }`, where that is all that is decided.
    fn decision(
        &self,
        arms: &[(transship_grammar::Pattern, transship_grammar::model::Block)],
        number: usize,
        layers: &[&Layer<'_>],
    ) -> Option<TokenStream> {
        let mut on = None;
        self.parts.model.block.visit(&mut |value: &Value| {
            if let ValueKind::Choose { on: decided, .. } = &value.kind
                && self.parts.choice(value) == number
            {
                on = Some(decided.clone());
            }
        });
        let transship_grammar::ExprKind::Field(field) = on?.kind else { return None };
        let truth = arms.first().is_some_and(|(pattern, _)| {
            pattern.choices == [transship_grammar::PatternChoice::Is(transship_grammar::Value::Bool(true))]
        });
        let ([yes, no], true, Some(Kind::Bool)) = (layers, truth, certain_kind(self.parts.mapping, field))
        else {
            return None;
        };
        let name = ident(&self.parts.mapping.field(field).name);
        let load = |layer: &Layer<'_>| {
            let Layer { load, given, after, wanted, .. } = layer;
            let path = &wanted.path;
            quote!(at.#load(#path #given)? #after)
        };
        let (yes, no) = (load(yes), load(no));
        Some(quote!(if config.#name { #yes } else { #no }))
    }

    /// The name of a weight below this struct's weights; `None` where it is elsewhere.
    fn path_below(&self, weight: ParameterId) -> Option<String> {
        let model: &Model = self.parts.model;
        let wanted = self.parts.home_of(weight);
        let mut words = vec![wanted.path];
        let mut at = wanted.scope;
        while at != self.scope {
            let scope = model.scope(at);
            if scope.index.is_some() {
                return None;
            }
            words.push(scope.name.clone());
            at = scope.parent?;
        }
        words.reverse();
        Some(words.join("."))
    }
}

/// The pattern of an arm by its number; the last takes what is left.
fn arm_pattern(at: usize, count: usize) -> TokenStream {
    let number = Literal::usize_unsuffixed(at);
    if at + 1 == count { quote!(_) } else { quote!(#number) }
}

/// How many dimensions of a value an operand of a weight is.
fn dim_count(factor: &Factor) -> usize {
    match factor {
        Factor::Axis(_) | Factor::Sum(_) => 1,
        Factor::Product(factors, _) => factors.iter().map(dim_count).sum(),
        Factor::Unit => 0,
    }
}

/// `x` of `&x`, to call a method on; other references as they are.
fn strip_reference(tokens: &TokenStream) -> TokenStream {
    let mut rest = tokens.clone().into_iter();
    match rest.next() {
        Some(proc_macro2::TokenTree::Punct(punct)) if punct.as_char() == '&' => rest.collect(),
        _ => tokens.clone(),
    }
}
