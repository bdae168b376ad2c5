use transship::Port;

#[derive(Port)]
#[port(nonsense)]
struct Tiny;

fn main() {}
