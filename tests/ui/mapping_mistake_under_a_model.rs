use transship::port::RootModel;
use transship::{Array, BindOptions, Checkpoint, Port};

#[derive(Port)]
#[port(inline = r#"
mapping m : a <=> b
x.weight [hh]  <=>  y.weight [h]
"#, side = b)]
struct Model {
    y: Array,
}

fn main() {
    // What is said of the mapping is all there is to say.
    let checkpoint = Checkpoint::open("x.pt".as_ref()).unwrap();
    let _ = Model::load(&checkpoint, &BindOptions::default());
}
