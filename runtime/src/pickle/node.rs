//! The objects of a pickle.

use std::sync::Arc;

/// Index of a node in its [`Pickle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NodeId(pub(super) u32);

impl NodeId {
    pub(super) const NONE: NodeId = NodeId(0);
    pub(super) const FALSE: NodeId = NodeId(1);
    pub(super) const TRUE: NodeId = NodeId(2);
    pub(super) const EMPTY_TUPLE: NodeId = NodeId(3);

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    None,
    Bool(bool),
    Int(i64),
    /// Decimal digits of an integer that does not fit 64 bits.
    BigInt(Arc<str>),
    Float(f64),
    Str(Arc<str>),
    /// A string of Python 2, which may be text or bytes.
    ByteStr(Arc<[u8]>),
    Bytes(Arc<[u8]>),
    List(Vec<NodeId>),
    Tuple(Vec<NodeId>),
    Set(Vec<NodeId>),
    /// Pairs in the order they were set; a key may come again.
    Dict(Vec<(NodeId, NodeId)>),
    /// Dotted name, never imported.
    Global(Arc<str>),
    /// What was left outside the pickle under this id.
    Persistent(NodeId),
    Instance(Box<Instance>),
}

impl Node {
    /// Bytes of memory that it takes, without what is put into it later.
    pub(super) fn size(&self) -> usize {
        // A shared text or run of bytes has two counts before it.
        const COUNTS: usize = 2 * size_of::<usize>();
        size_of::<Node>()
            + match self {
                Node::BigInt(text) | Node::Str(text) | Node::Global(text) => COUNTS + text.len(),
                Node::ByteStr(bytes) | Node::Bytes(bytes) => COUNTS + bytes.len(),
                Node::List(items) | Node::Tuple(items) | Node::Set(items) => size_of_val(&items[..]),
                Node::Dict(entries) => size_of_val(&entries[..]),
                Node::Instance(_) => size_of::<Instance>(),
                Node::None | Node::Bool(_) | Node::Int(_) | Node::Float(_) | Node::Persistent(_) => 0,
            }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Node::None => "None",
            Node::Bool(_) => "a bool",
            Node::Int(_) | Node::BigInt(_) => "an integer",
            Node::Float(_) => "a float",
            Node::Str(_) | Node::ByteStr(_) => "a string",
            Node::Bytes(_) => "bytes",
            Node::List(_) => "a list",
            Node::Tuple(_) => "a tuple",
            Node::Set(_) => "a set",
            Node::Dict(_) => "a dictionary",
            Node::Global(_) => "a name",
            Node::Persistent(_) => "a persistent id",
            Node::Instance(_) => "an instance",
        }
    }
}

/// The record of a call, and of what was done to its result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Instance {
    /// What was called; a [`Node::Global`] in any pickle that Python wrote.
    pub(crate) callee: NodeId,
    /// Always a tuple. Kept by id, as one tuple may be the arguments of many calls.
    pub(crate) args: NodeId,
    /// Arguments by name.
    pub(crate) kwargs: Option<NodeId>,
    /// Each state it was given by `BUILD`.
    pub(crate) states: Vec<NodeId>,
    /// What was appended or added.
    pub(crate) items: Vec<NodeId>,
    /// What was set.
    pub(crate) entries: Vec<(NodeId, NodeId)>,
}

/// A pickle's objects.
#[derive(Debug)]
pub(crate) struct Pickle {
    pub(super) nodes: Vec<Node>,
    /// The object the pickle is of.
    pub(crate) root: NodeId,
    /// Where in the input the pickle ends.
    pub(crate) end: usize,
}

impl Pickle {
    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The text of a string.
    pub(crate) fn text(&self, id: NodeId) -> Option<&str> {
        match self.node(id) {
            Node::Str(text) => Some(text),
            Node::ByteStr(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The bytes of a bytes object or of a Python 2 string.
    pub(crate) fn bytes(&self, id: NodeId) -> Option<&Arc<[u8]>> {
        match self.node(id) {
            Node::Bytes(bytes) | Node::ByteStr(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The name of a class or function.
    pub(crate) fn global(&self, id: NodeId) -> Option<&Arc<str>> {
        if let Node::Global(name) = self.node(id) { Some(name) } else { None }
    }

    pub(crate) fn int(&self, id: NodeId) -> Option<i64> {
        if let Node::Int(number) = self.node(id) { Some(*number) } else { None }
    }

    /// The elements of a tuple or list.
    pub(crate) fn sequence(&self, id: NodeId) -> Option<&[NodeId]> {
        if let Node::Tuple(items) | Node::List(items) = self.node(id) { Some(items) } else { None }
    }
}
