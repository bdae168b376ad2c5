use transship::Port;

#[derive(Port)]
#[port(mapping = "files/mistakes.mapping")]
struct Tiny;

fn main() {}
