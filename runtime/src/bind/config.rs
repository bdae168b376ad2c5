//! Config values from what says them: the user, the checkpoint's documents, a config to start from.

use std::fmt;
use std::path::PathBuf;

use transship_grammar as grammar;

use grammar::{
    Code, Diagnostic, Diagnostics, EvalError, Field, FieldId, Mapping, SideId, Symbol, Type, Value, nearest,
};

use super::{Binding, Known, Scope, judge};
use crate::document;

/// A config value that the user sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The name of the config value in the mapping, or one of its places: whole, or the last word of it.
    pub name: String,
    /// Its value, as written.
    pub value: String,
}

/// A config of the target to start from: the reference script's `--config_file`.
#[derive(Clone, Debug, PartialEq)]
pub struct BaseConfig {
    /// The file it was read from.
    pub path: PathBuf,
    /// Its contents.
    pub values: serde_json::Map<String, serde_json::Value>,
}

/// Where a config value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The user set it.
    Set,
    /// A place in the checkpoint's documents.
    Place(String),
    /// Computed from the checkpoint's documents.
    Computed,
    /// A place in the config to start from.
    Base(String),
    /// A place in the config that the checkpoint was made from, which it keeps.
    Kept(String),
    /// A dimension of a stored tensor.
    Shape {
        /// The tensor's name.
        tensor: String,
        /// Its shape.
        shape: Vec<u64>,
    },
    /// The numbers in the names of stored tensors, here the last one.
    Counted(String),
    /// An equation of the mapping.
    Equation(String),
    /// The checkpoint that it is compared with.
    Other,
    /// The mapping's default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Set => f.write_str("set by the user"),
            Origin::Place(place) => write!(f, "{place} of the checkpoint"),
            Origin::Computed => f.write_str("computed from the checkpoint's config"),
            Origin::Base(place) => write!(f, "{place} of the config given"),
            Origin::Kept(place) => write!(f, "{place} of the config that the checkpoint was made from"),
            Origin::Shape { tensor, shape } => write!(f, "the shape {shape:?} of `{tensor}`"),
            Origin::Counted(last) => write!(f, "counted in names up to `{last}`"),
            Origin::Equation(text) => write!(f, "`{text}`"),
            Origin::Other => f.write_str("the checkpoint it is compared with"),
            Origin::Default => f.write_str("the mapping's default"),
        }
    }
}

impl Binding<'_> {
    /// What the source's documents hold at a place.
    pub(super) fn source_place(&self, place: &str) -> Option<Value> {
        let side = self.mapping.side(self.from);
        let found = match side.document_of(place) {
            Some((at, path)) if side.documents[at].is_file() => self.documents[at].as_ref()?.lookup(&path),
            Some((_, path)) => self.checkpoint.documents().lookup(&path),
            None => self.checkpoint.lookup(place),
        };
        found.map(config_value)
    }

    /// A place as the plain data of a file is asked for it; `None` where a document of its own has it.
    pub(super) fn state_path(&self, place: &str) -> Option<String> {
        let side = self.mapping.side(self.from);
        match side.document_of(place) {
            Some((at, _)) if side.documents[at].is_file() => None,
            Some((_, path)) => Some(path),
            None => Some(place.to_owned()),
        }
    }

    /// The value of the config to start from at a place of the target's main document: that of the config given, or
    /// else of the one that the checkpoint was made from.
    pub(crate) fn base_place(&self, place: &str) -> Option<(Value, Origin)> {
        let given = || {
            let mut keys = place.split('.');
            let mut value = self.base.as_ref()?.values.get(keys.next()?)?;
            for key in keys {
                value = value.get(key)?;
            }
            Some((from_json(value), Origin::Base(place.to_owned())))
        };
        let kept = || {
            let main =
                self.mapping.side(self.to()).documents.iter().find(|d| d.is_file() && d.alias.is_none())?;
            let value = self.kept_documents()?.get(main.name.as_str())?.lookup(place)?;
            Some((config_value(value), Origin::Kept(place.to_owned())))
        };
        given().or_else(kept)
    }

    /// The target's documents by name, as they were when the checkpoint was made from them.
    pub(crate) fn kept_documents(&self) -> Option<&document::Map> {
        let place = self.mapping.side(self.from).keeps.as_ref().filter(|_| !self.mapping.reflected)?;
        self.checkpoint.lookup(&self.state_path(place)?)?.as_map()
    }

    pub(super) fn read_config(&mut self, settings: &[Setting], diagnostics: &mut Diagnostics) {
        self.check_settings(settings, diagnostics);
        for index in 0..self.mapping.config.fields.len() {
            let field = &self.mapping.config.fields[index];
            let set = settings.iter().rev().find(|s| s.name == field.name);
            let set = set.map(|s| Known { value: parse_setting(field, &s.value), origin: Origin::Set });
            // A value that is set needs no other; what is wrong with one does not matter then.
            let mut ignored = Diagnostics::new(&self.mapping.source);
            let read = self.read_field(field, if set.is_some() { &mut ignored } else { diagnostics });
            let base = self.base_field(field);
            let other = self.against.as_ref().and_then(|against| against.values.get(index)?.clone());
            let other = other.map(|value| Known { value, origin: Origin::Other });
            let known = self.preferred(field, set, read, base).or(other);
            self.values[index] = known.map(|known| whole_number(field, known));
            self.check_type(field, index, diagnostics);
        }
    }

    /// Takes only what is set, where there is no checkpoint.
    pub(super) fn set_config(&mut self, settings: &[Setting], diagnostics: &mut Diagnostics) {
        self.check_settings(settings, diagnostics);
        for (index, field) in self.mapping.config.fields.iter().enumerate() {
            let set = settings.iter().rev().find(|s| s.name == field.name);
            self.values[index] =
                set.map(|s| Known { value: parse_setting(field, &s.value), origin: Origin::Set });
            self.check_type(field, index, diagnostics);
        }
    }

    fn check_settings(&self, settings: &[Setting], diagnostics: &mut Diagnostics) {
        let known: Vec<&str> = self.mapping.config.fields.iter().map(|f| f.name.as_str()).collect();
        for setting in settings.iter().filter(|s| !known.contains(&s.name.as_str())) {
            if let several @ [_, _, ..] = &fields_named(self.mapping, &setting.name)[..] {
                let names: Vec<String> = several
                    .iter()
                    .map(|f| format!("`{}` ({})", f.name, f.places.concat().join(", ")))
                    .collect();
                let message = format!("`{}` is a place of several config values", setting.name);
                diagnostics.push(
                    Diagnostic::without_place(Code::AmbiguousSetting, message)
                        .note(format!("they are {}", names.join(" and ")))
                        .help(format!(
                            "give the one that is meant: `--set {}={}`",
                            several[0].name, setting.value
                        )),
                );
                continue;
            }
            let message =
                format!("the mapping `{}` has no config value `{}`", self.mapping.name, setting.name);
            let mut diagnostic = Diagnostic::without_place(Code::UnknownSetting, message)
                .note(format!("it has {}", known.join(", ")));
            if let Some(near) = nearest(&setting.name, known.iter().copied()) {
                diagnostic = diagnostic.help(format!("did you mean `--set {near}={}`?", setting.value));
            }
            diagnostics.push(diagnostic);
        }
    }

    fn read_field(&self, field: &Field, diagnostics: &mut Diagnostics) -> Option<Known> {
        let places = &field.places[self.from.index()];
        let found = places.iter().find_map(|place| {
            let value = self.source_place(place).filter(|v| *v != Value::Null)?;
            Some(Known { value, origin: Origin::Place(place.clone()) })
        });
        if found.is_some() || self.from != SideId::Left {
            return found;
        }
        let value = match field.computed.as_ref()?.evaluate(&Scope { binding: self, key: None }) {
            Ok(value) => value,
            Err(error) => {
                let diagnostic = self.evaluation_error(&error, field.span);
                diagnostics.push(match error {
                    EvalError::Type(..) | EvalError::NoArm(..) => diagnostic
                        .note(format!("in {}", self.file()))
                        .help(format!("give `{name}` itself with `--set {name}=VALUE`", name = field.name)),
                    EvalError::Unknown(_) | EvalError::NoIndex(_) => diagnostic,
                });
                return None;
            }
        };
        // Null comes of a place that is not there: nothing is known then, and the default holds.
        (value != Value::Null || field.ty == Type::Any).then_some(Known { value, origin: Origin::Computed })
    }

    fn base_field(&self, field: &Field) -> Option<Known> {
        field.places[self.to().index()].iter().find_map(|place| {
            let (value, origin) = self.base_place(place).filter(|(value, _)| *value != Value::Null)?;
            Some(Known { value, origin })
        })
    }

    /// What the user sets wins over the checkpoint, and that over a config to start from; what is only
    /// computed does not win over that.
    fn preferred(
        &mut self,
        field: &Field,
        set: Option<Known>,
        read: Option<Known>,
        base: Option<Known>,
    ) -> Option<Known> {
        let computed = read.as_ref().is_some_and(|k| k.origin == Origin::Computed);
        let (second, third) = if computed { (base, read) } else { (read, base) };
        let mut order = [set, second, third].into_iter().flatten();
        let taken = order.next()?;
        for other in order.filter(|o| !o.value.same(&taken.value)) {
            self.notes.push(format!(
                "{} = {} ({}) is taken, not {} ({})",
                field.name, taken.value, taken.origin, other.value, other.origin
            ));
        }
        Some(taken)
    }

    pub(super) fn check_type(&self, field: &Field, index: usize, diagnostics: &mut Diagnostics) {
        let Some(known) = &self.values[index] else { return };
        let fits = field.ty.admits(&known.value) || (known.value == Value::Null && field.ty == Type::Any);
        let negative = fits && judge::is_negative(&known.value) && self.is_size(index);
        if fits && !negative {
            return;
        }
        let expected = match field.ty {
            _ if negative => "a size, which is not negative",
            Type::Int => "a whole number",
            Type::Float => "a number",
            Type::Bool => "true or false",
            Type::Text => "a text",
            _ => "a list",
        };
        let mut diagnostic = Diagnostic::error(
            Code::TypeMismatch,
            field.span,
            format!("`{}` is {}, but it must be {expected}", field.name, known.value),
            format!("the value is {}", known.origin),
        );
        match (&known.origin, &self.base) {
            (Origin::Base(_), Some(base)) => {
                diagnostic = diagnostic.note(format!("in {}", base.path.display()));
            }
            (Origin::Place(_) | Origin::Computed, _) => {
                diagnostic = diagnostic.note(format!("in {}", self.file()));
            }
            _ => {}
        }
        diagnostics.push(diagnostic.help(format!("give the right one with `--set {}=VALUE`", field.name)));
    }

    /// Whether a config value is a size of an axis or a part of one.
    fn is_size(&self, index: usize) -> bool {
        let is_this = |symbol: &Symbol| matches!(symbol, Symbol::Field(field) if field.index() == index);
        let axes = self.mapping.axes.iter();
        axes.flat_map(|axis| [&axis.size, &axis.range.0, &axis.range.1])
            .any(|size| size.symbols().iter().any(is_this))
    }

    /// The places of a field, for messages that say where a value could come from.
    pub(super) fn sources_of(&self, field: FieldId) -> String {
        let field = self.mapping.field(field);
        let places = field.places[self.from.index()].join(" or ");
        if places.is_empty() { "no place in the checkpoint".to_owned() } else { places }
    }
}

/// The config values that a setting can mean: the one of this name, else those with this place, else those with a place
/// that ends in this word.
fn fields_named<'m>(mapping: &'m Mapping, name: &str) -> Vec<&'m Field> {
    let fields = || mapping.config.fields.iter();
    let having = |fits: &dyn Fn(&str) -> bool| -> Vec<&'m Field> {
        fields().filter(|field| field.places.iter().flatten().any(|place| fits(place))).collect()
    };
    if let Some(field) = fields().find(|field| field.name == name) {
        return vec![field];
    }
    let whole = having(&|place| place == name);
    if !whole.is_empty() {
        return whole;
    }
    having(&|place| place.rsplit('.').next() == Some(name))
}

/// The settings under the names of the config values they mean, as far as that is clear.
pub(super) fn named_settings(mapping: &Mapping, settings: &[Setting]) -> Vec<Setting> {
    let named = |setting: &Setting| match fields_named(mapping, &setting.name)[..] {
        [only] => Setting { name: only.name.clone(), value: setting.value.clone() },
        _ => setting.clone(),
    };
    settings.iter().map(named).collect()
}

/// `2.0` where a whole number is wanted is 2.
fn whole_number(field: &Field, known: Known) -> Known {
    match (field.ty, known.value.as_integer()) {
        (Type::Int, Some(n)) => Known { value: Value::Int(n), ..known },
        _ => known,
    }
}

/// A setting as the type of its config value wants it: a text stays one even if it looks like a number; a list is
/// written as in JSON.
fn parse_setting(field: &Field, text: &str) -> Value {
    if field.ty == Type::Text {
        return Value::Text(text.to_owned());
    }
    match serde_json::from_str(text) {
        Ok(list @ serde_json::Value::Array(_)) => from_json(&list),
        _ => Value::parse(text),
    }
}

/// A document's value as a config value. What config cannot hold counts as present and as true.
pub(super) fn config_value(value: &document::Value) -> Value {
    match value {
        document::Value::Null => Value::Null,
        document::Value::Bool(b) => Value::Bool(*b),
        document::Value::Int(n) => Value::Int(*n),
        document::Value::Float(x) => Value::Float(*x),
        document::Value::Str(text) => Value::Text(text.to_string()),
        document::Value::List(items) => Value::List(items.iter().map(config_value).collect()),
        other => Value::Text(other.to_string()),
    }
}

pub(crate) fn from_json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(b) => Value::Bool(*b),
        serde_json::Value::Number(n) => {
            n.as_i64().map_or_else(|| Value::Float(n.as_f64().unwrap_or(f64::NAN)), Value::Int)
        }
        serde_json::Value::String(text) => Value::Text(text.clone()),
        serde_json::Value::Array(items) => Value::List(items.iter().map(from_json).collect()),
        other => Value::Text(other.to_string()),
    }
}
