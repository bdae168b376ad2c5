use transship::Port;

#[derive(Port)]
#[port(inline = r#"
mapping m : a <=> b
config { h = h <=> n  k = k <=> m }
x.weight [h k]  <=>  y.weight [h]
"#)]
struct Tiny;

fn main() {}
