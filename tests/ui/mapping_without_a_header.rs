use transship::Port;

#[derive(Port)]
#[port(inline = r#"
x.weight  <=>  y.weight
"#)]
struct Tiny;

fn main() {}
