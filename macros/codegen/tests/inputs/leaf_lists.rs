//! Lists of bare parameters.

use transship::{Array, Port};

#[derive(Port)]
#[port(inline = r"
mapping leaf_lists : one <=> two
config {
    hidden  = hidden  <=> n_embd
    experts = experts <=> n_expert
}
moe.experts.{expert} [out:hidden in:hidden]  <=>  experts [expert out:hidden in:hidden]
")]
pub(crate) struct Mapping;

#[derive(Debug, Port)]
#[port(inline = r"
mapping leaf_lists : one <=> two
config {
    hidden  = hidden  <=> n_embd
    experts = experts <=> n_expert
}
moe.experts.{expert} [out:hidden in:hidden]  <=>  experts [expert out:hidden in:hidden]
", side = one)]
pub(crate) struct Model {
    #[port("moe.experts.{expert}")]
    pub(crate) experts: Vec<Array>,
}
