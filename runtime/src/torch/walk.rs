//! From a pickle's objects to plain data and named tensors.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::rc::Rc;

use indexmap::IndexMap;

use crate::budget::Budget;
use crate::document::{Key, Map, Object, Value};
use crate::pickle::{Instance, Node, NodeId, Pickle};
use crate::tensor::{Contents, Tensor, Unsupported};

use super::error::TorchError;
use super::rebuild::{self, Element, View};
use super::storages::Storages;

/// Deepest nesting of plain data; the walk is recursive.
const MAX_DEPTH: usize = 128;

/// Longest name of a tensor, in bytes.
const MAX_NAME: usize = 4096;

/// What an entry of a dictionary takes beside its value: its key, its hash and its place.
const ENTRY: usize = size_of::<Key>() + 2 * size_of::<usize>();

/// Reads everything reachable from the pickle's root, at the cost of `budget`.
///
/// # Errors
///
/// Tensors that do not fit their storages; data that is nested too deeply or repeats itself without end.
pub(super) fn contents(
    pickle: &Pickle,
    storages: Storages,
    budget: &mut Budget,
) -> Result<Contents, TorchError> {
    let mut walk = Walk {
        pickle,
        storages,
        tensors: Vec::new(),
        unsupported: Vec::new(),
        path: String::new(),
        open: HashSet::new(),
        views: HashMap::new(),
        budget,
    };
    let documents = walk.value(pickle.root)?;
    Ok(Contents {
        tensors: walk.tensors,
        storages: walk.storages.into_used(),
        documents,
        unsupported: walk.unsupported,
    })
}

pub(super) struct Walk<'a> {
    pub(super) pickle: &'a Pickle,
    storages: Storages,
    tensors: Vec<Tensor>,
    unsupported: Vec<Unsupported>,
    /// Dotted path of the value at hand; cut off somewhere past [`MAX_NAME`] bytes.
    path: String,
    /// Containers that hold the value at hand.
    open: HashSet<NodeId>,
    /// Tensors seen before, by the call that makes them.
    views: HashMap<NodeId, Rc<View>>,
    /// A tree that shares its parts can be exponentially larger than the pickle.
    budget: &'a mut Budget,
}

impl Walk<'_> {
    pub(super) fn value(&mut self, id: NodeId) -> Result<Value, TorchError> {
        let pickle = self.pickle;
        self.spend(size_of::<Value>())?;
        Ok(match pickle.node(id) {
            Node::None => Value::Null,
            Node::Bool(truth) => Value::Bool(*truth),
            Node::Int(number) => Value::Int(*number),
            Node::BigInt(digits) => Value::BigInt(digits.clone()),
            Node::Float(number) => Value::Float(*number),
            Node::Str(text) => Value::Str(text.clone()),
            Node::ByteStr(bytes) => {
                self.spend(2 * bytes.len())?;
                Value::Str(byte_text(bytes).into())
            }
            Node::Bytes(bytes) => Value::Bytes(bytes.clone()),
            Node::Global(name) => Value::Global(name.clone()),
            Node::List(items) | Node::Tuple(items) | Node::Set(items) => {
                self.inside(id, |walk| walk.list(items).map(Value::List))?
            }
            Node::Dict(entries) => self.inside(id, |walk| walk.map(entries).map(Value::Map))?,
            Node::Persistent(reference) => self.inside(id, |walk| {
                let args = vec![walk.value(*reference)?];
                Ok(object(Object { class: "persistent".into(), args, ..Object::default() }))
            })?,
            Node::Instance(instance) if rebuild::is_tensor(pickle, instance) => self.tensor(id, instance)?,
            Node::Instance(instance) => self.inside(id, |walk| walk.instance(instance))?,
        })
    }

    /// Counts `bytes` of memory as taken.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), TorchError> {
        let path = &self.path;
        self.budget.spend(bytes).map_err(|_| TorchError::Explodes { path: start(path, 200).to_owned() })
    }

    /// Runs `read` on the container `id`, unless that is being read already.
    fn inside(
        &mut self,
        id: NodeId,
        read: impl FnOnce(&mut Self) -> Result<Value, TorchError>,
    ) -> Result<Value, TorchError> {
        // All empty tuples are one node, which contains nothing that could lead back.
        if self.pickle.sequence(id).is_some_and(<[NodeId]>::is_empty) {
            return Ok(Value::List(Vec::new()));
        }
        if !self.open.insert(id) {
            return Ok(Value::Cycle);
        }
        if self.open.len() > MAX_DEPTH {
            let path = start(&self.path, 200).to_owned();
            return Err(TorchError::Deep { path, limit: MAX_DEPTH });
        }
        let value = read(self);
        self.open.remove(&id);
        value
    }

    /// The value of `id`, which is `segment` of the value at hand.
    fn member(&mut self, segment: &str, id: NodeId) -> Result<Value, TorchError> {
        let length = self.path.len();
        // Once a path is too long for any name there is no use in building it further.
        if length <= MAX_NAME {
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(start(segment, MAX_NAME + 1));
        }
        let value = self.value(id);
        self.path.truncate(length);
        value
    }

    pub(super) fn list(&mut self, items: &[NodeId]) -> Result<Vec<Value>, TorchError> {
        let mut segment = String::new();
        // Grows as its values are counted.
        let mut values = Vec::new();
        for (at, &item) in items.iter().enumerate() {
            segment.clear();
            let _ = write!(segment, "{at}");
            values.push(self.member(&segment, item)?);
        }
        Ok(values)
    }

    pub(super) fn map(&mut self, entries: &[(NodeId, NodeId)]) -> Result<Map, TorchError> {
        // Of a key that was set twice only the last value exists; its tensors alone are listed.
        let mut last = IndexMap::new();
        for (at, &(key, value)) in entries.iter().enumerate() {
            self.spend(ENTRY)?;
            last.insert(self.key(key, at)?, value);
        }
        let mut map = Map::with_capacity(last.len());
        for (key, value) in last {
            let value = match &key {
                Key::Str(text) | Key::Other(text) => self.member(text, value)?,
                Key::Int(number) => self.member(&number.to_string(), value)?,
            };
            map.insert(key, value);
        }
        Ok(map)
    }

    fn key(&mut self, id: NodeId, at: usize) -> Result<Key, TorchError> {
        let pickle = self.pickle;
        let text = match pickle.node(id) {
            Node::Str(text) => {
                // Shared, but hashed and compared.
                self.spend(text.len())?;
                return Ok(Key::Str(text.clone()));
            }
            Node::Int(number) => return Ok(Key::Int(*number)),
            Node::ByteStr(bytes) => {
                self.spend(2 * bytes.len())?;
                return Ok(Key::Str(byte_text(bytes).into()));
            }
            node => scalar(node).or_else(|| {
                let items = pickle.sequence(id).filter(|items| items.len() <= 8)?;
                let texts: Option<Vec<_>> = items.iter().map(|&i| scalar(pickle.node(i))).collect();
                Some(format!("[{}]", texts?.join(", ")))
            }),
        };
        let text = text.unwrap_or_else(|| format!("#{at}"));
        self.spend(text.len())?;
        Ok(Key::Other(text.into()))
    }

    fn tensor(&mut self, id: NodeId, instance: &Instance) -> Result<Value, TorchError> {
        let limit = MAX_NAME;
        if self.path.len() > limit {
            return Err(TorchError::LongName { path: start(&self.path, 60).to_owned(), limit });
        }
        self.spend(size_of::<Tensor>() + self.path.len())?;
        let name = self.path.clone();
        let view = match self.views.get(&id) {
            Some(view) => Rc::clone(view),
            None => {
                let view = Rc::new(rebuild::view(self.pickle, &mut self.storages, instance, &name)?);
                self.views.insert(id, Rc::clone(&view));
                view
            }
        };
        self.spend(2 * size_of_val(&view.shape[..]))?;
        let shape = view.shape.clone();
        match &view.element {
            Element::Known { dtype, strides, offset, storage } => {
                let index = self.tensors.len();
                self.storages.attach(*storage, index);
                let (dtype, strides, offset, storage) = (*dtype, strides.clone(), *offset, *storage);
                self.tensors.push(Tensor {
                    name,
                    dtype,
                    shape,
                    strides,
                    offset,
                    storage,
                    rank: 0,
                    chunk: None,
                });
                Ok(Value::Tensor(index))
            }
            Element::Unknown(dtype) => {
                let sizes = shape.iter().map(|&n| Value::Int(i64::try_from(n).unwrap_or(i64::MAX))).collect();
                let attributes = [
                    (Key::from("dtype"), Value::Str(dtype.as_str().into())),
                    (Key::from("shape"), Value::List(sizes)),
                ];
                self.unsupported.push(Unsupported { name, dtype: dtype.clone(), shape });
                let attributes = attributes.into_iter().collect();
                Ok(object(Object { class: "torch.Tensor".into(), attributes, ..Object::default() }))
            }
        }
    }

    fn instance(&mut self, instance: &Instance) -> Result<Value, TorchError> {
        self.spend(size_of::<Object>())?;
        let class = match self.value(instance.callee)? {
            Value::Global(name) => name,
            computed => {
                let shown = computed.to_string();
                self.spend(shown.len())?;
                shown.into()
            }
        };
        match self.plain(&class, instance)? {
            Some(value) => Ok(value),
            None => self.opaque(class, self.pickle.sequence(instance.args).unwrap_or(&[]), instance),
        }
    }

    /// An instance of a class nothing here knows.
    pub(super) fn opaque(
        &mut self,
        class: std::sync::Arc<str>,
        args: &[NodeId],
        instance: &Instance,
    ) -> Result<Value, TorchError> {
        let mut made = Object { class, ..Object::default() };
        for (at, &arg) in args.iter().enumerate() {
            // The sign keeps arguments apart from attributes and elements of the same name.
            made.args.push(self.member(&format!("#{at}"), arg)?);
        }
        if let Some(Node::Dict(kwargs)) = instance.kwargs.map(|id| self.pickle.node(id)) {
            made.kwargs = self.map(kwargs)?;
        }
        for &state in &instance.states {
            self.state(state, &mut made)?;
        }
        made.items = self.list(&instance.items)?;
        made.entries = self.map(&instance.entries)?;
        Ok(object(made))
    }

    /// What `BUILD` does: a dictionary, or a pair of dictionaries where the class has slots, sets attributes.
    fn state(&mut self, state: NodeId, made: &mut Object) -> Result<(), TorchError> {
        let pickle = self.pickle;
        let parts = match pickle.node(state) {
            Node::Dict(_) => vec![state],
            Node::Tuple(pair)
                if pair.len() == 2
                    && pair.iter().all(|&p| matches!(pickle.node(p), Node::Dict(_) | Node::None))
                    && pair.iter().any(|&p| matches!(pickle.node(p), Node::Dict(_))) =>
            {
                pair.clone()
            }
            _ => {
                made.state = Some(self.member("#state", state)?);
                return Ok(());
            }
        };
        for part in parts {
            if let Node::Dict(entries) = pickle.node(part) {
                made.attributes.extend(self.attributes(part, entries)?);
            }
        }
        Ok(())
    }

    fn attributes(&mut self, id: NodeId, entries: &[(NodeId, NodeId)]) -> Result<Map, TorchError> {
        match self.inside(id, |walk| walk.map(entries).map(Value::Map))? {
            Value::Map(map) => Ok(map),
            _ => Ok(Map::new()),
        }
    }
}

pub(super) fn object(object: Object) -> Value {
    Value::Object(Box::new(object))
}

/// A string of Python 2: UTF-8 where it is that, else Latin-1, as torch loads it.
fn byte_text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap_or_else(|_| bytes.iter().map(|&b| char::from(b)).collect())
}

/// Text of a short value that can be part of a key.
fn scalar(node: &Node) -> Option<String> {
    match node {
        Node::None => Some("null".to_owned()),
        Node::Bool(truth) => Some(truth.to_string()),
        Node::Int(number) => Some(number.to_string()),
        Node::Float(number) => Some(format!("{number:?}")),
        Node::BigInt(text) | Node::Str(text) | Node::Global(text) if text.len() <= 256 => {
            Some((**text).to_owned())
        }
        _ => None,
    }
}

/// At most `limit` bytes from the start of `text`, cut between characters.
pub(crate) fn start(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let end = (0..=limit).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    &text[..end]
}
