use transship::{Array, Port};

#[derive(Port)]
struct Norm {
    #[port("w")]
    #[port(skip)]
    weight: Array,
}

fn main() {}
