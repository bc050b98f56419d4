//! The head of a request: reading, checking, rewriting.
//!
//! Pure. The checks and the answers to what fails them are Go's `net/http`.

/// The headers that matter here. The others stay behind: however many or long they are, hyper's
/// limits do not apply to them.
const PASSED_ON: [&[u8]; 10] = [
    b"access-control-request-headers",
    b"access-control-request-method",
    b"authorization",
    b"connection",
    b"content-type",
    b"expect",
    b"host",
    b"origin",
    b"referer",
    b"user-agent",
];

/// How the body of a request is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes; 0 for no body.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// Why a request is refused before anything looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 400.
    Malformed,
    /// 400 with a reason.
    BadRequest(&'static str),
    /// 431.
    TooLarge,
    /// 501.
    TransferEncoding,
    /// 505.
    Version,
}

impl Refusal {
    /// The whole answer.
    pub(super) fn answer(self) -> String {
        let (status, body) = match self {
            Self::Malformed => ("400 Bad Request", "400 Bad Request".to_owned()),
            Self::BadRequest(why) => {
                let line = format!("400 Bad Request: {why}");
                return answer(&line, &line);
            }
            Self::TooLarge => {
                let line = "431 Request Header Fields Too Large";
                (line, line.to_owned())
            }
            Self::TransferEncoding => {
                ("501 Not Implemented", "Unsupported transfer encoding".to_owned())
            }
            Self::Version => {
                let line = "505 HTTP Version Not Supported: unsupported protocol version";
                (line, line.to_owned())
            }
        };
        answer(status, &body)
    }
}

fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Connection: close\r\n\r\n{body}"
    )
}

/// What a request is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::http) struct Target {
    /// The method.
    pub method: String,
    /// The path, decoded.
    pub path: String,
    /// The path, percent-encoded as Go's `EscapedPath` gives it.
    pub escaped_path: String,
    /// The query, as sent.
    pub query: String,
}

/// A request head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) target: Target,
    pub(super) framing: Framing,
    /// The head for hyper.
    pub(super) rewritten: Vec<u8>,
}

/// The length of the head at the start of `bytes`, empty line included. `searched` bytes are known
/// to hold no end.
pub(super) fn length(bytes: &[u8], searched: usize) -> Option<usize> {
    let from = searched.saturating_sub(3);
    let fresh = bytes.get(from..)?;
    memchr::memchr_iter(b'\n', fresh).find_map(|i| {
        let end = from + i + 1;
        match bytes.get(end..)? {
            [b'\n', ..] => Some(end + 1),
            [b'\r', b'\n', ..] => Some(end + 2),
            _ => None,
        }
    })
}

/// Reads a whole head.
pub(super) fn parse(bytes: &[u8]) -> Result<Head, Refusal> {
    let mut lines =
        bytes.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = lines.next().unwrap_or_default();
    let (method, raw_target, minor) = request_line(first)?;
    let (path, escaped_path, query) = split_target(&method, raw_target)?;
    let headers = headers(lines)?;
    let target = Target { method, path, escaped_path, query };
    if minor.is_none() {
        return Err(Refusal::Version);
    }
    let modern = minor != Some(0);
    check_host(&headers, modern, &target.method)?;
    if headers.iter().any(|(name, _)| name.contains(&b' ')) {
        return Err(Refusal::BadRequest("invalid header name"));
    }
    let framing = framing(&headers, modern)?;
    let rewritten = rewrite(&target.method, modern, &headers, framing);
    Ok(Head { target, framing, rewritten })
}

/// The method, the target, and the minor version of HTTP/1; no version for another major one.
fn request_line(line: &[u8]) -> Result<(String, &[u8], Option<u8>), Refusal> {
    let mut words = line.splitn(3, |b| *b == b' ');
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next())
    else {
        return Err(Refusal::Malformed);
    };
    if method.is_empty() || !method.iter().all(|b| is_token(*b)) {
        return Err(Refusal::Malformed);
    }
    let minor = match version.strip_prefix(b"HTTP/") {
        Some([b'1', b'.', minor @ b'0'..=b'9']) => Some(minor - b'0'),
        Some([b'0'..=b'9', b'.', b'0'..=b'9']) => None,
        _ => return Err(Refusal::Malformed),
    };
    Ok((String::from_utf8_lossy(method).into_owned(), target, minor))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The decoded path, the escaped path and the query of a target.
fn split_target(method: &str, raw: &[u8]) -> Result<(String, String, String), Refusal> {
    if raw.is_empty() || raw.iter().any(|b| *b < b' ' || *b == 0x7f) {
        return Err(Refusal::Malformed);
    }
    let text = String::from_utf8_lossy(raw);
    let rest = if text.starts_with('/') || text == "*" {
        &*text
    } else if method == "CONNECT" {
        ""
    } else {
        let (scheme, rest) = text.split_once(':').ok_or(Refusal::Malformed)?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        if !is_scheme {
            return Err(Refusal::Malformed);
        }
        match rest.strip_prefix("//") {
            Some(rest) => rest.find(['/', '?']).map_or("", |i| rest.get(i..).unwrap_or_default()),
            None => "",
        }
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let decoded = crate::http::rpc::query::unescape_path(path).map_err(|_| Refusal::Malformed)?;
    Ok((decoded, escape_path(path), query.to_owned()))
}

/// Percent-encodes what a path must not hold as it is.
fn escape_path(path: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*[]%".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

type Headers = Vec<(Vec<u8>, Vec<u8>)>;

fn headers<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Result<Headers, Refusal> {
    let mut headers = Headers::new();
    for line in lines {
        if line.is_empty() {
            break;
        }
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            // A line that continues the one before.
            let (_, value) = headers.last_mut().ok_or(Refusal::Malformed)?;
            value.push(b' ');
            value.extend_from_slice(line.trim_ascii());
            continue;
        }
        let colon = memchr::memchr(b':', line).ok_or(Refusal::Malformed)?;
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let named = !name.is_empty() && name.iter().all(|b| is_token(*b) || *b == b' ');
        let valued = value.iter().all(|b| *b == b'\t' || (*b >= b' ' && *b != 0x7f));
        if !named || !valued {
            return Err(Refusal::Malformed);
        }
        headers.push((name.to_vec(), value.to_vec()));
    }
    Ok(headers)
}

fn values<'a>(headers: &'a Headers, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_slice())
}

fn check_host(headers: &Headers, modern: bool, method: &str) -> Result<(), Refusal> {
    let hosts: Vec<&[u8]> = values(headers, b"host").collect();
    match hosts.as_slice() {
        [] if modern && method != "CONNECT" => {
            Err(Refusal::BadRequest("missing required Host header"))
        }
        [host] if !host.iter().all(|b| is_host_byte(*b)) => {
            Err(Refusal::BadRequest("malformed Host header"))
        }
        [] | [_] => Ok(()),
        _ => Err(Refusal::Malformed),
    }
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=[]_~".contains(&byte)
}

fn framing(headers: &Headers, modern: bool) -> Result<Framing, Refusal> {
    let encodings: Vec<&[u8]> = values(headers, b"transfer-encoding").collect();
    let chunked = match encodings.as_slice() {
        [] => false,
        _ if !modern => false,
        [one] if one.eq_ignore_ascii_case(b"chunked") => true,
        _ => return Err(Refusal::TransferEncoding),
    };
    let mut lengths = values(headers, b"content-length");
    let length = match lengths.next() {
        None => 0,
        Some(first) => {
            if lengths.any(|other| other != first) {
                return Err(Refusal::Malformed);
            }
            let digits = !first.is_empty() && first.iter().all(u8::is_ascii_digit);
            let text = std::str::from_utf8(first).ok().filter(|_| digits);
            let length = text.and_then(|text| text.parse::<i64>().ok());
            length.and_then(|length| u64::try_from(length).ok()).ok_or(Refusal::Malformed)?
        }
    };
    Ok(if chunked { Framing::Chunked } else { Framing::Length(length) })
}

/// The head as hyper gets it: a target that it takes, trailers asked for, one framing.
fn rewrite(method: &str, modern: bool, headers: &Headers, framing: Framing) -> Vec<u8> {
    // hyper turns CONNECT into a tunnel; here it is a request like any other.
    let method = if method == "CONNECT" { "POST" } else { method };
    let version = if modern { 1 } else { 0 };
    let mut out = format!("{method} / HTTP/1.{version}\r\nte: trailers\r\n").into_bytes();
    match framing {
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Length(0) => {}
        Framing::Length(length) => {
            out.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
        }
    }
    for (name, value) in headers {
        if PASSED_ON.iter().any(|passed| name.eq_ignore_ascii_case(passed)) {
            out.extend_from_slice(name);
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> Refusal {
        parse(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn the_end_of_a_head_is_found_however_it_arrives() {
        let text = b"POST / HTTP/1.1\r\nHost: x\r\n\r\nbody";
        for seen in 0..text.len() {
            let end = text.len() - 4;
            assert_eq!(length(text, seen.min(end - 1)), Some(end));
        }
        assert_eq!(length(b"GET / HTTP/1.1\nHost: x\n\nrest", 0), Some(24));
        assert_eq!(length(b"GET / HTTP/1.1\r\nHost: x\r\n", 0), None);
    }

    #[test]
    fn what_go_refuses_is_refused_the_same() {
        let bad = Refusal::BadRequest;
        let cases = [
            ("NONSENSE\r\n\r\n", Refusal::Malformed),
            ("POST /a b HTTP/1.1\r\nHost: x\r\n\r\n", Refusal::Malformed),
            ("POST /%zz HTTP/1.1\r\nHost: x\r\n\r\n", Refusal::Malformed),
            ("POST / HTTP/2.0\r\nHost: x\r\n\r\n", Refusal::Version),
            ("POST / HTTP/1.1\r\n\r\n", bad("missing required Host header")),
            ("POST / HTTP/1.1\r\nHost: a/b\r\n\r\n", bad("malformed Host header")),
            ("POST / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", Refusal::Malformed),
            ("POST / HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n", bad("invalid header name")),
            ("POST / HTTP/1.1\r\nHost: x\r\nBad\u{1}: y\r\n\r\n", Refusal::Malformed),
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", Refusal::Malformed),
            (
                "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
                Refusal::TransferEncoding,
            ),
        ];
        for (text, want) in cases {
            assert_eq!(refusal(text), want, "{text}");
        }
    }

    #[test]
    fn targets_of_every_form_and_length_are_taken() {
        let long = "a".repeat(1 << 20);
        let cases = [
            ("/api/v0/id?format=<id>".to_owned(), "/api/v0/id", "format=<id>"),
            ("http://h:1/api/v0/id".to_owned(), "/api/v0/id", ""),
            ("/a%2Fb%20c".to_owned(), "/a/b c", ""),
            (format!("/x?y={long}"), "/x", &*format!("y={long}")),
        ];
        for (target, path, query) in cases {
            let text = format!("POST {target} HTTP/1.1\r\nHost: x\r\n\r\n");
            let head = parse(text.as_bytes()).unwrap();
            assert_eq!((head.target.path.as_str(), head.target.query.as_str()), (path, query));
            assert!(head.rewritten.starts_with(b"POST / HTTP/1.1\r\nte: trailers\r\n"));
        }
    }

    #[test]
    fn chunked_wins_over_a_length() {
        let text = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\
                    Transfer-Encoding: Chunked\r\n\r\n";
        let head = parse(text.as_bytes()).unwrap();
        assert_eq!(head.framing, Framing::Chunked);
        assert!(memchr::memmem::find(&head.rewritten, b"content-length").is_none());
    }
}
