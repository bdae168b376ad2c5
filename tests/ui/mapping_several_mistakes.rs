use transship::Port;

#[derive(Port)]
#[port(inline = r#"
mapping m : a <=> b
config { h = h <=> n }
module norm(dim) { weight [dim] }
x.weight [hh]  <=>  y.weight [h]
z : nrom(h)  <=>  w : norm(h)
u [h] as float32  <=>  v [h]
"#)]
struct Tiny;

fn main() {}
