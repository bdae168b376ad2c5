//! Decisions by config.

use proc_macro2::{Literal, TokenStream};
use quote::quote;
use transship_grammar::model::{Block, Model, ParameterId, Value, ValueKind};
use transship_grammar::{ExprKind, Pattern, PatternChoice, Value as ConfigValue};

use super::block::Body;
use super::operation::dim_count;
use super::parts::Wanted;
use super::place::Emitted;
use super::{Emit, docs};
use crate::config::{Kind, certain_kind};
use crate::names::ident;

/// What a decision leads to.
type Arm = (Pattern, Block);

impl<'m> Body<'_, 'm> {
    pub(super) fn choose(&mut self, value: &'m Value, arms: &'m [Arm]) -> Emit<Emitted> {
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
            self.guards.push((number, at));
            let block = self.inline(block);
            self.guards.pop();
            let block = block?;
            let pattern = arm_pattern(at, arms.len());
            tokens.extend(quote!(#pattern => { #block }));
        }
        Ok(Emitted::block(quote!(match self.#field { #tokens })))
    }

    /// A linear layer that config picks: of one input, decided when the model is loaded.
    fn chosen_layer(&mut self, value: &Value, arms: &'m [Arm]) -> Emit<Option<Emitted>> {
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
        let loads: Vec<TokenStream> = layers.iter().map(|(layer, ..)| layer.loading()).collect();
        let init = self.decision(value, &loads).unwrap_or_else(|| {
            let arms = loads.iter().enumerate().map(|(at, load)| {
                let pattern = arm_pattern(at, loads.len());
                quote!(#pattern => #load,)
            });
            quote!(match at.arm(#number_literal)? { #(#arms)* })
        });
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
        self.product(value, weight, contracted, input, &x, &quote!(self.#field)).map(Some)
    }

    /// `if config.tied { … } else { … }`, where that is all that is decided.
    fn decision(&self, value: &Value, loads: &[TokenStream]) -> Option<TokenStream> {
        let ValueKind::Choose { on, arms } = &value.kind else { return None };
        let ExprKind::Field(field) = on.kind else { return None };
        let truth = arms
            .first()
            .is_some_and(|(pattern, _)| pattern.choices == [PatternChoice::Is(ConfigValue::Bool(true))]);
        let ([yes, no], true, Some(Kind::Bool)) = (loads, truth, certain_kind(self.parts.mapping, field))
        else {
            return None;
        };
        let name = ident(&self.parts.mapping.field(field).name);
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
