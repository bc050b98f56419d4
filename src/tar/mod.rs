//! Headers of tar archives, to the byte as Go's `archive/tar` writes them.
//!
//! Responsible for the choice between USTAR and PAX, and for the blocks that stand before, after
//! and behind the content of an entry. Pure: content never passes through here.

use std::borrow::Cow;

/// Size of a block; headers are whole blocks, content is padded to one.
pub const BLOCK: usize = 512;

/// The end of an archive: two empty blocks.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Fields of a header, as offset and length.
const NAME: (usize, usize) = (0, 100);
const MODE: (usize, usize) = (100, 8);
const UID: (usize, usize) = (108, 8);
const GID: (usize, usize) = (116, 8);
const SIZE: (usize, usize) = (124, 12);
const MTIME: (usize, usize) = (136, 12);
const TYPE: usize = 156;
const LINK_NAME: (usize, usize) = (157, 100);
const DEV_MAJOR: (usize, usize) = (329, 8);
const DEV_MINOR: (usize, usize) = (337, 8);
const PREFIX: (usize, usize) = (345, 155);

/// Most bytes of PAX records; libarchive reads no more either.
const RECORDS_BYTES_MAX: usize = 1 << 20;

/// Seconds from the epoch to the first instant of year 1, which Go takes for "no time".
const GO_ZERO_TIME: i64 = -62_135_596_800;

/// One entry of an archive.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Its path, clean and relative; bytes, because names in UnixFS are.
    pub path: &'a [u8],
    /// Its permission bits.
    pub mode: u32,
    /// When it was modified: seconds since the epoch, and nanoseconds.
    pub mtime: (i64, u32),
    /// What it is.
    pub kind: Kind<'a>,
}

/// What an entry is.
#[derive(Debug, Clone, Copy)]
pub enum Kind<'a> {
    /// A regular file whose content of `size` bytes follows the header.
    File {
        /// Length of the content.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: &'a [u8],
    },
}

/// Which formats an archive may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// PAX where time has nanoseconds or something does not fit; USTAR elsewhere.
    Pax,
    /// USTAR with time rounded to seconds; PAX where something else does not fit.
    Smallest,
}

/// Why an entry cannot be written. The texts are those of Go.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A path or link target holds a NUL byte.
    #[error("archive/tar: cannot encode header: invalid PAX record: \"{key} = {value}\"")]
    Nul {
        /// The PAX key of the field.
        key: &'static str,
        /// The field, escaped.
        value: String,
    },
    /// Paths of more than a megabyte.
    #[error("archive/tar: header field too long")]
    TooLong,
}

/// How many zero bytes follow a content of `size` bytes.
#[must_use]
pub fn padding(size: u64) -> usize {
    // The cast keeps the low bits, and only those count.
    (size as usize).wrapping_neg() & (BLOCK - 1)
}

/// Appends the header of `entry` to `out`.
///
/// # Errors
/// When no format can hold it; `out` is unchanged then.
pub fn append_header(entry: &Entry<'_>, format: Format, out: &mut Vec<u8>) -> Result<(), Error> {
    let (seconds, nanos) = stored_time(entry.mtime, format);
    let (type_flag, size, target): (u8, u64, &[u8]) = match entry.kind {
        Kind::File { size } => (b'0', size, b""),
        Kind::Symlink { target } => (b'2', 0, target),
        Kind::Directory => (b'5', 0, b""),
    };
    let path_fits = entry.path.len() <= NAME.1 && is_ascii(entry.path);
    let split = split_ustar(entry.path);
    let target_fits = target.len() <= LINK_NAME.1 && is_ascii(target);
    let numbers_fit = fits_octal(SIZE, size) && time_fits(seconds);
    let header = Header { mode: entry.mode, size, mtime: seconds.max(0) as u64, type_flag };

    if (path_fits || split.is_some()) && target_fits && numbers_fit && nanos == 0 {
        let (prefix, name) = split.unwrap_or((b"", entry.path));
        let mut block = header.block(name, target);
        put_text(&mut block, PREFIX, prefix);
        finish(&mut block);
        out.extend_from_slice(&block);
        return Ok(());
    }

    let mut records = Vec::new();
    if !target_fits {
        append_record("linkpath", &checked("linkpath", target)?, &mut records);
    }
    if nanos != 0 || !time_fits(seconds) {
        append_record("mtime", pax_time(seconds, nanos).as_bytes(), &mut records);
    }
    if !path_fits {
        append_record("path", &checked("path", entry.path)?, &mut records);
    }
    if !fits_octal(SIZE, size) {
        append_record("size", size.to_string().as_bytes(), &mut records);
    }
    if records.len() > RECORDS_BYTES_MAX {
        return Err(Error::TooLong);
    }
    append_records_entry(entry.path, &records, out);
    let mut block = header.block(&to_ascii(entry.path), &to_ascii(target));
    finish(&mut block);
    out.extend_from_slice(&block);
    Ok(())
}

/// The fields that every header has.
struct Header {
    mode: u32,
    size: u64,
    mtime: u64,
    type_flag: u8,
}

impl Header {
    fn block(&self, name: &[u8], target: &[u8]) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        put_text(&mut block, NAME, name);
        put_text(&mut block, LINK_NAME, target);
        put_octal(&mut block, MODE, u64::from(self.mode));
        put_octal(&mut block, UID, 0);
        put_octal(&mut block, GID, 0);
        put_octal(&mut block, SIZE, self.size);
        put_octal(&mut block, MTIME, self.mtime);
        put_octal(&mut block, DEV_MAJOR, 0);
        put_octal(&mut block, DEV_MINOR, 0);
        put(&mut block, (TYPE, 1), &[self.type_flag]);
        block
    }
}

/// The entry that carries the PAX records of the entry after it.
fn append_records_entry(path: &[u8], records: &[u8], out: &mut Vec<u8>) {
    let file_at = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    let (dir, file) = path.split_at(file_at);
    let name = [dir, b"PaxHeaders.0/", file].concat();
    let name = to_ascii(&name);
    let name = name.get(..NAME.1).unwrap_or(&name);
    let end = name.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);

    let mut block = [0; BLOCK];
    put_text(&mut block, NAME, name.get(..end).unwrap_or_default());
    put_octal(&mut block, MODE, 0);
    put_octal(&mut block, UID, 0);
    put_octal(&mut block, GID, 0);
    put_octal(&mut block, SIZE, records.len() as u64);
    put_octal(&mut block, MTIME, 0);
    put(&mut block, (TYPE, 1), b"x");
    finish(&mut block);
    out.extend_from_slice(&block);
    out.extend_from_slice(records);
    out.resize(out.len() + padding(records.len() as u64), 0);
}

/// The magic and the checksum.
fn finish(block: &mut [u8; BLOCK]) {
    put(block, (257, 8), b"ustar\x0000");
    put(block, (148, 8), b"        ");
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    put_octal(block, (148, 7), sum);
}

fn put(block: &mut [u8; BLOCK], (start, len): (usize, usize), bytes: &[u8]) {
    if let Some(field) = block.get_mut(start..start + len) {
        field.iter_mut().zip(bytes).for_each(|(to, &from)| *to = from);
    }
}

/// Text is cut at the end of its field; a directory's slash must not be what is left at the cut.
fn put_text(block: &mut [u8; BLOCK], field: (usize, usize), text: &[u8]) {
    put(block, field, text);
    let Some(kept) = text.get(..field.1).filter(|kept| kept.len() < text.len()) else { return };
    if kept.ends_with(b"/") {
        let end = kept.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
        put(block, (field.0 + end, 1), &[0]);
    }
}

/// Octal digits and a NUL; zero when they do not fit.
fn put_octal(block: &mut [u8; BLOCK], field: (usize, usize), value: u64) {
    let value = if fits_octal(field, value) { value } else { 0 };
    put(block, field, format!("{value:0width$o}\0", width = field.1 - 1).as_bytes());
}

fn fits_octal((_, len): (usize, usize), value: u64) -> bool {
    value < 1 << (3 * (len - 1))
}

fn time_fits(seconds: i64) -> bool {
    u64::try_from(seconds).is_ok_and(|seconds| fits_octal(MTIME, seconds))
}

/// The time that the header gets: without PAX, seconds are all there is.
fn stored_time((seconds, nanos): (i64, u32), format: Format) -> (i64, u32) {
    let (seconds, nanos) = match format {
        Format::Pax => (seconds, nanos),
        Format::Smallest => (seconds.saturating_add(i64::from(nanos >= 500_000_000)), 0),
    };
    if (seconds, nanos) == (GO_ZERO_TIME, 0) { (0, 0) } else { (seconds, nanos) }
}

/// Splits a long path at the last slash that leaves both parts small enough.
fn split_ustar(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= NAME.1 || !is_ascii(path) {
        return None;
    }
    let searched = path.get(..PREFIX.1 + 1).unwrap_or(path);
    let slash = searched.iter().rposition(|&byte| byte == b'/')?;
    let (prefix, name) = (path.get(..slash)?, path.get(slash + 1..)?);
    let fits = !prefix.is_empty() && !name.is_empty() && name.len() <= NAME.1;
    fits.then_some((prefix, name))
}

fn is_ascii(text: &[u8]) -> bool {
    text.iter().all(|&byte| byte < 0x80 && byte != 0)
}

/// What PAX writes where only ASCII may stand: the rest left out.
fn to_ascii(text: &[u8]) -> Cow<'_, [u8]> {
    if is_ascii(text) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.iter().copied().filter(|&byte| byte < 0x80 && byte != 0).collect())
}

fn checked<'a>(key: &'static str, value: &'a [u8]) -> Result<Cow<'a, [u8]>, Error> {
    if value.contains(&0) {
        return Err(Error::Nul { key, value: value.escape_ascii().to_string() });
    }
    Ok(Cow::Borrowed(value))
}

/// A record states its own length, which includes the digits of that length.
fn append_record(key: &str, value: &[u8], out: &mut Vec<u8>) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + rest.to_string().len();
    if len.to_string().len() + rest != len {
        len = rest + len.to_string().len();
    }
    out.extend_from_slice(format!("{len} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Decimal seconds, with as many digits of the fraction as it needs.
fn pax_time(seconds: i64, nanos: u32) -> String {
    if nanos == 0 {
        return seconds.to_string();
    }
    let text = if seconds < 0 {
        format!("-{}.{:09}", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanos)
    } else {
        format!("{seconds}.{nanos:09}")
    };
    text.trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests;
