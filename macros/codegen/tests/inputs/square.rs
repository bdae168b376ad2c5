//! Square matrices, whose transpose no shape shows.

use transship::{Array, Port};

#[derive(Port)]
#[port(inline = r"
mapping square : one <=> two
config {
    hidden = hidden <=> n_embd
}
module linear(out, in) { weight [out in]  bias [out] }
module conv1d(out, in) { weight [in out]  bias [out] }
proj : linear(hidden, hidden)  <=>  c_proj : conv1d(hidden, hidden)
")]
pub struct Mapping;

#[derive(Debug, Port)]
pub struct Conv1d {
    pub weight: Array,
    pub bias: Array,
}

#[derive(Debug, Port)]
#[port(inline = r"
mapping square : one <=> two
config {
    hidden = hidden <=> n_embd
}
module linear(out, in) { weight [out in]  bias [out] }
module conv1d(out, in) { weight [in out]  bias [out] }
proj : linear(hidden, hidden)  <=>  c_proj : conv1d(hidden, hidden)
", side = two)]
pub struct Model {
    pub c_proj: Conv1d,
}
