use transship::{Array, Port};

#[derive(Port)]
#[port(side = gpt2)]
struct Model {
    tokens: Array,
}

fn main() {}
