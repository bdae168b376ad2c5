use transship::{Array, Port};

#[derive(Port)]
struct Weight {
    weight: Array,
}

#[derive(Port)]
struct Layer {
    ln: Array,
    ffn: Weight,
}

#[derive(Port)]
#[port(inline = r#"
mapping tiny : one <=> two
config {
    hidden     = hidden <=> n_embd
    layers     = layers <=> n_layer
    tied: bool = tied   <=> tie
}
wte [hidden]              <=>  wte [hidden]
layers.{layer}.ln [hidden]  <=>  h.{layer}.ln [hidden]
when layer < 2 {
    layers.{layer}.fc.weight [hidden]  <=>  h.{layer}.ffn.weight [hidden]
}
when not tied { head.weight [hidden]  <=>  lm_head.weight [hidden] }
"#, side = two)]
struct Model {
    wte: Array,
    h: Vec<Layer>,
    lm_head: Weight,
}

fn main() {}
