use transship::{Array, Port};

#[derive(Port)]
struct Norm {
    #[port(rename = "w")]
    weight: Array,
}

fn main() {}
