//! `#[port(…)]` on a struct and on its fields.

use proc_macro2::Span;
use syn::ext::IdentExt as _;
use syn::meta::ParseNestedMeta;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Ident, LitStr, Meta, Path, Token};
use transship_grammar::nearest;

use crate::error::Errors;
use crate::names::Case;

/// Where a mapping's text is.
pub(crate) enum Origin {
    File(LitStr),
    Inline(LitStr),
    Shipped(LitStr),
}

/// What a struct's attributes say.
pub(crate) struct Attributes {
    pub(crate) origin: Option<Origin>,
    pub(crate) krate: Path,
    pub(crate) side: Option<Word>,
    pub(crate) scope: Option<LitStr>,
    pub(crate) rename_all: Option<Case>,
    /// Where `partial` is.
    pub(crate) partial: Option<Span>,
    /// Where `model` is.
    pub(crate) model: Option<Span>,
    /// The first key that has a meaning for structs with fields alone.
    pub(crate) of_models: Option<Word>,
}

/// A word with its place.
#[derive(Clone)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) span: Span,
}

/// What a field takes.
pub(crate) enum Take {
    /// The parameter or part of its own name.
    Own,
    Named(LitStr),
    /// Names at the level of the struct itself.
    Flatten,
    Nothing,
}

const KEYS: [&str; 9] =
    ["mapping", "inline", "shipped", "crate", "model", "side", "scope", "rename_all", "partial"];
const FIELD_KEYS: [&str; 2] = ["flatten", "skip"];

impl Attributes {
    /// Mistakes are added to `errors`; what could be read is returned.
    pub(crate) fn parse(attributes: &[Attribute], errors: &mut Errors) -> Attributes {
        let mut all = Attributes {
            origin: None,
            krate: syn::parse_quote!(::transship),
            side: None,
            scope: None,
            rename_all: None,
            partial: None,
            model: None,
            of_models: None,
        };
        let mut seen: Vec<String> = Vec::new();
        for attribute in attributes.iter().filter(|a| a.path().is_ident("port")) {
            let result = attribute.parse_nested_meta(|meta| {
                let key = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
                if seen.contains(&key) {
                    return Err(meta.error(format!("`{key}` is given twice")));
                }
                all.read(&meta, &key)?;
                seen.push(key);
                Ok(())
            });
            if let Err(error) = result {
                errors.push(error);
            }
        }
        all
    }

    fn read(&mut self, meta: &ParseNestedMeta<'_>, key: &str) -> syn::Result<()> {
        match key {
            "mapping" => self.set_origin(meta, Origin::File)?,
            "inline" => self.set_origin(meta, Origin::Inline)?,
            "shipped" => self.set_origin(meta, Origin::Shipped)?,
            "crate" => self.krate = parse_path(meta)?,
            "model" => self.model = Some(span_of(meta)),
            "side" => self.side = Some(parse_word(meta)?),
            "scope" => self.scope = Some(meta.value()?.parse()?),
            "rename_all" => self.rename_all = Some(parse_case(meta)?),
            "partial" => self.partial = Some(span_of(meta)),
            _ => return Err(unknown_key(meta, key, &KEYS)),
        }
        if matches!(key, "side" | "scope" | "rename_all" | "partial") && self.of_models.is_none() {
            self.of_models = Some(Word { text: key.to_owned(), span: span_of(meta) });
        }
        Ok(())
    }

    fn set_origin(&mut self, meta: &ParseNestedMeta<'_>, origin: fn(LitStr) -> Origin) -> syn::Result<()> {
        let literal: LitStr = meta.value()?.parse()?;
        if self.origin.is_some() {
            return Err(syn::Error::new(literal.span(), "a port has one mapping, but here is a second"));
        }
        self.origin = Some(origin(literal));
        Ok(())
    }
}

impl Take {
    pub(crate) fn parse(attributes: &[Attribute], errors: &mut Errors) -> Take {
        let mut take = Take::Own;
        for attribute in attributes.iter().filter(|a| a.path().is_ident("port")) {
            let parsed = match &attribute.meta {
                Meta::List(list) => list.parse_args::<Take>(),
                other => Err(syn::Error::new_spanned(other, FIELD_FORMS)),
            };
            match parsed {
                Ok(parsed) if matches!(take, Take::Own) => take = parsed,
                Ok(_) => errors.push(syn::Error::new_spanned(attribute, "a field has one `#[port(…)]`")),
                Err(error) => errors.push(error),
            }
        }
        take
    }
}

const FIELD_FORMS: &str = "on a field, write `#[port(\"name\")]`, `#[port(flatten)]` or `#[port(skip)]`";

impl Parse for Take {
    fn parse(input: ParseStream<'_>) -> syn::Result<Take> {
        let take = if input.peek(LitStr) {
            let name: LitStr = input.parse()?;
            if name.value().is_empty() {
                return Err(syn::Error::new(
                    name.span(),
                    "a parameter has a name; to take names of the same level, write `flatten`",
                ));
            }
            Take::Named(name)
        } else if input.peek(Ident::peek_any) {
            let key = input.call(Ident::parse_any)?;
            match key.to_string().as_str() {
                "flatten" => Take::Flatten,
                "skip" => Take::Nothing,
                other => {
                    let advice = match nearest(other, FIELD_KEYS) {
                        Some(near) => format!("unknown key `{other}`; did you mean `{near}`?"),
                        None => format!("unknown key `{other}`; {FIELD_FORMS}"),
                    };
                    return Err(syn::Error::new(key.span(), advice));
                }
            }
        } else {
            return Err(input.error(FIELD_FORMS));
        };
        if input.is_empty() {
            return Ok(take);
        }
        input.parse::<Token![,]>()?;
        if input.is_empty() { Ok(take) } else { Err(input.error("one thing a field")) }
    }
}

impl Origin {
    pub(crate) fn literal(&self) -> &LitStr {
        match self {
            Origin::File(literal) | Origin::Inline(literal) | Origin::Shipped(literal) => literal,
        }
    }
}

fn span_of(meta: &ParseNestedMeta<'_>) -> Span {
    meta.path.get_ident().map_or_else(Span::call_site, Ident::span)
}

/// `crate = ::path`, or the path in quotes as serde takes it.
fn parse_path(meta: &ParseNestedMeta<'_>) -> syn::Result<Path> {
    let value = meta.value()?;
    if !value.peek(LitStr) {
        return value.call(Path::parse_mod_style);
    }
    let literal: LitStr = value.parse()?;
    let wrong =
        |_| syn::Error::new(literal.span(), "not a path; write one such as `crate = my_crate::transship`");
    literal.parse_with(Path::parse_mod_style).map_err(wrong)
}

/// A name bare or in quotes.
fn parse_word(meta: &ParseNestedMeta<'_>) -> syn::Result<Word> {
    let value = meta.value()?;
    if value.peek(LitStr) {
        let literal: LitStr = value.parse()?;
        return Ok(Word { text: literal.value(), span: literal.span() });
    }
    let ident = value.call(Ident::parse_any)?;
    Ok(Word { text: ident.to_string(), span: ident.span() })
}

fn parse_case(meta: &ParseNestedMeta<'_>) -> syn::Result<Case> {
    let literal: LitStr = meta.value()?.parse()?;
    Case::ALL.into_iter().find(|(name, _)| *name == literal.value()).map(|(_, case)| case).ok_or_else(|| {
        let names: Vec<&str> = Case::ALL.iter().map(|(name, _)| *name).collect();
        syn::Error::new(literal.span(), format!("names can be written in {}", names.join(", ")))
    })
}

fn unknown_key(meta: &ParseNestedMeta<'_>, key: &str, keys: &[&str]) -> syn::Error {
    match nearest(key, keys.iter().copied()) {
        Some(near) => meta.error(format!("unknown key `{key}`; did you mean `{near}`?")),
        None => meta.error(format!("unknown key `{key}`; the keys are {}", keys.join(", "))),
    }
}
