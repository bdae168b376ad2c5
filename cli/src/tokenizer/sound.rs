//! What in a `tokenizer.json` would take all memory or end the program inside the library, found before it is read.

use serde::Deserialize;
use serde_json::Value;

/// The largest number of tokens that a text is padded to.
const MAX_PADDING: u64 = 1 << 20;

/// How much longer normalizers may make a text, all together; a space that becomes `▁` makes it three times as long.
const MAX_GROWTH: u64 = 1 << 12;

/// Checks the parts beside the vocabulary of the tokenizer in `text`.
pub(super) fn check(text: &[u8]) -> Result<(), String> {
    let parts: Parts = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    for (name, part) in parts.named() {
        let mut growth = 1;
        check_part(part, &mut growth).map_err(|what| format!("its `{name}` {what}; fetch it again"))?;
    }
    if let Some(truncation) = parts.truncation.as_object() {
        let number = |name: &str| truncation.get(name).and_then(Value::as_u64);
        if let (Some(stride), Some(length)) = (number("stride"), number("max_length"))
            && stride >= length
        {
            return Err(format!("its `truncation` has stride {stride} for texts of {length} tokens"));
        }
    }
    let padding = &parts.padding;
    let lengths = [&padding["strategy"]["Fixed"], &padding["pad_to_multiple_of"]];
    match lengths.into_iter().find(|n| n.is_number() && n.as_u64().is_none_or(|n| n > MAX_PADDING)) {
        Some(length) => Err(format!("its `padding` is to {length} tokens")),
        None => Ok(()),
    }
}

/// The parts of a tokenizer that are looked at; all others are passed over.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Parts {
    truncation: Value,
    padding: Value,
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
}

impl Parts {
    fn named(&self) -> [(&'static str, &Value); 3] {
        [("normalizer", &self.normalizer), ("pre_tokenizer", &self.pre_tokenizer), ("decoder", &self.decoder)]
    }
}

/// Checks a part, and those it is a sequence of; `growth` is how much longer they make a text.
fn check_part(part: &Value, growth: &mut u64) -> Result<(), String> {
    match part {
        Value::Array(items) => items.iter().try_for_each(|item| check_part(item, growth)),
        Value::Object(entries) => {
            match part["type"].as_str() {
                Some("Precompiled") => {
                    check_charsmap(part["precompiled_charsmap"].as_str().unwrap_or_default())?;
                }
                Some("FixedLength") if part["length"] == 0 => {
                    return Err("cuts texts into lengths of 0".to_owned());
                }
                Some("Replace") => {
                    let length = |value: &Value| value.as_str().map_or(0, str::len) as u64;
                    let pattern = length(&part["pattern"]["String"]).max(1);
                    *growth = growth.saturating_mul(length(&part["content"]).div_ceil(pattern).max(1));
                }
                _ => {}
            }
            if *growth > MAX_GROWTH {
                return Err(format!("makes a text more than {MAX_GROWTH} times as long"));
            }
            entries.values().try_for_each(|value| check_part(value, growth))
        }
        _ => Ok(()),
    }
}

/// Checks the rules of sentencepiece: the length of a trie in 4 bytes, the trie, and texts (`spm_precompiled`). The
/// library makes room for the trie before it looks for it.
fn check_charsmap(base64: &str) -> Result<(), String> {
    let digits = base64.trim_end_matches('=').len() as u64;
    let bytes = digits * 6 / 8;
    let head = base64.bytes().take(6).try_fold(0u64, |number, c| Some(number << 6 | digit(c)?));
    // Of 36 bits the first 32, least byte first.
    let trie = head.and_then(|head| u32::try_from(head >> 4).ok()).map(u32::swap_bytes);
    match trie {
        Some(trie) if bytes >= 4 && u64::from(trie) <= bytes - 4 => Ok(()),
        _ => Err("has damaged rules of sentencepiece (`precompiled_charsmap`)".to_owned()),
    }
}

/// The value of a digit of base 64.
fn digit(c: u8) -> Option<u64> {
    Some(u64::from(match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::{check, check_charsmap};

    #[test]
    fn rules_of_sentencepiece_have_the_length_they_state() {
        // 4, then four bytes.
        assert_eq!(check_charsmap("BAAAAAAAAAA="), Ok(()));
        for wrong in ["", "AAAA", "BAAAAAAAAA==", "//////8=", "!!!!!!!!"] {
            assert!(check_charsmap(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_takes_all_memory_is_refused() {
        let told = |text: &str| check(text.as_bytes()).expect_err(text);
        let replace = format!(
            r#"{{"type": "Replace", "pattern": {{"String": "a"}}, "content": "{}"}}"#,
            "a".repeat(100)
        );
        let sequence =
            format!(r#"{{"normalizer": {{"type": "Sequence", "normalizers": [{replace}, {replace}]}}}}"#);
        assert!(told(&sequence).contains("more than 4096 times as long"));
        assert!(told(r#"{"padding": {"strategy": {"Fixed": 18446744073709551615}}}"#).contains("padding"));
        assert!(
            told(r#"{"padding": {"strategy": "BatchLongest", "pad_to_multiple_of": 1e300}}"#)
                .contains("padding")
        );
        assert!(told(r#"{"truncation": {"stride": 5, "max_length": 5}}"#).contains("stride 5"));
        assert!(told(r#"{"pre_tokenizer": {"type": "FixedLength", "length": 0}}"#).contains("lengths of 0"));
        let good = r#"{"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}, "padding": null}"#;
        assert_eq!(check(good.as_bytes()), Ok(()));
    }
}
