use transship::{Array, Port};

#[derive(Port)]
struct Norm {
    #[port("")]
    weight: Array,
}

fn main() {}
