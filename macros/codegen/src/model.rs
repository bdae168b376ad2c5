//! What a struct with fields becomes: `impl Model`, which fills it from a side's parameters, and the constants that
//! prove that its parts fit the mapping and each other.

use std::collections::BTreeMap;

use proc_macro2::{Group, Literal, Span, TokenStream, TokenTree};
use quote::quote;
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{DeriveInput, Ident, Path, Type};
use transship_grammar::{SideId, Style, nearest, render_one};

use crate::attributes::{Attributes, Take};
use crate::error::Errors;
use crate::place::{Below, Missing, Spot, find, join, leaves, leaves_of, nearest_name, untaken};
use crate::source::{self, Loaded};
use crate::tree::{Node, given, whole_tree};
use crate::unit::{fingerprint, mapping_cell, tracking};

/// A field of the user's struct.
struct Field<'a> {
    ident: &'a Ident,
    ty: &'a Type,
    /// Where its name is written.
    span: Span,
    take: Takes,
}

enum Takes {
    /// A name with dots; as the runtime reads it where there is a mapping.
    Name(String),
    Flat,
    Nothing,
}

/// A mapping's part that a struct is made like.
struct Scope<'m> {
    loaded: &'m Loaded,
    side: SideId,
    /// What all names begin with, as the runtime reads it.
    pattern: String,
    /// The same for people.
    shown: String,
    fields: Vec<(String, Node)>,
}

/// What each field takes, and what flattened fields have to take between them.
#[derive(Default)]
struct Taken {
    /// Below each field, by its place in the struct: the names that its type has to take, marked where they may be absent.
    below: BTreeMap<usize, Vec<String>>,
    shared: Vec<String>,
}

pub(crate) fn expand(
    input: &DeriveInput,
    fields: &syn::FieldsNamed,
    attributes: &Attributes,
    errors: &mut Errors,
) -> TokenStream {
    if !input.generics.params.is_empty() {
        errors.push(syn::Error::new_spanned(
            &input.generics,
            "a model has no generic parameters: what it holds is checked when it is compiled",
        ));
    }
    let mut list = read_fields(fields, attributes, errors);
    let understood = errors.is_empty();
    let loaded = load(&input.ident, attributes, errors);
    let scope = match &loaded {
        Some(loaded) => scope(&input.ident, attributes, loaded, errors),
        None => None,
    };
    let taken = match &scope {
        // An attribute that was not understood may say what is to be left out.
        Some(scope) => {
            let whole = attributes.partial.is_none() && understood;
            check_fields(&input.ident, &mut list, scope, whole, errors)
        }
        None => {
            // Without a mapping there are no axes to know; a number is a number.
            for field in &mut list {
                if let Takes::Name(name) = &mut field.take {
                    *name = without_axes(name);
                }
            }
            Taken::default()
        }
    };
    if errors.is_empty() {
        let emitter =
            Emitter { name: &input.ident, krate: &attributes.krate, partial: attributes.partial.is_some() };
        emitter.emit(&list, scope.as_ref(), &taken)
    } else {
        stub(input, attributes)
    }
}

/// Implementations that let the rest of the crate be checked when this struct has mistakes.
fn stub(input: &DeriveInput, attributes: &Attributes) -> TokenStream {
    let (name, krate) = (&input.ident, &attributes.krate);
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let root = (attributes.origin.is_some() && attributes.scope.is_none()).then(|| {
        quote! {
            #[automatically_derived]
            impl #generics #krate::port::RootModel for #name #arguments #bounds {
                const SIDE: #krate::grammar::SideId = #krate::grammar::SideId::Left;
                fn mapping() -> &'static #krate::grammar::Mapping { ::core::unreachable!() }
            }
        }
    });
    quote! {
        #[automatically_derived]
        impl #generics #krate::port::Model for #name #arguments #bounds {
            const SHAPE: &'static #krate::port::Shape = &#krate::port::Shape::Unknown;
            fn build(_: &mut #krate::port::Incoming) -> ::core::result::Result<Self, #krate::port::PortError> {
                ::core::unreachable!()
            }
        }
        #[automatically_derived]
        impl #generics #krate::port::SaveModel for #name #arguments #bounds {
            fn collect(&self, _: &mut #krate::port::Outgoing) -> ::core::result::Result<(), #krate::port::PortError> {
                ::core::unreachable!()
            }
        }
        #root
    }
}

fn read_fields<'a>(
    fields: &'a syn::FieldsNamed,
    attributes: &Attributes,
    errors: &mut Errors,
) -> Vec<Field<'a>> {
    let read = |field: &'a syn::Field| {
        let ident = field.ident.as_ref()?;
        let (take, span) = match Take::parse(&field.attrs, errors) {
            Take::Own => {
                let name = ident.unraw().to_string();
                let name = attributes.rename_all.map_or(name.clone(), |case| case.apply(&name));
                (Takes::Name(name), ident.span())
            }
            Take::Named(name) => (Takes::Name(name.value()), name.span()),
            Take::Flatten => (Takes::Flat, ident.span()),
            Take::Nothing => (Takes::Nothing, ident.span()),
        };
        Some(Field { ident, ty: &field.ty, span, take })
    };
    fields.named.iter().filter_map(read).collect()
}

/// The mapping, if the struct names one. One without is a shape that its parents check.
fn load(name: &Ident, attributes: &Attributes, errors: &mut Errors) -> Option<Loaded> {
    let Some(origin) = &attributes.origin else {
        let place = match (&attributes.side, &attributes.scope) {
            (Some(side), _) => side.span,
            (None, Some(scope)) => scope.span(),
            (None, None) => return None,
        };
        errors.at(
            place,
            "of which mapping? Write `mapping = \"my.mapping\"`, `shipped = \"…\"` or `inline = \"…\"` too",
        );
        return None;
    };
    let loaded = source::load(origin, errors)?;
    if attributes.side.is_none() {
        let [left, right] = loaded.mapping.sides.each_ref().map(|s| &s.name);
        errors.at(
            name.span(),
            format!("which side is `{name}` made like? Write `side = {left}` or `side = {right}`"),
        );
        return None;
    }
    Some(loaded)
}

fn scope<'m>(
    name: &Ident,
    attributes: &Attributes,
    loaded: &'m Loaded,
    errors: &mut Errors,
) -> Option<Scope<'m>> {
    let word = attributes.side.as_ref()?;
    let mapping = &loaded.mapping;
    let names = mapping.sides.each_ref().map(|s| s.name.as_str());
    let Some(side) = SideId::BOTH.into_iter().find(|side| names[side.index()] == word.text) else {
        let advice = match nearest(&word.text, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("its sides are `{}` and `{}`", names[0], names[1]),
        };
        errors.at(word.span, format!("the mapping `{}` has no side `{}`; {advice}", mapping.name, word.text));
        return None;
    };
    let fields = match whole_tree(mapping, side) {
        Ok(fields) => fields,
        Err(error) => {
            let text = render_one(&error, &mapping.source, Style::Macro);
            errors.at(name.span(), text.trim_end());
            return None;
        }
    };
    let Some(literal) = &attributes.scope else {
        return Some(Scope { loaded, side, pattern: String::new(), shown: String::new(), fields });
    };
    let path = literal.value();
    match find(&fields, &path, true) {
        Ok(Spot { node: Node::Struct(inner), pattern, shown }) => {
            // Whether there is one at all is for whoever holds the struct to say.
            let (fields, _) = given(inner);
            Some(Scope { loaded, side, pattern, shown, fields })
        }
        Ok(Spot { shown, .. }) => {
            errors.at(literal.span(), format!("`{shown}` is a parameter, not what others begin with"));
            None
        }
        Err(_) => {
            let advice = nearest_name(&fields, &path).map(|near| format!("; did you mean `{near}`?"));
            let side = &mapping.side(side).name;
            let advice = advice.unwrap_or_default();
            errors.at(literal.span(), format!("no parameters of `{side}` begin with `{path}`{advice}"));
            None
        }
    }
}

/// Checks the fields against the mapping, and writes their names as the runtime reads them.
fn check_fields(
    name: &Ident,
    list: &mut [Field<'_>],
    scope: &Scope<'_>,
    whole: bool,
    errors: &mut Errors,
) -> Taken {
    let mut taken = Taken::default();
    let mut takers: BTreeMap<String, String> = BTreeMap::new();
    let mut flattens = false;
    for (i, field) in list.iter_mut().enumerate() {
        flattens |= matches!(field.take, Takes::Flat);
        let Takes::Name(path) = &mut field.take else { continue };
        let spot = match find(&scope.fields, path, false) {
            Ok(spot) => spot,
            Err(missing) => {
                let near = nearest_name(&scope.fields, path);
                errors.at(field.span, unknown(scope, path, &missing, near.as_deref()));
                // Whoever misspells a name does not leave it out as well.
                if let Some(spot) = near.and_then(|near| find(&scope.fields, &near, false).ok()) {
                    let meant = leaves(spot.node).into_iter().map(|leaf| join(&spot.pattern, &leaf.name));
                    takers.extend(meant.map(|leaf| (leaf, field.ident.to_string())));
                }
                continue;
            }
        };
        let below = leaves(spot.node);
        let twice = below.iter().find_map(|leaf| takers.get(&join(&spot.pattern, &leaf.name)));
        if let Some(other) = twice {
            errors.at(field.span, format!("`{}` is what the field `{other}` takes already", spot.shown));
        }
        takers.extend(below.iter().map(|leaf| (join(&spot.pattern, &leaf.name), field.ident.to_string())));
        *path = spot.pattern;
        taken.below.insert(i, below.iter().map(Below::marked).collect());
    }
    if whole && !flattens {
        let left = untaken(&scope.fields, &|leaf| takers.contains_key(leaf));
        let names: Vec<String> =
            left.iter().map(|shown| format!("`{}`", join(&scope.shown, shown))).collect();
        if !names.is_empty() {
            let names = names.join(", ");
            errors.at(
                name.span(),
                format!("no field of `{name}` takes {names}; add the fields, or say `#[port(partial)]`"),
            );
        }
    }
    let left = leaves_of(&scope.fields).into_iter();
    taken.shared = left.filter(|leaf| !takers.contains_key(&leaf.name)).map(|leaf| leaf.marked()).collect();
    taken
}

fn unknown(scope: &Scope<'_>, path: &str, missing: &Missing, near: Option<&str>) -> String {
    if let Missing::BelowNumbers = missing {
        return format!(
            "`{path}` goes on below a number; a field takes the whole list, and its element's struct the rest"
        );
    }
    let side = &scope.loaded.mapping.side(scope.side).name;
    let place = match scope.shown.as_str() {
        "" => format!("`{side}`"),
        shown => format!("`{shown}` of `{side}`"),
    };
    match near {
        Some(near) => format!("{place} has no parameter `{path}`; did you mean `{near}`?"),
        None => {
            let names: Vec<String> = scope.fields.iter().map(|(name, _)| format!("`{name}`")).collect();
            format!("{place} has no parameter `{path}`; it has {}", names.join(", "))
        }
    }
}

/// `h.{layer}` as the runtime reads it.
fn without_axes(name: &str) -> String {
    match name.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) {
        Some((before, (_, after))) => format!("{before}{{}}{after}"),
        None => name.to_owned(),
    }
}

struct Emitter<'a> {
    name: &'a Ident,
    krate: &'a Path,
    partial: bool,
}

impl Emitter<'_> {
    fn emit(&self, fields: &[Field<'_>], scope: Option<&Scope<'_>>, taken: &Taken) -> TokenStream {
        let model = self.model(fields, scope);
        let saving = self.saving(fields);
        let root = scope.filter(|s| s.pattern.is_empty()).map(|s| self.root(s));
        let tracked = scope.map(|s| tracking(s.loaded));
        let checks = scope.map(|_| self.checks(fields, taken));
        quote! {
            const _: () = {
                #tracked
                #model
                #saving
                #root
            };
            #checks
        }
    }

    fn model(&self, fields: &[Field<'_>], scope: Option<&Scope<'_>>) -> TokenStream {
        let (name, krate, partial) = (self.name, self.krate, self.partial);
        let parts = parts(fields).map(|(field, path)| {
            let ty = field.ty;
            quote!(#krate::port::Part { name: #path, shape: <#ty as #krate::port::Model>::SHAPE })
        });
        let values = fields.iter().map(|field| {
            let ident = field.ident;
            // Where the compiler shows that a type holds no parameter.
            let part = Ident::new("part", field.ty.span());
            match &field.take {
                Takes::Name(path) => quote!(#ident: at.#part(#path)?),
                Takes::Flat => quote!(#ident: at.#part("")?),
                Takes::Nothing => quote!(#ident: ::core::default::Default::default()),
            }
        });
        let home = match scope {
            None => quote!(::core::option::Option::None),
            Some(scope) => {
                let hash = Literal::u64_unsuffixed(fingerprint(&scope.loaded.mapping.source));
                let (side, pattern) = (&scope.loaded.mapping.side(scope.side).name, &scope.pattern);
                quote!(::core::option::Option::Some(#krate::port::Home { mapping: #hash, side: #side, scope: #pattern }))
            }
        };
        quote! {
            #[automatically_derived]
            impl #krate::port::Model for #name {
                const SHAPE: &'static #krate::port::Shape =
                    &#krate::port::Shape::Fields { parts: &[#(#parts),*], home: #home, partial: #partial };

                fn build(at: &mut #krate::port::Incoming) -> ::core::result::Result<Self, #krate::port::PortError> {
                    ::core::result::Result::Ok(Self { #(#values),* })
                }
            }
        }
    }

    /// Types that can be loaded but not saved make a model that can be loaded but not saved: bounds that hold for
    /// every lifetime are looked at where they are needed, not where they are written.
    fn saving(&self, fields: &[Field<'_>]) -> TokenStream {
        let (name, krate) = (self.name, self.krate);
        let bounds = parts(fields).map(|(field, _)| {
            let ty = field.ty;
            quote!(for<'port> #ty: #krate::port::SaveModel)
        });
        let calls = parts(fields).map(|(field, path)| {
            let ident = field.ident;
            quote!(at.part(#path, &self.#ident)?;)
        });
        quote! {
            #[automatically_derived]
            impl #krate::port::SaveModel for #name where #(#bounds),* {
                fn collect(
                    &self,
                    at: &mut #krate::port::Outgoing,
                ) -> ::core::result::Result<(), #krate::port::PortError> {
                    #(#calls)*
                    ::core::result::Result::Ok(())
                }
            }
        }
    }

    fn root(&self, scope: &Scope<'_>) -> TokenStream {
        let (name, krate) = (self.name, self.krate);
        let cell = mapping_cell(krate, &scope.loaded.mapping.source);
        let side = match scope.side {
            SideId::Left => quote!(Left),
            SideId::Right => quote!(Right),
        };
        quote! {
            #[automatically_derived]
            impl #krate::port::RootModel for #name {
                const SIDE: #krate::grammar::SideId = #krate::grammar::SideId::#side;

                fn mapping() -> &'static #krate::grammar::Mapping {
                    static MAPPING: #krate::__private::MappingCell = #cell;
                    MAPPING.get()
                }
            }
        }
    }

    /// One constant a field, so that all disagreements show.
    fn checks(&self, fields: &[Field<'_>], taken: &Taken) -> TokenStream {
        let (name, krate) = (self.name, self.krate);
        let mut checks = TokenStream::new();
        let mut flattens = false;
        let kept = fields.iter().enumerate().filter(|(_, f)| !matches!(f.take, Takes::Nothing));
        for (part, (i, field)) in kept.enumerate() {
            let what = format!("`{}` of `{name}`", field.ident.unraw());
            let (check, below) = match taken.below.get(&i) {
                Some(below) => (quote!(check_part), below),
                None => (quote!(check_flattened), &taken.shared),
            };
            flattens |= !taken.below.contains_key(&i);
            let check = quote! {
                const _: () = #krate::port::#check(<#name as #krate::port::Model>::SHAPE, #part, #what, &[#(#below),*]);
            };
            checks.extend(placed(check, field.ty.span()));
        }
        if flattens && !self.partial {
            let (names, what) = (&taken.shared, name.unraw().to_string());
            let check = quote! {
                const _: () = #krate::port::check_shared(<#name as #krate::port::Model>::SHAPE, #what, &[#(#names),*]);
            };
            checks.extend(placed(check, name.span()));
        }
        checks
    }
}

/// Code whose errors are shown at one place of the user's. All of its tokens have to be there, or the compiler shows
/// the derive.
fn placed(code: TokenStream, span: Span) -> TokenStream {
    let place = |mut token: TokenTree| {
        if let TokenTree::Group(group) = &token {
            token = Group::new(group.delimiter(), placed(group.stream(), span)).into();
        }
        token.set_span(span);
        token
    };
    code.into_iter().map(place).collect()
}

/// Fields that take something, with their names as the runtime reads them.
fn parts<'f, 'a>(fields: &'f [Field<'a>]) -> impl Iterator<Item = (&'f Field<'a>, &'f str)> {
    fields.iter().filter_map(|field| match &field.take {
        Takes::Name(path) => Some((field, path.as_str())),
        Takes::Flat => Some((field, "")),
        Takes::Nothing => None,
    })
}
