//! NumPy's scalars and arrays of plain numbers.

use half::f16;

use crate::document::Value;
use crate::pickle::{Node, NodeId, Pickle};

/// Longest array that becomes a list of numbers; random number generators have 624.
const MAX_ELEMENTS: usize = 1 << 16;

/// NumPy stops at 64 dimensions.
const MAX_DIMS: usize = 64;

/// A plain number type: kind (`b`, `i`, `u`, `f`), bytes, byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    kind: u8,
    pub(super) size: usize,
    big_endian: bool,
}

/// The number type that a pickled `numpy.dtype` names; `None` where it is not a plain one.
pub(super) fn dtype(pickle: &Pickle, id: NodeId) -> Option<Kind> {
    let Node::Instance(instance) = pickle.node(id) else { return None };
    if &**pickle.global(instance.callee)? != "numpy.dtype" {
        return None;
    }
    let name = pickle.text(*pickle.sequence(instance.args)?.first()?)?;
    let state = instance.states.last().and_then(|&id| pickle.sequence(id));
    let order = state.and_then(|s| s.get(1)).and_then(|&id| pickle.text(id));
    let kind = *name.as_bytes().first()?;
    let size = name.get(1..)?.parse().ok()?;
    let plain = match kind {
        b'b' => size == 1,
        b'i' | b'u' => matches!(size, 1 | 2 | 4 | 8),
        b'f' => matches!(size, 2 | 4 | 8),
        _ => false,
    };
    plain.then_some(Kind { kind, size, big_endian: order == Some(">") })
}

/// The number in `bytes`; `None` where the length differs.
pub(super) fn number(kind: Kind, bytes: &[u8]) -> Option<Value> {
    if bytes.len() != kind.size {
        return None;
    }
    let mut wide = [0u8; 8];
    wide[..kind.size].copy_from_slice(bytes);
    if kind.big_endian {
        wide[..kind.size].reverse();
    }
    let unsigned = u64::from_le_bytes(wide);
    let [b0, b1, b2, b3, ..] = wide;
    Some(match (kind.kind, kind.size) {
        (b'b', _) => Value::Bool(unsigned != 0),
        (b'u', _) => {
            i64::try_from(unsigned).map_or_else(|_| Value::BigInt(unsigned.to_string().into()), Value::Int)
        }
        (b'i', 1) => Value::Int(i64::from(i8::from_le_bytes([b0]))),
        (b'i', 2) => Value::Int(i64::from(i16::from_le_bytes([b0, b1]))),
        (b'i', 4) => Value::Int(i64::from(i32::from_le_bytes([b0, b1, b2, b3]))),
        (b'i', _) => Value::Int(i64::from_le_bytes(wide)),
        (_, 2) => Value::Float(f16::from_le_bytes([b0, b1]).to_f64()),
        (_, 4) => Value::Float(f64::from(f32::from_le_bytes([b0, b1, b2, b3]))),
        _ => Value::Float(f64::from_le_bytes(wide)),
    })
}

/// The array as nested lists; `None` where it is too large or its parts do not agree.
pub(super) fn array(kind: Kind, bytes: &[u8], shape: &[usize], fortran: bool) -> Option<Value> {
    let elements = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size))?;
    if shape.len() > MAX_DIMS || elements > MAX_ELEMENTS || elements.checked_mul(kind.size)? != bytes.len() {
        return None;
    }
    if elements == 0 {
        return Some(Value::List(Vec::new()));
    }
    let mut strides = vec![kind.size; shape.len()];
    if fortran {
        (1..shape.len()).for_each(|at| strides[at] = strides[at - 1] * shape[at - 1]);
    } else {
        (1..shape.len()).rev().for_each(|at| strides[at - 1] = strides[at] * shape[at]);
    }
    nested(kind, bytes, shape, &strides)
}

fn nested(kind: Kind, bytes: &[u8], shape: &[usize], strides: &[usize]) -> Option<Value> {
    let (Some((&size, inner)), Some((&stride, steps))) = (shape.split_first(), strides.split_first()) else {
        return number(kind, bytes.get(..kind.size)?);
    };
    let items = (0..size).map(|at| nested(kind, bytes.get(at * stride..)?, inner, steps));
    items.collect::<Option<Vec<_>>>().map(Value::List)
}

#[cfg(test)]
mod tests {
    use super::*;

    const I2: Kind = Kind { kind: b'i', size: 2, big_endian: false };

    #[test]
    fn numbers_of_each_kind() {
        let kind = |kind, size| Kind { kind, size, big_endian: false };
        assert_eq!(number(I2, &[0xfe, 0xff]), Some(Value::Int(-2)));
        assert_eq!(number(Kind { big_endian: true, ..I2 }, &[1, 2]), Some(Value::Int(258)));
        assert_eq!(number(kind(b'u', 8), &[0xff; 8]), Some(Value::BigInt(u64::MAX.to_string().into())));
        assert_eq!(number(kind(b'f', 4), &1.5f32.to_le_bytes()), Some(Value::Float(1.5)));
        assert_eq!(number(kind(b'f', 2), &[0, 0x3e]), Some(Value::Float(1.5)));
        assert_eq!(number(kind(b'b', 1), &[1]), Some(Value::Bool(true)));
        assert_eq!(number(I2, &[1]), None);
    }

    #[test]
    fn arrays_in_both_orders() {
        let bytes: Vec<u8> = (0..6u8).flat_map(|n| [n, 0]).collect();
        let list = |numbers: &[i64]| Value::List(numbers.iter().map(|&n| Value::Int(n)).collect());
        assert_eq!(
            array(I2, &bytes, &[2, 3], false),
            Some(Value::List(vec![list(&[0, 1, 2]), list(&[3, 4, 5])]))
        );
        assert_eq!(
            array(I2, &bytes, &[2, 3], true),
            Some(Value::List(vec![list(&[0, 2, 4]), list(&[1, 3, 5])]))
        );
        assert_eq!(array(I2, &[], &[usize::MAX, 0], false), Some(Value::List(vec![])));
        assert_eq!(array(I2, &bytes, &[2, 2], false), None);
        assert_eq!(array(I2, &bytes, &[usize::MAX, 2], false), None);
    }
}
