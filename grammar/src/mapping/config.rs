//! Config values: where documents hold them, and what must hold of them.

use super::SideId;
use crate::size::Size;
use crate::source::Span;
use crate::value::{Expr, Value};

/// Config values and what is said of them.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The values, in the order they are written.
    pub fields: Vec<Field>,
    /// `left = right`, both sizes.
    pub equations: Vec<Equation>,
    /// Values written to a side's documents that are no field's own.
    pub writes: Vec<Write>,
    /// Conditions that must hold.
    pub requires: Vec<Require>,
    /// Remarks for the user.
    pub notes: Vec<Note>,
}

/// The type of a config value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// A truth value.
    Bool,
    /// A text.
    Text,
    /// A list.
    List,
    /// Whatever is there.
    Any,
}

impl Type {
    /// Its name in mappings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Type::Int => "int",
            Type::Float => "float",
            Type::Bool => "bool",
            Type::Text => "string",
            Type::List => "list",
            Type::Any => "any",
        }
    }

    /// The type called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Type> {
        [Type::Int, Type::Float, Type::Bool, Type::Text, Type::List, Type::Any]
            .into_iter()
            .find(|t| t.name() == name)
    }

    /// Whether a value is of this type; null is of none but `any`.
    #[must_use]
    pub fn admits(self, value: &Value) -> bool {
        match self {
            Type::Int => value.as_integer().is_some(),
            Type::Float => value.as_number().is_some(),
            Type::Bool => matches!(value, Value::Bool(_)),
            Type::Text => matches!(value, Value::Text(_)),
            Type::List => matches!(value, Value::List(_)),
            Type::Any => true,
        }
    }
}

/// A config value.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// Whether the type is stated where it is declared.
    pub stated: bool,
    /// Places in each side's documents that hold it, in order of preference.
    pub places: [Vec<String>; 2],
    /// How it is computed from the left side's documents, in place of being read there.
    pub computed: Option<Expr>,
    /// Whether it is written to its first place on each side.
    pub written: [bool; 2],
    /// Its value where nothing else gives one, by the side that is read.
    pub defaults: [Option<Expr>; 2],
    /// Where it is written.
    pub span: Span,
}

/// `left = right`.
#[derive(Clone, Debug)]
pub struct Equation {
    /// Both sides.
    pub sides: [Size; 2],
    /// Where it is written.
    pub span: Span,
}

/// A value for a place of one side.
#[derive(Clone, Debug)]
pub struct Write {
    /// The side.
    pub side: SideId,
    /// The place.
    pub place: String,
    /// The value; places in it are the other side's.
    pub value: Expr,
    /// Where it is written.
    pub span: Span,
}

/// A condition on a checkpoint of one side.
#[derive(Clone, Debug)]
pub struct Require {
    /// The side.
    pub side: SideId,
    /// Must be true.
    pub condition: Expr,
    /// What is wrong where it is not.
    pub message: String,
    /// Where it is written.
    pub span: Span,
}

/// A remark for the user.
#[derive(Clone, Debug)]
pub struct Note {
    /// The side of the checkpoints that it is said of.
    pub side: SideId,
    /// What is said; `{name}` stands for a config value.
    pub message: String,
    /// When it is said.
    pub condition: Option<Expr>,
    /// Where it is written.
    pub span: Span,
}
