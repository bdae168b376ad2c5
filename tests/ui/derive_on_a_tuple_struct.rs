use transship::{Array, Port};

#[derive(Port)]
struct Model(Array);

fn main() {}
