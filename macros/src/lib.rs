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
/// On a struct with fields it fills the fields from the parameters of one side, and implements `RootModel`, whose `load`
/// reads a checkpoint of either side:
///
/// ```ignore
/// #[derive(Port)]
/// #[port(mapping = "megatron_gpt2.mapping", side = gpt2)]
/// struct Gpt2 {
///     #[port("transformer.wte.weight")]
///     tokens: Tensor,
///     #[port("transformer.h.{layer}")]
///     blocks: Vec<Block>,
///     #[port(flatten)]
///     head: Head,
///     #[port(skip)]
///     cache: Cache,
/// }
///
/// #[derive(Port)]
/// #[port(mapping = "megatron_gpt2.mapping", side = gpt2, scope = "transformer.h.{layer}")]
/// struct Block {
///     ln_1: Norm,
///     // …
/// }
///
/// #[derive(Port)]
/// struct Norm {
///     weight: Tensor,
///     bias: Tensor,
/// }
/// ```
///
/// A field is of a type that implements `FromParameter`, or of a struct with `#[derive(Port)]`, or a `Vec` or an
/// `Option` of either. An unknown name is an error at the field; a parameter that no field takes is one at the struct;
/// structs that disagree with those that hold them are errors of constants, which `cargo check` shows.
///
/// # Attributes of a struct
///
/// - `mapping = "path"`: the mapping file, relative to the directory of the crate's `Cargo.toml`; one that a build
///   script wrote is `"$OUT_DIR/name.mapping"`. An edit of the file leads to a rebuild.
/// - `inline = "text"`: the mapping itself.
/// - `shipped = "name"`: a mapping that ships with transship.
/// - `crate = path`: where transship is found, if not at `::transship`.
///
/// On a unit struct only:
///
/// - `model`: the mapping's `model` blocks too, as models over candle in a module `model` beside the `Config` (or
///   `NAME_model` each, where there are several): a struct for each group of parameters, `load` from either side's
///   checkpoint, `forward` with cached keys and values. Needs transship's feature `candle`.
///
/// With fields only:
///
/// - `side = name`: the side whose names the fields stand for. A struct with fields and no mapping is a shape that is
///   checked by the structs that hold it, and can be in many places.
/// - `scope = "name"`: what the names of all fields begin with, such as `transformer.h.{layer}`. Without it the struct
///   is the whole side.
/// - `rename_all = "kebab-case"`: how field names are written in parameter names, as serde calls the cases.
/// - `partial`: parameters may be left out.
///
/// # Attributes of a field
///
/// - `#[port("name")]`: the parameter, or what the names of several begin with, below the struct's scope; `{layer}` at
///   the end is where a list has its numbers. Without it the field's own name is taken.
/// - `#[port(flatten)]`: a struct whose fields have names at the same level.
/// - `#[port(skip)]`: no parameter; `Default` makes the value.
#[proc_macro_derive(Port, attributes(port))]
pub fn derive_port(input: TokenStream) -> TokenStream {
    transship_codegen::derive_port(input.into()).into()
}
