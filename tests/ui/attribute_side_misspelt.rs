use transship::{Array, Port};

#[derive(Port)]
#[port(shipped = "megatron_gpt2", side = gtp2, partial)]
struct Model {
    #[port("transformer.wte.weight")]
    tokens: Array,
}

fn main() {}
