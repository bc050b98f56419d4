//! What a record says: a pin with its options, or that a version of it was removed.

use super::{Kind, Version, read_cid};
use crate::ipld::Cid;
use crate::sync::cbor::{self, DecodeError, Decoder};
use crate::sync::clock::Hlc;
use crate::sync::keys::Author;

const NAME_LEN_MAX: usize = 255;
const META_MAX: usize = 32;
const META_KEY_LEN_MAX: usize = 64;
const META_VALUE_LEN_MAX: usize = 256;
const ORIGINS_MAX: usize = 8;
const ORIGIN_LEN_MAX: usize = 256;
const TAGS_MAX: usize = 32;
const TAG_LEN_MAX: usize = 64;
const MEMBERS_MAX: usize = 32;
const MEMBER_LEN_MAX: usize = 64;
const REASON_LEN_MAX: usize = 255;
/// Fields of a live body: the known ones and as many unknown.
const FIELDS_MAX: usize = 32;

/// What a record says.
#[expect(clippy::large_enum_variant, reason = "nearly all are live: a box would cost each of them")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// The CID is pinned.
    Live(Live),
    /// A version of it was removed.
    Tomb(Tombstone),
}

/// How much of a DAG is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// All of it.
    #[default]
    Recursive,
    /// Its root block.
    Direct,
    /// So many levels below the root.
    Depth(u32),
}

/// A pin and its options. What has its default value is not written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Live {
    /// Its name, at most 255 bytes.
    pub name: String,
    /// How much of the DAG.
    pub mode: Mode,
    /// The least number of members that hold it; `None`: all.
    pub replication_min: Option<u32>,
    /// The number of members that shall hold it; `None`: all.
    pub replication_max: Option<u32>,
    /// When it ends, in Unix milliseconds.
    pub expire_ms: Option<u64>,
    /// The user's entries, sorted by the length of their keys and then by their keys.
    pub meta: Vec<(String, String)>,
    /// Where it was first: binary multiaddrs.
    pub origins: Vec<Vec<u8>>,
    /// Bytes of the DAG, when they are known.
    pub size_bytes: Option<u64>,
    /// Fetched before those with a lower number; 0 is the default.
    pub priority: u32,
    /// Which members may hold it.
    pub tags: Vec<String>,
    /// The pin that this one replaces.
    pub update_from: Option<Cid>,
    /// Members that the user chose to hold it: binary peer ids.
    pub members: Vec<Vec<u8>>,
    /// The content is kept until then even without the pin, in Unix milliseconds.
    pub hold_until_ms: Option<u64>,
    /// What a later version of the program wrote: keys and encoded values, kept as they are.
    pub unknown: Vec<(u64, Vec<u8>)>,
}

/// The removal of one version, and of all below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// What was removed: the version that the author had seen.
    pub observed: Version,
    /// Why, when somebody said so.
    pub reason: Option<String>,
}

impl Body {
    /// Which tree the record is in.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Live(_) => Kind::Live,
            Self::Tomb(_) => Kind::Tomb,
        }
    }

    pub(super) fn read(kind: Kind, decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match kind {
            Kind::Live => Ok(Self::Live(Live::read(decoder)?)),
            Kind::Tomb => Ok(Self::Tomb(Tombstone::read(decoder)?)),
        }
    }

    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Live(live) => live.append_to(out),
            Self::Tomb(tombstone) => tombstone.append_to(out),
        }
    }
}

impl Tombstone {
    fn read(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let len = decoder.list(3)?;
        if len < 2 {
            return Err(DecodeError::Malformed("a tombstone"));
        }
        let observed = Version { hlc: Hlc(decoder.uint()?), author: Author(decoder.array()?) };
        let reason = if len == 3 { Some(decoder.text(REASON_LEN_MAX)?.to_owned()) } else { None };
        Ok(Self { observed, reason })
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        cbor::list(2 + usize::from(self.reason.is_some()), out);
        cbor::uint(self.observed.hlc.0, out);
        cbor::bytes(&self.observed.author.0, out);
        if let Some(reason) = &self.reason {
            cbor::text(reason, out);
        }
    }
}

impl Live {
    fn read(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut live = Self::default();
        decoder.fields(FIELDS_MAX, |field, decoder| {
            live.read_field(field, decoder)?;
            Ok(true)
        })?;
        Ok(live)
    }

    fn read_field(&mut self, field: u64, decoder: &mut Decoder<'_>) -> Result<(), DecodeError> {
        match field {
            1 => self.name = other_than(decoder.text(NAME_LEN_MAX)?.to_owned(), &String::new())?,
            2 => self.mode = other_than(read_mode(decoder)?, &Mode::Recursive)?,
            3 => self.replication_min = Some(read_factor(decoder)?),
            4 => self.replication_max = Some(read_factor(decoder)?),
            5 => self.expire_ms = Some(decoder.uint()?),
            6 => self.meta = read_meta(decoder)?,
            7 => self.origins = read_many(decoder, ORIGINS_MAX, |d| read_blob(d, ORIGIN_LEN_MAX))?,
            8 => self.size_bytes = Some(decoder.uint()?),
            9 => self.priority = other_than(decoder.uint32()?, &0)?,
            10 => {
                self.tags = read_many(decoder, TAGS_MAX, |d| Ok(d.text(TAG_LEN_MAX)?.to_owned()))?;
            }
            11 => self.update_from = Some(read_cid(decoder)?),
            12 => self.members = read_many(decoder, MEMBERS_MAX, |d| read_blob(d, MEMBER_LEN_MAX))?,
            13 => self.hold_until_ms = Some(decoder.uint()?),
            _ => self.unknown.push((field, decoder.skip()?.to_vec())),
        }
        Ok(())
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        let mut fields = Fields::default();
        if !self.name.is_empty() {
            fields.add(1, |out| cbor::text(&self.name, out));
        }
        match self.mode {
            Mode::Recursive => {}
            Mode::Direct => fields.add(2, |out| cbor::uint(1, out)),
            Mode::Depth(levels) => fields.add(2, |out| {
                cbor::list(2, out);
                cbor::uint(2, out);
                cbor::uint(levels.into(), out);
            }),
        }
        fields.number(3, self.replication_min.map(u64::from));
        fields.number(4, self.replication_max.map(u64::from));
        fields.number(5, self.expire_ms);
        if !self.meta.is_empty() {
            fields.add(6, |out| {
                cbor::map(self.meta.len(), out);
                for (key, value) in &self.meta {
                    cbor::text(key, out);
                    cbor::text(value, out);
                }
            });
        }
        fields.many(7, &self.origins, |origin, out| cbor::bytes(origin, out));
        fields.number(8, self.size_bytes);
        fields.number(9, Some(u64::from(self.priority)).filter(|priority| *priority != 0));
        fields.many(10, &self.tags, |tag, out| cbor::text(tag, out));
        if let Some(cid) = &self.update_from {
            fields.add(11, |out| cbor::bytes(&cid.to_bytes(), out));
        }
        fields.many(12, &self.members, |member, out| cbor::bytes(member, out));
        fields.number(13, self.hold_until_ms);
        for (field, value) in &self.unknown {
            fields.add(*field, |out| out.extend_from_slice(value));
        }
        fields.finish(out);
    }
}

/// A map with integer keys while it is written.
#[derive(Default)]
struct Fields {
    count: usize,
    encoded: Vec<u8>,
}

impl Fields {
    fn add(&mut self, field: u64, value: impl FnOnce(&mut Vec<u8>)) {
        self.count += 1;
        cbor::uint(field, &mut self.encoded);
        value(&mut self.encoded);
    }

    fn number(&mut self, field: u64, value: Option<u64>) {
        if let Some(value) = value {
            self.add(field, |out| cbor::uint(value, out));
        }
    }

    fn many<T>(&mut self, field: u64, values: &[T], append: impl Fn(&T, &mut Vec<u8>)) {
        if !values.is_empty() {
            self.add(field, |out| {
                cbor::list(values.len(), out);
                values.iter().for_each(|value| append(value, out));
            });
        }
    }

    fn finish(self, out: &mut Vec<u8>) {
        cbor::map(self.count, out);
        out.extend(self.encoded);
    }
}

/// What has its default value is left out: written, it would be a second encoding.
fn other_than<T: PartialEq>(value: T, default: &T) -> Result<T, DecodeError> {
    if value == *default { Err(DecodeError::NotCanonical) } else { Ok(value) }
}

fn read_mode(decoder: &mut Decoder<'_>) -> Result<Mode, DecodeError> {
    let before = decoder.clone();
    if let Ok(number) = decoder.uint() {
        return match number {
            0 => Ok(Mode::Recursive),
            1 => Ok(Mode::Direct),
            _ => Err(DecodeError::Malformed("the mode of a pin")),
        };
    }
    *decoder = before;
    decoder.tuple(2)?;
    match decoder.uint()? {
        2 => Ok(Mode::Depth(decoder.uint32()?)),
        _ => Err(DecodeError::Malformed("the mode of a pin")),
    }
}

fn read_factor(decoder: &mut Decoder<'_>) -> Result<u32, DecodeError> {
    other_than(decoder.uint32()?, &0)
}

fn read_meta(decoder: &mut Decoder<'_>) -> Result<Vec<(String, String)>, DecodeError> {
    let len = decoder.map(META_MAX)?;
    let mut meta: Vec<(String, String)> = Vec::with_capacity(len);
    for _ in 0..len {
        let key = decoder.text(META_KEY_LEN_MAX)?;
        if meta.last().is_some_and(|(last, _)| (last.len(), last.as_str()) >= (key.len(), key)) {
            return Err(DecodeError::NotCanonical);
        }
        meta.push((key.to_owned(), decoder.text(META_VALUE_LEN_MAX)?.to_owned()));
    }
    other_than(meta, &Vec::new())
}

fn read_blob(decoder: &mut Decoder<'_>, max: usize) -> Result<Vec<u8>, DecodeError> {
    Ok(decoder.bytes(max)?.to_vec())
}

fn read_many<T: PartialEq>(
    decoder: &mut Decoder<'_>,
    max: usize,
    read: impl FnMut(&mut Decoder<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    other_than(decoder.many(max, read)?, &Vec::new())
}
