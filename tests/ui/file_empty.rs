use transship::Port;

#[derive(Port)]
#[port(mapping = "files/empty.mapping")]
struct Tiny;

fn main() {}
