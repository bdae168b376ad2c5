//! What can be wrong with a pickle.

/// A pickle that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pickle opcode {opcode} at byte {offset} {kind}")]
pub struct PickleError {
    /// Where the opcode starts, in bytes from the start of the record or file that holds the pickle.
    pub offset: usize,
    /// Name of the opcode, as in Python's `pickletools`.
    pub opcode: &'static str,
    /// What is wrong.
    pub kind: PickleErrorKind,
}

/// What is wrong at one opcode of a pickle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickleErrorKind {
    /// The input ends before a `STOP`.
    #[error("is missing: the pickle ends there without STOP")]
    Ends,
    /// The opcode's argument runs past the end.
    #[error("needs {needed} bytes, but {left} are left")]
    Short {
        /// Length of the argument.
        needed: u64,
        /// Bytes left in the input.
        left: usize,
    },
    /// A line argument has no line end.
    #[error("lacks the end of its line")]
    Line,
    /// No opcode has this code.
    #[error("(code {0:#04x}) does not exist")]
    Unknown(u8),
    /// The protocol is newer than 5.
    #[error("asks for protocol {0}; protocols 0 to 5 are read")]
    Protocol(u8),
    /// The stack has too few entries.
    #[error("finds the stack empty")]
    Stack,
    /// There is no mark on the stack.
    #[error("finds no mark on the stack")]
    Mark,
    /// A memo entry is not there.
    #[error("refers to memo entry {0}, which was never set")]
    Memo(u64),
    /// The argument is not what the opcode takes.
    #[error("has a malformed argument ({0})")]
    Argument(&'static str),
    /// The opcode acts on an object of the wrong kind.
    #[error("acts on {0}")]
    Target(&'static str),
    /// An integer is longer than is read.
    #[error("holds an integer of {0} bytes; at most 1024 are read")]
    Integer(u64),
    /// The objects of the pickle are far larger than what describes them.
    #[error("makes objects far larger than the pickle; no training code writes that: do not trust the file")]
    Explodes,
}
