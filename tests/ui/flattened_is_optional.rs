use transship::{Array, Port};

#[derive(Port)]
struct Norm {
    weight: Array,
    bias: Array,
}

#[derive(Port)]
struct Block {
    ln_1: Norm,
    #[port("proj.weight")]
    proj: Array,
}

#[derive(Port)]
struct Head {
    #[port("model.ln_f")]
    norm: Norm,
}

#[derive(Port)]
#[port(inline = r#"
mapping tiny : one <=> two
config { vocab = vocab <=> n_vocab  hidden = hidden <=> n_embd  layers = layers <=> n_layer }
module norm(dim) { weight [dim]  bias [dim] }
embed.weight [vocab hidden]  <=>  model.wte.weight [vocab hidden]
layers.{layer}  <=>  model.h.{layer} {
    input : norm(hidden)  <=>  ln_1 : norm(hidden)
    dense.weight [out:hidden in:hidden]  <=>  proj.weight [in:hidden out:hidden]
}
last : norm(hidden)  <=>  model.ln_f : norm(hidden)
"#, side = two)]
struct Model {
    #[port("model.wte.weight")]
    tokens: Array,
    #[port("model.h.{layer}")]
    blocks: Vec<Block>,
    #[port(flatten)]
    head: Option<Head>,
}

fn main() {}
