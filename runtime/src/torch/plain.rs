//! Classes of Python, NumPy and torch whose instances are plain data.

use std::sync::Arc;

use crate::document::{Map, Object, Value};
use crate::pickle::{Instance, Node, NodeId, Pickle};

use super::error::TorchError;
use super::numpy;
use super::walk::{Walk, object};

/// Protocols 0 to 2 write a bytearray as a call of a call; nothing writes more.
const NESTED_BYTES: usize = 2;

impl Walk<'_> {
    /// The plain data that calling `name` makes, or `None` where that is not known.
    pub(super) fn plain(&mut self, name: &str, instance: &Instance) -> Result<Option<Value>, TorchError> {
        let args = self.pickle.sequence(instance.args).unwrap_or(&[]);
        match name {
            "collections.OrderedDict" | "collections.Counter" | "builtins.dict" => {
                self.dictionary(args.first().copied(), instance).map(Some)
            }
            "collections.defaultdict" => self.dictionary(args.get(1).copied(), instance).map(Some),
            "builtins.list" | "builtins.tuple" | "builtins.set" | "builtins.frozenset"
            | "collections.deque" | "torch.Size" => self.sequence(args, instance),
            "copyreg._reconstructor" => self.reconstructed(args, instance),
            "copyreg.__newobj__" => match args.split_first() {
                Some((class, rest)) => {
                    let Some(class) = self.pickle.global(*class) else { return Ok(None) };
                    self.opaque(class.clone(), rest, instance).map(Some)
                }
                None => Ok(None),
            },
            "numpy.core.multiarray.scalar" | "numpy._core.multiarray.scalar" => self.numpy_scalar(args),
            "numpy.core.multiarray._reconstruct" | "numpy._core.multiarray._reconstruct" => {
                self.numpy_array(instance)
            }
            "numpy.core.numeric._frombuffer" | "numpy._core.numeric._frombuffer" => self.numpy_buffer(args),
            "_codecs.encode" | "builtins.bytes" | "builtins.bytearray" => {
                Ok(self.encoded(args, NESTED_BYTES)?.map(Value::Bytes))
            }
            "_io.BytesIO" | "io.BytesIO" => self.stream(args, instance),
            "builtins.getattr" | "torch.serialization._get_layout" | "torch.device" => {
                self.constant(name, args)
            }
            _ if name.starts_with("pathlib.") => self.constant(name, args),
            _ => Ok(None),
        }
    }

    /// Values that are made of texts.
    fn constant(&mut self, name: &str, args: &[NodeId]) -> Result<Option<Value>, TorchError> {
        let pickle = self.pickle;
        // One text may be an argument any number of times. What is made holds each, and a separator.
        let lengths = args.iter().map(|&id| match pickle.global(id) {
            Some(name) => name.len() + 1,
            None => pickle.text(id).map_or(0, str::len) + 1,
        });
        self.spend(lengths.sum())?;
        Ok(constant(pickle, name, args))
    }

    /// A dictionary from its first `content`, a dictionary or a list of pairs, and what was set later.
    ///
    /// Attributes, such as the `_metadata` of a state dict, are left out: a map has none.
    fn dictionary(&mut self, content: Option<NodeId>, instance: &Instance) -> Result<Value, TorchError> {
        let pickle = self.pickle;
        let mut map = Map::new();
        if let Some(content) = content {
            let pairs: Vec<(NodeId, NodeId)> = match pickle.node(content) {
                Node::Dict(entries) => entries.clone(),
                Node::List(items) | Node::Tuple(items) => {
                    let pair = |&id: &NodeId| match pickle.sequence(id) {
                        Some(&[key, value]) => Some((key, value)),
                        _ => None,
                    };
                    items.iter().filter_map(pair).collect()
                }
                _ => Vec::new(),
            };
            map = self.map(&pairs)?;
        }
        map.extend(self.map(&instance.entries)?);
        Ok(Value::Map(map))
    }

    fn sequence(&mut self, args: &[NodeId], instance: &Instance) -> Result<Option<Value>, TorchError> {
        let mut items = match args.first().map(|&id| self.pickle.node(id)) {
            None => Vec::new(),
            Some(Node::List(items) | Node::Tuple(items) | Node::Set(items)) => items.clone(),
            Some(_) => return Ok(None),
        };
        items.extend(&instance.items);
        self.list(&items).map(|items| Some(Value::List(items)))
    }

    /// Instances as protocols 0 and 1 write them: class, base class, and the base's own value.
    fn reconstructed(&mut self, args: &[NodeId], instance: &Instance) -> Result<Option<Value>, TorchError> {
        let &[class, base, value] = args else { return Ok(None) };
        let (Some(class), Some(base)) = (self.pickle.global(class), self.pickle.global(base)) else {
            return Ok(None);
        };
        let args = if &**base == "builtins.object" { &[][..] } else { &[value][..] };
        if &**class == "collections.OrderedDict" {
            return self.dictionary(args.first().copied(), instance).map(Some);
        }
        self.opaque(class.clone(), args, instance).map(Some)
    }

    /// The content of a stream in memory: its state, or what it was made from.
    fn stream(&mut self, args: &[NodeId], instance: &Instance) -> Result<Option<Value>, TorchError> {
        let state = instance.states.last().and_then(|&id| self.pickle.sequence(id));
        match state.and_then(|s| s.first()).or(args.first()) {
            Some(&id) => Ok(self.content(id, NESTED_BYTES)?.map(Value::Bytes)),
            None => Ok(Some(Value::Bytes(Arc::from([])))),
        }
    }

    /// The bytes of `bytes(…)`, `bytearray(…)` and `codecs.encode(text, "latin1")`.
    fn encoded(&mut self, args: &[NodeId], depth: usize) -> Result<Option<Arc<[u8]>>, TorchError> {
        let (content, encoding) = match *args {
            [] => return Ok(Some(Arc::from([]))),
            [content] => return self.content(content, depth),
            [content, encoding] => (self.pickle.text(content), self.pickle.text(encoding)),
            _ => return Ok(None),
        };
        let (Some(text), Some(encoding)) = (content, encoding) else { return Ok(None) };
        // One text may be encoded any number of times.
        self.spend(text.len())?;
        Ok(match encoding {
            "latin1" | "latin-1" | "iso-8859-1" => {
                text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
            }
            "utf-8" | "utf8" | "ascii" => Some(text.as_bytes().into()),
            _ => None,
        })
    }

    /// The bytes of a bytes object, however the protocol wrote it: as itself, or as calls, at most `depth` of them.
    fn content(&mut self, id: NodeId, depth: usize) -> Result<Option<Arc<[u8]>>, TorchError> {
        let pickle = self.pickle;
        let Node::Instance(instance) = pickle.node(id) else { return Ok(pickle.bytes(id).cloned()) };
        let maker = pickle.global(instance.callee).map_or("", |name| name);
        if depth == 0 || !matches!(maker, "_codecs.encode" | "builtins.bytes" | "builtins.bytearray") {
            return Ok(None);
        }
        self.encoded(pickle.sequence(instance.args).unwrap_or(&[]), depth - 1)
    }

    // -------------------------------------------------------------------------------- numpy

    fn numpy_scalar(&mut self, args: &[NodeId]) -> Result<Option<Value>, TorchError> {
        let &[dtype, content] = args else { return Ok(None) };
        let content = self.content(content, NESTED_BYTES)?;
        Ok(numpy::dtype(self.pickle, dtype)
            .zip(content)
            .and_then(|(kind, bytes)| numpy::number(kind, &bytes)))
    }

    /// An array as `_reconstruct` and a state of (version, shape, dtype, Fortran order, content) write it.
    fn numpy_array(&mut self, instance: &Instance) -> Result<Option<Value>, TorchError> {
        let state = instance.states.last().and_then(|&id| self.pickle.sequence(id));
        let Some(&[_, shape, dtype, fortran, content]) = state else { return Ok(None) };
        let fortran = *self.pickle.node(fortran) == Node::Bool(true);
        self.numpy_content(shape, dtype, fortran, content)
    }

    /// An array as protocol 5 writes it: content, dtype, shape, order.
    fn numpy_buffer(&mut self, args: &[NodeId]) -> Result<Option<Value>, TorchError> {
        let &[content, dtype, shape, order] = args else { return Ok(None) };
        self.numpy_content(shape, dtype, self.pickle.text(order) == Some("F"), content)
    }

    fn numpy_content(
        &mut self,
        shape: NodeId,
        dtype: NodeId,
        fortran: bool,
        content: NodeId,
    ) -> Result<Option<Value>, TorchError> {
        let sizes: Option<Vec<usize>> = self.pickle.sequence(shape).and_then(|sizes| {
            sizes.iter().map(|&n| self.pickle.int(n).and_then(|n| usize::try_from(n).ok())).collect()
        });
        let content = self.content(content, NESTED_BYTES)?;
        let known = numpy::dtype(self.pickle, dtype).zip(content).zip(sizes);
        let Some(((kind, bytes), sizes)) = known else { return Ok(None) };
        if let Some(numbers) = numpy::array(kind, &bytes, &sizes, fortran) {
            self.spend(bytes.len() / kind.size * size_of::<Value>())?;
            return Ok(Some(numbers));
        }
        // Too large to be a document, or inconsistent: kept as bytes.
        let attributes = [("dtype".into(), self.value(dtype)?), ("shape".into(), self.value(shape)?)]
            .into_iter()
            .chain([("content".into(), Value::Bytes(bytes))])
            .collect();
        Ok(Some(object(Object { class: "numpy.ndarray".into(), attributes, ..Object::default() })))
    }
}

fn constant(pickle: &Pickle, name: &str, args: &[NodeId]) -> Option<Value> {
    let text = |at: usize| args.get(at).and_then(|&id| pickle.text(id));
    match name {
        // An attribute of a class, such as an enum's member: a longer name.
        "builtins.getattr" => {
            let owner = pickle.global(*args.first()?)?;
            Some(Value::Global(format!("{owner}.{}", text(1)?).into()))
        }
        "torch.serialization._get_layout" => Some(Value::Global(text(0)?.into())),
        "torch.device" => match args.get(1).map(|&id| pickle.int(id)) {
            None => Some(Value::Str(text(0)?.into())),
            Some(index) => Some(Value::Str(format!("{}:{}", text(0)?, index?).into())),
        },
        _ => match name.strip_prefix("pathlib.")?.trim_start_matches("_local.") {
            "PosixPath" | "PurePosixPath" | "Path" | "PurePath" => path_of(pickle, args, "/"),
            "WindowsPath" | "PureWindowsPath" => path_of(pickle, args, "\\"),
            _ => None,
        },
    }
}

fn path_of(pickle: &Pickle, args: &[NodeId], separator: &str) -> Option<Value> {
    let parts: Option<Vec<&str>> = args.iter().map(|&id| pickle.text(id)).collect();
    // The root is a part of its own, and ends with the separator.
    let joined = parts?.join(separator);
    let doubled = format!("{separator}{separator}");
    Some(Value::Str(
        joined.strip_prefix(&doubled).map_or(joined.clone(), |r| format!("{separator}{r}")).into(),
    ))
}
