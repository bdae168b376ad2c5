//! Parameters that some configs have, and some layers.

use transship::{Array, Port};

#[derive(Port)]
#[port(inline = r"
mapping conditions : one <=> two
config {
    wide       = wide   <=> n_wide
    layers     = layers <=> n_layer
    first      = first  <=> n_dense
    tied: bool = tied   <=> tie
    dense  in 0..first
    sparse in first..layers
}
embed [wide]                                         <=>  wte [wide]
layers.{layer}.norm [wide]                           <=>  h.{layer}.ln [wide]
layers.{layer in dense}.mlp.weight [wide]            <=>  h.{layer in dense}.ffn.weight [wide]
layers.{layer in sparse}.router.weight [wide]        <=>  h.{layer in sparse}.gate.weight [wide]
when tied {
    tie two: lm_head.weight = wte
} else {
    head.weight [wide]  <=>  lm_head.weight [wide]
}
")]
pub(crate) struct Mapping;

#[derive(Debug, Port)]
pub(crate) struct Weight {
    pub(crate) weight: Array,
}

#[derive(Debug, Port)]
pub(crate) struct Layer {
    pub(crate) ln: Array,
    pub(crate) ffn: Option<Weight>,
    pub(crate) gate: Option<Weight>,
}

#[derive(Debug, Port)]
#[port(inline = r"
mapping conditions : one <=> two
config {
    wide       = wide   <=> n_wide
    layers     = layers <=> n_layer
    first      = first  <=> n_dense
    tied: bool = tied   <=> tie
    dense  in 0..first
    sparse in first..layers
}
embed [wide]                                         <=>  wte [wide]
layers.{layer}.norm [wide]                           <=>  h.{layer}.ln [wide]
layers.{layer in dense}.mlp.weight [wide]            <=>  h.{layer in dense}.ffn.weight [wide]
layers.{layer in sparse}.router.weight [wide]        <=>  h.{layer in sparse}.gate.weight [wide]
when tied {
    tie two: lm_head.weight = wte
} else {
    head.weight [wide]  <=>  lm_head.weight [wide]
}
", side = two)]
pub(crate) struct Model {
    pub(crate) h: Vec<Layer>,
    pub(crate) lm_head: Option<Weight>,
    pub(crate) wte: Array,
}
