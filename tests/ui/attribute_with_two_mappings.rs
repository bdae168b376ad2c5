use transship::Port;

#[derive(Port)]
#[port(shipped = "megatron_gpt2", mapping = "tiny.mapping")]
struct Tiny;

fn main() {}
