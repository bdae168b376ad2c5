use transship::Port;

#[derive(Port)]
#[port(shipped = "x")]
struct Tiny;

fn main() {}
