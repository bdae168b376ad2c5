//! `#[port(…)]` on a struct.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, LitStr, Path};
use transship_grammar::nearest;

use crate::error::Errors;

/// Where a mapping's text is.
pub(crate) enum Origin {
    File(LitStr),
    Inline(LitStr),
    Shipped(LitStr),
}

/// What a struct's attributes say.
pub(crate) struct Attributes {
    pub(crate) origin: Origin,
    pub(crate) krate: Path,
}

const KEYS: [&str; 4] = ["mapping", "inline", "shipped", "crate"];

impl Attributes {
    pub(crate) fn parse(attributes: &[Attribute], place: Span, errors: &mut Errors) -> Option<Attributes> {
        let mut origins: Vec<Origin> = Vec::new();
        let mut krate: Option<Path> = None;
        for attribute in attributes.iter().filter(|a| a.path().is_ident("port")) {
            let result = attribute.parse_nested_meta(|meta| {
                let key = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
                match key.as_str() {
                    "mapping" => origins.push(Origin::File(meta.value()?.parse()?)),
                    "inline" => origins.push(Origin::Inline(meta.value()?.parse()?)),
                    "shipped" => origins.push(Origin::Shipped(meta.value()?.parse()?)),
                    "crate" if krate.is_some() => return Err(meta.error("`crate` is given twice")),
                    "crate" => krate = Some(parse_path(&meta)?),
                    _ => return Err(unknown_key(&meta, &key)),
                }
                Ok(())
            });
            if let Err(error) = result {
                errors.push(error);
                return None;
            }
        }
        let krate = krate.unwrap_or_else(|| syn::parse_quote!(::transship));
        if origins.len() > 1 {
            errors.at(origins[1].literal().span(), "a port has one mapping, but here is a second");
            return None;
        }
        match origins.pop() {
            Some(origin) => Some(Attributes { origin, krate }),
            None => {
                errors.at(
                    place,
                    "which mapping? Write `#[port(mapping = \"my.mapping\")]`, `#[port(shipped = \"…\")]` or `#[port(inline = \"…\")]`",
                );
                None
            }
        }
    }
}

impl Origin {
    pub(crate) fn literal(&self) -> &LitStr {
        match self {
            Origin::File(literal) | Origin::Inline(literal) | Origin::Shipped(literal) => literal,
        }
    }
}

/// `crate = ::path`, or the path in quotes as serde takes it.
fn parse_path(meta: &ParseNestedMeta<'_>) -> syn::Result<Path> {
    let value = meta.value()?;
    if value.peek(LitStr) { value.parse::<LitStr>()?.parse() } else { value.call(Path::parse_mod_style) }
}

fn unknown_key(meta: &ParseNestedMeta<'_>, key: &str) -> syn::Error {
    match nearest(key, KEYS) {
        Some(near) => meta.error(format!("unknown key `{key}`; did you mean `{near}`?")),
        None => meta.error(format!("unknown key `{key}`; the keys are {}", KEYS.join(", "))),
    }
}
