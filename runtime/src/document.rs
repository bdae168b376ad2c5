//! The plain data of a checkpoint beside its tensors: training arguments, versions, configuration.

mod key;
mod render;

use std::sync::{Arc, LazyLock};

use indexmap::IndexMap;
use indexmap::map::{Iter, Values};

pub use key::Key;

/// A tree of plain data, as read from a pickle or a JSON file. Nothing in it was ever executed.
///
/// Python's lists, tuples, sets and frozen sets are all [`Value::List`]; dictionaries of every kind are
/// [`Value::Map`]. Strings and bytes are shared between clones.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `None`, or JSON `null`.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer that fits 64 bits.
    Int(i64),
    /// An integer that does not, in decimal.
    BigInt(Arc<str>),
    /// A float.
    Float(f64),
    /// Text.
    Str(Arc<str>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A sequence.
    List(Vec<Value>),
    /// A dictionary, in its order.
    Map(Map),
    /// An instance of a class, kept as what it was made from.
    Object(Box<Object>),
    /// A class, function or constant by its dotted name: `torch.float16`.
    Global(Arc<str>),
    /// A tensor, by its index in [`Checkpoint::tensors`](crate::Checkpoint::tensors).
    Tensor(usize),
    /// A reference back to a container that holds this place.
    Cycle,
}

/// An instance of a class that nothing here knows, or whose attributes are all there is to know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object {
    /// Dotted name of the class or function that made it.
    pub class: Arc<str>,
    /// What that was called with.
    pub args: Vec<Value>,
    /// What that was called with by name.
    pub kwargs: Map,
    /// The instance's attributes.
    pub attributes: Map,
    /// State that is not a dictionary of attributes.
    pub state: Option<Value>,
    /// Elements put into it, where the class is a kind of list or set.
    pub items: Vec<Value>,
    /// Entries put into it, where the class is a kind of dictionary.
    pub entries: Map,
}

/// A dictionary in insertion order.
#[derive(Clone, Debug, Default)]
pub struct Map {
    /// Boxed, so that a value of any kind is small, and only where there are any: most of what objects have is empty.
    entries: Option<Box<IndexMap<Key, Value>>>,
}

/// What a dictionary without entries holds.
static EMPTY: LazyLock<IndexMap<Key, Value>> = LazyLock::new(IndexMap::new);

impl PartialEq for Map {
    fn eq(&self, other: &Map) -> bool {
        self.entries() == other.entries()
    }
}

impl Map {
    /// An empty dictionary.
    #[must_use]
    pub fn new() -> Map {
        Map::default()
    }

    pub(crate) fn with_capacity(count: usize) -> Map {
        Map { entries: (count > 0).then(|| Box::new(IndexMap::with_capacity(count))) }
    }

    fn entries(&self) -> &IndexMap<Key, Value> {
        self.entries.as_deref().unwrap_or(&EMPTY)
    }

    /// The value under the key that is written `name`: a string, or else an integer or another key by its text.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        let key = |key: Key| self.entries().get(&key);
        key(Key::Str(name.into()))
            .or_else(|| name.parse().ok().and_then(|number| key(Key::Int(number))))
            .or_else(|| key(Key::Other(name.into())))
    }

    /// Puts `value` under `key`; a key that is there keeps its place and gets the new value.
    pub fn insert(&mut self, key: Key, value: Value) {
        self.entries.get_or_insert_default().insert(key, value);
    }

    /// Takes out the entry under the text `name`; the others keep their order.
    pub(crate) fn remove(&mut self, name: &str) -> Option<Value> {
        self.entries.as_mut()?.shift_remove(&Key::Str(name.into()))
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// Keys and values in order.
    pub fn iter(&self) -> Iter<'_, Key, Value> {
        self.entries().iter()
    }

    fn values_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        self.entries.iter_mut().flat_map(|entries| entries.values_mut())
    }

    /// Values in order.
    pub fn values(&self) -> Values<'_, Key, Value> {
        self.entries().values()
    }
}

impl<'a> IntoIterator for &'a Map {
    type Item = (&'a Key, &'a Value);
    type IntoIter = Iter<'a, Key, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Extend<(Key, Value)> for Map {
    fn extend<I: IntoIterator<Item = (Key, Value)>>(&mut self, entries: I) {
        let mut entries = entries.into_iter().peekable();
        if entries.peek().is_some() {
            self.entries.get_or_insert_default().extend(entries);
        }
    }
}

impl IntoIterator for Map {
    type Item = (Key, Value);
    type IntoIter = indexmap::map::IntoIter<Key, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.map(|entries| *entries).unwrap_or_default().into_iter()
    }
}

impl FromIterator<(Key, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (Key, Value)>>(entries: I) -> Map {
        let mut map = Map::new();
        map.extend(entries);
        map
    }
}

impl Value {
    /// The value at a dotted path: keys of maps, attributes of objects, and indices of lists alike.
    ///
    /// Keys that contain dots are found too: `model.layers.0.weight` passes through `model` and then
    /// `layers.0.weight` where those are the keys. The empty path is this value.
    #[must_use]
    pub fn lookup(&self, path: &str) -> Option<&Value> {
        if path.is_empty() {
            return Some(self);
        }
        let ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            let rest = path.get(end + 1..).unwrap_or("");
            if end + 1 == path.len() {
                continue;
            }
            if let Some(found) = self.member(&path[..end]).and_then(|m| m.lookup(rest)) {
                return Some(found);
            }
        }
        None
    }

    /// Adds `by` to the index of every tensor.
    pub(crate) fn shift_tensors(&mut self, by: usize) {
        self.each_tensor(&mut |value, at| *value = Value::Tensor(at + by));
    }

    /// Calls `change` with each tensor's place here, and its index.
    pub(crate) fn each_tensor(&mut self, change: &mut impl FnMut(&mut Value, usize)) {
        let mut each = |values: &mut dyn Iterator<Item = &mut Value>| {
            for value in values {
                value.each_tensor(change);
            }
        };
        match self {
            Value::Tensor(at) => {
                let at = *at;
                change(self, at);
            }
            Value::List(list) => each(&mut list.iter_mut()),
            Value::Map(map) => each(&mut map.values_mut()),
            Value::Object(object) => {
                let Object { class: _, args, kwargs, attributes, state, items, entries } = &mut **object;
                each(&mut args.iter_mut().chain(items).chain(state));
                for map in [kwargs, attributes, entries] {
                    each(&mut map.values_mut());
                }
            }
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::BigInt(_)
            | Value::Float(_)
            | Value::Str(_)
            | Value::Bytes(_)
            | Value::Global(_)
            | Value::Cycle => {}
        }
    }

    fn member(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Map(map) => map.get(name),
            Value::Object(object) => object
                .attributes
                .get(name)
                .or_else(|| object.entries.get(name))
                .or_else(|| element(&object.items, name)),
            Value::List(list) => element(list, name),
            _ => None,
        }
    }

    /// The integer, where this is one that fits 64 bits, or a float without a fraction.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match *self {
            Value::Int(number) => Some(number),
            // Megatron writes versions as 3.0; beyond 2^53 a float no longer names one integer.
            Value::Float(number) if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 =>
            {
                #[allow(clippy::cast_possible_truncation)]
                Some(number as i64)
            }
            _ => None,
        }
    }

    /// The number as a float.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Value::Int(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// The truth value.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Value::Bool(truth) = self { Some(*truth) } else { None }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Value::Str(text) = self { Some(text) } else { None }
    }

    /// The dictionary.
    #[must_use]
    pub fn as_map(&self) -> Option<&Map> {
        if let Value::Map(map) = self { Some(map) } else { None }
    }

    /// The elements.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Value]> {
        if let Value::List(list) = self { Some(list) } else { None }
    }

    /// What kind of value this is, for messages: `text`, `a list`, …
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a truth value",
            Value::Int(_) | Value::BigInt(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Str(_) => "text",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "a list",
            Value::Map(_) => "a dictionary",
            Value::Object(_) => "an object",
            Value::Global(_) => "a name",
            Value::Tensor(_) => "a tensor",
            Value::Cycle => "a reference back",
        }
    }
}

fn element<'a>(list: &'a [Value], index: &str) -> Option<&'a Value> {
    list.get(index.parse::<usize>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: Vec<(Key, Value)>) -> Value {
        Value::Map(entries.into_iter().collect())
    }

    fn text(key: &str) -> Key {
        Key::Str(key.into())
    }

    #[test]
    fn lookup_passes_maps_objects_lists_and_dotted_keys() {
        let layers = map(vec![(text("layers.0.weight"), Value::Tensor(0)), (text("layers"), Value::Int(5))]);
        let args = Object {
            class: "argparse.Namespace".into(),
            attributes: [(text("sizes"), Value::List(vec![Value::Int(1), Value::Int(2)]))]
                .into_iter()
                .collect(),
            ..Object::default()
        };
        let top = map(vec![
            (text("args"), Value::Object(Box::new(args))),
            (text("model"), layers),
            (text("state"), map(vec![(Key::Int(7), Value::Bool(true))])),
        ]);
        assert_eq!(top.lookup("args.sizes.1"), Some(&Value::Int(2)));
        assert_eq!(top.lookup("args.sizes.2"), None);
        assert_eq!(top.lookup("model.layers.0.weight"), Some(&Value::Tensor(0)));
        assert_eq!(top.lookup("model.layers"), Some(&Value::Int(5)));
        assert_eq!(top.lookup("state.7"), Some(&Value::Bool(true)));
        assert_eq!(top.lookup("state."), None);
        assert_eq!(top.lookup(""), Some(&top));
    }

    #[test]
    fn numbers_convert_only_when_exact() {
        assert_eq!(Value::Float(3.0).as_int(), Some(3));
        assert_eq!(Value::Float(3.5).as_int(), None);
        assert_eq!(Value::Float(1e300).as_int(), None);
        assert_eq!(Value::Float(f64::NAN).as_int(), None);
        assert_eq!(Value::Bool(true).as_int(), None);
    }
}
