use transship::Port;

#[derive(Port)]
enum Model {
    One,
}

fn main() {}
