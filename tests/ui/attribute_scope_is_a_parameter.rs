use transship::{Array, Port};

#[derive(Port)]
#[port(shipped = "megatron_gpt2", side = gpt2, scope = "transformer.wte.weight", partial)]
struct Model {
    #[port("transformer.wte.weight")]
    tokens: Array,
}

fn main() {}
