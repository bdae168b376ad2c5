//! What a checkpoint's documents say of what its model computes, beyond what the mapping expresses.

use transship_grammar as grammar;

use grammar::{Code, Diagnostic, Diagnostics, Mapping, Plain, SideId, Value, place_in};

use super::config::config_value;
use super::{Binding, Scope};
use crate::Checkpoint;
use crate::document::{self, Key};

/// How many keys a note names.
const SHOWN: usize = 8;

/// What a checkpoint's documents say that it is, where that is none of the models of a side of a mapping: the place that
/// says it, and the name.
#[must_use]
pub fn other_family(mapping: &Mapping, side: SideId, checkpoint: &Checkpoint) -> Option<(String, String)> {
    let family = mapping.side(side).family.as_ref()?;
    let name = match config_value(checkpoint.lookup(&family.place)?) {
        Value::Null => return None,
        Value::Text(name) => name,
        other => other.to_string(),
    };
    (!family.names.contains(&name)).then(|| (family.place.clone(), name))
}

impl Binding<'_> {
    /// The checkpoint says that it is one of the side's models, or says nothing.
    pub(super) fn check_family(&self, diagnostics: &mut Diagnostics) {
        let side = self.mapping.side(self.from);
        let (Some((place, name)), Some(family)) =
            (other_family(self.mapping, self.from, self.checkpoint), &side.family)
        else {
            return;
        };
        let taken: Vec<String> = family.names.iter().map(|name| format!("`{name}`")).collect();
        diagnostics.push(
            Diagnostic::error(
                Code::OtherFamily,
                family.span,
                format!("`{place}` is `{name}`, and the mapping `{}` is not for that model", self.mapping.name),
                format!("side `{}` is of {}", side.name, taken.join(", ")),
            )
            .note(format!("in {}", self.file()))
            .help("a model of another name computes something else from the same parameters; where it does not, add its name in a copy of the mapping"),
        );
    }

    /// Keys that change what a model computes hold what a model has that is as the mapping has it, unless the mapping
    /// itself looks at them.
    pub(super) fn check_plain(&mut self, diagnostics: &mut Diagnostics) {
        // Split anew, a checkpoint keeps all that its documents say.
        if self.mapping.reflected {
            return;
        }
        let read = self.mapping.places_read(self.from);
        let side = self.mapping.side(self.from);
        for plain in &side.plain {
            let place = plain.place();
            // What is listed by itself counts before what a pattern takes.
            let exact = side.ignored.iter().filter(|ignored| !ignored.begins);
            if exact.into_iter().any(|ignored| ignored.takes(&plain.document, &plain.key))
                || read.contains(&place)
            {
                continue;
            }
            let Some(value) = self.source_place(&place) else { continue };
            if !self.is_plain(plain, &value) {
                diagnostics.push(self.not_plain(plain, &value));
            }
        }
        let unknown = self.unknown_keys(&read);
        self.notes.extend(unknown);
    }

    /// Whether a value is one of the plain ones, or a list, such as one by layers, of one of these alone.
    fn is_plain(&self, plain: &Plain, value: &Value) -> bool {
        let is = |test: &dyn Fn(&Value) -> bool| match value {
            Value::List(items) => test(value) || (!items.is_empty() && items.iter().all(test)),
            _ => test(value),
        };
        if *value == Value::Null {
            return true;
        }
        if plain.values.is_empty() {
            return is(&|value| !value.is_true());
        }
        let scope = Scope { binding: self, key: None };
        let values = plain.values.iter().filter_map(|expr| expr.evaluate(&scope).ok());
        values.into_iter().any(|expected| is(&|value| expected.same(value)))
    }

    fn not_plain(&self, plain: &Plain, value: &Value) -> Diagnostic {
        let place = plain.place();
        let text = |span| self.mapping.source.slice(span);
        let values: Vec<&str> = plain.values.iter().map(|value| text(value.span)).collect();
        let label = match values.as_slice() {
            [] => "plain where it is not set".to_owned(),
            values => format!("plain as {}", values.join(" or ")),
        };
        Diagnostic::error(
            Code::OtherMaths,
            plain.span,
            format!("`{place}` is {value}, which the mapping `{}` does not express", self.mapping.name),
            label,
        )
        .note("it changes what the model computes from its parameters")
        .note(format!("in {}", self.file()))
        .help("where the parameters alone matter, list it as `ignored` in a copy of the mapping")
    }

    /// What is set in the documents that the side lists, and that neither the lists nor the mapping name.
    fn unknown_keys(&self, read: &[String]) -> Vec<String> {
        let side = self.mapping.side(self.from);
        let plain = side.plain.iter().map(|plain| plain.document.as_str());
        let ignored = side.ignored.iter().map(|ignored| ignored.document.as_str());
        let mut documents: Vec<&str> = plain.chain(ignored).collect();
        documents.sort_unstable();
        documents.dedup();
        documents.into_iter().filter_map(|document| self.unknown_keys_of(document, read)).collect()
    }

    fn unknown_keys_of(&self, document: &str, read: &[String]) -> Option<String> {
        let side = self.mapping.side(self.from);
        let main = side.documents.iter().find(|d| d.is_file() && d.alias.is_none());
        let name = match document {
            "" => &main?.name,
            _ => document,
        };
        let entries = match self.checkpoint.lookup(name)? {
            document::Value::Map(map) => map,
            document::Value::Object(object) => &object.attributes,
            _ => return None,
        };
        let family = side.family.iter().map(|family| family.place.as_str());
        let written = self.mapping.places_written(self.from);
        let kept = side.keeps.iter().map(String::as_str);
        let places: Vec<&str> =
            read.iter().map(String::as_str).chain(family).chain(written).chain(kept).collect();
        let is_known = |key: &str| {
            let place = place_in(document, key);
            let holds = |other: &str| {
                other.strip_prefix(&place).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            side.ignored.iter().any(|ignored| ignored.takes(document, key))
                || side.plain.iter().any(|plain| holds(&plain.place()))
                || places.iter().any(|other| holds(other))
        };
        let set = entries.iter().filter_map(|(key, value)| match key {
            Key::Str(key) if config_value(value).is_true() => Some(&**key),
            _ => None,
        });
        let unknown: Vec<String> = set.filter(|key| !is_known(key)).map(|key| format!("`{key}`")).collect();
        let more = unknown.len().saturating_sub(SHOWN);
        let shown = unknown[..unknown.len() - more].join(", ");
        let shown = if more > 0 { format!("{shown} and {more} more") } else { shown };
        (!unknown.is_empty()).then(|| {
            format!(
                "{name} also sets {shown}, which `{}` does not know; check that they do not change what the model computes",
                self.mapping.name
            )
        })
    }
}
