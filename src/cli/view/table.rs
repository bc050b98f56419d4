//! Tables, and numbers as people like to read them.

use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Digits of a peer id that tell members apart; commands take them in the place of the whole.
const SHORT_LEN: usize = 8;

/// Columns that are as wide as what is in them. The last one ends where its text ends.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    has_head: bool,
}

#[derive(Debug)]
struct Column {
    head: &'static str,
    is_number: bool,
    width: usize,
}

impl Table {
    /// Columns with these heads; those that begin with `#` are numbers, to be aligned at the right.
    pub(super) fn new(heads: &[&'static str]) -> Self {
        let column = |head: &&'static str| {
            let is_number = head.starts_with('#');
            let head = head.trim_start_matches('#');
            Column { head, is_number, width: head.len() }
        };
        Self { columns: heads.iter().map(column).collect(), rows: Vec::new(), has_head: false }
    }

    /// Adds a row; what could move the cursor of a terminal is taken out of it.
    pub(super) fn push(&mut self, row: Vec<String>) {
        let row: Vec<String> = row.iter().map(|text| clean(text)).collect();
        for (column, text) in self.columns.iter_mut().zip(&row) {
            column.width = column.width.max(text.chars().count());
        }
        self.rows.push(row);
    }

    /// How many rows were added since the last [`Self::take`].
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The rows so far, below the heads the first time. Columns keep at least their width.
    pub(super) fn take(&mut self) -> String {
        let mut out = String::new();
        if !std::mem::replace(&mut self.has_head, true) {
            let heads: Vec<String> = self.columns.iter().map(|c| c.head.to_owned()).collect();
            self.append(&heads, &mut out);
        }
        for row in std::mem::take(&mut self.rows) {
            self.append(&row, &mut out);
        }
        out
    }

    fn append(&self, row: &[String], out: &mut String) {
        let mut line = String::new();
        for (column, text) in self.columns.iter().zip(row) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            let gap = " ".repeat(column.width.saturating_sub(text.chars().count()));
            let (before, after) =
                if column.is_number { (gap, String::new()) } else { (String::new(), gap) };
            line.push_str(&before);
            line.push_str(text);
            line.push_str(&after);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

/// The text without what moves the cursor of a terminal, or the order of what is read: names come
/// from other members.
pub(super) fn clean(text: &str) -> String {
    let is_bad = |c: char| {
        c.is_control()
            || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
    };
    text.chars().map(|c| if is_bad(c) { '\u{FFFD}' } else { c }).collect()
}

/// A number of bytes.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut rest = bytes;
    let mut unit = 0;
    // 1023.95 would be shown as 1024.0.
    while rest >= 1024 * 1024 - 52 && unit + 1 < UNITS.len() {
        rest /= 1024;
        unit += 1;
    }
    let tenths = (u128::from(rest) * 10 + 512) / 1024;
    let name = UNITS.get(unit).copied().unwrap_or_default();
    match tenths {
        0..1000 => format!("{}.{} {name}", tenths / 10, tenths % 10),
        _ => format!("{} {name}", (tenths + 5) / 10),
    }
}

/// How long it is since a time of an answer; empty for none.
pub(super) fn age(rfc3339: &str) -> String {
    let Ok(time) = OffsetDateTime::parse(rfc3339, &Rfc3339) else { return String::new() };
    let seconds = (OffsetDateTime::from(SystemTime::now()) - time).whole_seconds();
    match seconds {
        ..-1 => format!("in {}", duration(seconds.unsigned_abs())),
        -1..2 => "now".to_owned(),
        _ => duration(seconds.unsigned_abs()),
    }
}

/// A number of seconds.
pub(super) fn duration(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / MINUTE),
        7200..172_800 => format!("{} h", seconds / HOUR),
        _ => format!("{} d", seconds / DAY),
    }
}

/// A number with a space between thousands.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// `1 pin`, `2 pins`.
pub(super) fn several(number: u64, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

/// The last digits of a peer id.
pub(super) fn short(id: &str) -> &str {
    let at = id.len().saturating_sub(SHORT_LEN);
    id.get(at..).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_two_or_three_digits_and_a_unit() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (102_399, "100 KiB"),
            (1_048_575, "1.0 MiB"),
            (5 << 20, "5.0 MiB"),
            (150 << 30, "150 GiB"),
            (3 << 40, "3.0 TiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn ages_are_one_number() {
        let cases = [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 d")];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
        let at = |seconds: i64| {
            let time = OffsetDateTime::from(SystemTime::now()) + time::Duration::seconds(seconds);
            age(&time.format(&Rfc3339).unwrap())
        };
        assert_eq!(at(0), "now");
        assert_eq!(at(-600), "10 min");
        assert!(at(600).starts_with("in "), "{}", at(600));
        assert_eq!(age(""), "");
    }

    #[test]
    fn thousands_are_told_apart() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1 234 567");
        assert_eq!(several(1, "pin"), "1 pin");
        assert_eq!(several(1000, "pin"), "1 000 pins");
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them_and_stay_so() {
        let mut table = Table::new(&["NAME", "#PINS", "STATE"]);
        table.push(vec!["a".into(), "7".into(), "online".into()]);
        table.push(vec!["longer".into(), "12".into(), String::new()]);
        assert_eq!(table.take(), "NAME    PINS  STATE\na          7  online\nlonger    12\n");
        table.push(vec!["b".into(), "12345".into(), "x".into()]);
        assert_eq!(table.take(), "b       12345  x\n");
    }

    #[test]
    fn names_of_others_move_no_cursor() {
        assert_eq!(clean("a\x1b[2Jb\u{202E}c\n"), "a\u{FFFD}[2Jb\u{FFFD}c\u{FFFD}");
        assert_eq!(clean("Ünïcode ✓"), "Ünïcode ✓");
    }

    #[test]
    fn a_short_id_is_the_end_of_it() {
        assert_eq!(short("12D3KooWEHUrM8Mc2iMbRrGFNxeZCgVnvLgTh6gKfuqNTm5ZqZbq"), "Tm5ZqZbq");
        assert_eq!(short("abc"), "abc");
    }
}
