use transship::Port;

#[derive(Port)]
#[port(shipped = "megatron_gpt2", side = gpt2)]
struct Tiny;

fn main() {}
