//! Code generation of transship: from a checked mapping to Rust tokens. Knows no `proc_macro`, so that it can be
//! tested and used like any library.

#![forbid(unsafe_code)]

mod attributes;
mod candle;
mod config;
mod error;
mod model;
mod names;
mod place;
mod source;
mod tree;
mod unit;

use proc_macro2::TokenStream;
use syn::{Data, DeriveInput, Fields};

use attributes::Attributes;
use error::Errors;

/// What `#[derive(Port)]` expands to. Mistakes come out as `compile_error!`, one each.
#[must_use]
pub fn derive_port(input: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let tokens = expand(input, &mut errors);
    errors.into_tokens(tokens.as_ref())
}

fn expand(input: TokenStream, errors: &mut Errors) -> Option<TokenStream> {
    let input: DeriveInput = match syn::parse2(input) {
        Ok(input) => input,
        Err(error) => {
            errors.push(error);
            return None;
        }
    };
    let attributes = Attributes::parse(&input.attrs, errors);
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Unit => expand_unit(&input, &attributes, errors),
            Fields::Named(fields) => {
                if let Some(span) = attributes.model {
                    errors.at(span, "`model` is for unit structs; fields are a model already");
                }
                Some(model::expand(&input, fields, &attributes, errors))
            }
            Fields::Unnamed(fields) => {
                errors.push(syn::Error::new_spanned(
                    fields,
                    "fields need names, which stand for those of parameters; a type that holds one parameter implements `FromParameter`",
                ));
                None
            }
        },
        Data::Enum(_) | Data::Union(_) => {
            errors.at(
                input.ident.span(),
                "`Port` is derived for unit structs, such as `pub struct MegatronGpt2;`, and for structs with fields",
            );
            None
        }
    }
}

fn expand_unit(input: &DeriveInput, attributes: &Attributes, errors: &mut Errors) -> Option<TokenStream> {
    if let Some(key) = &attributes.of_models {
        errors.at(
            key.span,
            format!("`{}` is for structs with fields; a unit struct is the whole mapping", key.text),
        );
    }
    let Some(origin) = &attributes.origin else {
        if errors.is_empty() {
            errors.at(
                input.ident.span(),
                "which mapping? Write `#[port(mapping = \"my.mapping\")]`, `#[port(shipped = \"…\")]` or `#[port(inline = \"…\")]`",
            );
        }
        return None;
    };
    let mapping = source::load(origin, errors)?;
    if let Some(span) = attributes.model
        && mapping.mapping.models.is_empty()
    {
        errors.at(
            span,
            format!(
                "the mapping `{}` has no `model` block to generate code from; write one, or leave `model` out",
                mapping.mapping.name
            ),
        );
    }
    let models = attributes.model.is_some();
    if !errors.is_empty() {
        return None;
    }
    match unit::emit(&input.vis, &input.ident, &attributes.krate, &mapping, models) {
        Ok((tokens, unsupported)) => {
            errors.diagnostics(origin.literal().span(), &unsupported);
            Some(tokens)
        }
        Err(not_derivable) => {
            errors.diagnostics(origin.literal().span(), &not_derivable);
            None
        }
    }
}

/// What a struct for the mapping called `mapping` is called by custom: `MegatronGpt2` for `megatron_gpt2`.
#[must_use]
pub fn type_name(mapping: &str) -> String {
    names::pascal(mapping)
}

/// The code that `#[derive(Port)]` on a unit struct called `name` generates for a mapping, formatted; that of its models
/// too, as with the key `model`. Models that no code can be generated for are left out, and told in warnings.
///
/// # Errors
/// The mistakes of the mapping, or names in it that no code can be generated for.
pub fn expand_mapping(
    source: &transship_grammar::Source,
    name: &str,
) -> Result<(String, transship_grammar::Diagnostics), transship_grammar::Diagnostics> {
    let (mapping, _) = transship_grammar::check(source)?;
    let mapping = source::Loaded { mapping, tracked: Vec::new() };
    let ident = names::ident(name);
    let krate = syn::parse_quote!(::transship);
    let (tokens, unsupported) = unit::emit(&syn::parse_quote!(pub), &ident, &krate, &mapping, true)?;
    let code = match syn::parse2(tokens.clone()) {
        Ok(file) => prettyplease::unparse(&file),
        // Tokens that are no file would be a bug of ours; what they are still helps.
        Err(_) => tokens.to_string(),
    };
    let mut warnings = transship_grammar::Diagnostics::new(&mapping.mapping.source);
    for told in unsupported.list() {
        let mut warning = told.clone();
        warning.severity = transship_grammar::Severity::Warning;
        warning.help = vec!["the model is left out; the rest of the mapping is there".to_owned()];
        warnings.push(warning);
    }
    let module = names::snake(name);
    let head = format!(
        "// What `#[derive(Port)]` on `pub struct {name};` generates for the mapping `{}`. The module is called after the\n\
         // struct: here `{module}`.\n\n",
        mapping.mapping.name
    );
    Ok((head + &code, warnings))
}

/// Names of a mapping that no code can be generated for, as warnings: a conversion does not need any.
pub fn not_derivable(mapping: &transship_grammar::Mapping) -> transship_grammar::Diagnostics {
    let mut warnings = transship_grammar::Diagnostics::new(&mapping.source);
    for error in unit::side_trees(mapping).err().iter().flat_map(transship_grammar::Diagnostics::list) {
        let severity = transship_grammar::Severity::Warning;
        warnings.push(transship_grammar::Diagnostic { severity, ..error.clone() });
    }
    warnings
}
