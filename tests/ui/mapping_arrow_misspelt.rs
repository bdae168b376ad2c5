use transship::Port;

#[derive(Port)]
#[port(inline = r#"
mapping m : a <=> b
x.weight <-> y.weight
"#)]
struct Tiny;

fn main() {}
