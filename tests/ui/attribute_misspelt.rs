use transship::Port;

#[derive(Port)]
#[port(maping = "tiny.mapping")]
struct Tiny;

fn main() {}
