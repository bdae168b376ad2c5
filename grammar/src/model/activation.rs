//! Activations, and the names that mappings and configs know them by.

use crate::mapping::FieldId;

/// Which activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActivationChoice {
    /// This one.
    Fixed(Activation),
    /// The one that a config value names, as [`Activation::named`] has it.
    ByConfig(FieldId),
}

/// Functions of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x · Φ(x)`, by the error function.
    Gelu,
    /// `0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
    GeluTanh,
    /// `x · sigmoid(1.702 x)`.
    GeluQuick,
    /// `x · sigmoid(x)`.
    Silu,
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)²`.
    ReluSquared,
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
}

impl Activation {
    /// The names it has in mappings and in config documents of Hugging Face models; the first in each line is its own.
    const NAMES: [(&'static str, Activation); 15] = [
        ("gelu", Activation::Gelu),
        ("gelu_python", Activation::Gelu),
        ("gelu_tanh", Activation::GeluTanh),
        ("gelu_new", Activation::GeluTanh),
        ("gelu_fast", Activation::GeluTanh),
        ("gelu_pytorch_tanh", Activation::GeluTanh),
        ("gelu_quick", Activation::GeluQuick),
        ("quick_gelu", Activation::GeluQuick),
        ("silu", Activation::Silu),
        ("swish", Activation::Silu),
        ("relu", Activation::Relu),
        ("relu_squared", Activation::ReluSquared),
        ("relu2", Activation::ReluSquared),
        ("tanh", Activation::Tanh),
        ("sigmoid", Activation::Sigmoid),
    ];

    /// The activation of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Activation> {
        Activation::NAMES.iter().find(|(n, _)| *n == name).map(|(_, a)| *a)
    }

    /// All names of activations.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Activation::NAMES.iter().map(|(n, _)| *n)
    }
}
