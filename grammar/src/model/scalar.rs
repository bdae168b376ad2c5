//! Numbers that are known once config is, and how they are evaluated.

use crate::mapping::{AxisId, FieldId};
use crate::value::{Environment, Value};

/// A number that config alone decides.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// This number.
    Number(f64),
    /// A config value that is a number.
    Config(FieldId),
    /// The coordinate of an index, inside a loop over it.
    Index(AxisId),
    /// The square root.
    Sqrt(Box<Scalar>),
    /// An operation; division does not round.
    Binary(ScalarOp, Box<Scalar>, Box<Scalar>),
}

impl Scalar {
    /// Its value; `None` where a config value in it is not known or no number.
    #[must_use]
    pub fn evaluate(&self, env: &dyn Environment) -> Option<f64> {
        match self {
            Scalar::Number(number) => Some(*number),
            Scalar::Config(field) => env.field(*field).as_ref().and_then(Value::as_number),
            #[expect(clippy::cast_precision_loss, reason = "coordinates of indices are small")]
            Scalar::Index(axis) => env.index(*axis).map(|i| i as f64),
            Scalar::Sqrt(inner) => inner.evaluate(env).map(f64::sqrt),
            Scalar::Binary(op, a, b) => Some(op.apply(a.evaluate(env)?, b.evaluate(env)?)),
        }
    }
}

/// An operation on two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalarOp {
    /// The sum.
    Add,
    /// The difference.
    Subtract,
    /// The product.
    Multiply,
    /// The quotient.
    Divide,
}

impl ScalarOp {
    /// The result for two numbers.
    #[must_use]
    pub fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            ScalarOp::Add => a + b,
            ScalarOp::Subtract => a - b,
            ScalarOp::Multiply => a * b,
            ScalarOp::Divide => a / b,
        }
    }
}
