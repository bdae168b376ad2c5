use transship::Port;

#[derive(Port)]
#[port(inline = r#"
mapping m : a <=> b
config { h = h <=> n }
x.weight [h k:4]  <=>  y.weight [h]
"#)]
struct Tiny;

fn main() {}
