use transship::Port;

#[derive(Port)]
#[port(mapping = "files/not_utf8.mapping")]
struct Tiny;

fn main() {}
