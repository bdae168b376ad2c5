use std::error::Error;

use transship::Port;
use transship::grammar::SideId;
use transship::port::{FromParameter, RootModel, StoredParameter};
use transship::{ConvertOptions, output};

struct Bytes(Vec<u8>);

impl FromParameter for Bytes {
    fn from_parameter(parameter: StoredParameter<'_>) -> Result<Bytes, Box<dyn Error + Send + Sync>> {
        Ok(Bytes(parameter.array().bytes()?.into_owned()))
    }
}

#[derive(Port)]
#[port(inline = r#"
mapping tiny : one <=> two
config { vocab = vocab <=> n_vocab  hidden = hidden <=> n_embd  layers = layers <=> n_layer }
module norm(dim) { weight [dim]  bias [dim] }
embed.weight [vocab hidden]  <=>  model.wte.weight [vocab hidden]
layers.{layer}  <=>  model.h.{layer} {
    input : norm(hidden)  <=>  ln_1 : norm(hidden)
    dense.weight [out:hidden in:hidden]  <=>  proj.weight [in:hidden out:hidden]
}
last : norm(hidden)  <=>  model.ln_f : norm(hidden)
"#, side = two, partial)]
struct Model {
    #[port("model.wte.weight")]
    tokens: Bytes,
}

fn save(model: &Model) {
    let (options, writing) = (ConvertOptions::default(), output::Options::default());
    let _ = model.save(SideId::Right, "out".as_ref(), &options, &writing);
}

fn main() {}
