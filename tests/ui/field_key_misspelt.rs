use transship::{Array, Port};

#[derive(Port)]
struct Norm {
    #[port(flaten)]
    weight: Array,
}

fn main() {}
