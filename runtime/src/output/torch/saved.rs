//! What a torch file holds: plain data with tensors in it.

use crate::DType;
use crate::output::TensorSpec;
use transship_grammar::Value;

/// A Python value of a torch file.
#[derive(Clone, Debug, PartialEq)]
pub enum Saved {
    /// `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Saved>),
    /// A tuple.
    Tuple(Vec<Saved>),
    /// A `dict` with strings for keys, in its order.
    Dict(Vec<(String, Saved)>),
    /// A `collections.OrderedDict` with strings for keys, as state dicts are.
    OrderedDict(Vec<(String, Saved)>),
    /// An `argparse.Namespace` with these attributes, as Megatron-LM keeps its arguments.
    ///
    /// Torch loads it with `weights_only=False`, or after `torch.serialization.add_safe_globals`.
    Namespace(Vec<(String, Saved)>),
    /// A `torch.dtype`, such as `torch.bfloat16`.
    DType(DType),
    /// A tensor whose contents come when the file is written.
    Tensor(TensorSpec),
}

impl From<&Value> for Saved {
    /// The Python value that a value of the mapping language stands for.
    fn from(value: &Value) -> Saved {
        match value {
            Value::Null => Saved::None,
            Value::Bool(truth) => Saved::Bool(*truth),
            Value::Int(number) => Saved::Int(*number),
            Value::Float(number) => Saved::Float(*number),
            Value::Text(text) => Saved::Text(text.clone()),
            Value::List(items) => Saved::List(items.iter().map(Saved::from).collect()),
        }
    }
}
