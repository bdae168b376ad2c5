//! One file per command; each writes its result to the streams it is given.

pub(crate) mod check;
pub(crate) mod convert;
pub(crate) mod expand;
pub(crate) mod explain;
pub(crate) mod fmt;
pub(crate) mod inspect;
pub(crate) mod mappings;
pub(crate) mod plan;
pub(crate) mod verify;
