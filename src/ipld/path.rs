//! Content paths: `/ipfs/<cid>/a/b`, `/ipns/<name>/…`, `/ipld/<cid>/…`, and their URIs.
//!
//! Pure. Not responsible for finding what a path points at. Cleaning and texts are those of
//! boxo's `path` and of Kubo's argument parser.

use super::cid::{Cid, CidError};
use super::quote::quote;

/// The first component of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Namespace {
    /// UnixFS below a CID.
    Ipfs,
    /// A name that points at another path, now at this, later at that.
    Ipns,
    /// The data model below a CID.
    Ipld,
}

impl Namespace {
    const ALL: [Self; 3] = [Self::Ipfs, Self::Ipns, Self::Ipld];

    /// As it is written in a path.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ipfs => "ipfs",
            Self::Ipns => "ipns",
            Self::Ipld => "ipld",
        }
    }
}

/// The second component of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// Under `/ipfs` and `/ipld`.
    Cid(Cid),
    /// Under `/ipns`: a key or a domain.
    Name(String),
}

/// A content path, cleaned: no `.`, no `..`, no empty segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    text: String,
    namespace: Namespace,
    root: Root,
    segments: Vec<String>,
}

/// Why text is no path, or not the path that was needed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Not a path at all.
    #[error("invalid path {}: {reason}", quote(.path))]
    Invalid {
        /// The text.
        path: String,
        /// What is wrong with it.
        reason: Reason,
    },
    /// A path where a single CID was needed.
    #[error("{} points below a root CID, expected a single CID", quote(.0))]
    BelowRoot(String),
}

/// What is wrong with a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// No leading slash, or no root.
    #[error("path does not have enough components")]
    InsufficientComponents,
    /// Neither `ipfs` nor `ipns` nor `ipld`.
    #[error("unknown namespace: {}", quote(.0))]
    UnknownNamespace(String),
    /// The root is no CID.
    #[error(transparent)]
    Cid(#[from] CidError),
    /// Under `/ipns`, where something that never changes was needed.
    #[error("path was expected to be immutable")]
    ExpectedImmutable,
}

impl Path {
    /// Parses what a user gives as a path: a path, a URI, or else what follows `/ipfs/`.
    ///
    /// # Errors
    /// With the text of the first attempt.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        Self::parse_uri(text)
            .or_else(|error| Self::parse_plain(&format!("/ipfs/{text}")).map_err(|_| error))
    }

    /// Parses a path or a URI: `/ipfs/…`, `ipfs://…`, `ipfs:…`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse_uri(text: &str) -> Result<Self, PathError> {
        for namespace in Namespace::ALL {
            let name = namespace.as_str();
            let Some((scheme, rest)) = text.split_once(':') else { break };
            if scheme.eq_ignore_ascii_case(name) {
                let rest = rest.strip_prefix("//").unwrap_or(rest);
                return Self::parse_plain(&format!("/{name}/{rest}"));
            }
        }
        Self::parse_plain(text)
    }

    /// Parses a path that begins with its namespace: `/ipfs/…`.
    ///
    /// # Errors
    /// When it does not.
    pub fn parse_plain(text: &str) -> Result<Self, PathError> {
        let invalid = |reason| PathError::Invalid { path: text.to_owned(), reason };
        let mut segments = clean(text).into_iter();
        let (true, Some(namespace), Some(root)) =
            (text.starts_with('/'), segments.next(), segments.next())
        else {
            return Err(invalid(Reason::InsufficientComponents));
        };
        let Some(namespace) = Namespace::ALL.into_iter().find(|known| known.as_str() == namespace)
        else {
            return Err(invalid(Reason::UnknownNamespace(namespace.to_owned())));
        };
        let segments: Vec<String> = segments.map(str::to_owned).collect();
        let slash = if text.ends_with('/') { "/" } else { "" };
        let text = join(namespace, root, &segments) + slash;
        let root = match namespace {
            Namespace::Ipns => Root::Name(root.to_owned()),
            Namespace::Ipfs | Namespace::Ipld => {
                Root::Cid(Cid::parse(root).map_err(|error| invalid(error.into()))?)
            }
        };
        Ok(Self { text, namespace, root, segments })
    }

    /// `/ipfs/<cid>`.
    #[must_use]
    pub fn from_cid(cid: Cid) -> Self {
        Self {
            text: format!("/ipfs/{cid}"),
            namespace: Namespace::Ipfs,
            root: Root::Cid(cid),
            segments: Vec::new(),
        }
    }

    /// The path with more segments behind it; they are cleaned like the rest.
    ///
    /// # Errors
    /// When `..` among them leaves no root.
    pub fn join(&self, segments: &[String]) -> Result<Self, PathError> {
        let mut text = self.text.trim_end_matches('/').to_owned();
        for segment in segments {
            text.push('/');
            text.push_str(segment);
        }
        Self::parse_plain(&text)
    }

    /// The whole path, cleaned; a slash at the end is kept.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> Namespace {
        self.namespace
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// What follows the root.
    #[must_use]
    pub fn segments(&self) -> &[String] {
        &self.segments
    }

    /// Whether what the path points at may change.
    #[must_use]
    pub fn is_mutable(&self) -> bool {
        self.namespace == Namespace::Ipns
    }

    /// The root of a path that cannot change.
    ///
    /// # Errors
    /// For a path under `/ipns`.
    pub fn root_cid(&self) -> Result<&Cid, PathError> {
        match &self.root {
            Root::Cid(cid) => Ok(cid),
            Root::Name(_) => Err(PathError::Invalid {
                path: self.text.clone(),
                reason: Reason::ExpectedImmutable,
            }),
        }
    }
}

/// Parses what a user gives where a CID is needed: a CID, or a path or URI of nothing but a CID.
///
/// # Errors
/// When it is neither.
pub fn cid_from_arg(text: &str) -> Result<Cid, PathError> {
    if let Ok(cid) = Cid::parse(text) {
        return Ok(cid);
    }
    let path = Path::parse(text)?;
    let cid = path.root_cid()?;
    if path.segments.is_empty() {
        Ok(cid.clone())
    } else {
        Err(PathError::BelowRoot(text.to_owned()))
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

fn join(namespace: Namespace, root: &str, segments: &[String]) -> String {
    let mut text = format!("/{}/{root}", namespace.as_str());
    for segment in segments {
        text.push('/');
        text.push_str(segment);
    }
    text
}

/// Go's `path.Join` of two names.
#[must_use]
pub fn join_clean(first: &str, second: &str) -> String {
    let text = match (first, second) {
        ("", "") => return String::new(),
        ("", text) | (text, "") => text.to_owned(),
        (first, second) => format!("{first}/{second}"),
    };
    let cleaned = clean(&text).join("/");
    match (text.starts_with('/'), cleaned.as_str()) {
        (true, _) => format!("/{cleaned}"),
        (false, "") => ".".to_owned(),
        (false, _) => cleaned,
    }
}

/// The segments of Go's `path.Clean`: `..` takes one away, and stays only where there is none to
/// take in a path without leading slash.
fn clean(text: &str) -> Vec<&str> {
    let rooted = text.starts_with('/');
    let mut segments = Vec::new();
    for segment in text.split('/') {
        match segment {
            "" | "." => {}
            ".." if segments.last().is_some_and(|last| *last != "..") => {
                segments.pop();
            }
            ".." if rooted => {}
            _ => segments.push(segment),
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    const CID: &str = "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN";

    #[test]
    fn paths_and_uris_are_cleaned() {
        let cases = [
            ("/ipfs/C", "/ipfs/C"),
            ("C", "/ipfs/C"),
            ("C/", "/ipfs/C/"),
            ("/ipfs/C/a//b/./c/../d/", "/ipfs/C/a/b/d/"),
            ("/ipfs/x/../C", "/ipfs/C"),
            ("//ipfs//C", "/ipfs/C"),
            ("/../ipfs/C", "/ipfs/C"),
            ("ipfs://C/a", "/ipfs/C/a"),
            ("ipfs:C", "/ipfs/C"),
            ("IPFS:/C", "/ipfs/C"),
            ("ipld://C/s", "/ipld/C/s"),
            ("ipns://example.net/a", "/ipns/example.net/a"),
            ("/ipns/k51/.", "/ipns/k51"),
        ];
        for (text, cleaned) in cases {
            let path = Path::parse(&text.replace('C', CID)).unwrap();
            assert_eq!(path.text(), cleaned.replace('C', CID), "{text}");
            assert_eq!(path.is_mutable(), cleaned.starts_with("/ipns"));
        }
        let path = Path::parse(&format!("/ipfs/{CID}/a/b/")).unwrap();
        assert_eq!(path.segments(), ["a", "b"]);
        assert_eq!(path.root_cid().unwrap().to_string(), CID);
        let joined = path.join(&["..".to_owned(), "c".to_owned()]).unwrap();
        assert_eq!(joined.text(), format!("/ipfs/{CID}/a/c"));
        assert_eq!(Path::from_cid(Cid::parse(CID).unwrap()).text(), format!("/ipfs/{CID}"));
    }

    #[test]
    fn what_is_no_path_is_refused_with_the_text_of_the_first_attempt() {
        let few = "path does not have enough components";
        let cases = [
            ("", few),
            ("nope", few),
            ("/", few),
            ("/ipfs", few),
            ("/ipfs/", few),
            ("/ipfs/C/..", few),
            ("C/../x", few),
            ("http://x/ipfs/C", few),
            ("ipfs/C/a", few),
            ("/x/y", "unknown namespace: \"x\""),
            ("/ipfs/nope", "invalid cid: selected encoding not supported"),
        ];
        for (text, reason) in cases {
            let text = text.replace('C', CID);
            let error = Path::parse(&text).unwrap_err().to_string();
            assert_eq!(error, format!("invalid path \"{text}\": {reason}"));
        }
        // The URI is named as the path that it stands for.
        let error = Path::parse("ipfs://nope").unwrap_err().to_string();
        let text = "invalid path \"/ipfs/nope\": invalid cid: selected encoding not supported";
        assert_eq!(error, text);
    }

    #[test]
    fn a_cid_may_be_given_as_a_path_of_nothing_else() {
        for text in [CID.to_owned(), format!("/ipfs/{CID}"), format!("ipfs://{CID}")] {
            assert_eq!(cid_from_arg(&text).unwrap().to_string(), CID);
        }
        let below = format!("/ipfs/{CID}/a");
        let error = cid_from_arg(&below).unwrap_err().to_string();
        assert_eq!(error, format!("\"{below}\" points below a root CID, expected a single CID"));
        let error = cid_from_arg("/ipns/x").unwrap_err().to_string();
        assert_eq!(error, "invalid path \"/ipns/x\": path was expected to be immutable");
    }
}
