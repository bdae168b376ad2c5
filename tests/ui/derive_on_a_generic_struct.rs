use transship::Port;

#[derive(Port)]
struct Norm<T> {
    weight: T,
    bias: T,
}

fn main() {}
