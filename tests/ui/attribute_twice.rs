use transship::Port;

#[derive(Port)]
#[port(shipped = "megatron_gpt2", crate = transship, crate = transship)]
struct Tiny;

fn main() {}
