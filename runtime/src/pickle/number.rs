//! Python's integers of any length.

use std::fmt::Write as _;
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
    // Two's complement in whole words, then its magnitude.
    let mut words: Vec<u32> = bytes
        .chunks(4)
        .map(|chunk| {
            let mut word = [if negative { 0xff } else { 0 }; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            u32::from_le_bytes(word)
        })
        .collect();
    if negative {
        let mut carry = true;
        for word in &mut words {
            (*word, carry) = (!*word).overflowing_add(u32::from(carry));
        }
    }
    from_digits(&decimal(words, negative))
}

/// Digits of a magnitude, whose lowest word is first.
fn decimal(mut words: Vec<u32>, negative: bool) -> String {
    /// The largest power of ten in a word.
    const GROUP: u64 = 1_000_000_000;
    let mut groups = Vec::new();
    while let Some(last) = words.iter().rposition(|&word| word != 0) {
        words.truncate(last + 1);
        let mut rest = 0u64;
        for word in words.iter_mut().rev() {
            let value = rest << 32 | u64::from(*word);
            *word = u32::try_from(value / GROUP).expect("bug: the remainder was below the divisor");
            rest = value % GROUP;
        }
        groups.push(rest);
    }
    let Some(first) = groups.pop() else { return String::new() };
    let mut digits = format!("{}{first}", if negative { "-" } else { "" });
    for group in groups.iter().rev() {
        let _ = write!(digits, "{group:09}");
    }
    digits
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
        // 10^18 + 1 and 2^96: groups of digits that begin with zeros, and words that are zero.
        let long = [1, 0, 0x64, 0xa7, 0xb3, 0xb6, 0xe0, 0x0d, 0, 0, 0, 0];
        assert_eq!(from_le_bytes(&long), Node::Int(1_000_000_000_000_000_001));
        let mut two_96 = [0; 13];
        two_96[12] = 1;
        assert_eq!(from_le_bytes(&two_96), Node::BigInt("79228162514264337593543950336".into()));
        two_96[12] = 0xff;
        assert_eq!(from_le_bytes(&two_96), Node::BigInt("-79228162514264337593543950336".into()));
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
