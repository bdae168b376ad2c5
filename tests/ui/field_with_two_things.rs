use transship::{Array, Port};

#[derive(Port)]
struct Norm {
    #[port("w", skip)]
    weight: Array,
}

fn main() {}
