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
pub(crate) struct Mapping;

#[derive(Debug, Port)]
pub(crate) struct Conv1d {
    pub(crate) weight: Array,
    pub(crate) bias: Array,
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
pub(crate) struct Model {
    pub(crate) c_proj: Conv1d,
}
