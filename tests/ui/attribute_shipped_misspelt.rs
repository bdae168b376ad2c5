use transship::Port;

#[derive(Port)]
#[port(shipped = "megatron_gtp2")]
struct Tiny;

fn main() {}
