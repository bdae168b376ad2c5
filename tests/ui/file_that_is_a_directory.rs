use transship::Port;

#[derive(Port)]
#[port(mapping = "files")]
struct Tiny;

fn main() {}
