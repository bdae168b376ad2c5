//! Sizes in bytes, read and shown.

/// `5GB`, `500MiB`, `1000`: decimal units as transformers reads them, binary ones with an `i`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || "write a size such as 5GB, 500MB or 2GiB".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit: u64 = match text[digits..].trim().to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KIB" => 1 << 10,
        "MIB" => 1 << 20,
        "GIB" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).filter(|n| *n > 0).ok_or_else(wrong)
}

/// Three digits and a decimal unit: `304 kB`, `1.42 GB`.
pub(crate) fn show_size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    let mut thousandths = u128::from(bytes);
    while thousandths >= 1_000_000 && unit + 1 < UNITS.len() {
        thousandths /= 1000;
        unit += 1;
    }
    let whole = thousandths / 1000;
    let digits = match whole {
        0..=9 => format!("{whole}.{:02}", thousandths % 1000 / 10),
        10..=99 => format!("{whole}.{}", thousandths % 1000 / 100),
        _ => whole.to_string(),
    };
    format!("{digits} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::{parse_size, show_size};

    #[test]
    fn sizes_are_read_with_decimal_and_binary_units() {
        assert_eq!(parse_size("5GB"), Ok(5_000_000_000));
        assert_eq!(parse_size("2 GiB"), Ok(2 << 30));
        assert_eq!(parse_size("1000"), Ok(1000));
        for wrong in ["", "GB", "0", "1.5GB", "5XB", "99999999999999999999", "99999999999GiB"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_shown_with_three_digits() {
        let shown = [0, 999, 1000, 304_572, 99_900_000, 709_789_959, 1_420_000_000];
        let expected = ["0 B", "999 B", "1.00 kB", "304 kB", "99.9 MB", "709 MB", "1.42 GB"];
        assert_eq!(shown.map(show_size), expected);
    }
}
