use transship::Port;

#[derive(Port)]
#[port(mapping = "no/such.mapping")]
struct Tiny;

fn main() {}
