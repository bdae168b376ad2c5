//! Strings written as text lines, by protocol 0.

/// The bytes of a Python 2 string literal, quotes included; `None` where it is malformed.
pub(super) fn unquote(literal: &[u8]) -> Option<Vec<u8>> {
    let (&quote, rest) = literal.split_first()?;
    let (&last, body) = rest.split_last()?;
    if !matches!(quote, b'\'' | b'"') || last != quote {
        return None;
    }
    let mut out = Vec::with_capacity(body.len());
    let mut bytes = body.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next()? {
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'r' => out.push(b'\r'),
            b'a' => out.push(7),
            b'b' => out.push(8),
            b'v' => out.push(11),
            b'f' => out.push(12),
            b'x' => out.push(hex(&mut bytes, 2)?.try_into().ok()?),
            digit @ b'0'..=b'7' => out.push(octal(digit, &mut bytes)),
            other @ (b'\\' | b'\'' | b'"') => out.push(other),
            other => out.extend([b'\\', other]),
        }
    }
    Some(out)
}

/// Up to three octal digits; like Python, only the low 8 bits count.
fn octal(first: u8, bytes: &mut (impl Iterator<Item = u8> + Clone)) -> u8 {
    let mut value = u32::from(first - b'0');
    for _ in 0..2 {
        let Some(digit @ b'0'..=b'7') = bytes.clone().next() else { break };
        bytes.next();
        value = value * 8 + u32::from(digit - b'0');
    }
    value.to_le_bytes()[0]
}

fn hex(bytes: &mut impl Iterator<Item = u8>, digits: usize) -> Option<u32> {
    (0..digits).try_fold(0, |value: u32, _| {
        let digit = char::from(bytes.next()?).to_digit(16)?;
        Some(value << 4 | digit)
    })
}

/// The text of Python's raw-unicode-escape; `None` where it is malformed.
///
/// A lone surrogate, which Rust's strings cannot hold, becomes U+FFFD.
pub(super) fn unescape(raw: &[u8]) -> Option<String> {
    let mut units = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            units.push(u32::from(byte));
            continue;
        }
        match bytes.clone().next() {
            Some(kind @ (b'u' | b'U')) => {
                bytes.next();
                units.push(hex(&mut bytes, if kind == b'u' { 4 } else { 8 })?);
            }
            _ => units.push(u32::from(byte)),
        }
    }
    Some(join(&units))
}

/// Code points, or pairs of surrogates, as text.
fn join(units: &[u32]) -> String {
    let mut text = String::with_capacity(units.len());
    let mut rest = units;
    while let [unit, tail @ ..] = rest {
        rest = tail;
        if let (0xd800..=0xdbff, Some(low @ 0xdc00..=0xdfff)) = (unit, tail.first()) {
            let point = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            text.push(char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER));
            rest = &tail[1..];
        } else {
            text.push(char::from_u32(*unit).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn string_literals() {
        assert_eq!(unquote(b"'a\\n\\x41\\101\\'\\q'").as_deref(), Some(&b"a\nAA'\\q"[..]));
        assert_eq!(unquote(b"\"\\0\\777\"").as_deref(), Some(&[0, 255][..]));
        assert_eq!(unquote(b"'a\""), None);
        assert_eq!(unquote(b"'"), None);
        assert_eq!(unquote(b""), None);
        assert_eq!(unquote(b"'\\x4'"), None);
        assert_eq!(unquote(b"'\\'"), None);
    }

    #[test]
    fn unicode_escapes() {
        assert_eq!(unescape(b"a\\u20ac\\U0001f600\xe9\\n").as_deref(), Some("a\u{20ac}\u{1f600}\u{e9}\\n"));
        assert_eq!(unescape(b"\\ud83d\\ude00").as_deref(), Some("\u{1f600}"));
        assert_eq!(unescape(b"\\ud83dx").as_deref(), Some("\u{fffd}x"));
        assert_eq!(unescape(b"\\u20"), None);
    }
}
