//! Python's integers of any length.

use std::sync::Arc;

use super::Node;

/// The integer of little-endian two's complement `bytes`; empty means 0.
pub(super) fn from_le_bytes(bytes: &[u8]) -> Node {
    let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
    if bytes.len() <= 8 {
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        return Node::Int(i64::from_le_bytes(wide));
    }
    let mut magnitude = bytes.to_vec();
    if negative {
        let mut carry = true;
        for byte in &mut magnitude {
            (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
        }
    }
    from_digits(&decimal(magnitude, negative))
}

/// Digits of a little-endian magnitude.
fn decimal(mut magnitude: Vec<u8>, negative: bool) -> String {
    let mut digits = Vec::new();
    while let Some(last) = magnitude.iter().rposition(|&b| b != 0) {
        magnitude.truncate(last + 1);
        let mut rest = 0u64;
        for byte in magnitude.iter_mut().rev() {
            let value = rest << 8 | u64::from(*byte);
            *byte = u8::try_from(value / 10).expect("bug: the remainder was below 10");
            rest = value % 10;
        }
        digits.push(b'0' + u8::try_from(rest).expect("bug: a remainder modulo 10"));
    }
    if negative {
        digits.push(b'-');
    }
    digits.iter().rev().map(|&b| char::from(b)).collect()
}

/// The integer written as an optional sign and `digits`, or zero where there are none.
fn from_digits(digits: &str) -> Node {
    if digits.is_empty() {
        return Node::Int(0);
    }
    digits.parse().map_or_else(|_| Node::BigInt(Arc::from(digits)), Node::Int)
}

/// The integer written in decimal, or `None` where that is not one.
pub(super) fn from_text(text: &str) -> Option<Node> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let significant = digits.trim_start_matches('0');
    if text.starts_with('-') && !significant.is_empty() {
        return Some(from_digits(&format!("-{significant}")));
    }
    Some(from_digits(significant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twos_complement() {
        assert_eq!(from_le_bytes(&[]), Node::Int(0));
        assert_eq!(from_le_bytes(&[0, 0, 0, 0, 0, 255]), Node::Int(-(1 << 40)));
        assert_eq!(from_le_bytes(&[0xff; 3]), Node::Int(-1));
        let two_70 = [0, 0, 0, 0, 0, 0, 0, 0, 64];
        assert_eq!(from_le_bytes(&two_70), Node::BigInt("1180591620717411303424".into()));
        let minus_two_70 = [0, 0, 0, 0, 0, 0, 0, 0, 192];
        assert_eq!(from_le_bytes(&minus_two_70), Node::BigInt("-1180591620717411303424".into()));
        assert_eq!(from_le_bytes(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0]), Node::Int(128));
        assert_eq!(from_le_bytes(&[0xff; 20]), Node::Int(-1));
    }

    #[test]
    fn decimal_text() {
        assert_eq!(from_text("-0012"), Some(Node::Int(-12)));
        assert_eq!(from_text("-0"), Some(Node::Int(0)));
        assert_eq!(from_text("00"), Some(Node::Int(0)));
        assert_eq!(from_text("9223372036854775808"), Some(Node::BigInt("9223372036854775808".into())));
        assert_eq!(from_text("-9223372036854775808"), Some(Node::Int(i64::MIN)));
        assert_eq!(from_text(""), None);
        assert_eq!(from_text("-"), None);
        assert_eq!(from_text("1_000"), None);
    }
}
