use transship::Port;

#[derive(Port)]
#[port(mapping = 3)]
struct Tiny;

fn main() {}
