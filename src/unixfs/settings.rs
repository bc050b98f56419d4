//! From what an `add` asks for to what its blocks depend on.
//!
//! Responsible for how the options of `add` imply and exclude each other, with the texts that
//! clients know. Not for where they come from: the caller has merged request and configuration.
//! Pure.

use super::chunk::{ChunkError, Chunker};
use super::data::{Mtime, Stat};
use super::dir::{DirOptions, FANOUT_DEFAULT, SHARD_THRESHOLD_DEFAULT, SizeEstimation};
use super::import::{CidRule, FILE_LINKS_DEFAULT, ImportOptions, Layout};
use crate::ipld::Version;
use crate::ipld::hash::{self, DIGEST_LEN_MAX};
use crate::ipld::quote::quote;

/// What is asked for. `None` is "not said", which is not the same as the default.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command")]
pub struct Requested {
    /// Version of the CIDs.
    pub cid_version: Option<i64>,
    /// Name of the hash function.
    pub hash: String,
    /// Leaves without a node around them.
    pub raw_leaves: Option<bool>,
    /// The chunker, unparsed.
    pub chunker: String,
    /// Trickle layout.
    pub trickle: bool,
    /// Most links of a file node.
    pub file_links_max: Option<i64>,
    /// Most links of a directory node.
    pub directory_links_max: Option<i64>,
    /// Slots of a HAMT node.
    pub fanout: Option<i64>,
    /// Estimated size above which a directory becomes a HAMT.
    pub threshold: u64,
    /// How it is estimated.
    pub estimation: SizeEstimation,
    /// Whether small blocks become part of their CIDs.
    pub inline: bool,
    /// How small.
    pub inline_limit: i64,
    /// Take mode and time from each entry.
    pub preserve_mode: bool,
    /// Take the time from each entry.
    pub preserve_mtime: bool,
    /// The mode of everything, as Go's `os.FileMode`; 0 for none.
    pub mode: u64,
    /// The time of everything, in seconds; 0 for none.
    pub mtime: i64,
    /// Nanoseconds of that time.
    pub mtime_nanoseconds: u64,
    /// Only references to files are to be stored.
    pub no_copy: bool,
}

impl Default for Requested {
    fn default() -> Self {
        Self {
            cid_version: None,
            hash: "sha2-256".to_owned(),
            raw_leaves: None,
            chunker: String::new(),
            trickle: false,
            file_links_max: None,
            directory_links_max: None,
            fanout: None,
            threshold: SHARD_THRESHOLD_DEFAULT,
            estimation: SizeEstimation::default(),
            inline: false,
            inline_limit: 32,
            preserve_mode: false,
            preserve_mtime: false,
            mode: 0,
            mtime: 0,
            mtime_nanoseconds: 0,
            no_copy: false,
        }
    }
}

/// Options that exclude each other or have no meaning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Identity digests are refused from there on.
    #[error("inline-limit {0} exceeds maximum allowed size of {DIGEST_LEN_MAX} bytes")]
    InlineLimit(i64),
    /// A raw block has no place for metadata.
    #[error("raw-leaves can't be used with UnixFS metadata like mode or modification time")]
    RawLeavesWithMetadata,
    /// No such name.
    #[error("unrecognized hash function: {}", quote(.0))]
    HashName(String),
    /// A fraction of nothing.
    #[error("option \"mtime-nsecs\" requires \"mtime\" to be provided as well")]
    NanosecondsAlone,
    /// More than a second.
    #[error("mtime nanoseconds must be in range [1, 999999999]")]
    Nanoseconds,
    /// CIDv0 has no room for the name of another function.
    #[error("CIDv0 only supports sha2-256")]
    Version0Hash,
    /// Neither 0 nor 1.
    #[error("unknown CID version: {0}")]
    Version(i64),
    /// Not a number of slots that whole bits of a hash choose.
    #[error("HAMT fanout must be a power of 2, between 8 and 1024 (got {0})")]
    Fanout(i64),
    /// References can only be to raw leaves.
    #[error("nocopy option requires '--raw-leaves' to be enabled as well")]
    NoCopyRawLeaves,
}

/// What the blocks of an `add` depend on.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Of files. The chunker is in [`Self::chunker`] until there is a file.
    pub import: ImportOptions,
    /// Of directories.
    pub dir: DirOptions,
    /// A chunker that makes no sense is an error only once there is a file to cut.
    pub chunker: Result<Chunker, ChunkError>,
    /// Take the mode from each entry.
    pub preserve_mode: bool,
    /// Take the time from each entry.
    pub preserve_mtime: bool,
    /// Mode of everything, as Go's `os.FileMode`, if not each its own.
    pub mode: u32,
    /// Time of everything, if not each its own.
    pub mtime: Option<Mtime>,
}

impl Requested {
    /// Checks the limit up to which blocks are inlined.
    ///
    /// # Errors
    /// When it is too high.
    pub fn check_inline(&self) -> Result<(), SettingsError> {
        if self.inline && self.inline_limit > DIGEST_LEN_MAX as i64 {
            return Err(SettingsError::InlineLimit(self.inline_limit));
        }
        Ok(())
    }

    /// Checks that there is a place for mode and time.
    ///
    /// # Errors
    /// When raw leaves were asked for too.
    pub fn check_metadata(&self) -> Result<(), SettingsError> {
        if self.has_metadata() && self.raw_leaves == Some(true) {
            return Err(SettingsError::RawLeavesWithMetadata);
        }
        Ok(())
    }

    /// The hash function.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn hash_code(&self) -> Result<hash::Code, SettingsError> {
        let name = self.hash.to_lowercase();
        hash::by_name(&name).ok_or(SettingsError::HashName(name))
    }

    /// Checks that nanoseconds belong to a time.
    ///
    /// # Errors
    /// When they do not.
    pub fn check_mtime(&self) -> Result<(), SettingsError> {
        if self.mtime == 0 && self.mtime_nanoseconds != 0 {
            return Err(SettingsError::NanosecondsAlone);
        }
        Ok(())
    }

    fn has_metadata(&self) -> bool {
        self.preserve_mode || self.preserve_mtime || self.mode != 0 || self.mtime != 0
    }

    /// What the blocks depend on.
    ///
    /// # Errors
    /// When options exclude each other or have no meaning.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        self.check_inline()?;
        self.check_metadata()?;
        let code = self.hash_code()?;
        self.check_mtime()?;
        let nanoseconds = u32::try_from(self.mtime_nanoseconds & 0xffff_ffff).unwrap_or(0);
        if nanoseconds > 999_999_999 {
            return Err(SettingsError::Nanoseconds);
        }
        let fanout = self.fanout()?;
        let raw_set = if self.has_metadata() { Some(false) } else { self.raw_leaves };
        let mut raw_leaves = raw_set.unwrap_or(false);
        if self.no_copy && !raw_leaves {
            if raw_set.is_some() {
                return Err(SettingsError::NoCopyRawLeaves);
            }
            raw_leaves = true;
        }
        let version = self.version(code)?;
        if version == Version::V1 && raw_set.is_none() {
            raw_leaves = true;
        }
        let inline_limit = usize::try_from(self.inline_limit).ok().filter(|_| self.inline);
        let cid = CidRule { version, hash: code, inline_limit };
        let count = |number: Option<i64>| number.and_then(|number| usize::try_from(number).ok());
        let links_max = count(self.file_links_max).filter(|max| *max > 0);
        let chunker = Chunker::parse(&self.chunker);
        let mtime = Mtime { seconds: self.mtime, nanoseconds };
        let mode = u32::try_from(self.mode & 0xffff_ffff).unwrap_or(0);
        Ok(Settings {
            import: ImportOptions {
                cid,
                chunker: chunker.clone().unwrap_or_default(),
                raw_leaves,
                layout: if self.trickle { Layout::Trickle } else { Layout::Balanced },
                links_max: links_max.unwrap_or(FILE_LINKS_DEFAULT),
            },
            dir: DirOptions {
                cid,
                links_max: count(self.directory_links_max).unwrap_or(0),
                fanout,
                threshold: self.threshold,
                estimation: self.estimation,
            },
            chunker,
            // What is said for everything goes before what an entry says.
            preserve_mode: self.preserve_mode && mode == 0,
            preserve_mtime: self.preserve_mtime && self.mtime == 0,
            mode,
            mtime: (self.mtime != 0).then_some(mtime),
        })
    }

    fn fanout(&self) -> Result<u16, SettingsError> {
        let Some(wanted) = self.fanout else { return Ok(FANOUT_DEFAULT) };
        let fits = |fanout: &u16| fanout.is_power_of_two() && (8..=1024).contains(fanout);
        u16::try_from(wanted).ok().filter(fits).ok_or(SettingsError::Fanout(wanted))
    }

    fn version(&self, code: hash::Code) -> Result<Version, SettingsError> {
        match self.cid_version {
            Some(0) if code != hash::SHA2_256 => Err(SettingsError::Version0Hash),
            None | Some(-1) if code != hash::SHA2_256 => Ok(Version::V1),
            Some(..0) if code == hash::SHA2_256 => Ok(Version::V0),
            None | Some(0) => Ok(Version::V0),
            Some(1) => Ok(Version::V1),
            Some(other) => Err(SettingsError::Version(other)),
        }
    }
}

/// What an entry says of itself: its mode as Go's `os.FileMode`, 0 for none, and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EntryStat {
    /// Permission bits and, above them, what kind of file it is.
    pub mode: u32,
    /// Last modification.
    pub mtime: Option<Mtime>,
}

impl Settings {
    /// The mode and time to store for an entry. A mode that has no permission bits is a mode all
    /// the same: directories store it.
    #[must_use]
    pub fn stat(&self, entry: EntryStat) -> Stat {
        let mode = if self.preserve_mode { entry.mode } else { self.mode };
        let mtime = if self.preserve_mtime { entry.mtime } else { self.mtime };
        Stat { mode: (mode != 0).then(|| permissions(mode)), mtime }
    }
}

/// The twelve permission bits of Unix in an `os.FileMode`, which has three of them elsewhere.
#[must_use]
pub fn permissions(mode: u32) -> u32 {
    ((mode & 0x00c0_0000) >> 12) | ((mode & 0x0010_0000) >> 11) | (mode & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_imply_and_exclude_each_other_as_in_kubo() {
        let base = Requested::default;
        let sha512 = || Requested { hash: "SHA2-512".to_owned(), ..base() };
        let cases = [
            (
                Requested { inline: true, inline_limit: 129, ..base() },
                "inline-limit 129 exceeds maximum allowed size of 128 bytes",
            ),
            (
                Requested { raw_leaves: Some(true), mode: 1, ..base() },
                "raw-leaves can't be used with UnixFS metadata like mode or modification time",
            ),
            (
                Requested { hash: "NOPE".to_owned(), ..base() },
                "unrecognized hash function: \"nope\"",
            ),
            (
                Requested { mtime_nanoseconds: 1, ..base() },
                "option \"mtime-nsecs\" requires \"mtime\" to be provided as well",
            ),
            (
                Requested { mtime: 1, mtime_nanoseconds: 1_000_000_000, ..base() },
                "mtime nanoseconds must be in range [1, 999999999]",
            ),
            (Requested { cid_version: Some(0), ..sha512() }, "CIDv0 only supports sha2-256"),
            (Requested { cid_version: Some(2), ..base() }, "unknown CID version: 2"),
            (Requested { cid_version: Some(-2), ..sha512() }, "unknown CID version: -2"),
            (
                Requested { fanout: Some(7), ..base() },
                "HAMT fanout must be a power of 2, between 8 and 1024 (got 7)",
            ),
            (
                Requested { no_copy: true, raw_leaves: Some(false), ..base() },
                "nocopy option requires '--raw-leaves' to be enabled as well",
            ),
        ];
        for (requested, text) in cases {
            assert_eq!(requested.settings().unwrap_err().to_string(), text);
        }
        let rule = |requested: Requested| {
            let settings = requested.settings().unwrap();
            (settings.import.cid.version, settings.import.raw_leaves)
        };
        assert_eq!(rule(base()), (Version::V0, false));
        assert_eq!(rule(Requested { cid_version: Some(-5), ..base() }), (Version::V0, false));
        assert_eq!(rule(sha512()), (Version::V1, true));
        assert_eq!(rule(Requested { cid_version: Some(1), ..base() }), (Version::V1, true));
        assert_eq!(rule(Requested { mode: 1, ..sha512() }), (Version::V1, false));
        assert_eq!(rule(Requested { no_copy: true, ..base() }), (Version::V0, true));
    }

    #[test]
    fn only_gos_own_bits_become_special_permissions() {
        assert_eq!(permissions(0o4755), 0o755);
        assert_eq!(permissions(0x0080_0000 | 0o755), 0o4755);
        assert_eq!(permissions(0x0010_0000), 0o1000);
        assert_eq!(permissions(0x0800_0000 | 0o777), 0o777);
    }
}
