//! The checked form of a forward pass: typed values over numbered variables, and references to rules in place of names.
//!
//! A value's type is the list of its dimensions. How the dimensions of a value lie in memory is the executor's
//! choice; a parameter's [`Parameter::layout`] says which axes each of its operands is addressed by, in the order in
//! which the operation takes them, whatever the order of any stored form.

mod activation;
mod scalar;

pub use activation::{Activation, ActivationChoice};
pub use scalar::{Scalar, ScalarOp};

use crate::layout::Layout;
use crate::mapping::{AxisId, Guard, SideId, ids};
use crate::source::Span;
use crate::template::IndexPart;
use crate::value::{Expr, Pattern};

ids! {
    /// Numbers [`Model::extents`].
    ExtentId
    /// Numbers [`Model::scopes`].
    ScopeId
    /// Numbers [`Model::modules`].
    ModuleId
    /// Numbers [`Model::parameters`].
    ParameterId
    /// Numbers [`Model::variables`].
    VariableId
}

/// A forward pass over the parameters of one side. Calls of `fn` blocks are unfolded.
#[derive(Clone, Debug)]
pub struct Model {
    /// The name after `model`.
    pub name: String,
    /// Whose parameters it is written over.
    pub side: SideId,
    /// What it is given, in order.
    pub arguments: Vec<Argument>,
    /// What its result is called; its type is that of the block's result.
    pub result: String,
    /// Axes whose sizes each call brings along, such as `batch` and `seq`.
    pub extents: Vec<Extent>,
    /// The axis that positions count along: the last of the first argument.
    pub sequence: ExtentId,
    /// Where parameters live. The first is the top, which has no parent; a scope stands after its parent.
    pub scopes: Vec<Scope>,
    /// The modules that are used, each once.
    pub modules: Vec<Module>,
    /// The parameters that are used, each once.
    pub parameters: Vec<Parameter>,
    /// All variables, those of arguments included.
    pub variables: Vec<Variable>,
    /// What is computed.
    pub block: Block,
    /// Where it is written.
    pub span: Span,
}

/// Something a model is given.
#[derive(Clone, Debug)]
pub struct Argument {
    /// Its name and type.
    pub variable: VariableId,
    /// Whether it may be left out; indices are then 0 everywhere, numbers 1.
    pub optional: bool,
}

/// An axis whose size is known when the model runs.
#[derive(Clone, Debug)]
pub struct Extent {
    /// Its name.
    pub name: String,
    /// Where it is written first.
    pub span: Span,
}

/// A group of parameters under one part of their names; its children and modules have it as their scope.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The scope around it; none for the top.
    pub parent: Option<ScopeId>,
    /// The part of the name, a text without dots such as `h`; empty for the top.
    pub name: String,
    /// The index that follows the name, of `h.{layer}`: there is one such scope for each coordinate.
    pub index: Option<IndexPart>,
    /// Where it is used first.
    pub span: Span,
}

/// A bundle of parameters that computes something.
#[derive(Clone, Debug)]
pub struct Module {
    /// What it is below.
    pub scope: ScopeId,
    /// The part of its name below the scope, a text without dots.
    pub name: String,
    /// What it computes, and from which parameters.
    pub kind: ModuleKind,
    /// Where it is used first.
    pub span: Span,
}

/// What a module computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModuleKind {
    /// `x · weight + bias`. The weight's operands are what comes out and what is contracted.
    Linear {
        /// `[out in]`, whichever way it is stored.
        weight: ParameterId,
        /// `[out]`.
        bias: Option<ParameterId>,
    },
    /// A row of a table for each index.
    Embedding {
        /// `[rows dim]`.
        weight: ParameterId,
    },
    /// `(x - mean) / sqrt(variance + epsilon) · weight + bias` over the axes of the weight.
    LayerNorm {
        /// `[dim]`.
        weight: ParameterId,
        /// `[dim]`.
        bias: Option<ParameterId>,
    },
    /// `x / sqrt(mean(x²) + epsilon) · weight` over the axes of the weight.
    RmsNorm {
        /// `[dim]`.
        weight: ParameterId,
    },
}

/// A parameter that a model uses.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// What it, or the module it belongs to, is below.
    pub scope: ScopeId,
    /// The part of its name below the scope or the module; a text without dots, but for a slot's own name.
    pub name: String,
    /// The module it belongs to.
    pub module: Option<ModuleId>,
    /// The rules that have it, under guards that exclude one another and that the places of its use imply.
    pub sources: Vec<ParameterSource>,
    /// One dimension for each operand: `[out in]` for a weight of either layout, `[rows dim]` of a table. In each
    /// dimension sums are outermost; there is no padding, broadcast or rank in it. A stored dimension of a parameter
    /// that is used without a module is an operand, in the order of the first stored form.
    pub layout: Layout,
    /// Whether a checkpoint may lack it.
    pub optional: bool,
    /// Where it is used first.
    pub span: Span,
}

/// Where a parameter is found in the mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterSource {
    /// When.
    pub guard: Guard,
    /// Its rule, in [`crate::Mapping::rules`].
    pub rule: usize,
    /// Its entry, on the model's side of the rule.
    pub entry: usize,
}

/// A name for a value.
#[derive(Clone, Debug)]
pub struct Variable {
    /// As written; several may share one.
    pub name: String,
    /// The type of its value.
    pub ty: Tensor,
    /// Where it is named.
    pub span: Span,
}

/// The type of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Outermost first; none for a single number.
    pub dims: Vec<Dim>,
    /// What its elements are.
    pub element: Element,
}

/// What the elements of a value are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// Numbers of the dtype that the model runs in.
    Number,
    /// Coordinates of this axis.
    Index(AxisId),
    /// Positions along [`Model::sequence`]; these may be coordinates of any axis.
    Position,
}

/// A dimension of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// An axis whose size comes with each call.
    Extent(ExtentId),
    /// An axis of the mapping, and the index that its size depends on.
    Axis(AxisId, Option<AxisId>),
    /// Labelled parts, one after the other.
    Sum(Vec<Part>),
}

/// A part of a dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its label.
    pub label: String,
    /// Its dimensions, flattened outermost first; none for a part of one unit.
    pub dims: Vec<Dim>,
}

/// Statements and the value they lead to.
#[derive(Clone, Debug)]
pub struct Block {
    /// In order.
    pub statements: Vec<Statement>,
    /// The value.
    pub result: Value,
}

/// A step of a block.
#[derive(Clone, Debug)]
pub enum Statement {
    /// Names a value.
    Let {
        /// The name.
        variable: VariableId,
        /// The value.
        value: Value,
    },
    /// Takes a value apart along the sum that is its dimension `dim`.
    Split {
        /// The dimension, always a [`Dim::Sum`].
        dim: usize,
        /// A variable for each part of the sum, in its order.
        parts: Vec<VariableId>,
        /// What is taken apart.
        value: Value,
    },
    /// The `count` largest coordinates along an axis: largest first, ties by the lower coordinate.
    TopK {
        /// The dimension that is chosen from; in both results `count` takes its place, as the last.
        dim: usize,
        /// How many: an axis, whose size is a config value.
        count: AxisId,
        /// The values that were chosen.
        values: VariableId,
        /// Their coordinates.
        indices: VariableId,
        /// What is chosen from.
        value: Value,
    },
    /// Once for each coordinate of a scope's index, in order.
    For {
        /// The scope, which has an index.
        scope: ScopeId,
        /// What each pass hands to the next.
        carried: Vec<Carried>,
        /// Variables from outside that the body reads, those carried aside.
        captured: Vec<VariableId>,
        /// The body.
        body: Vec<Statement>,
        /// Where it is written.
        span: Span,
    },
}

/// A variable that each pass of a loop gives a new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Its value before the loop.
    pub initial: VariableId,
    /// Its value at the start of a pass.
    pub start: VariableId,
    /// Its value at the end of a pass.
    pub end: VariableId,
    /// Its value after the loop.
    pub result: VariableId,
}

/// A computed value.
#[derive(Clone, Debug)]
pub struct Value {
    /// What computes it.
    pub kind: ValueKind,
    /// Its type.
    pub ty: Tensor,
    /// Where it is written.
    pub span: Span,
}

/// The operations. Operands are addressed by axes: what is said to be added is matched axis by axis, by name.
#[derive(Clone, Debug)]
pub enum ValueKind {
    /// A variable.
    Variable(VariableId),
    /// A parameter as it is.
    Parameter(ParameterId),
    /// One number.
    Scalar(Scalar),
    /// 0, 1, 2, … along [`Model::sequence`], counted from what has gone before.
    Position,
    /// A row of a table for each index: the index's dimensions, then those of the row.
    Gather {
        /// `[rows dim…]`.
        table: ParameterId,
        /// The module the table belongs to.
        module: Option<ModuleId>,
        /// Which rows.
        index: Box<Value>,
    },
    /// `input · weight + bias`: the last dimensions of the input, those of the weight's contracted operand, give way
    /// to those of the other.
    Linear {
        /// Has two operands.
        weight: ParameterId,
        /// The operand of the weight that is contracted: 0 or 1; always 1 for a module's.
        contracted: usize,
        /// Has the dimensions of the other operand.
        bias: Option<ParameterId>,
        /// The module both belong to.
        module: Option<ModuleId>,
        /// What is multiplied.
        input: Box<Value>,
    },
    /// A layer norm or an RMS norm over the last dimensions, those of the weight.
    Norm {
        /// Whether the mean is taken off first, as in a layer norm.
        centred: bool,
        /// Has the dimensions that are normed.
        weight: ParameterId,
        /// Has the same dimensions.
        bias: Option<ParameterId>,
        /// The module both belong to.
        module: Option<ModuleId>,
        /// What is added to the variance.
        epsilon: Scalar,
        /// What is normed.
        input: Box<Value>,
    },
    /// Attention; see [`Attention`].
    Attention(Box<Attention>),
    /// Rotary embedding along the last dimension; see [`Rotary`].
    Rotary(Box<Rotary>),
    /// An activation, element by element.
    Activation {
        /// Which.
        function: ActivationChoice,
        /// Of what.
        input: Box<Value>,
    },
    /// Element by element. The operand with fewer dimensions is repeated along those that it lacks: its dimensions
    /// are some of the other's, in the same order.
    Binary {
        /// What is done.
        op: ScalarOp,
        /// The first operand.
        left: Box<Value>,
        /// The second operand.
        right: Box<Value>,
    },
    /// Softmax along a dimension.
    Softmax {
        /// The dimension.
        dim: usize,
        /// Of what.
        input: Box<Value>,
    },
    /// The sum or the mean along a dimension, which is gone after it.
    Reduce {
        /// Which of both.
        mean: bool,
        /// The dimension.
        dim: usize,
        /// Of what.
        input: Box<Value>,
    },
    /// The first or the last coordinate along a dimension, which is gone after it.
    Pick {
        /// Whether the last.
        last: bool,
        /// The dimension.
        dim: usize,
        /// Of what.
        input: Box<Value>,
    },
    /// The same numbers in another dtype.
    Cast {
        /// One of `f32`, `f16`, `bf16`, `f64`.
        dtype: &'static str,
        /// Of what.
        input: Box<Value>,
    },
    /// Puts parts together into one last dimension, a sum. The extents that all parts have stay before it.
    Join {
        /// The parts, in the order of the sum.
        parts: Vec<Value>,
    },
    /// The block of the first pattern that fits a config value; all have one type.
    Choose {
        /// What is decided on: config alone.
        on: Expr,
        /// Patterns and what they lead to. The last fits everything.
        arms: Vec<(Pattern, Block)>,
    },
    /// Sums the body over chosen coordinates of a scope's index; see [`Routed`].
    Routed(Box<Routed>),
}

/// `softmax(query · key / sqrt(size) + mask) · value`.
///
/// The query is `[extents… heads… dim]`. Key and value have the same extents, some of its heads, in the same order,
/// and one last dimension; the key's is the query's. Heads of the query that the key lacks share their key.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Who asks.
    pub query: Value,
    /// Who is asked; along [`Model::sequence`] it may reach further back than the query.
    pub key: Value,
    /// What is answered.
    pub value: Value,
    /// Which dimensions of the query are heads that key and value have too.
    pub groups: Vec<usize>,
    /// Which dimensions of the query are heads that share a key and value.
    pub shared: Vec<usize>,
    /// Whether positions after a query's own are hidden from it.
    pub causal: bool,
    /// 1 where a key is seen, 0 where not; over the extents of the key. None where it is causal.
    pub mask: Option<Value>,
    /// What scores are multiplied by, if not by 1 / sqrt of the query's last dimension.
    pub scale: Option<Scalar>,
}

/// Rotates pairs of coordinates of the last dimension by angles that grow with the position.
///
/// Pair `i` of `n / 2` turns by `position / base^(2i / n)`.
#[derive(Clone, Debug)]
pub struct Rotary {
    /// What is rotated: `[extents… heads… dim]`.
    pub input: Value,
    /// Which coordinates make a pair.
    pub pairs: RotaryPairs,
    /// The base of the frequencies.
    pub base: Scalar,
    /// How many coordinates are rotated, from the first on; all of them without it.
    pub width: Option<Scalar>,
    /// What positions are divided by; nothing without it.
    pub interpolation: Option<Scalar>,
}

/// Which coordinates a rotary embedding pairs up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotaryPairs {
    /// `i` and `i + n / 2`, as in GPT-NeoX, Llama in Hugging Face's form, and Megatron.
    Half,
    /// `2i` and `2i + 1`, as in GPT-J and Meta's Llama.
    Interleaved,
}

/// A sum over chosen coordinates: `Σ weights[…, c] · body(indices[…, c])`.
///
/// The body computes each position by itself, so an executor may gather those that chose a coordinate and run them
/// alone. Its value has the dimensions of the indices but for the last, and then its own.
#[derive(Clone, Debug)]
pub struct Routed {
    /// The scope, which has an index.
    pub scope: ScopeId,
    /// Which coordinates of that index: `[extents… count]`.
    pub indices: Value,
    /// Numbers of the same dimensions.
    pub weights: Value,
    /// Variables from outside that the body reads.
    pub captured: Vec<VariableId>,
    /// What is summed.
    pub body: Block,
}

impl Model {
    /// An extent.
    #[must_use]
    pub fn extent(&self, id: ExtentId) -> &Extent {
        &self.extents[id.index()]
    }

    /// A scope.
    #[must_use]
    pub fn scope(&self, id: ScopeId) -> &Scope {
        &self.scopes[id.index()]
    }

    /// A module.
    #[must_use]
    pub fn module(&self, id: ModuleId) -> &Module {
        &self.modules[id.index()]
    }

    /// A parameter.
    #[must_use]
    pub fn parameter(&self, id: ParameterId) -> &Parameter {
        &self.parameters[id.index()]
    }

    /// A variable.
    #[must_use]
    pub fn variable(&self, id: VariableId) -> &Variable {
        &self.variables[id.index()]
    }
}
