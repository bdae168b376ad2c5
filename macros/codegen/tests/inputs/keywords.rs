//! Names that Rust keeps for itself, and names that are no identifiers.

use transship::{Array, Port};

#[derive(Port)]
#[port(inline = r"
mapping keywords : one <=> two
config {
    hidden = hidden <=> n_embd
}
type.loop [hidden]  <=>  match.in [hidden]
fn.0      [hidden]  <=>  self.a-b [hidden]
")]
pub(crate) struct Mapping;

#[derive(Debug, Port)]
pub(crate) struct Match {
    pub(crate) r#in: Array,
}

#[derive(Debug, Port)]
#[port(rename_all = "kebab-case")]
pub(crate) struct Own {
    pub(crate) a_b: Array,
}

#[derive(Debug, Port)]
#[port(inline = r"
mapping keywords : one <=> two
config {
    hidden = hidden <=> n_embd
}
type.loop [hidden]  <=>  match.in [hidden]
fn.0      [hidden]  <=>  self.a-b [hidden]
", side = two)]
pub(crate) struct Model {
    pub(crate) r#match: Match,
    #[port("self")]
    pub(crate) own: Own,
}
