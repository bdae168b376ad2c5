//! A layout that a config value chooses.

use transship::{Array, Port};

#[derive(Port)]
#[port(inline = r"
mapping choice : one <=> two
config {
    heads    = heads    <=> n_head
    head_dim = head_dim <=> d_head
    version  = version               else 0
}
layout qkv = match version {
    0   => ((q | k | v) heads head_dim)
    1.. => (heads (q | k | v) head_dim)
}
attention.qkv [qkv]  <=>  attn.c_attn [((q | k | v) heads head_dim)]
")]
pub(crate) struct Mapping;

#[derive(Debug, Port)]
pub(crate) struct Attention {
    pub(crate) c_attn: Array,
}

#[derive(Debug, Port)]
#[port(inline = r"
mapping choice : one <=> two
config {
    heads    = heads    <=> n_head
    head_dim = head_dim <=> d_head
    version  = version               else 0
}
layout qkv = match version {
    0   => ((q | k | v) heads head_dim)
    1.. => (heads (q | k | v) head_dim)
}
attention.qkv [qkv]  <=>  attn.c_attn [((q | k | v) heads head_dim)]
", side = two)]
pub(crate) struct Model {
    pub(crate) attn: Attention,
}
