//! Operations, as calls of layers and of candle.

use proc_macro2::{Ident, Literal, TokenStream};
use quote::quote;
use transship_grammar::model::{
    Activation, ActivationChoice, Dim, Module, ModuleKind, ParameterId, Routed, Scalar, ScopeId, Tensor,
    Value, ValueKind, VariableId,
};
use transship_grammar::{Factor, FieldId, Span};

use super::block::Body;
use super::parts::Wanted;
use super::place::{Emitted, Form, Place, axes, extents};
use super::{Emit, Unsupported, docs, scalar};
use crate::config::{Kind, certain_kind};
use crate::names::ident;

/// A layer: a field of a struct, and what it is made of.
pub(super) struct Layer<'k> {
    pub(super) key: &'k str,
    pub(super) ty: TokenStream,
    pub(super) wanted: Wanted,
    /// The method of weights, and what it is given besides the name.
    pub(super) load: TokenStream,
    pub(super) given: TokenStream,
    pub(super) after: TokenStream,
    pub(super) weight: ParameterId,
}

impl Layer<'_> {
    /// The expression that loads it.
    pub(super) fn loading(&self) -> TokenStream {
        let Layer { load, given, after, wanted, .. } = self;
        let path = &wanted.path;
        quote!(at.#load(#path #given)? #after)
    }
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

    pub(super) fn flat_value(&mut self, value: &'m Value) -> Emit<Emitted> {
        let emitted = self.value(value)?;
        let flat = self.flat(emitted, value)?;
        Ok(self.settle(flat))
    }

    /// A value in whatever form, as an operand.
    pub(super) fn any_value(&mut self, value: &'m Value) -> Emit<Emitted> {
        let emitted = self.value(value)?;
        Ok(self.settle(emitted))
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

    pub(super) fn number_tensor(&mut self, scalar: &Scalar) -> Emit<Emitted> {
        let number = self.number("number", scalar);
        let device = self.device();
        let dtype = self.parts.dtype();
        let dtype = self.root_field(&dtype);
        Ok(Emitted::call(quote!(nn::number(#number, &#device, #dtype)), Form::Flat))
    }

    /// A field of the whole model, as a value.
    fn root_field(&mut self, field: &Ident) -> TokenStream {
        let is_own = self.scope == ScopeId(0);
        let field = self.field(ScopeId(0), field);
        if is_own { field } else { quote!((*#field)) }
    }

    fn device(&mut self) -> TokenStream {
        let device = self.parts.device();
        self.root_field(&device)
    }

    fn positions(&mut self) -> Emitted {
        self.reads_seq = true;
        self.reads_offset = true;
        let device = self.device();
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
    pub(super) fn layer(&mut self, layer: &Layer<'_>) -> TokenStream {
        let Layer { key, ty, wanted, given, after, weight, .. } = layer;
        let key = format!("{key} {} {} {given} {after}", weight.0, wanted.path);
        let docs = docs::weight(self.parts.mapping, self.parts.model, *weight);
        self.guarded((wanted.scope, &wanted.name), &key, &docs, ty, &layer.loading())
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

    pub(super) fn linear_layer(
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
        if self.parts.model.is_taken_whole(weight) && contracted == 1 {
            wanted.name = format!("{}_head", wanted.name);
        }
        let layer = self.linear_layer(weight, contracted, bias, wanted);
        let x = self.flat_value(input)?;
        let field = self.layer(&layer);
        let product = self.product(value, weight, contracted, input, &x, &field)?;
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
    pub(super) fn product(
        &mut self,
        value: &Value,
        weight: ParameterId,
        contracted: usize,
        input: &Value,
        x: &Emitted,
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

    pub(super) fn activation_of(&mut self, function: ActivationChoice) -> TokenStream {
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
                self.guarded((scope, &name), &key, &docs, &quote!(Activation), &init)
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
        let apart = self.apart(&x, dim - extents, own, input)?;
        let along = Literal::usize_unsuffixed(extents + 1);
        Ok(Emitted::call(quote!(nn::join_last(&nn::softmax_along(&#apart, #along)?, 3)), Form::Flat))
    }

    /// The last dimension as three: what is before an axis, the axis, what is after it.
    pub(super) fn apart(
        &mut self,
        x: &TokenStream,
        at: usize,
        own: &[Dim],
        value: &Value,
    ) -> Emit<TokenStream> {
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
        let apart = self.apart(&x.by_reference(), dim - extents, own, input)?;
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
}

/// How many dimensions of a value an operand of a weight is.
pub(super) fn dim_count(factor: &Factor) -> usize {
    match factor {
        Factor::Axis(_) | Factor::Sum(_) => 1,
        Factor::Product(factors, _) => factors.iter().map(dim_count).sum(),
        Factor::Unit => 0,
    }
}
