//! Config values that two checkpoints state.

use transship_grammar as grammar;

use grammar::{Field, SideId, Value};

use crate::bind::{Binding, Known, Origin, Setting};
use crate::plan::to_json;

/// A config value that two checkpoints state differently.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigDifference {
    /// Its name in the mapping.
    pub name: String,
    /// What it is in the first and in the second checkpoint.
    pub values: [String; 2],
    /// Where that is said.
    pub places: [String; 2],
    /// Whether the model is another one by it. What only one side of the mapping has, such as a version, says how
    /// checkpoints are written, not what the model is; and some functions have several names.
    pub counts: bool,
}

/// Values that the documents of both state, and not alike.
pub(super) fn compare(bindings: &[Binding<'_>; 2]) -> Vec<ConfigDifference> {
    let fields = bindings[0].mapping.config.fields.iter().enumerate();
    let differences = fields.filter_map(|(index, field)| {
        let [one, other] = bindings.each_ref().map(|b| b.values[index].as_ref().filter(|k| stated(k)));
        let (one, other) = (one?, other?);
        if one.value.same(&other.value) {
            return None;
        }
        Some(ConfigDifference {
            name: field.name.clone(),
            values: [one, other].map(|known| known.value.to_string()),
            places: [one, other].map(|known| known.origin.to_string()),
            counts: SideId::BOTH.into_iter().all(|side| has_place(field, side))
                && !are_synonyms(&one.value, &other.value),
        })
    });
    differences.collect()
}

fn stated(known: &Known) -> bool {
    matches!(known.origin, Origin::Place(_) | Origin::Computed) && known.value != Value::Null
}

/// Names that transformers has for one function.
const SYNONYMS: [&[&str]; 2] = [&["gelu_new", "gelu_fast", "gelu_pytorch_tanh"], &["silu", "swish"]];

fn are_synonyms(one: &Value, other: &Value) -> bool {
    let (Value::Text(one), Value::Text(other)) = (one, other) else { return false };
    SYNONYMS.iter().any(|names| [one, other].iter().all(|name| names.contains(&name.as_str())))
}

fn has_place(field: &Field, side: SideId) -> bool {
    !field.places[side.index()].is_empty() || (side == SideId::Left && field.computed.is_some())
}

/// Values that something but a default gives, as settings.
pub(super) fn settings(binding: &Binding<'_>) -> Vec<Setting> {
    let given =
        binding.values().filter(|(_, value, origin)| **origin != Origin::Default && **value != Value::Null);
    let text = |value: &Value| match value {
        Value::Text(text) => text.clone(),
        other => to_json(other).to_string(),
    };
    given.map(|(name, value, _)| Setting { name: name.to_owned(), value: text(value) }).collect()
}
