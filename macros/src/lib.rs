//! The derive macro of transship. All it does is in `transship-codegen`.

#![forbid(unsafe_code)]

use proc_macro::TokenStream;

/// Turns a mapping into Rust types, or fills a model of one's own from a mapping's parameters.
///
/// On a unit struct it generates a module of the struct's name in snake case, with the mapping's `Config` and the
/// parameter trees of both sides, and implements `Port`:
///
/// ```ignore
/// #[derive(Port)]
/// #[port(mapping = "megatron_gpt2.mapping")]
/// pub struct MegatronGpt2;
/// ```
///
/// # Attributes
///
/// - `mapping = "path"`: the mapping file, relative to the directory of the crate's `Cargo.toml`; an absolute path is
///   taken as it is, such as one under `OUT_DIR`. An edit of the file leads to a rebuild.
/// - `inline = "text"`: the mapping itself.
/// - `shipped = "name"`: a mapping that ships with transship.
/// - `crate = path`: where transship is found, if not at `::transship`.
#[proc_macro_derive(Port, attributes(port))]
pub fn derive_port(input: TokenStream) -> TokenStream {
    transship_codegen::derive_port(input.into()).into()
}
