use transship::{Array, Port};

struct Cache;

#[derive(Port)]
struct Norm {
    weight: Array,
    #[port(skip)]
    cache: Cache,
}

fn main() {}
