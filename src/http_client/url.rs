//! URLs of HTTP servers, read, cleaned and written as Go's `net/url` and `path` do.
//!
//! Pure.

use std::fmt;

use percent_encoding::percent_decode_str;

/// An `http` or `https` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    is_https: bool,
    /// What follows `//` up to the next slash; `None` without them.
    authority: Option<String>,
    /// Escaped; what follows the scheme when that is no slash.
    path: String,
    /// What follows the question mark.
    query: Option<String>,
}

impl Url {
    /// Parses an absolute URL; `None` when it is none of HTTP.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return None;
        }
        let (scheme, rest) = text.split_once(':')?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query.to_owned())),
            None => (rest, None),
        };
        let (authority, path) = match rest.strip_prefix("//") {
            None => (None, rest),
            Some(rest) => {
                let end = rest.find('/').unwrap_or(rest.len());
                let (authority, path) = rest.split_at(end);
                if !is_authority(authority) {
                    return None;
                }
                (Some(authority.to_owned()), path)
            }
        };
        if !has_whole_escapes(path) {
            return None;
        }
        Some(Self { is_https, authority, path: escape_path(path), query })
    }

    /// Whether a query follows; an empty one is none.
    #[must_use]
    pub fn has_query(&self) -> bool {
        self.query.as_deref().is_some_and(|query| !query.is_empty())
    }

    /// The path, escaped.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// This URL with `.`, `..`, double slashes and those at the end taken out of its path.
    #[must_use]
    pub fn cleaned(mut self) -> Self {
        let is_opaque = self.authority.is_none() && !self.path.starts_with('/');
        if is_opaque {
            return self;
        }
        let mut kept: Vec<&str> = Vec::new();
        for segment in self.path.split('/') {
            match segment {
                "" | "." => {}
                ".." => drop(kept.pop()),
                segment => kept.push(segment),
            }
        }
        let path: String = kept.iter().map(|segment| format!("/{segment}")).collect();
        self.path = path;
        self
    }

    /// This URL with a path and a query added to its own.
    #[must_use]
    pub fn with(mut self, path: &str, query: &str) -> Self {
        self.path.push_str(path);
        self.query = (!query.is_empty()).then(|| query.to_owned());
        self
    }

    /// Where a reference in an answer points.
    #[must_use]
    pub fn join(&self, reference: &str) -> Option<Self> {
        let reference = reference.split('#').next().unwrap_or_default();
        let scheme = self.scheme();
        let authority = self.authority.as_deref().unwrap_or_default();
        if reference.starts_with("//") {
            Self::parse(&format!("{scheme}:{reference}"))
        } else if reference.starts_with('/') {
            Self::parse(&format!("{scheme}://{authority}{reference}"))
        } else if reference.split(['/', '?']).next().is_some_and(|first| first.contains(':')) {
            Self::parse(reference)
        } else {
            let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            Self::parse(&format!("{scheme}://{authority}{folder}/{reference}"))
        }
    }

    /// Whether it is `https`.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    fn scheme(&self) -> &'static str {
        if self.is_https { "https" } else { "http" }
    }

    /// Host and port as written, without user and password.
    #[must_use]
    pub fn authority(&self) -> String {
        let authority = self.authority.as_deref().unwrap_or_default();
        authority.rsplit('@').next().unwrap_or_default().to_owned()
    }

    /// The host, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        let authority = self.authority.as_deref().unwrap_or_default();
        let place = authority.rsplit('@').next().unwrap_or_default();
        match place.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => place.split(':').next().unwrap_or_default(),
        }
    }

    /// The port, which the scheme gives when none is written.
    #[must_use]
    pub fn port(&self) -> u16 {
        let authority = self.authority();
        let after = authority.rsplit(']').next().unwrap_or_default();
        let port = after.split_once(':').and_then(|(_, port)| port.parse().ok());
        port.unwrap_or(if self.is_https { 443 } else { 80 })
    }

    /// What the request line asks for.
    #[must_use]
    pub fn target(&self) -> String {
        let path = if self.path.is_empty() { "/" } else { &self.path };
        match &self.query {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        }
    }

    /// The text, fit for an error.
    pub(super) fn without_password(&self) -> String {
        let mut shown = self.clone();
        if let Some((login, place)) = self.authority.as_deref().and_then(|a| a.rsplit_once('@'))
            && let Some((user, _)) = login.split_once(':')
        {
            shown.authority = Some(format!("{user}:***@{place}"));
        }
        shown.to_string()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme())?;
        match &self.authority {
            // As Go: two slashes before nothing are none.
            Some(authority) if !authority.is_empty() || !self.path.is_empty() => {
                write!(f, "//{}", escape_host(authority))?;
            }
            _ => {}
        }
        f.write_str(&self.path)?;
        match &self.query {
            Some(query) => write!(f, "?{query}"),
            None => Ok(()),
        }
    }
}

/// A value for a query, as Go's `url.QueryEscape`.
#[must_use]
pub fn escape_query(text: &str) -> String {
    escape(text.as_bytes(), |byte| byte == b' ').replace(' ', "+")
}

/// One segment of a path, as Go's `url.PathEscape`.
#[must_use]
pub fn escape_segment(text: &str) -> String {
    escape(text.as_bytes(), |byte| b"$&+=:@".contains(&byte))
}

fn escape(bytes: &[u8], is_kept: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || is_kept(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A path as written where that is a fit escaping, else escaped anew.
fn escape_path(path: &str) -> String {
    let is_fit =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:@[]/%".contains(&byte);
    if path.bytes().all(is_fit) {
        return path.to_owned();
    }
    let raw: Vec<u8> = percent_decode_str(path).collect();
    escape(&raw, |byte| b"$&+,/:;=@".contains(&byte))
}

fn escape_host(authority: &str) -> String {
    escape(authority.as_bytes(), |byte| byte.is_ascii_graphic())
}

fn has_whole_escapes(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        after.get(..2).is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    })
}

/// Whether Go takes this for `user:password@host:port`.
fn is_authority(text: &str) -> bool {
    let (login, place) = match text.rsplit_once('@') {
        Some((login, place)) => (login, place),
        None => ("", text),
    };
    let is_login = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
    if !login.bytes().all(is_login) || !has_whole_escapes(login) {
        return false;
    }
    let after = match place.strip_prefix('[') {
        Some(rest) => match rest.rsplit_once(']') {
            Some((_, after)) => after,
            None => return false,
        },
        None => place.find(':').and_then(|at| place.get(at..)).unwrap_or_default(),
    };
    let is_port = after.is_empty()
        || after.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()));
    let is_host = |byte: u8| {
        !byte.is_ascii()
            || byte.is_ascii_alphanumeric()
            || b"-_.~!$&'()*+,;=:[]<>\"".contains(&byte)
    };
    is_port && place.bytes().all(is_host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_cleaned_and_written_as_in_go() {
        let cases = [
            ("http://127.0.0.1:1/api", "http://127.0.0.1:1/api"),
            ("https://x.example/psa/", "https://x.example/psa"),
            ("HTTPS://x.example//a/./b/../c//", "https://x.example/a/c"),
            ("http://x/../..", "http://x"),
            ("http://x/a%2Fb/", "http://x/a%2Fb"),
            ("http://x/a b", "http://x/a%20b"),
            ("http://u:p@x:8/a", "http://u:p@x:8/a"),
            ("http://[::1]:5/a", "http://[::1]:5/a"),
            ("http://", "http:"),
            ("http:", "http:"),
        ];
        for (text, cleaned) in cases {
            assert_eq!(Url::parse(text).unwrap().cleaned().to_string(), cleaned, "{text}");
        }
        let wrong = ["nope", "", "ftp://x", "/a", "http://x y/", "http://x/%zz", "http://x:port/"];
        for text in wrong {
            assert_eq!(Url::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_parts_are_those_that_a_request_needs() {
        let url = Url::parse("http://u:secret@[::1]:5/a").unwrap().with("/pins", "limit=10");
        assert_eq!((url.host(), url.port(), &*url.authority()), ("::1", 5, "[::1]:5"));
        assert_eq!(url.target(), "/a/pins?limit=10");
        assert_eq!(url.without_password(), "http://u:***@[::1]:5/a/pins?limit=10");
        let url = Url::parse("https://x").unwrap();
        assert_eq!((url.host(), url.port(), &*url.target()), ("x", 443, "/"));
        assert_eq!(escape_query("a b&c/ü"), "a+b%26c%2F%C3%BC");
        assert_eq!(escape_segment("a b/c:d"), "a%20b%2Fc:d");
    }

    #[test]
    fn a_reference_is_read_from_where_it_stands() {
        let base = Url::parse("http://x:8/a/b?q").unwrap();
        let cases = [
            ("/c?d", "http://x:8/c?d"),
            ("c", "http://x:8/a/c"),
            ("//y/c#top", "http://y/c"),
            ("https://z/", "https://z/"),
        ];
        for (reference, joined) in cases {
            assert_eq!(base.join(reference).unwrap().to_string(), joined);
        }
        assert_eq!(base.join("ftp://z/"), None);
    }
}
