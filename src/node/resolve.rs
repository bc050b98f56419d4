//! What a content path points at.
//!
//! [`Resolver`] is plain state that says which block it needs next and is given it. Under `/ipfs` a
//! dag-pb block is a directory, a shard, a file, or a map of its named links; under `/ipld`, and in
//! every other codec, it is what the data model shows. The texts are those of boxo's
//! `path/resolver` and of go-ipld-prime below it, which tell the last segment of a path from those
//! before it: only for the last is the reason given why there is nothing.

use std::time::Duration;

use bytes::Bytes;

use super::{Error, Node, Reach};
use crate::exchange;
use crate::ipld::node::{LookupError, NodeError, Schema};
use crate::ipld::path::{Namespace, Path, PathError, Root};
use crate::ipld::quote::quote;
use crate::ipld::{self, Cid, Multihash, PbLink, PbNode, Typed, Version, codec, data};
use crate::unixfs::data::Kind;
use crate::unixfs::read::{self, Lookup, LookupStep, ReadError};

/// How long Kubo looks for the blocks of one path.
const TIME_MAX: Duration = Duration::from_secs(60);

/// What a path points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// `/ipfs` or `/ipld`.
    pub namespace: Namespace,
    /// The last block of the path.
    pub cid: Cid,
    /// The segments that lead on within that block.
    pub remainder: Vec<String>,
}

/// Why a path points at nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// No path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A segment that a block does not have.
    #[error("no link named {} under {cid}", quote(.name))]
    NoLink {
        /// The segment.
        name: String,
        /// The block.
        cid: Cid,
    },
    /// The last segment leads nowhere; the text says why.
    #[error(transparent)]
    Segment(#[from] NodeError),
    /// The last segment leads into a large file.
    #[error(
        "func called on wrong kind: \"\" called on a INVALID node, but only makes sense on \
         <empty KindSet>"
    )]
    InFile,
    /// A block on the way is not what it should be.
    #[error(transparent)]
    Unixfs(#[from] ReadError),
    /// A block on the way is no block of its codec.
    #[error(transparent)]
    Decode(#[from] ipld::DecodeError),
    /// A link on the way leads to a block that is not to be had, or is broken.
    #[error("error traversing node at {}: could not load link \"{cid}\": {reason}", quote(.at))]
    Link {
        /// The segments up to the link.
        at: String,
        /// The block.
        cid: Cid,
        /// What is wrong.
        reason: String,
    },
    /// A name that is a key, and nobody knows what it points at.
    #[error("could not resolve name")]
    Name,
    /// A name that is a domain without a record.
    #[error(
        "DNSLink lookup for {} failed: could not resolve name: DNSLink lookup could not find a \
         TXT record (https://docs.ipfs.tech/concepts/dnslink/)",
        quote(.0)
    )]
    DnsLink(String),
    /// A step into a node of a type that UnixFS does not know.
    #[error("no reification for this UnixFS node type")]
    NoReification,
    /// A name that is the CID of something else.
    #[error("peer ID represented as CIDv1 require libp2p-key multicodec: retry with /ipns/{0}")]
    NoKey(Cid),
    /// A name that is neither key nor domain.
    #[error("cannot resolve: {}", quote(.0))]
    NoName(String),
}

impl Node {
    /// What a path points at.
    ///
    /// Names are followed first. As in Kubo, the blocks on the way are fetched even for a request that asks for what is here
    /// alone.
    ///
    /// # Errors
    /// When it points at nothing, or a block on the way is not to be had.
    pub async fn resolve(&self, path: &Path) -> Result<Resolved, Error> {
        let path = self.immutable(path).await?;
        let mut resolver = Resolver::new(&path)?;
        let Step::Need(first) = resolver.step()? else {
            return Ok(resolver.root());
        };
        let walk = async {
            let mut next = first;
            loop {
                match self.exchange().get(&next, Reach::Network).await {
                    Ok(block) => resolver.supply(&block)?,
                    Err(error) => return Err(failed(&resolver, error)),
                }
                match resolver.step()? {
                    Step::Need(cid) => next = cid,
                    Step::Done(resolved) => return Ok(resolved),
                }
            }
        };
        let found = tokio::time::timeout(TIME_MAX, walk).await;
        found.unwrap_or_else(|_| Err(Error::failed("context deadline exceeded")))
    }

    /// The same for a path as a user writes it.
    ///
    /// # Errors
    /// When it is no path, too.
    pub async fn resolve_text(&self, path: &str) -> Result<Resolved, Error> {
        let path = Path::parse(path).map_err(ResolveError::from)?;
        self.resolve(&path).await
    }
}

impl From<ResolveError> for Error {
    fn from(error: ResolveError) -> Self {
        Self::failed(error)
    }
}

/// What a failed fetch means to the path.
fn failed(resolver: &Resolver, error: exchange::Error) -> Error {
    match &resolver.loading {
        Some(Loading::Link(cid)) => resolver.broken_link(cid.clone(), error.to_string()).into(),
        Some(Loading::Shard(_))
            if matches!(error, exchange::Error::NotFound(_)) && !resolver.is_last() =>
        {
            resolver.no_link().into()
        }
        _ => error.into(),
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Fetch this block and hand it to [`Resolver::supply`].
    Need(Cid),
    Done(Resolved),
}

/// What the block that was asked for is to be.
#[derive(Debug, Clone)]
enum Loading {
    Root,
    Link(Cid),
    Shard(Cid),
}

/// Where the path has come to.
#[derive(Debug)]
enum View {
    /// Named links: a directory, or dag-pb that is no file.
    Links(Vec<PbLink>),
    Shard(Lookup, read::Node),
    /// A file of several blocks.
    File,
    Model(Typed),
}

/// What a segment leads to.
enum Found {
    Link(Cid),
    Value(Typed),
    Shard(Cid),
}

/// A path being walked.
#[derive(Debug)]
struct Resolver {
    namespace: Namespace,
    segments: Vec<String>,
    /// The next segment, and the first one within the current block.
    at: usize,
    entered: usize,
    cid: Cid,
    view: Option<View>,
    loading: Option<Loading>,
}

impl Resolver {
    fn new(path: &Path) -> Result<Self, ResolveError> {
        let cid = match path.root() {
            Root::Cid(cid) => cid.clone(),
            Root::Name(name) => return Err(unresolvable(name)),
        };
        let segments = path.segments().to_vec();
        let loading = (!segments.is_empty()).then_some(Loading::Root);
        let namespace = path.namespace();
        Ok(Self { namespace, segments, at: 0, entered: 0, cid, view: None, loading })
    }

    /// The root as a result.
    fn root(&self) -> Resolved {
        Resolved { namespace: self.namespace, cid: self.cid.clone(), remainder: Vec::new() }
    }

    fn step(&mut self) -> Result<Step, ResolveError> {
        loop {
            match &self.loading {
                Some(Loading::Root) => return Ok(Step::Need(self.cid.clone())),
                Some(Loading::Link(cid) | Loading::Shard(cid)) => {
                    return Ok(Step::Need(cid.clone()));
                }
                None => {}
            }
            let Some(segment) = self.segments.get(self.at).cloned() else {
                return Ok(Step::Done(self.root()));
            };
            let last = self.is_last();
            match self.look_up(&segment) {
                Ok(Some(Found::Shard(cid))) => self.loading = Some(Loading::Shard(cid)),
                Ok(Some(Found::Link(cid))) if last => {
                    let namespace = self.namespace;
                    return Ok(Step::Done(Resolved { namespace, cid, remainder: Vec::new() }));
                }
                Ok(Some(Found::Link(cid))) => self.loading = Some(Loading::Link(cid)),
                Ok(Some(Found::Value(_))) if last => {
                    let remainder = self.segments.get(self.entered..).unwrap_or_default().to_vec();
                    return Ok(Step::Done(Resolved { remainder, ..self.root() }));
                }
                Ok(Some(Found::Value(value))) => {
                    self.view = Some(View::Model(value));
                    self.at += 1;
                }
                Ok(None) => return Err(self.no_link()),
                Err(error) if last => return Err(error),
                Err(_) => return Err(self.no_link()),
            }
        }
    }

    /// Takes the block that was asked for.
    fn supply(&mut self, block: &Bytes) -> Result<(), ResolveError> {
        match self.loading.take() {
            None => Ok(()),
            Some(Loading::Root) => {
                self.view = Some(self.open(&self.cid, block, self.at)?);
                Ok(())
            }
            Some(Loading::Link(cid)) => {
                let view = self.open(&cid, block, self.at + 1);
                self.view =
                    Some(view.map_err(|error| self.broken_link(cid.clone(), error.to_string()))?);
                self.cid = cid;
                self.at += 1;
                self.entered = self.at;
                Ok(())
            }
            Some(Loading::Shard(cid)) => {
                let node = match read::Node::decode(&cid, block) {
                    Ok(node) => node,
                    Err(error) if self.is_last() => return Err(error.into()),
                    Err(_) => return Err(self.no_link()),
                };
                if let Some(View::Shard(_, shard)) = &mut self.view {
                    *shard = node;
                }
                Ok(())
            }
        }
    }

    fn is_last(&self) -> bool {
        self.at + 1 == self.segments.len()
    }

    fn no_link(&self) -> ResolveError {
        let name = self.segments.get(self.at).cloned().unwrap_or_default();
        ResolveError::NoLink { name, cid: self.cid.clone() }
    }

    fn broken_link(&self, cid: Cid, reason: String) -> ResolveError {
        let at = self.segments.get(..=self.at).unwrap_or_default().join("/");
        ResolveError::Link { at, cid, reason }
    }

    fn look_up(&mut self, segment: &str) -> Result<Option<Found>, ResolveError> {
        match self.view.take() {
            None => Ok(None),
            Some(View::Links(links)) => {
                let found = links.into_iter().find(|link| link.name() == segment.as_bytes());
                Ok(found.map(|link| Found::Link(link.cid)))
            }
            Some(View::Shard(mut lookup, node)) => match lookup.step(&node)? {
                LookupStep::Found(link) => Ok(Some(Found::Link(link.cid))),
                LookupStep::Missing => Ok(None),
                LookupStep::Need(cid) => {
                    self.view = Some(View::Shard(lookup, node));
                    Ok(Some(Found::Shard(cid)))
                }
            },
            Some(View::File) => Err(ResolveError::InFile),
            Some(View::Model(value)) => look_into(value, segment),
        }
    }

    /// What a block shows to the segment of this number.
    fn open(&self, cid: &Cid, block: &Bytes, next: usize) -> Result<View, ResolveError> {
        if cid.codec() != codec::DAG_PB || self.namespace == Namespace::Ipld {
            return Ok(View::Model(data::decode_block(cid.codec(), block)?));
        }
        let node = match read::Node::decode(cid, block) {
            // What is no UnixFS has named links all the same.
            Err(ReadError::Data(_)) => return Ok(View::Links(PbNode::decode(block)?.links)),
            node => node?,
        };
        let segment = self.segments.get(next).cloned().unwrap_or_default();
        let read::Node::Pb { data, links } = node else { return Err(ReadError::Codec.into()) };
        Ok(match data.kind {
            Kind::HamtShard => {
                View::Shard(Lookup::new(segment.into()), read::Node::Pb { data, links })
            }
            Kind::File | Kind::Raw if !links.is_empty() => View::File,
            Kind::File | Kind::Raw => {
                let schema = match data.data {
                    Some(_) => Schema::PbScalar("data.Bytes"),
                    None => Schema::Plain,
                };
                let bytes = data.data.unwrap_or_default();
                View::Model(Typed { node: ipld::Node::Bytes(bytes), schema })
            }
            Kind::Other(_) => return Err(ResolveError::NoReification),
            Kind::Directory | Kind::Metadata | Kind::Symlink => View::Links(links),
        })
    }
}

/// One segment further in the data model.
fn look_into(value: Typed, segment: &str) -> Result<Option<Found>, ResolveError> {
    match value.into_segment(segment) {
        Ok(Typed { node: ipld::Node::Link(cid), .. }) => Ok(Some(Found::Link(cid))),
        Ok(value) => Ok(Some(Found::Value(value))),
        Err(LookupError::NoSuchField) => Ok(None),
        Err(LookupError::Node(error)) => Err(error.into()),
    }
}

/// Why a name points at nothing, when no record of it is known.
pub(super) fn unresolvable(name: &str) -> ResolveError {
    if is_key(name) {
        return ResolveError::Name;
    }
    if is_domain(name) {
        let dot = if name.ends_with('.') { "" } else { "." };
        return ResolveError::DnsLink(format!("{name}{dot}"));
    }
    match Cid::parse(name) {
        Ok(cid) if cid.version() == Version::V1 => {
            ResolveError::NoKey(Cid::new_v1(codec::LIBP2P_KEY, cid.hash().clone()))
        }
        _ => ResolveError::NoName(format!("/ipns/{name}")),
    }
}

/// Whether a name is that of a key: a peer ID, as multihash or as CID.
fn is_key(name: &str) -> bool {
    if name.starts_with("Qm") || name.starts_with('1') {
        let bytes = ipld::base::decode_base58(name.as_bytes());
        return bytes.is_ok_and(|bytes| Multihash::from_bytes(&bytes).is_ok());
    }
    Cid::parse(name).is_ok_and(|cid| cid.codec() == codec::LIBP2P_KEY)
}

/// Whether a name could be a domain's: labels of at most 63 bytes, 254 in all.
fn is_domain(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= 254 && name.split('.').all(|label| (1..=63).contains(&label.len()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::ipld::hash;
    use crate::unixfs::data::Data;

    /// Blocks by name, and what names stand for in paths and texts.
    #[derive(Default)]
    struct Blocks {
        blocks: HashMap<Cid, Bytes>,
        names: Vec<(&'static str, Cid)>,
    }

    impl Blocks {
        fn add(&mut self, name: &'static str, codec: u64, block: Vec<u8>) -> Cid {
            let digest = hash::digest(hash::SHA2_256, &block, None).unwrap();
            let cid = Cid::new_v1(codec, digest);
            self.blocks.insert(cid.clone(), block.into());
            self.names.push((name, cid.clone()));
            cid
        }

        fn pb(&mut self, name: &'static str, data: Option<Data>, links: &[(&str, &Cid)]) -> Cid {
            let links = links.iter().map(|(name, cid)| {
                PbLink::new((*cid).clone(), Bytes::copy_from_slice(name.as_bytes()), 1)
            });
            let data = data.map(|data| data.encode().into());
            self.add(name, codec::DAG_PB, PbNode { links: links.collect(), data }.encode())
        }

        fn fill_in(&self, text: &str) -> String {
            self.names.iter().fold(text.to_owned(), |text, (name, cid)| {
                text.replace(&format!("{{{name}}}"), &cid.to_string())
            })
        }

        /// The CID and the remainder, or the error.
        fn resolve(&self, path: &str) -> Result<String, String> {
            let path = Path::parse(&self.fill_in(path)).unwrap();
            let mut resolver = Resolver::new(&path).map_err(|error| error.to_string())?;
            loop {
                match resolver.step().map_err(|error| error.to_string())? {
                    Step::Done(Resolved { cid, remainder, .. }) => {
                        let rest: String = remainder.iter().map(|s| format!("/{s}")).collect();
                        return Ok(format!("{cid}{rest}"));
                    }
                    Step::Need(cid) => match self.blocks.get(&cid) {
                        Some(block) => resolver.supply(block).map_err(|error| error.to_string())?,
                        None => {
                            let error = exchange::Error::NotFound(cid);
                            return Err(failed(&resolver, error).to_string());
                        }
                    },
                }
            }
        }
    }

    fn blocks() -> Blocks {
        let mut blocks = Blocks::default();
        let file = |data: Option<&'static [u8]>| Data {
            data: data.map(Bytes::from_static),
            file_size: Some(data.map_or(0, <[u8]>::len) as u64),
            ..Data::new(Kind::File)
        };
        let leaf = blocks.pb("leaf", Some(file(Some(b"hello"))), &[]);
        blocks.pb("empty", Some(file(None)), &[]);
        let large = Data { block_sizes: vec![5], file_size: Some(5), ..Data::new(Kind::File) };
        blocks.pb("large", Some(large), &[("", &leaf)]);
        let raw = blocks.add("raw", codec::RAW, b"raw".to_vec());
        let target = Data { data: Some(Bytes::from_static(b"t")), ..Data::new(Kind::Symlink) };
        let link = blocks.pb("link", Some(target), &[]);
        let sub = blocks.pb("sub", Some(Data::new(Kind::Directory)), &[("x", &leaf)]);
        let dir = Some(Data::new(Kind::Directory));
        let dir = blocks.pb("dir", dir, &[("a", &leaf), ("l", &link), ("s", &sub)]);
        let absent = blocks.add("absent", codec::DAG_PB, b"nobody has this".to_vec());
        blocks.blocks.remove(&absent);
        blocks.pb("plain", None, &[("m", &absent), ("n", &leaf)]);
        let json = format!(
            "{{\"a\":{{\"b\":[{{\"c\":7}},{{\"/\":\"{dir}\"}}],\"l\":{{\"/\":\"{raw}\"}},\
             \"m\":{{\"/\":\"{absent}\"}},\"s\":\"str\",\"z\":null}}}}"
        );
        blocks.add("json", codec::DAG_JSON, json.into_bytes());
        blocks.add("broken", codec::DAG_PB, b"broken".to_vec());
        blocks
    }

    fn wrong_kind(node: &str) -> String {
        format!(
            "func called on wrong kind: \"LookupBySegment\" called on a {node}, but only makes \
             sense on map or list"
        )
    }

    #[test]
    fn paths_lead_through_directories_links_and_values() {
        let blocks = blocks();
        let cases = [
            ("/ipfs/{absent}", "{absent}"),
            ("/ipfs/{dir}/a", "{leaf}"),
            ("/ipfs/{dir}/s/x", "{leaf}"),
            ("/ipfs/{plain}/n", "{leaf}"),
            ("/ipfs/{plain}/m", "{absent}"),
            ("/ipfs/{json}/a", "{json}/a"),
            ("/ipfs/{json}/a/b/00/c", "{json}/a/b/00/c"),
            ("/ipfs/{json}/a/b/+1", "{dir}"),
            ("/ipfs/{json}/a/b/1/s/x", "{leaf}"),
            ("/ipld/{json}/a/b/1/Links", "{dir}/Links"),
            ("/ipld/{dir}/Links/0/Hash", "{leaf}"),
            ("/ipld/{dir}/Links/0/Hash/Data", "{leaf}/Data"),
            ("/ipld/{plain}/Data", "{plain}/Data"),
            ("/ipfs/{json}/a/m", "{absent}"),
        ];
        for (path, found) in cases {
            assert_eq!(blocks.resolve(path), Ok(blocks.fill_in(found)), "{path}");
        }
    }

    #[test]
    fn what_leads_nowhere_is_said_in_the_words_of_kubo() {
        let blocks = blocks();
        let missing = "block was not found locally (offline): ipld: could not find {absent}";
        let traversing = |at: &str| {
            format!(
                "error traversing node at \"{at}\": could not load link \"{{absent}}\": {missing}"
            )
        };
        let cases = [
            ("/ipfs/{absent}/x", missing.to_owned()),
            ("/ipfs/{dir}/nope", "no link named \"nope\" under {dir}".to_owned()),
            ("/ipfs/{dir}/nope/x", "no link named \"nope\" under {dir}".to_owned()),
            ("/ipfs/{dir}/s/nope", "no link named \"nope\" under {sub}".to_owned()),
            ("/ipfs/{dir}/l/x", "no link named \"x\" under {link}".to_owned()),
            ("/ipfs/{dir}/a/x", wrong_kind("data.Bytes node (kind: bytes)")),
            ("/ipfs/{dir}/a/x/y", "no link named \"x\" under {leaf}".to_owned()),
            ("/ipfs/{empty}/x", wrong_kind("bytes node (kind: bytes)")),
            ("/ipfs/{raw}/x", wrong_kind("bytes node (kind: bytes)")),
            (
                "/ipfs/{large}/x",
                "func called on wrong kind: \"\" called on a INVALID node, but only makes sense \
                 on <empty KindSet>"
                    .to_owned(),
            ),
            ("/ipfs/{large}/x/y", "no link named \"x\" under {large}".to_owned()),
            ("/ipfs/{dir}/Links", "no link named \"Links\" under {dir}".to_owned()),
            ("/ipld/{dir}/a", "no link named \"a\" under {dir}".to_owned()),
            ("/ipld/{dir}/Links/9", "key not found: \"9\"".to_owned()),
            ("/ipld/{plain}/Data/x", wrong_kind("absent node (kind: null)")),
            ("/ipld/{leaf}/Data/x", wrong_kind("dagpb.Bytes node (kind: bytes)")),
            ("/ipfs/{json}/nope", "key not found: \"nope\"".to_owned()),
            ("/ipfs/{json}/nope/x", "no link named \"nope\" under {json}".to_owned()),
            ("/ipfs/{json}/a/s/x", wrong_kind("string node (kind: string)")),
            ("/ipfs/{json}/a/l/x/y", "no link named \"x\" under {raw}".to_owned()),
            ("/ipfs/{json}/a/m/x", traversing("a/m")),
            ("/ipfs/{plain}/m/x/y", traversing("m")),
            (
                "/ipfs/{broken}/x",
                "protobuf: (PBNode) invalid fieldNumber, expected 1 or 2, got 12".to_owned(),
            ),
        ];
        for (path, text) in cases {
            assert_eq!(blocks.resolve(path), Err(blocks.fill_in(&text)), "{path}");
        }
    }

    #[test]
    fn names_point_at_nothing_and_say_why() {
        let lookup = "failed: could not resolve name: DNSLink lookup could not find a TXT record \
                      (https://docs.ipfs.tech/concepts/dnslink/)";
        let cid =
            Cid::parse("bafybeigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy").unwrap();
        let key = Cid::new_v1(codec::LIBP2P_KEY, cid.hash().clone());
        let long = cid.to_text(ipld::base::Base::Base2);
        let cases = [
            ("nope".to_owned(), format!("DNSLink lookup for \"nope.\" {lookup}")),
            ("a.b.".to_owned(), format!("DNSLink lookup for \"a.b.\" {lookup}")),
            ("12D3KooWEHUrM8Mc2iMbRrGFNxeZCgVnvLgTh6gKfuqNTm5ZqZbq".to_owned(), NAME.to_owned()),
            (key.to_string(), NAME.to_owned()),
            (
                long,
                format!(
                    "peer ID represented as CIDv1 require libp2p-key multicodec: retry with \
                     /ipns/{key}"
                ),
            ),
            ("x".repeat(64), format!("cannot resolve: \"/ipns/{}\"", "x".repeat(64))),
        ];
        for (name, text) in cases {
            assert_eq!(unresolvable(&name).to_string(), text);
        }
    }

    const NAME: &str = "could not resolve name";
}
