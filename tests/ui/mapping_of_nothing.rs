use transship::Port;

#[derive(Port)]
#[port(inline = "")]
struct Tiny;

fn main() {}
