//! `model` and `fn` blocks: forward passes, typed by their axes. After this pass every value of a model has a type,
//! names are parameters, modules or variables, and calls of `fn` blocks are unfolded. Models are looked at only where
//! nothing else in the mapping is wrong.

mod along;
mod attention;
mod block;
mod branch;
mod call;
mod capture;
mod catalogue;
mod function;
mod operand;
mod operation;
mod routed;
mod shape;
mod signature;
mod unused;
mod value;
mod word;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use self::catalogue::{Catalogue, Path};
use super::Resolver;
use crate::ast;
use crate::code::Code;
use crate::diagnostic::{Diagnostic, nearest};
use crate::mapping::{Guard, SideId};
use crate::model::{
    Block, Element, ExtentId, Model, ModuleId, ParameterId, Scalar, Scope, Statement, Tensor, Value,
    ValueKind, Variable, VariableId,
};
use crate::source::Span;

/// The kinds of modules, and the formal axes that each takes.
const KINDS: [(&str, &[&str]); 4] = [
    ("linear", &["out", "in"]),
    ("embedding", &["rows", "dim"]),
    ("layer_norm", &["dim"]),
    ("rms_norm", &["dim"]),
];

impl<'a> Resolver<'a> {
    /// Types and lowers all models.
    pub(super) fn resolve_models(&mut self) {
        if self.diagnostics.has_errors() {
            return;
        }
        for declaration in self.models.clone() {
            let Some(side) = self.model_side(declaration) else { continue };
            let catalogue = Catalogue::new(self, side);
            let mut forward = Forward::new(self, catalogue, declaration, side);
            if let Some(model) = forward.model(declaration) {
                self.mapping.models.push(model);
            }
        }
    }

    /// The side that a model is written over: the one it names, or the one of its own name.
    fn model_side(&mut self, model: &ast::ModelDecl) -> Option<SideId> {
        if let Some(over) = &model.over {
            return self.side_named(over);
        }
        let own = SideId::BOTH.into_iter().find(|s| self.mapping.side(*s).name == model.name.text);
        if own.is_none() {
            let names = self.mapping.sides.each_ref().map(|s| s.name.clone());
            self.error(
                Diagnostic::error(
                    Code::UnknownSide,
                    model.name.span,
                    format!("`{}` does not say which side's parameters it uses", model.name.text),
                    format!("the sides are `{}` and `{}`", names[0], names[1]),
                )
                .help(format!(
                    "write `model {0} over {1}(…)` or `model {0} over {2}(…)`",
                    model.name.text, names[0], names[1]
                )),
            );
        }
        own
    }

    /// What a module computes must be known, and its axes must fit that.
    pub(super) fn check_kind(&mut self, module: &ast::ModuleDecl) {
        let Some(kind) = &module.kind else { return };
        let Some((_, axes)) = KINDS.iter().find(|(name, _)| *name == kind.text) else {
            let names = KINDS.map(|(name, _)| name);
            let mut diagnostic = Diagnostic::error(
                Code::ModuleKind,
                kind.span,
                format!("unknown kind of module `{}`", kind.text),
                format!("the kinds are {}", names.join(", ")),
            );
            diagnostic = match foreign_kind(&kind.text).or_else(|| nearest(&kind.text, names)) {
                Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                None => diagnostic.help("leave the kind out where no model uses the module"),
            };
            return self.error(diagnostic);
        };
        if axes.len() != module.formals.len() {
            self.error(
                Diagnostic::error(
                    Code::ModuleKind,
                    kind.span,
                    format!("a module of kind `{}` has other axes", kind.text),
                    format!("it is over ({})", axes.join(", ")),
                )
                .with(module.name.span, format!("this one has {}", module.formals.len()))
                .help(format!(
                    "declare it as `module {}({}) : {}`",
                    module.name.text,
                    axes.join(", "),
                    kind.text
                )),
            );
        }
    }
}

/// What other programs call a kind; how a weight is stored is no part of it.
fn foreign_kind(name: &str) -> Option<&'static str> {
    match name {
        "conv1d" | "dense" | "matmul" => Some("linear"),
        "norm" | "layernorm" => Some("layer_norm"),
        "rmsnorm" => Some("rms_norm"),
        "table" => Some("embedding"),
        _ => None,
    }
}

/// What a name stands for inside a block.
#[derive(Clone)]
enum Binding {
    Variable(VariableId),
    /// A number that config decides.
    Number(Scalar),
    /// A group of parameters.
    Scope(Path),
    /// Something with a mistake in it, which is told already.
    Lost,
}

/// A model in the making.
struct Forward<'r, 'a> {
    resolver: &'r mut Resolver<'a>,
    catalogue: Catalogue<'a>,
    model: Model,
    /// Names in scope, the innermost last.
    bindings: Vec<(String, Binding)>,
    /// Names that a block must not bind again, and where they come from.
    fixed: Vec<(String, Span)>,
    /// Statements of the block being lowered.
    statements: Vec<Statement>,
    /// Branches of choices over rules that are known to be taken here.
    context: Guard,
    /// Functions being unfolded, to find one that calls itself.
    open_functions: Vec<&'a str>,
    /// How many calls of functions were unfolded.
    unfolded: usize,
    /// How many values are open, each inside the one before.
    depth: usize,
    /// The path of each scope of the model.
    scope_paths: Vec<Path>,
    modules: BTreeMap<usize, ModuleId>,
    parameters: BTreeMap<usize, ParameterId>,
    /// Parameters that are declared to be unused, by `unused`.
    left_out: Vec<&'a ast::Name>,
    read: HashSet<VariableId>,
    /// Variables that `let` names, and how they are written.
    named: HashMap<VariableId, Span>,
}

impl<'r, 'a> Forward<'r, 'a> {
    fn new(
        resolver: &'r mut Resolver<'a>,
        catalogue: Catalogue<'a>,
        declaration: &'a ast::ModelDecl,
        side: SideId,
    ) -> Forward<'r, 'a> {
        let top = Scope { parent: None, name: String::new(), index: None, span: declaration.span };
        let nothing = Tensor { dims: Vec::new(), element: Element::Number };
        let scalar =
            Value { kind: ValueKind::Scalar(Scalar::Number(0.0)), ty: nothing, span: declaration.span };
        let model = Model {
            name: declaration.name.text.clone(),
            side,
            arguments: Vec::new(),
            result: declaration.result.name.text.clone(),
            extents: Vec::new(),
            sequence: ExtentId(0),
            scopes: vec![top],
            modules: Vec::new(),
            parameters: Vec::new(),
            variables: Vec::new(),
            block: Block { statements: Vec::new(), result: scalar },
            span: declaration.name.span,
        };
        Forward {
            resolver,
            catalogue,
            model,
            bindings: Vec::new(),
            fixed: Vec::new(),
            statements: Vec::new(),
            context: Guard::default(),
            open_functions: Vec::new(),
            unfolded: 0,
            depth: 0,
            scope_paths: vec![Path::default()],
            modules: BTreeMap::new(),
            parameters: BTreeMap::new(),
            left_out: Vec::new(),
            read: HashSet::new(),
            named: HashMap::new(),
        }
    }

    /// The whole; nothing where a mistake was found.
    fn model(&mut self, declaration: &'a ast::ModelDecl) -> Option<Model> {
        // What is said of axes below would only echo a mistake in these.
        if !self.arguments(declaration) {
            return None;
        }
        let declared = self.declared_type(&declaration.result);
        let block = self.block(&declaration.block, declaration.name.span);
        let (Some(block), Some(declared)) = (block, declared) else { return None };
        let fits = self.check_result(&block.result, declared.as_ref(), &declaration.result);
        self.report_unread();
        self.report_unused_parameters();
        if !fits || self.resolver.diagnostics.has_errors() {
            return None;
        }
        self.model.block = block;
        Some(self.model.clone())
    }

    fn error(&mut self, diagnostic: Diagnostic) {
        self.resolver.error(diagnostic);
    }

    fn variable(&mut self, name: &str, ty: Tensor, span: Span) -> VariableId {
        let id = VariableId::from_index(self.model.variables.len());
        self.model.variables.push(Variable { name: name.to_owned(), ty, span });
        id
    }

    fn bind(&mut self, name: &str, binding: Binding) {
        self.bindings.push((name.to_owned(), binding));
    }

    fn bound(&self, name: &str) -> Option<&Binding> {
        self.bindings.iter().rev().find(|(n, _)| n == name).map(|(_, b)| b)
    }
}
