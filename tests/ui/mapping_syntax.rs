use transship::Port;

#[derive(Port)]
#[port(inline = r#"
mapping m : a <=> b
x.weight [h <=> y.weight [h]
"#)]
struct Tiny;

fn main() {}
