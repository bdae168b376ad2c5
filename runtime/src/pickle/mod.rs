//! Python pickles, read as data: nothing is imported and nothing is executed.
//!
//! Follows `Lib/pickletools.py` and `Lib/pickle.py` of CPython 3.13, protocols 0 to 5. The result is an arena of nodes;
//! a memo entry is a node's id, so shared and cyclic objects, and objects changed after they were memoized, come
//! out as Python would have them. A class, function or constant stays a name ([`Node::Global`]); calling it gives
//! an [`Instance`] that records the call. Every opcode makes at most one node, so memory is bounded by the
//! length of the input, and by [`MAX_NODES`].

mod error;
mod machine;
mod node;
mod number;
pub(crate) mod opcode;
mod text;

#[cfg(test)]
mod tests;

pub use error::{PickleError, PickleErrorKind};
pub(crate) use machine::read;
pub(crate) use node::{Instance, Node, NodeId, Pickle};

/// Most nodes, stack entries and memo entries in one pickle; a checkpoint of 100,000 tensors has about 3 million nodes.
const MAX_NODES: usize = 1 << 25;

/// Longest integer, in bytes, as turning one into decimal takes time that grows with the square.
const MAX_INTEGER_BYTES: usize = 1024;
