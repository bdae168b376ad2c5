//! Keys of dictionaries.

use std::fmt;
use std::sync::Arc;

/// A key of a [`Map`](super::Map).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// A string.
    Str(Arc<str>),
    /// An integer.
    Int(i64),
    /// Anything else, by the text of its value: `None` is `null`, a tuple is `[0, 1]`.
    Other(Arc<str>),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Str(text) | Key::Other(text) => f.write_str(text),
            Key::Int(number) => write!(f, "{number}"),
        }
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Key {
        Key::Str(text.into())
    }
}
