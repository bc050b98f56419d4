//! Sizes as `go-humanize` reads them: `10GB`, `256KiB`, `1.5 mb`. Pure.

use crate::ipld::quote::quote;

/// Bytes in each unit; names are compared in lower case.
const UNITS: [(&str, u64); 28] = [
    ("", 1),
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("pb", 1_000_000_000_000_000),
    ("eb", 1_000_000_000_000_000_000),
    ("k", 1_000),
    ("m", 1_000_000),
    ("g", 1_000_000_000),
    ("t", 1_000_000_000_000),
    ("p", 1_000_000_000_000_000),
    ("e", 1_000_000_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("pib", 1 << 50),
    ("eib", 1 << 60),
    ("ki", 1 << 10),
    ("mi", 1 << 20),
    ("gi", 1 << 30),
    ("ti", 1 << 40),
    ("pi", 1 << 50),
    ("ei", 1 << 60),
    ("byte", 1),
    ("bytes", 1),
];

/// Parses a size.
///
/// # Errors
/// With the text of `humanize.ParseBytes`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "go-humanize computes sizes in floating point"
)]
pub fn parse(text: &str) -> Result<u64, String> {
    let end =
        text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ',')).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let digits = digits.replace(',', "");
    let number: f64 = digits.parse().map_err(|_| {
        let quoted = quote(&digits);
        format!("strconv.ParseFloat: parsing {quoted}: invalid syntax")
    })?;
    let unit = unit.trim().to_lowercase();
    let Some((_, size)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("unhandled size name: {unit}"));
    };
    let bytes = number * *size as f64;
    if bytes >= u64::MAX as f64 {
        return Err(format!("too large: {text}"));
    }
    Ok(bytes as u64)
}

/// A size as `humanize.Bytes` shows it: powers of 1000, one decimal below ten.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "go-humanize computes sizes in floating point"
)]
pub fn humanize(size: u64) -> String {
    if size < 10 {
        return format!("{size} B");
    }
    let exponent = ((size as f64).ln() / 1000_f64.ln()).floor();
    let unit = ["B", "kB", "MB", "GB", "TB", "PB", "EB"].get(exponent as usize).unwrap_or(&"EB");
    let value = (size as f64 / 1000_f64.powf(exponent) * 10.0 + 0.5).floor() / 10.0;
    if value < 10.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_parsed() {
        for (text, bytes) in [
            ("10GB", 10_000_000_000),
            ("256KiB", 262_144),
            ("1.5 mb", 1_500_000),
            ("1,000", 1_000),
            ("42", 42),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        assert_eq!(parse("10 parsecs"), Err("unhandled size name: parsecs".to_owned()));
        assert!(parse("GB").is_err());
        assert!(parse("99999999999EB").is_err());
    }

    #[test]
    fn sizes_are_shown_as_go_humanize_shows_them() {
        let cases = [
            (0, "0 B"),
            (9, "9 B"),
            (10, "10 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1549, "1.5 kB"),
            (12_345, "12 kB"),
            (999_999, "1000 kB"),
            (10_000_000_000, "10 GB"),
            (u64::MAX, "18 EB"),
        ];
        for (size, text) in cases {
            assert_eq!(humanize(size), text);
        }
    }
}
