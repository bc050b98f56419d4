//! How listings look: the table of `encoding=text`, and modes and times as Go writes them.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::ser::{Error as _, Serialize, Serializer};

use super::super::tabwriter::align;
use super::{LsLink, LsObject};
use crate::ipld::quote::escape_unprintable;
use crate::unixfs::data::Mtime;

const DAY_SECONDS: i64 = 86_400;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The options that decide what the table looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) headers: bool,
    pub(super) size: bool,
    pub(super) long: bool,
    pub(super) stream: bool,
    /// Whether several paths are listed.
    pub(super) several: bool,
}

impl Table {
    /// The text of these objects.
    pub(super) fn draw(self, objects: &[LsObject]) -> String {
        let mut text = String::new();
        let mut last = "";
        for object in objects {
            // An entry that comes on its own does not know what came before it.
            if !self.stream && object.hash != last {
                self.head(&object.hash, !last.is_empty(), &mut text);
                last = &object.hash;
            }
            object.links.iter().for_each(|link| self.row(link, &mut text));
        }
        align(&text, if self.stream { 10 } else { 1 })
    }

    fn head(self, path: &str, is_next: bool, text: &mut String) {
        if self.several {
            if is_next {
                text.push('\n');
            }
            text.push_str(path);
            text.push_str(":\n");
        }
        if self.headers {
            let mode = if self.long { "Mode\t" } else { "" };
            let size = if self.size { "Size\t" } else { "" };
            let time = if self.long { "ModTime\t" } else { "" };
            text.extend([mode, "Hash\t", size, time, "Name\n"]);
        }
    }

    fn row(self, link: &LsLink, text: &mut String) {
        if self.long {
            match link.file_mode.0 {
                0 => text.push('-'),
                _ => text.push_str(&link.file_mode.listed()),
            }
            text.push('\t');
        }
        text.push_str(&link.hash);
        text.push('\t');
        if self.size {
            match link.is_directory {
                true => text.push('-'),
                false => text.push_str(&link.size.to_string()),
            }
            text.push('\t');
        }
        if self.long {
            text.push_str(&link.time.listed(now()));
            text.push('\t');
        }
        text.push_str(&escape_unprintable(&link.name));
        text.push_str(if link.is_directory { "/\n" } else { "\n" });
    }
}

/// Go's `os.FileMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http::rpc) struct FileMode(pub(in crate::http::rpc) u32);

impl FileMode {
    const DIRECTORY: u32 = 1 << 31;
    const SYMLINK: u32 = 1 << 27;
    const SETUID: u32 = 1 << 23;
    const SETGID: u32 = 1 << 22;
    const STICKY: u32 = 1 << 20;

    /// Of twelve permission bits as Unix has them.
    pub(in crate::http::rpc) fn of_permissions(mode: u32) -> Self {
        Self((mode & 0o777) | (mode & 0o6000) << 12 | (mode & 0o1000) << 11)
    }

    /// That of a directory.
    pub(in crate::http::rpc) fn directory(self) -> Self {
        Self(self.0 | Self::DIRECTORY)
    }

    /// That of a symbolic link.
    pub(in crate::http::rpc) fn symlink(self) -> Self {
        Self(self.0 | Self::SYMLINK)
    }

    fn permissions(self, special: [(u32, char, char); 3]) -> String {
        let mut text = String::with_capacity(9);
        for (class, (bit, with, without)) in special.into_iter().enumerate() {
            let bits = self.0 >> (6 - 3 * class);
            text.push(if bits & 4 == 0 { '-' } else { 'r' });
            text.push(if bits & 2 == 0 { '-' } else { 'w' });
            text.push(match (self.0 & bit != 0, bits & 1 != 0) {
                (true, true) => with,
                (true, false) => without,
                (false, true) => 'x',
                (false, false) => '-',
            });
        }
        text
    }

    /// As in a listing. Entries carry no type in their mode.
    fn listed(self) -> String {
        let special =
            [(Self::SETUID, 's', 'S'), (Self::SETGID, 's', 'S'), (Self::STICKY, 't', 'T')];
        format!("-{}", self.permissions(special))
    }
}

/// As Go prints it.
impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = [
            (Self::DIRECTORY, 'd'),
            (Self::SYMLINK, 'L'),
            (Self::SETUID, 'u'),
            (Self::SETGID, 'g'),
            (Self::STICKY, 't'),
        ];
        let set: String = bits.iter().filter(|(bit, _)| self.0 & bit != 0).map(|b| b.1).collect();
        let special = if set.is_empty() { "-" } else { &set };
        write!(f, "{special}{}", self.permissions([(0, ' ', ' '); 3]))
    }
}

/// Go's `time.Time` in UTC; none is the first moment of year 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http::rpc) struct Time {
    seconds: i64,
    nanos: u32,
}

impl Time {
    const ZERO: Self = Self { seconds: -62_135_596_800, nanos: 0 };

    /// Of an entry that may have none.
    pub(in crate::http::rpc) fn of(mtime: Option<Mtime>) -> Self {
        mtime.map_or(Self::ZERO, |mtime| Self { seconds: mtime.seconds, nanos: mtime.nanoseconds })
    }

    /// As in a listing: with the hour when less than half a year old, else with the year.
    fn listed(self, now: i64) -> String {
        if self == Self::ZERO {
            return "-".to_owned();
        }
        let Date { year, month, day, .. } = Date::of(self.seconds);
        let month = month_name(month);
        let recent = self.seconds > half_a_year_before(now)
            && self.seconds < now.saturating_add(DAY_SECONDS);
        if recent {
            let of_day = self.seconds.rem_euclid(DAY_SECONDS);
            return format!("{month} {day:02} {:02}:{:02}", of_day / 3600, of_day / 60 % 60);
        }
        format!("{month} {day:02}  {year:04}")
    }

    /// To the second, with the day spelled out: `2 Jan 2006, 15:04:05 UTC`.
    pub(in crate::http::rpc) fn spelled(self) -> String {
        let Date { year, month, day } = Date::of(self.seconds);
        let clock = Self { nanos: 0, ..self }.clock();
        format!("{day} {} {year:04}, {clock} UTC", month_name(month))
    }

    fn fraction(self) -> String {
        if self.nanos == 0 {
            return String::new();
        }
        format!(".{:09}", self.nanos).trim_end_matches('0').to_owned()
    }

    fn clock(self) -> String {
        let of_day = self.seconds.rem_euclid(DAY_SECONDS);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        format!("{hour:02}:{minute:02}:{second:02}{}", self.fraction())
    }
}

/// RFC 3339, as in JSON and XML.
impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Date { year, month, day } = Date::of(self.seconds);
        if !(0..=9999).contains(&year) {
            return Err(S::Error::custom(
                "json: error calling MarshalJSON for type time.Time: Time.MarshalJSON: year \
                 outside of range [0,9999]",
            ));
        }
        let text = format!("{year:04}-{month:02}-{day:02}T{}Z", self.clock());
        serializer.serialize_str(&text)
    }
}

/// As Go prints it.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Date { year, month, day } = Date::of(self.seconds);
        write!(f, "{year:04}-{month:02}-{day:02} {} +0000 UTC", self.clock())
    }
}

/// A day of the Gregorian calendar.
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Date {
    fn of(seconds: i64) -> Self {
        // Days since 1 March of year 0: the leap day is the last of its year.
        let days = seconds.div_euclid(DAY_SECONDS) + 719_468;
        let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        Self { year: era * 400 + year + i64::from(month <= 2), month, day }
    }

    /// Days since the epoch of a day that may lie beyond its month, as Go counts on.
    fn days(year: i64, month: i64, day: i64) -> i64 {
        let year = if month <= 2 { year - 1 } else { year };
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
    }
}

fn half_a_year_before(now: i64) -> i64 {
    let Date { year, month, day } = Date::of(now);
    let (year, month) = if month > 6 { (year, month - 6) } else { (year - 1, month + 6) };
    Date::days(year, month, day) * DAY_SECONDS + now.rem_euclid(DAY_SECONDS)
}

fn month_name(month: i64) -> &'static str {
    let index = usize::try_from(month - 1).unwrap_or_default();
    MONTHS.get(index).copied().unwrap_or_default()
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_in_go() {
        let cases = [
            ("plain", "plain"),
            ("tab\t", "tab\\t"),
            ("a\\\"b", "a\\\\\"b"),
            ("quo\"te", "quo\"te"),
            ("été", "été"),
            ("\u{200b}x", "\\u200bx"),
        ];
        for (name, escaped) in cases {
            assert_eq!(escape_unprintable(name), escaped);
        }
    }

    #[test]
    fn modes_are_written_as_in_go() {
        let cases = [
            (0o644, 0o644, "-rw-r--r--", "-rw-r--r--"),
            (0o4755, 0x80_01ed, "-rwsr-xr-x", "urwxr-xr-x"),
            (0o7000, 0xd0_0000, "---S--S--T", "ugt---------"),
            (0, 0, "----------", "----------"),
        ];
        for (unix, number, listed, go) in cases {
            let mode = FileMode::of_permissions(unix);
            assert_eq!((mode.0, mode.listed().as_str()), (number, listed));
            assert_eq!(mode.to_string(), go);
        }
    }

    #[test]
    fn times_are_written_as_in_go() {
        let now = 1_700_000_000; // 2023-11-14T22:13:20Z
        let cases = [
            (Time::ZERO.seconds, 0, "0001-01-01T00:00:00Z", "-"),
            (2, 0, "1970-01-01T00:00:02Z", "Jan 01  1970"),
            (now, 500_000_000, "2023-11-14T22:13:20.5Z", "Nov 14 22:13"),
            (now + 90_000, 0, "2023-11-15T23:13:20Z", "Nov 15  2023"),
            (1_684_102_401, 0, "2023-05-14T22:13:21Z", "May 14 22:13"),
            (1_684_102_400, 0, "2023-05-14T22:13:20Z", "May 14  2023"),
            (951_782_400, 0, "2000-02-29T00:00:00Z", "Feb 29  2000"),
            (-1, 1, "1969-12-31T23:59:59.000000001Z", "Dec 31  1969"),
        ];
        for (seconds, nanos, json, listed) in cases {
            let time = Time { seconds, nanos };
            assert_eq!(serde_json::to_string(&time).unwrap(), format!("\"{json}\""));
            assert_eq!(time.listed(now), listed, "{json}");
        }
        let text = Time { seconds: now, nanos: 0 }.to_string();
        assert_eq!(text, "2023-11-14 22:13:20 +0000 UTC");
        assert!(serde_json::to_string(&Time { seconds: i64::MAX, nanos: 0 }).is_err());
    }
}
