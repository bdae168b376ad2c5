use transship::Port;

#[derive(Port)]
#[port(shipped = "megatron_gpt2", crate = "a b")]
struct Tiny;

fn main() {}
