//! What the structs of a model hold.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use transship_grammar::Mapping;
use transship_grammar::model::{Dim, Model, ParameterId, ScopeId, Statement, Value, ValueKind, VariableId};

use super::scalar;
use super::{Emit, Unsupported};
use crate::names::{ident, pascal, snake};

/// A field of a struct.
pub(super) struct Member {
    /// What tells it from others of its scope.
    key: String,
    pub(super) ident: Ident,
    pub(super) ty: TokenStream,
    /// Its value, over `config` and `at`.
    pub(super) init: TokenStream,
    pub(super) docs: String,
}

/// The struct of a scope.
pub(super) struct Part {
    pub(super) scope: ScopeId,
    pub(super) name: Ident,
    pub(super) members: Vec<Member>,
    pub(super) children: Vec<(Ident, ScopeId)>,
    pub(super) methods: TokenStream,
    /// Names of fields and methods.
    used: BTreeSet<String>,
}

/// What a field is called and where it is.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) scope: ScopeId,
    /// The name it would have.
    pub(super) name: String,
    /// The name below the scope's weights, with dots.
    pub(super) path: String,
}

/// The structs of a model, and what emitting code has to know of the whole of it.
pub(super) struct Parts<'m> {
    pub(super) mapping: &'m Mapping,
    pub(super) model: &'m Model,
    pub(super) parts: BTreeMap<u32, Part>,
    /// How often variables are still to be read, by which a name is free again.
    pub(super) reads: HashMap<VariableId, usize>,
    /// The number of each decision, by the address of its value.
    choices: HashMap<*const Value, usize>,
    names: BTreeSet<String>,
}

/// What the generated modules import; structs are called otherwise.
pub(super) const IMPORTS: [&str; 28] = [
    "Activation",
    "Attention",
    "CausalLm",
    "Config",
    "D",
    "DType",
    "Device",
    "Embedding",
    "LayerNorm",
    "Linear",
    "Mask",
    "MaskedLm",
    "Pairs",
    "Result",
    "RmsNorm",
    "Rotary",
    "RotaryOptions",
    "Routed",
    "Tensor",
    "Weights",
    "Option",
    "Some",
    "None",
    "Ok",
    "Err",
    "Vec",
    "String",
    "Box",
];

impl<'m> Parts<'m> {
    pub(super) fn new(mapping: &'m Mapping, model: &'m Model) -> Parts<'m> {
        let mut reads = HashMap::new();
        let mut choices = HashMap::new();
        model.block.visit(&mut |value| match &value.kind {
            ValueKind::Variable(id) => *reads.entry(*id).or_insert(0) += 1,
            ValueKind::Choose { .. } => {
                let number = choices.len();
                choices.insert(std::ptr::from_ref(value), number);
            }
            _ => {}
        });
        count_carried(&model.block.statements, &mut reads);
        let names = IMPORTS.iter().map(|name| (*name).to_owned()).collect();
        let mut parts = Parts { mapping, model, parts: BTreeMap::new(), reads, choices, names };
        parts.part(ScopeId(0));
        parts
    }

    /// The number of a decision among those of the model.
    pub(super) fn choice(&self, value: &Value) -> usize {
        self.choices.get(&std::ptr::from_ref(value)).copied().unwrap_or_default()
    }

    /// The struct of a scope, made with those around it.
    pub(super) fn part(&mut self, scope: ScopeId) -> &mut Part {
        if !self.parts.contains_key(&scope.0) {
            let declared = self.model.scope(scope);
            let name = match declared.parent {
                None => self.fresh_type(&pascal(&self.model.name), ""),
                Some(parent) => {
                    self.part(parent);
                    let outer = self.parts[&parent.0].name.to_string();
                    self.fresh_type(&pascal(&declared.name), if parent.0 == 0 { "" } else { &outer })
                }
            };
            // Names that fields and variables of other kinds have.
            let used = ["forward", "forward_last", "load", "new"].map(str::to_owned).into();
            let part = Part {
                scope,
                name,
                members: Vec::new(),
                children: Vec::new(),
                methods: TokenStream::new(),
                used,
            };
            self.parts.insert(scope.0, part);
            if let Some(parent) = declared.parent {
                let parent = self.part(parent);
                let field = parent.fresh(&declared.name);
                parent.children.push((field, scope));
            }
        }
        self.parts.get_mut(&scope.0).expect("bug: a part that was just made")
    }

    fn fresh_type(&mut self, wanted: &str, outer: &str) -> Ident {
        let mut name = wanted.to_owned();
        if self.names.contains(&name) {
            name.insert_str(0, if outer.is_empty() { "Model" } else { outer });
        }
        while !self.names.insert(name.clone()) {
            name.push('_');
        }
        ident(&name)
    }

    /// The field with this key, made where it is not there yet.
    pub(super) fn member(
        &mut self,
        scope: ScopeId,
        key: &str,
        name: &str,
        docs: &str,
        make: impl FnOnce() -> (TokenStream, TokenStream),
    ) -> Ident {
        let part = self.part(scope);
        if let Some(member) = part.members.iter().find(|member| member.key == key) {
            return member.ident.clone();
        }
        let ident = part.fresh(name);
        let (ty, init) = make();
        part.members.push(Member {
            key: key.to_owned(),
            ident: ident.clone(),
            ty,
            init,
            docs: docs.to_owned(),
        });
        ident
    }

    /// The field of the whole model that says where its weights are.
    pub(super) fn device(&mut self) -> Ident {
        self.member(ScopeId(0), "root device", "device", "", || (quote!(Device), quote!(at.device().clone())))
    }

    /// The field of the whole model that says what its weights are of.
    pub(super) fn dtype(&mut self) -> Ident {
        self.member(ScopeId(0), "root dtype", "dtype", "", || (quote!(DType), quote!(at.dtype())))
    }

    /// A field of its own, whatever others there are.
    pub(super) fn new_member(
        &mut self,
        scope: ScopeId,
        name: &str,
        docs: &str,
        ty: TokenStream,
        init: TokenStream,
    ) -> Ident {
        let key = format!("{name}#{}", self.part(scope).members.len());
        self.member(scope, &key, name, docs, || (ty, init))
    }

    /// The field that holds the product of sizes.
    pub(super) fn size(&mut self, scope: ScopeId, dims: &[Dim], at: &Value) -> Emit<Ident> {
        let init = self.size_tokens(dims, at)?;
        let extent = |_: &Dim| None;
        let shown = scalar::display(self.mapping, &extent, dims);
        let name = match dims {
            [] => "one".to_owned(),
            _ => snake_words(&shown),
        };
        let docs = format!("The size of `{shown}`.");
        Ok(self.member(scope, &format!("size {init}"), &name, &docs, || (quote!(usize), init.clone())))
    }

    pub(super) fn size_tokens(&self, dims: &[Dim], at: &Value) -> Emit<TokenStream> {
        scalar::size_of(self.mapping, dims)
            .ok_or_else(|| Unsupported::of(at, "a size that comes with each call would be kept in the model"))
    }

    /// Where a parameter without a module is kept: by its scope's name where it is all that the scope has.
    pub(super) fn home_of(&self, parameter: ParameterId) -> Wanted {
        let model = self.model;
        let declared = model.parameter(parameter);
        if let Some(module) = declared.module {
            let module = model.module(module);
            return Wanted { scope: module.scope, name: module.name.clone(), path: module.name.clone() };
        }
        let scope = model.scope(declared.scope);
        let alone = scope.index.is_none()
            && model.modules.iter().all(|module| module.scope != declared.scope)
            && model.scopes.iter().all(|other| other.parent != Some(declared.scope))
            && model.parameters.iter().filter(|p| p.scope == declared.scope && p.module.is_none()).count()
                == 1;
        match scope.parent {
            Some(parent) if alone => Wanted {
                scope: parent,
                name: scope.name.clone(),
                path: format!("{}.{}", scope.name, declared.name),
            },
            _ => Wanted { scope: declared.scope, name: declared.name.clone(), path: declared.name.clone() },
        }
    }
}

impl Part {
    /// A name that no other field or method has.
    pub(super) fn fresh(&mut self, wanted: &str) -> Ident {
        let mut name = snake(wanted);
        let mut number = 1;
        let plain = name.clone();
        while !self.used.insert(name.clone()) {
            number += 1;
            name = format!("{plain}_{number}");
        }
        ident(&name)
    }
}

/// `(q: heads dim | k: heads dim)` as a name: words joined.
pub(super) fn snake_words(text: &str) -> String {
    let words: Vec<String> = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .map(snake)
        .collect();
    words.join("_")
}

fn count_carried(statements: &[Statement], reads: &mut HashMap<VariableId, usize>) {
    for statement in statements {
        if let Statement::For { carried, body, .. } = statement {
            for carried in carried {
                *reads.entry(carried.initial).or_insert(0) += 1;
                *reads.entry(carried.end).or_insert(0) += 1;
            }
            count_carried(body, reads);
        }
    }
}
