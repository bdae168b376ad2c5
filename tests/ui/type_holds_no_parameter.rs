use transship::{Array, Port};

#[derive(Port)]
struct Norm {
    weight: Array,
    bias: String,
}

fn main() {}
