//! Words of a model: variables, parameters, modules, groups of these, config values.

use super::call::OPERATIONS;
use super::catalogue::{Path, Target};
use super::shape::numbers;
use super::{Binding, Forward};
use crate::code::Code;
use crate::diagnostic::{Diagnostic, nearest};
use crate::mapping::{FieldId, Type};
use crate::model::{
    Activation, Element, Module, ModuleId, Scalar, Scope, ScopeId, Tensor, Value, ValueKind, VariableId,
};
use crate::source::Span;

/// What a word was found to be.
pub(super) enum Found {
    Variable(VariableId),
    Number(Scalar),
    Target(Target),
    /// Something whose mistake is told already.
    Lost,
    Nothing,
}

impl<'a> Forward<'_, 'a> {
    pub(super) fn find(&self, text: &str) -> Found {
        let words: Vec<&str> = text.split('.').collect();
        let Some((first, rest)) = words.split_first() else { return Found::Nothing };
        let path = match self.bound(first) {
            Some(Binding::Variable(variable)) if rest.is_empty() => return Found::Variable(*variable),
            Some(Binding::Number(scalar)) if rest.is_empty() => return Found::Number(scalar.clone()),
            Some(Binding::Variable(_) | Binding::Number(_)) => return Found::Nothing,
            Some(Binding::Lost) => return Found::Lost,
            Some(Binding::Scope(path)) if rest.is_empty() => {
                return Found::Target(Target::Scope(path.clone()));
            }
            Some(Binding::Scope(path)) => path.below(rest),
            None => Path::default().below(&words),
        };
        self.catalogue.at(&path).map_or(Found::Nothing, Found::Target)
    }

    pub(super) fn variable_value(&mut self, variable: VariableId, span: Span) -> Value {
        self.read.insert(variable);
        let ty = self.model.variable(variable).ty.clone();
        Value { kind: ValueKind::Variable(variable), ty, span }
    }

    /// A word that stands for a value.
    pub(super) fn word(&mut self, text: &str, span: Span) -> Option<Value> {
        match self.find(text) {
            Found::Variable(variable) => return Some(self.variable_value(variable, span)),
            Found::Number(scalar) => {
                return Some(Value { kind: ValueKind::Scalar(scalar), ty: numbers(Vec::new()), span });
            }
            Found::Lost => return None,
            Found::Target(Target::Parameter(place)) => return self.whole_parameter(place, span),
            Found::Target(Target::Module(_)) => {
                self.not_a_value(text, "a module", span, format!("give it something: `{text}(x)`"));
                return None;
            }
            Found::Target(Target::Scope(path)) => return self.coordinate(text, &path, span),
            Found::Nothing => {}
        }
        if text == "position" {
            let dims = vec![crate::model::Dim::Extent(self.model.sequence)];
            let ty = Tensor { dims, element: Element::Position };
            return Some(Value { kind: ValueKind::Position, ty, span });
        }
        if let Some(field) = self.resolver.mapping.field_named(text) {
            return self.config_number(field, span);
        }
        if Activation::named(text).is_some() || operation_named(text) {
            self.not_a_value(text, "an operation", span, format!("give it something: `{text}(x)`"));
            return None;
        }
        self.unknown_name(text, span);
        None
    }

    fn not_a_value(&mut self, text: &str, what: &str, span: Span, help: String) {
        self.error(
            Diagnostic::error(
                Code::WrongOperand,
                span,
                format!("`{text}` is {what}, and no value"),
                "a value is needed here",
            )
            .help(help),
        );
    }

    /// The coordinate of a loop's index, as a number.
    fn coordinate(&mut self, text: &str, path: &Path, span: Span) -> Option<Value> {
        let Some(index) = path.0.last().and_then(|s| s.index.as_ref()).map(|i| i.axis) else {
            self.not_a_value(
                text,
                "a group of parameters",
                span,
                format!("name one of them, as in `{text}.weight`"),
            );
            return None;
        };
        let kind = ValueKind::Scalar(Scalar::Index(index));
        Some(Value { kind, ty: numbers(Vec::new()), span })
    }

    fn config_number(&mut self, field: FieldId, span: Span) -> Option<Value> {
        self.mark_field(field, span);
        let slot = &mut self.resolver.mapping.config.fields[field.index()];
        match slot.ty {
            Type::Any => slot.ty = Type::Float,
            Type::Int | Type::Float => {}
            Type::Bool | Type::Text | Type::List => {
                let help = match slot.ty {
                    Type::Text => format!("an activation that config names is used as `{}(x)`", slot.name),
                    Type::Bool => format!("decide by it: `if {} {{ … }} else {{ … }}`", slot.name),
                    _ => "use a config value that is a number".to_owned(),
                };
                self.wrong_config(field, "is used as a number", "a number is needed here", span, help);
                return None;
            }
        }
        let kind = ValueKind::Scalar(Scalar::Config(field));
        Some(Value { kind, ty: numbers(Vec::new()), span })
    }

    pub(super) fn mark_field(&mut self, field: FieldId, span: Span) {
        let text = self.resolver.mapping.field(field).name.clone();
        self.resolver.mark_used(crate::resolve::Space::Config, &crate::ast::Ident { text, span });
    }

    pub(super) fn wrong_config(&mut self, field: FieldId, how: &str, label: &str, span: Span, help: String) {
        let field = self.resolver.mapping.field(field);
        let (name, ty, at) = (field.name.clone(), field.ty, field.span);
        self.error(
            Diagnostic::error(
                Code::TypeMismatch,
                span,
                format!("`{name}` {how}, but it is declared or used as `{}`", ty.name()),
                label,
            )
            .with(at, "declared here")
            .help(help),
        );
    }

    pub(super) fn unknown_name(&mut self, text: &str, span: Span) {
        let words: Vec<&str> = text.split('.').collect();
        let base = match self.bound(words[0]) {
            Some(Binding::Scope(path)) => Some((words[0].to_owned(), path.clone(), &words[1..])),
            Some(_) => None,
            None => Some((String::new(), Path::default(), &words[..])),
        };
        let diagnostic = Diagnostic::error(
            Code::UnknownModelName,
            span,
            format!("unknown name `{text}`"),
            "no variable, parameter, operation or config value",
        );
        let Some((prefix, path, rest)) = base else {
            let help = format!("`{}` is a value; write it alone", words[0]);
            return self.error(diagnostic.help(help));
        };
        for end in 1..rest.len() {
            if let Some(found) = self.catalogue.indexed(&path.below(&rest[..end])).first() {
                let index = found.0.last().and_then(|s| s.index.as_ref()).map(|i| i.axis);
                let index = index.map(|a| self.resolver.mapping.axis(a).name.clone()).unwrap_or_default();
                let scope = dotted(&prefix, &rest[..end].join("."));
                let inner = rest[end..].join(".");
                return self.error(
                    diagnostic
                        .note(format!("there is one `{scope}` for each `{index}`"))
                        .help(format!("go through them: `for {index} in {scope} {{ … {index}.{inner} … }}`")),
                );
            }
        }
        if let Some(original) = self.tied_to(&path.below(rest)) {
            return self.error(diagnostic.help(format!("it is a copy of `{original}`; use that")));
        }
        let known = self.known_names(&prefix, &path);
        self.error(match nearest(text, known.iter().map(String::as_str)) {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None if text.contains('.') => diagnostic
                .help("parameters have the names that the rules give them on this side, below its root"),
            None => diagnostic.help("bind it with `let` before, or name a config value"),
        });
    }

    /// What a tie says that this, or a parameter right below it, is a copy of.
    fn tied_to(&self, path: &Path) -> Option<String> {
        let mapping = &self.resolver.mapping;
        let ties = mapping.ties.iter().filter(|tie| tie.side == self.model.side);
        let mut copies = ties.filter_map(|tie| Some((Path::of(&tie.alias)?, &tie.of)));
        let is = |alias: &Path| alias == path || alias.parent() == *path;
        copies.find(|(alias, _)| is(alias)).map(|(_, of)| mapping.display_template(of))
    }

    /// Everything that could stand where a name does.
    fn known_names(&self, prefix: &str, path: &Path) -> Vec<String> {
        let modules = self.catalogue.modules.iter().map(|m| &m.path);
        let mut all: Vec<String> = modules
            .chain(self.catalogue.paths())
            .filter(|p| p.starts_with(path))
            .map(|p| dotted(prefix, &path.words_to(p)))
            .collect();
        if prefix.is_empty() {
            let mapping = &self.resolver.mapping;
            all.extend(self.bindings.iter().map(|(name, _)| name.clone()));
            all.extend(mapping.config.fields.iter().map(|f| f.name.clone()));
            all.extend(self.resolver.functions.keys().map(|f| (*f).to_owned()));
            all.extend(OPERATIONS.iter().map(|o| o.name.to_owned()));
            all.extend(Activation::names().map(str::to_owned));
            all.push("position".to_owned());
        }
        all
    }

    /// The scope at a path, and those around it.
    pub(super) fn scope(&mut self, path: &Path, span: Span) -> ScopeId {
        if let Some(known) = self.scope_paths.iter().position(|p| p == path) {
            return ScopeId::from_index(known);
        }
        let parent = self.scope(&path.parent(), span);
        let (name, index) = match path.0.last() {
            Some(segment) => (segment.name.clone(), segment.index.clone()),
            None => (String::new(), None),
        };
        self.model.scopes.push(Scope { parent: Some(parent), name, index, span });
        self.scope_paths.push(path.clone());
        ScopeId::from_index(self.model.scopes.len() - 1)
    }

    /// The scope with an index that a word names.
    pub(super) fn indexed_scope(&mut self, text: &str, span: Span) -> Option<Path> {
        let words: Vec<&str> = text.split('.').collect();
        let path = match self.bound(words[0]) {
            Some(Binding::Scope(path)) => path.below(&words[1..]),
            Some(Binding::Lost) => return None,
            Some(Binding::Variable(_) | Binding::Number(_)) => {
                self.scope_without_index(text, "a value", span);
                return None;
            }
            None => Path::default().below(&words),
        };
        match self.catalogue.indexed(&path).as_slice() {
            [one] => Some(one.clone()),
            [] => {
                match self.find(text) {
                    Found::Target(Target::Scope(_)) => {
                        self.scope_without_index(text, "one group of parameters", span);
                    }
                    Found::Target(Target::Module(_)) => self.scope_without_index(text, "one module", span),
                    Found::Target(Target::Parameter(_)) => {
                        self.scope_without_index(text, "one parameter", span);
                    }
                    Found::Lost => {}
                    Found::Variable(_) | Found::Number(_) | Found::Nothing => self.unknown_scope(text, span),
                }
                None
            }
            several => {
                let count = several.len();
                self.error(
                    Diagnostic::error(
                        Code::ScopeWithoutIndex,
                        span,
                        format!("`{text}` is numbered in {count} ways"),
                        "which of them is meant cannot be told",
                    )
                    .help("a model goes over numbers that all rules write alike"),
                );
                None
            }
        }
    }

    fn unknown_scope(&mut self, text: &str, span: Span) {
        let mut known: Vec<String> = Vec::new();
        for path in self.catalogue.paths() {
            for (at, segment) in path.0.iter().enumerate() {
                if segment.index.is_some() {
                    let words: Vec<&str> = path.0[..=at].iter().map(|s| s.name.as_str()).collect();
                    known.push(words.join("."));
                }
            }
        }
        let diagnostic = Diagnostic::error(
            Code::UnknownModelName,
            span,
            format!("unknown name `{text}`"),
            "no parameters of this side are numbered below it",
        );
        self.error(match nearest(text, known.iter().map(String::as_str)) {
            Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
            None => {
                diagnostic.help("go over what an index follows: `transformer.h`, for `transformer.h.{layer}`")
            }
        });
    }

    fn scope_without_index(&mut self, text: &str, what: &str, span: Span) {
        self.error(
            Diagnostic::error(
                Code::ScopeWithoutIndex,
                span,
                format!("`{text}` has no index to go over"),
                format!("this is {what}"),
            )
            .help("go over what an index follows: `transformer.h`, for `transformer.h.{layer}`"),
        );
    }

    pub(super) fn module_id(&mut self, place: usize, module: Module) -> ModuleId {
        let id = ModuleId::from_index(self.model.modules.len());
        self.model.modules.push(module);
        self.modules.insert(place, id);
        id
    }
}

pub(super) fn operation_named(name: &str) -> bool {
    OPERATIONS.iter().any(|o| o.name == name)
}

fn dotted(prefix: &str, rest: &str) -> String {
    match (prefix, rest) {
        ("", rest) => rest.to_owned(),
        (prefix, "") => prefix.to_owned(),
        (prefix, rest) => format!("{prefix}.{rest}"),
    }
}
