use transship::Port;

#[derive(Port)]
#[port(inline = "mapping m : a <=> b\nx <=> y", model)]
struct Tiny;

fn main() {}
