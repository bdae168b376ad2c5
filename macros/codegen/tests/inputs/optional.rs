//! Parameters that may be absent, alone and with the part they are in.

use transship::{Array, Port};

#[derive(Port)]
#[port(inline = r"
mapping optional : one <=> two
config {
    wide   = wide   <=> n_wide
    narrow = narrow <=> n_narrow
}
module linear(rows, columns) { weight [rows columns]  bias? [rows] }
module conv(rows, columns)   { weight [columns rows]  bias? [rows] }
fc : linear(wide, narrow)  <=>  c_fc : conv(wide, narrow)
norm.scale? [wide]         <=>  norm.gain? [wide]
")]
pub(crate) struct Mapping;

#[derive(Debug, Port)]
pub(crate) struct Conv {
    pub(crate) weight: Array,
    pub(crate) bias: Option<Array>,
}

#[derive(Debug, Port)]
pub(crate) struct Norm {
    pub(crate) gain: Array,
}

#[derive(Debug, Port)]
#[port(inline = r"
mapping optional : one <=> two
config {
    wide   = wide   <=> n_wide
    narrow = narrow <=> n_narrow
}
module linear(rows, columns) { weight [rows columns]  bias? [rows] }
module conv(rows, columns)   { weight [columns rows]  bias? [rows] }
fc : linear(wide, narrow)  <=>  c_fc : conv(wide, narrow)
norm.scale? [wide]         <=>  norm.gain? [wide]
", side = two)]
pub(crate) struct Model {
    pub(crate) c_fc: Conv,
    pub(crate) norm: Option<Norm>,
}
