use transship::Port;

#[derive(Port)]
#[port(mapping = "$OUT_DIR/made.mapping")]
struct Made;

fn main() {}
