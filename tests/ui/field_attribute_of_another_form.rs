use transship::{Array, Port};

#[derive(Port)]
struct Norm {
    #[port = "w"]
    weight: Array,
}

fn main() {}
