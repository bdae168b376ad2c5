use transship::{Array, Port};

#[derive(Port)]
#[port(model)]
struct Norm {
    weight: Array,
}

fn main() {}
