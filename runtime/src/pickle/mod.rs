//! Python pickles, read as data: nothing is imported and nothing is executed.
//!
//! Follows `Lib/pickletools.py` and `Lib/pickle.py` of CPython 3.13, protocols 0 to 5. The result is an arena of nodes;
//! a memo entry is a node's id, so shared and cyclic objects, and objects changed after they were memoized, come
//! out as Python would have them. A class, function or constant stays a name ([`Node::Global`]); calling it gives
//! an [`Instance`] that records the call. Every opcode makes at most one node; what all take is counted against a
//! [`Budget`](crate::budget::Budget).

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

/// Longest integer, in bytes, as turning one into decimal takes time that grows with the square.
const MAX_INTEGER_BYTES: usize = 1024;
