//! `cid/*`: kubo core/commands/cid.go, with go-cidutil's `Format`.

mod format;

use futures_util::stream;
use serde::{Serialize, Serializer};

use super::value::{Int, Omit};
use super::{Error, Reply, Request, Value};
use crate::ipld::base::{self, Base};
use crate::ipld::quote::quote;
use crate::ipld::{Cid, CidError, Multihash, Version, codec, data, hash};

pub(super) use format::{base32, format};

/// A code and its name, in a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct CodeAndName {
    code: Int,
    name: String,
}

/// How the text form of a list shows its codes.
#[derive(Debug)]
enum Columns {
    /// Names alone.
    Names,
    /// Numbers before names, so wide.
    Numbers(usize),
    /// First characters before names.
    Prefixes,
    /// First characters, numbers and names.
    PrefixesAndNumbers,
}

/// A list of codes, in the order of its text form.
#[derive(Debug)]
struct Codes {
    entries: Vec<CodeAndName>,
    columns: Columns,
}

impl Serialize for Codes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.entries.serialize(serializer)
    }
}

impl Value for Codes {
    const BY_VALUE: bool = true;

    fn text(&self) -> Option<Result<String, Error>> {
        let line = |entry: &CodeAndName| {
            let (code, name) = (entry.code.0, &entry.name);
            let prefix = u32::try_from(code).ok().and_then(char::from_u32);
            // What cannot be seen is not shown.
            let prefix = prefix.filter(|prefix| !prefix.is_control()).unwrap_or(' ');
            match self.columns {
                Columns::Names => format!("{name}\n"),
                Columns::Numbers(width) => format!("{code:>width$}  {name}\n"),
                Columns::Prefixes => format!("{prefix}  {name}\n"),
                Columns::PrefixesAndNumbers => format!("{prefix} {code:>7}  {name}\n"),
            }
        };
        Some(Ok(self.entries.iter().map(line).collect()))
    }
}

/// `cid/bases` and `multibase/list`.
pub(super) async fn bases(request: Request) -> Result<Reply, Error> {
    let columns = match (request.options.bool("prefix"), request.options.bool("numeric")) {
        (true, true) => Columns::PrefixesAndNumbers,
        (true, false) => Columns::Prefixes,
        (false, true) => Columns::Numbers(7),
        (false, false) => Columns::Names,
    };
    let entry = |(base, name): (Base, &str)| CodeAndName {
        code: Int(i64::from(u32::from(base.code()))),
        name: name.to_owned(),
    };
    Ok(Reply::one(Codes { entries: base::all().map(entry).collect(), columns }))
}

fn number_columns(request: &Request) -> Columns {
    if request.options.bool("numeric") { Columns::Numbers(5) } else { Columns::Names }
}

/// `cid/codecs`: the multicodecs of content.
pub(super) async fn codecs(request: Request) -> Result<Reply, Error> {
    let all = !request.options.bool("supported");
    let entries = codec::all().iter().filter(|entry| {
        let supported = entry.code == codec::LIBP2P_KEY || data::check_decoder(entry.code).is_ok();
        entry.is_ipld && (all || supported)
    });
    let entries = entries
        .map(|entry| CodeAndName { code: Int(entry.code as i64), name: entry.name.to_owned() })
        .collect();
    Ok(Reply::one(Codes { entries, columns: number_columns(&request) }))
}

/// `cid/hashes`: the hash functions that may name blocks. `supported` changes nothing, as in Kubo.
pub(super) async fn hashes(request: Request) -> Result<Reply, Error> {
    let entries = hash::all().filter(|(code, _)| hash::is_allowed(*code));
    let entries = entries
        .map(|(code, name)| CodeAndName { code: Int(code as i64), name: name.into_owned() })
        .collect();
    Ok(Reply::one(Codes { entries, columns: number_columns(&request) }))
}

/// What a CID consists of.
#[derive(Debug, Default, Serialize)]
#[serde(rename = "commands.CidInspectRes")]
struct Inspected {
    #[serde(rename = "cid>Cid")]
    cid: String,
    #[serde(rename = "version>Version")]
    version: Int,
    #[serde(rename = "multibase>Multibase")]
    multibase: InspectedBase,
    #[serde(rename = "multicodec>Multicodec")]
    multicodec: InspectedCodec,
    #[serde(rename = "multihash>Multihash")]
    multihash: InspectedHash,
    #[serde(rename = "cidV0>CidV0")]
    cid_v0: Omit<String>,
    #[serde(rename = "cidV1>CidV1")]
    cid_v1: String,
    #[serde(rename = "errorMsg>ErrorMsg")]
    error: Omit<String>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename = "commands.CidInspectBase")]
struct InspectedBase {
    #[serde(rename = "prefix>Prefix")]
    prefix: String,
    #[serde(rename = "name>Name")]
    name: String,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename = "commands.CidInspectCodec")]
struct InspectedCodec {
    #[serde(rename = "code>Code")]
    code: u64,
    #[serde(rename = "name>Name")]
    name: String,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename = "commands.CidInspectHash")]
struct InspectedHash {
    #[serde(rename = "code>Code")]
    code: u64,
    #[serde(rename = "name>Name")]
    name: String,
    #[serde(rename = "length>Length")]
    length: Int,
    #[serde(rename = "digest>Digest")]
    digest: String,
}

impl Value for Inspected {
    fn text(&self) -> Option<Result<String, Error>> {
        if !self.error.0.is_empty() {
            return Some(Err(Error::new(self.error.0.clone())));
        }
        let (codec, hash) = (&self.multicodec, &self.multihash);
        let (base, implicit) = match self.version.0 {
            0 => ("implicit", ", implicit"),
            _ => (self.multibase.prefix.as_str(), ""),
        };
        let requires =
            |what: &str, got: String| format!("not possible, requires {what}, got {got}");
        let v0 = if !self.cid_v0.0.is_empty() {
            self.cid_v0.0.clone()
        } else if codec.code != codec::DAG_PB {
            requires("dag-pb (0x70)", format!("{} ({:#x})", codec.name, codec.code))
        } else if hash.code != hash::SHA2_256 {
            requires("sha2-256 (0x12)", format!("{} ({:#x})", hash.name, hash.code))
        } else {
            requires("32-byte digest", hash.length.0.to_string())
        };
        Some(Ok(format!(
            "CID:        {}\nVersion:    {}\nMultibase:  {} ({base})\n\
             Multicodec: {} ({:#x}{implicit})\nMultihash:  {} ({:#x}{implicit})\n  \
             Length:   {} bytes\n  Digest:   {}\nCIDv0:      {v0}\nCIDv1:      {}\n",
            self.cid,
            self.version.0,
            self.multibase.name,
            codec.name,
            codec.code,
            hash.name,
            hash.code,
            hash.length.0,
            hash.digest,
            self.cid_v1,
        )))
    }
}

/// `cid/inspect`.
pub(super) async fn inspect(mut request: Request) -> Result<Reply, Error> {
    let text = request.next_arg().await?.unwrap_or_default();
    Ok(Reply::one(match Cid::parse(&text) {
        Ok(cid) => inspected(text, &cid),
        Err(error) => not_inspected(text, &error),
    }))
}

fn inspected(text: String, cid: &Cid) -> Inspected {
    let base = match cid.version() {
        Version::V0 => Some(Base::Base58Btc),
        Version::V1 => Cid::base_of(&text).ok(),
    };
    let multibase = base.map_or_else(
        // go-multibase reads the first byte alone, which for base256emoji is no base.
        || InspectedBase { prefix: char::REPLACEMENT_CHARACTER.to_string(), name: String::new() },
        |base| InspectedBase { prefix: base.code().to_string(), name: base::name(base).to_owned() },
    );
    let unknown = || "unknown".to_owned();
    let (code, digest) = (cid.hash().code(), cid.hash().digest());
    let v1 = cid.to_v1();
    let is_key = cid.codec() == codec::LIBP2P_KEY;
    Inspected {
        cid: text,
        version: Int(i64::from(cid.version() == Version::V1)),
        multibase,
        multicodec: InspectedCodec {
            code: cid.codec(),
            name: codec::name(cid.codec()).map_or_else(unknown, str::to_owned),
        },
        multihash: InspectedHash {
            code,
            name: hash::name(code).map_or_else(unknown, std::borrow::Cow::into_owned),
            length: Int(digest.len() as i64),
            digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        },
        cid_v0: Omit(as_v0(cid).map_or_else(String::new, |cid| cid.to_string())),
        cid_v1: v1.to_text(if is_key { Base::Base36Lower } else { Base::Base32Lower }),
        error: Omit::default(),
    }
}

fn as_v0(cid: &Cid) -> Option<Cid> {
    if cid.codec() == codec::DAG_PB { Cid::new_v0(cid.hash().clone()) } else { None }
}

/// What is no CID may be a peer ID, and then the answer names the CID of that.
fn not_inspected(text: String, error: &CidError) -> Inspected {
    let mut message = format!("invalid CID: {error}");
    let is_peer_id = text.starts_with("Qm") || text.starts_with('1');
    let hash = base::decode_base58(text.as_bytes())
        .ok()
        .and_then(|bytes| Multihash::from_bytes(&bytes).ok());
    if let Some(hash) = hash.filter(|_| is_peer_id) {
        let cid = Cid::new_v1(codec::LIBP2P_KEY, hash).to_text(Base::Base36Lower);
        message.push_str("\nNote: the value is a PeerID; inspect its CID representation instead:");
        message.push_str("\n  ");
        message.push_str(&cid);
    }
    Inspected { cid: text, error: Omit(message), ..Inspected::default() }
}
