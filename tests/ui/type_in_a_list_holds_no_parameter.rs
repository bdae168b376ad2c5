use transship::Port;

struct Block;

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
"#, side = two, partial)]
struct Model {
    #[port("model.h")]
    blocks: Vec<Block>,
}

fn main() {}
