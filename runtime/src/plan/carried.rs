//! What a checkpoint that is split anew keeps of its documents beside what the mapping knows: all plain data in them.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use crate::bind::Binding;
use crate::document::{Key, Value};
use crate::plan::documents::PARAMETER_DTYPES;
use crate::torch::dtype_name;

/// How many names of what is left behind a note gives.
const SHOWN: usize = 6;

/// The documents of the side, each by its name, as the first rank has them.
pub(super) fn carried_documents(binding: &Binding<'_>, notes: &mut Vec<String>) -> Map<String, Json> {
    let mut carried = Map::new();
    let mut left = BTreeSet::new();
    let declared = binding.mapping.side(binding.from).documents.iter().filter(|d| !d.is_file());
    for document in declared {
        let Some(value) = binding.checkpoint.documents().lookup(&document.name) else { continue };
        let kept = match value {
            Value::Object(object) => {
                Some(Json::Object(entries(&object.attributes, &document.name, &mut left)))
            }
            Value::Map(map) => Some(Json::Object(entries(map, &document.name, &mut left))),
            other => plain(other),
        };
        match kept {
            Some(kept) => drop(carried.insert(document.name.clone(), kept)),
            None => drop(left.insert(document.name.clone())),
        }
    }
    notes.extend(left_behind(&left));
    carried
}

/// The documents of the side that is read, each by the name of its file, for the side that keeps them.
pub(super) fn documents_to_keep(binding: &Binding<'_>, notes: &mut Vec<String>) -> Json {
    let mut kept = Map::new();
    let mut left = BTreeSet::new();
    let files = binding.checkpoint.documents().as_map();
    for document in binding.mapping.side(binding.from).documents.iter().filter(|d| d.is_file()) {
        let found = files.and_then(|files| files.get(document.name.as_str())?.as_map());
        if let Some(map) = found {
            kept.insert(document.name.clone(), Json::Object(entries(map, &document.name, &mut left)));
        }
    }
    notes.extend(left_behind(&left));
    Json::Object(kept)
}

/// The target's documents that the checkpoint keeps, by the names of their files; none where it keeps none.
pub(super) fn kept_documents(binding: &Binding<'_>, notes: &mut Vec<String>) -> Option<Map<String, Json>> {
    let mut left = BTreeSet::new();
    let kept = entries(binding.kept_documents()?, "the config that the checkpoint was made from", &mut left);
    notes.extend(left_behind(&left));
    (!kept.is_empty()).then_some(kept)
}

fn entries(map: &crate::document::Map, of: &str, left: &mut BTreeSet<String>) -> Map<String, Json> {
    let mut kept = Map::new();
    for (key, value) in map {
        match (key, plain(value)) {
            (Key::Str(name), Some(value)) => drop(kept.insert(name.to_string(), value)),
            _ => drop(left.insert(format!("{of}.{key}"))),
        }
    }
    kept
}

/// Plain data as it is written again: what Python holds as a `None`, a number, a text, a list, a dictionary of these, or a
/// dtype of parameters. Anything that would be rebuilt by calling something is not.
fn plain(value: &Value) -> Option<Json> {
    match value {
        Value::Null => Some(Json::Null),
        Value::Bool(truth) => Some(Json::from(*truth)),
        Value::Int(number) => Some(Json::from(*number)),
        Value::Float(number) => serde_json::Number::from_f64(*number).map(Json::Number),
        Value::Str(text) => Some(Json::from(&**text)),
        Value::List(items) => items.iter().map(plain).collect::<Option<Vec<_>>>().map(Json::Array),
        Value::Map(map) => {
            let entry = |(key, value): (&Key, &Value)| match key {
                Key::Str(name) => Some((name.to_string(), plain(value)?)),
                Key::Int(_) | Key::Other(_) => None,
            };
            map.iter().map(entry).collect::<Option<Map<_, _>>>().map(Json::Object)
        }
        Value::Global(name) => {
            let dtype = name.strip_prefix("torch.")?;
            PARAMETER_DTYPES.into_iter().any(|known| dtype_name(known) == dtype).then(|| Json::from(&**name))
        }
        Value::BigInt(_) | Value::Bytes(_) | Value::Object(_) | Value::Tensor(_) | Value::Cycle => None,
    }
}

fn left_behind(left: &BTreeSet<String>) -> Option<String> {
    let names: Vec<&str> = left.iter().take(SHOWN).map(String::as_str).collect();
    let (list, more) = (names.join(", "), left.len().saturating_sub(SHOWN));
    match (left.len(), more) {
        (0, _) => None,
        (1, _) => Some(format!("{list} is not plain data and not carried over")),
        (_, 0) => Some(format!("{list} are not plain data and not carried over")),
        (_, more) => Some(format!("{list} and {more} more are not plain data and not carried over")),
    }
}
