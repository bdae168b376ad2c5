use transship::Port;

#[derive(Port)]
struct Tiny;

fn main() {}
