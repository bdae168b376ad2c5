//! Lists in lists, numbered from one and with zeros before.

use transship::{Array, Port};

#[derive(Port)]
#[port(inline = r"
mapping nested_lists : one <=> two
config {
    hidden  = hidden  <=> n_embd
    ffn     = ffn     <=> n_ffn
    layers  = layers  <=> n_layer
    experts = experts <=> n_expert
}
layers.{layer}.experts.{expert}.up [ffn hidden]  <=>  h.{layer+1}.e{expert:02}.w1.weight [hidden ffn]
layers.{layer}.router [expert hidden]            <=>  h.{layer+1}.gate.weight [expert hidden]
")]
pub(crate) struct Mapping;

#[derive(Debug, Port)]
pub(crate) struct Expert {
    #[port("w1.weight")]
    pub(crate) up: Array,
}

#[derive(Debug, Port)]
#[port(inline = r"
mapping nested_lists : one <=> two
config {
    hidden  = hidden  <=> n_embd
    ffn     = ffn     <=> n_ffn
    layers  = layers  <=> n_layer
    experts = experts <=> n_expert
}
layers.{layer}.experts.{expert}.up [ffn hidden]  <=>  h.{layer+1}.e{expert:02}.w1.weight [hidden ffn]
layers.{layer}.router [expert hidden]            <=>  h.{layer+1}.gate.weight [expert hidden]
", side = two, scope = "h.{layer}")]
pub(crate) struct Layer {
    #[port("e{expert}")]
    pub(crate) experts: Vec<Expert>,
    #[port("gate.weight")]
    pub(crate) gate: Array,
}

#[derive(Debug, Port)]
#[port(inline = r"
mapping nested_lists : one <=> two
config {
    hidden  = hidden  <=> n_embd
    ffn     = ffn     <=> n_ffn
    layers  = layers  <=> n_layer
    experts = experts <=> n_expert
}
layers.{layer}.experts.{expert}.up [ffn hidden]  <=>  h.{layer+1}.e{expert:02}.w1.weight [hidden ffn]
layers.{layer}.router [expert hidden]            <=>  h.{layer+1}.gate.weight [expert hidden]
", side = two)]
pub(crate) struct Model {
    pub(crate) h: Vec<Layer>,
}
