//! What a unit struct becomes: a module with the config and the trees of both sides, and `impl Port`.

use std::collections::BTreeSet;

use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote};
use syn::{Ident, Path, Visibility};

use transship_grammar::{Diagnostics, Imported, Mapping, SideId, Source, Target};

use crate::candle::emit_models;
use crate::config::emit_config;
use crate::names::{ident, pascal, snake};
use crate::source::Loaded;
use crate::tree::{Leaf, List, Node, SideTree, given, side_tree};

/// With what of the mapping's models no code can be generated for, where they are asked for.
///
/// # Errors
/// Names that no code can be generated for.
pub(crate) fn emit(
    visibility: &Visibility,
    name: &Ident,
    krate: &Path,
    loaded: &Loaded,
    models: bool,
) -> Result<(TokenStream, Diagnostics), Diagnostics> {
    let mapping = &loaded.mapping;
    let none = || Diagnostics::new(&mapping.source);
    let trees = side_trees(mapping)?;
    let module = ident(&snake(&name.to_string()));
    let inner = inner_visibility(visibility);
    let config = emit_config(mapping, name, krate, &inner);
    let mut structs = Structs::new(mapping, krate, &inner);
    let roots = SideId::BOTH.map(|side| structs.root(side, &trees[side.index()]));
    let roots_impl =
        SideId::BOTH.map(|side| root_impl(name, krate, side, &roots[side.index()], &trees[side.index()]));
    let constants = SideId::BOTH.map(|side| parameters(mapping, krate, &inner, side, &trees[side.index()]));
    let structs = structs.tokens;
    let docs =
        format!("The types of the mapping `{}`: its config, and the parameters of both sides.", mapping.name);
    let port = port_impl(name, krate, &module, &roots, loaded);
    let (models, unsupported) =
        if models { emit_models(mapping, krate, &inner) } else { (TokenStream::new(), none()) };
    let tokens = quote! {
        #[doc = #docs]
        #visibility mod #module {
            #config
            #structs
            #(#roots_impl)*
            #(#constants)*
            #models
        }

        #port
    };
    Ok((tokens, unsupported))
}

/// The trees of both sides.
///
/// # Errors
/// Names that are no tree.
pub(crate) fn side_trees(mapping: &Mapping) -> Result<[SideTree; 2], Diagnostics> {
    match SideId::BOTH.map(|side| side_tree(mapping, side)) {
        [Ok(left), Ok(right)] => Ok([left, right]),
        [left, right] => {
            let mut errors = Diagnostics::new(&mapping.source);
            left.err().into_iter().chain(right.err()).for_each(|error| errors.push(*error));
            Err(errors)
        }
    }
}

fn port_impl(name: &Ident, krate: &Path, module: &Ident, roots: &[Ident; 2], loaded: &Loaded) -> TokenStream {
    let mapping = &loaded.mapping;
    let mapping_name = &mapping.name;
    let [left, right] = mapping.sides.each_ref().map(|s| &s.name);
    let [left_root, right_root] = roots;
    let hash = Literal::u64_suffixed(fingerprint(&mapping.source));
    let cell = mapping_cell(krate, &mapping.source);
    let tracked = tracking(loaded);
    quote! {
        const _: () = {
            #tracked

            impl #krate::port::Port for #name {
                type Config = #module::Config;
                type Left<T> = #module::#left_root<T>;
                type Right<T> = #module::#right_root<T>;

                const NAME: &'static str = #mapping_name;
                const SIDES: [&'static str; 2] = [#left, #right];
                const HASH: u64 = #hash;

                fn mapping() -> &'static #krate::grammar::Mapping {
                    static MAPPING: #krate::__private::MappingCell = #cell;
                    MAPPING.get()
                }
            }
        };
    }
}

fn root_impl(name: &Ident, krate: &Path, side: SideId, root: &Ident, tree: &SideTree) -> TokenStream {
    let prefix = &tree.prefix;
    let side = match side {
        SideId::Left => quote!(Left),
        SideId::Right => quote!(Right),
    };
    quote! {
        impl<T> #krate::port::SideTree<T> for #root<T> {
            type Port = super::#name;
            const SIDE: #krate::grammar::SideId = #krate::grammar::SideId::#side;
            const PREFIX: &'static str = #prefix;
        }
    }
}

/// Names and layouts of a side, known without a config.
fn parameters(
    mapping: &Mapping,
    krate: &Path,
    visibility: &Visibility,
    side: SideId,
    tree: &SideTree,
) -> TokenStream {
    let side_name = &mapping.side(side).name;
    let name = format_ident!("{}_PARAMETERS", ident(&side_name.to_ascii_uppercase()));
    let docs = format!("Names and layouts of the parameters of `{side_name}`, indices in braces.");
    let mut leaves = Vec::new();
    collect(&tree.root, &mut leaves);
    let entries = leaves.iter().map(|leaf| {
        let (name, layout) = (&leaf.name, leaf.layout.as_deref().unwrap_or(""));
        quote!(#krate::port::Parameter { name: #name, layout: #layout })
    });
    quote! {
        #[doc = #docs]
        #visibility const #name: &[#krate::port::Parameter] = &[#(#entries),*];
    }
}

fn collect<'t>(fields: &'t [(String, Node)], leaves: &mut Vec<&'t Leaf>) {
    for (_, node) in fields {
        match node {
            Node::Leaf(leaf) => leaves.push(leaf),
            Node::Struct(inner) => collect(inner, leaves),
            Node::List(list) => match &*list.element {
                Node::Leaf(leaf) => leaves.push(leaf),
                Node::Struct(inner) => collect(inner, leaves),
                Node::List(_) => {}
            },
        }
    }
}

/// What is as visible from inside a module as `visibility` is beside it.
fn inner_visibility(visibility: &Visibility) -> Visibility {
    match visibility {
        Visibility::Public(_) => visibility.clone(),
        Visibility::Inherited => syn::parse_quote!(pub(super)),
        Visibility::Restricted(restricted) => {
            let path = &restricted.path;
            match path.segments.first().map(|segment| segment.ident.to_string()).as_deref() {
                Some("self") => syn::parse_quote!(pub(super)),
                Some("super") => syn::parse_quote!(pub(in super::#path)),
                _ => visibility.clone(),
            }
        }
    }
}

/// What makes an edit of the mapping, or of a file that it imports, lead to a rebuild.
pub(crate) fn tracking(loaded: &Loaded) -> TokenStream {
    let paths = loaded.tracked.iter().map(|path| path.display().to_string());
    quote!(#(const _: &[u8] = ::core::include_bytes!(#paths);)*)
}

/// The mapping as the generated code holds it: its text and those it imports.
pub(crate) fn mapping_cell(krate: &Path, source: &Source) -> TokenStream {
    let (file, text) = (source.name(), source.text());
    let imported = source.imported().map(|Imported { from, target, name, text }| {
        let target = match target {
            Target::Library(library) => quote!(Library(#library)),
            Target::Path(path) => quote!(Path(#path)),
        };
        quote!(#krate::grammar::Imported {
            from: #from, target: #krate::grammar::Target::#target, name: #name, text: #text
        })
    });
    quote!(#krate::__private::MappingCell::new(#file, #text, &[#(#imported),*]))
}

/// FNV-1a of 64 bits, of the mapping's text and then of those that it imports.
pub(crate) fn fingerprint(source: &Source) -> u64 {
    let texts = std::iter::once(source.text()).chain(source.imported().map(|i| i.text));
    texts
        .flat_map(str::bytes)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The structs of a mapping. Those of leaves alone, such as `weight` and `bias`, are shared.
struct Structs<'m> {
    mapping: &'m Mapping,
    krate: &'m Path,
    visibility: &'m Visibility,
    used: BTreeSet<String>,
    shared: Vec<(Vec<(String, bool)>, Ident)>,
    tokens: TokenStream,
}

impl<'m> Structs<'m> {
    fn new(mapping: &'m Mapping, krate: &'m Path, visibility: &'m Visibility) -> Structs<'m> {
        let used = BTreeSet::from(["Config".to_owned()]);
        Structs { mapping, krate, visibility, used, shared: Vec::new(), tokens: TokenStream::new() }
    }

    fn fresh(&mut self, wanted: &str) -> Ident {
        let mut name = wanted.to_owned();
        while !self.used.insert(name.clone()) {
            name.push('_');
        }
        ident(&name)
    }

    fn root(&mut self, side: SideId, tree: &SideTree) -> Ident {
        let side_name = &self.mapping.side(side).name;
        let name = self.fresh(&pascal(side_name));
        let docs = match tree.prefix.as_str() {
            "" => format!("The parameters of `{side_name}`."),
            prefix => format!("The parameters of `{side_name}`, whose names all begin with `{prefix}`."),
        };
        self.emit(&name, &docs, &tree.root);
        name
    }

    fn nested(&mut self, parent: &Ident, field: &str, fields: &[(String, Node)]) -> Ident {
        let leaves: Option<Vec<(String, bool)>> = fields
            .iter()
            .map(|(name, node)| match node {
                Node::Leaf(leaf) => Some((name.clone(), leaf.may_be_absent())),
                _ => None,
            })
            .collect();
        let Some(leaves) = leaves else {
            let name = self.fresh(&format!("{parent}{}", pascal(field)));
            self.emit(&name, &format!("What lies below `{field}`."), fields);
            return name;
        };
        if let Some((_, name)) = self.shared.iter().find(|(l, _)| *l == leaves) {
            return name.clone();
        }
        let joined: String = leaves.iter().map(|(name, _)| pascal(name)).collect();
        let name = self.fresh(&joined);
        let names: Vec<String> = leaves.iter().map(|(name, _)| format!("`{name}`")).collect();
        self.shared.push((leaves, name.clone()));
        self.emit(&name, &format!("A module with {}.", names.join(" and ")), fields);
        name
    }

    fn emit(&mut self, name: &Ident, docs: &str, fields: &[(String, Node)]) {
        let (krate, visibility) = (self.krate, self.visibility);
        let shared = self.shared.iter().any(|(_, n)| n == name);
        let mut declared = TokenStream::new();
        let mut built = TokenStream::new();
        let mut walked = TokenStream::new();
        for (field, node) in fields {
            let id = ident(field);
            let dotted = format!("{field}.");
            let docs = if shared { format!("The parameter `{field}`.") } else { self.docs(node) };
            let (ty, build, walk) = match node {
                Node::Leaf(leaf) if !leaf.may_be_absent() => {
                    (quote!(T), quote!(at.leaf(#field)?), quote!(at.leaf(#field, &self.#id);))
                }
                Node::Leaf(_) => (
                    quote!(::core::option::Option<T>),
                    quote!(at.optional(#field)),
                    quote!(at.optional(#field, &self.#id);),
                ),
                Node::Struct(inner) => {
                    let (inner, absent) = given(inner);
                    let child = self.nested(name, field, &inner);
                    if absent {
                        (
                            quote!(::core::option::Option<#child<T>>),
                            quote!(at.optional_child(#dotted)?),
                            quote!(at.optional_child(#dotted, &self.#id);),
                        )
                    } else {
                        (quote!(#child<T>), quote!(at.child(#dotted)?), quote!(at.child(#dotted, &self.#id);))
                    }
                }
                Node::List(list) => self.list(name, field, list),
            };
            declared.extend(quote!(#[doc = #docs] pub #id: #ty,));
            built.extend(quote!(#id: #build,));
            walked.extend(walk);
        }
        self.tokens.extend(quote! {
            #[doc = #docs]
            #[derive(Clone, Debug, Default, PartialEq)]
            #visibility struct #name<T> { #declared }

            impl<T> #krate::port::Tree<T> for #name<T> {
                fn build(
                    at: &mut #krate::port::Leaves<T>,
                ) -> ::core::result::Result<Self, #krate::port::TreeError> {
                    ::core::result::Result::Ok(Self { #built })
                }

                fn walk<'t>(&'t self, at: &mut #krate::port::Walk<'_, 't, T>)
                where
                    T: 't,
                {
                    #walked
                }
            }
        });
    }

    /// Type, building and walking of a list.
    fn list(&mut self, parent: &Ident, field: &str, list: &List) -> (TokenStream, TokenStream, TokenStream) {
        let krate = self.krate;
        let id = ident(field);
        let element = match &*list.element {
            Node::Struct(inner) => {
                let child = self.nested(parent, field, inner);
                quote!(#child<T>)
            }
            Node::Leaf(_) | Node::List(_) => quote!(#krate::port::One<T>),
        };
        let List { before, after, scale, offset, width, .. } = list;
        let by = quote!(#krate::port::Numbering { scale: #scale, offset: #offset, width: #width });
        (
            quote!(::std::vec::Vec<#element>),
            quote!(at.list(#before, #by, #after)?),
            quote!(at.list(#before, #by, #after, &self.#id);),
        )
    }

    /// What a field holds, with the lines of the mapping.
    fn docs(&self, node: &Node) -> String {
        let leaf = |leaf: &Leaf| {
            let layout = leaf.layout.as_ref().map(|l| format!(" `{l}`")).unwrap_or_default();
            format!("`{}`{layout}, {}", leaf.name, leaf.place)
        };
        match node {
            Node::Leaf(l) => format!("{}.", leaf(l)),
            Node::Struct(fields) => {
                let leaves: Option<Vec<String>> = fields
                    .iter()
                    .map(|(_, n)| if let Node::Leaf(l) = n { Some(leaf(l)) } else { None })
                    .collect();
                match leaves {
                    Some(leaves) => format!("{}.", leaves.join("; ")),
                    None => "A part of the model.".to_owned(),
                }
            }
            Node::List(_) => "One for each number in names, from the first.".to_owned(),
        }
    }
}
