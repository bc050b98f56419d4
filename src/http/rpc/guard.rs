//! Who may call: CORS, the browser guard, the version check and `API.Authorizations`.
//!
//! Decides from the request head alone. CORS is that of rs/cors 1.11.1, the rest of go-ipfs-cmds
//! and of Kubo's corehttp. Holds what the config said when the server started.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use crate::http::options::Options;

/// The origins of IPFS Companion.
const COMPANION_ORIGINS: [&str; 2] = [
    "chrome-extension://nibjojkomfdiaoajekhjakgkdhaomnch",
    "chrome-extension://hjoieblefckbooibpepigmacodalfndh",
];
/// What a page may send along, sorted: browsers send the list so.
const REQUEST_HEADERS: [&str; 4] = ["accept", "content-type", "origin", "x-requested-with"];
/// How many empty elements a list of header names may have.
const EMPTY_ELEMENTS_MAX: usize = 16;

const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";
const ALLOW_METHODS: &str = "Access-Control-Allow-Methods";
const ALLOW_CREDENTIALS: &str = "Access-Control-Allow-Credentials";

/// The answer to a call without a valid secret.
pub(in crate::http) const DENIED: &str = "Kubo RPC Access Denied: Please provide a valid \
    authorization token as defined in the API.Authorizations configuration.";

/// The guard of one listener.
#[derive(Debug)]
pub(in crate::http) struct Guard {
    /// Every allowed origin, as written.
    origins: Vec<String>,
    methods: Vec<String>,
    credentials: bool,
    /// `API.HTTPHeaders`, all of them.
    configured: Vec<(HeaderName, Vec<HeaderValue>)>,
    server: Option<HeaderValue>,
    /// `Authorization` values and the path prefixes that they open; `None` when all may call.
    authorizations: Option<HashMap<String, Vec<String>>>,
    /// The only Kubo that may call: `/kubo/0.44.0/`.
    client: String,
}

impl Guard {
    /// `port` is that of the listener; a unix socket has none.
    pub(in crate::http) fn new(options: &Options, port: Option<u16>) -> Self {
        let find = |name: &str| {
            let found = options.headers.iter().find(|(key, _)| key == name);
            found.map(|(_, values)| values.clone())
        };
        let mut origins = find(ALLOW_ORIGIN).unwrap_or_default();
        origins.extend(options.api_origin.clone());
        for host in ["127.0.0.1", "[::1]", "localhost"] {
            for scheme in ["http", "https"] {
                origins.push(format!("{scheme}://{host}:<port>"));
            }
        }
        origins.extend(COMPANION_ORIGINS.map(str::to_owned));
        if let Some(port) = port {
            for origin in &mut origins {
                *origin = origin.replace("<port>", &port.to_string());
            }
        }
        // An empty list of methods falls back to what Kubo names there.
        let methods = find(ALLOW_METHODS).unwrap_or_else(|| vec!["POST".to_owned()]);
        let methods = if methods.is_empty() {
            ["GET", "POST", "PUT"].map(str::to_owned).to_vec()
        } else {
            methods
        };
        let credentials = find(ALLOW_CREDENTIALS).and_then(|values| values.last().cloned());
        Self {
            origins,
            methods,
            credentials: credentials.is_some_and(|value| value.to_lowercase() == "true"),
            configured: configured(options),
            server: HeaderValue::from_str(&options.agent).ok(),
            authorizations: authorizations(options),
            client: format!("/kubo/{}/", options.version),
        }
    }

    /// The version check. `Some` is the text of a refusal.
    pub(in crate::http) fn check_version(&self, path: &str, headers: &HeaderMap) -> Option<String> {
        let mut segments = path.strip_prefix("/api/v0")?.split('/');
        segments.next();
        if segments.next()? == "version" {
            return None;
        }
        let agent = text(headers, "user-agent");
        let is_kubo = agent.contains("/go-ipfs/") || agent.contains("/kubo/");
        (is_kubo && agent != self.client)
            .then(|| format!("api version mismatch ({} != {agent})", self.client))
    }

    /// Whether the secret, where one is needed, opens the path.
    pub(in crate::http) fn is_authorized(&self, path: &str, headers: &HeaderMap) -> bool {
        let Some(authorizations) = &self.authorizations else { return true };
        let Some(prefixes) = authorizations.get(&text(headers, "authorization")) else {
            return false;
        };
        path == "/api/v0/version" || prefixes.iter().any(|prefix| path.starts_with(prefix))
    }

    /// The headers of a preflight answer, when the request is one.
    pub(in crate::http) fn preflight(
        &self,
        method: &str,
        headers: &HeaderMap,
    ) -> Option<HeaderMap> {
        let requested = headers.get("access-control-request-method");
        let requested = requested.filter(|value| !value.is_empty() && method == "OPTIONS")?;
        let mut answer = HeaderMap::new();
        let vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
        answer.insert("vary", HeaderValue::from_static(vary));
        let origin = text(headers, "origin");
        let names: Vec<&HeaderValue> =
            headers.get_all("access-control-request-headers").iter().collect();
        let allowed = !origin.is_empty()
            && self.is_cors_origin(&origin)
            && self.is_cors_method(&String::from_utf8_lossy(requested.as_bytes()))
            && are_allowed_headers(&names);
        if !allowed {
            return Some(answer);
        }
        self.allow_origin(headers, &mut answer);
        answer.insert("access-control-allow-methods", requested.clone());
        if names.first().is_some_and(|first| !first.is_empty()) {
            for name in names {
                answer.append("access-control-allow-headers", name.clone());
            }
        }
        Some(answer)
    }

    /// The CORS headers of any other answer.
    pub(in crate::http) fn cors(&self, method: &str, headers: &HeaderMap) -> HeaderMap {
        let mut answer = HeaderMap::new();
        answer.insert("vary", HeaderValue::from_static("Origin"));
        let origin = text(headers, "origin");
        if !origin.is_empty() && self.is_cors_origin(&origin) && self.is_cors_method(method) {
            self.allow_origin(headers, &mut answer);
        }
        answer
    }

    fn allow_origin(&self, headers: &HeaderMap, answer: &mut HeaderMap) {
        if self.allows_all() {
            answer.insert("access-control-allow-origin", HeaderValue::from_static("*"));
        } else {
            for origin in headers.get_all("origin") {
                answer.append("access-control-allow-origin", origin.clone());
            }
        }
        if self.credentials {
            let yes = HeaderValue::from_static("true");
            answer.insert("access-control-allow-credentials", yes);
        }
    }

    fn allows_all(&self) -> bool {
        self.origins.iter().any(|origin| origin == "*")
    }

    fn is_cors_origin(&self, origin: &str) -> bool {
        let origin = origin.to_lowercase();
        self.allows_all()
            || self.origins.iter().any(|allowed| {
                let allowed = allowed.to_lowercase();
                match allowed.split_once('*') {
                    None => allowed == origin,
                    Some((start, end)) => {
                        origin.len() >= start.len() + end.len()
                            && origin.starts_with(start)
                            && origin.ends_with(end)
                    }
                }
            })
    }

    fn is_cors_method(&self, method: &str) -> bool {
        method == "OPTIONS" || self.methods.iter().any(|allowed| allowed == method)
    }

    /// Whether a call may come from where it comes from: not from a page of another origin.
    pub(in crate::http) fn is_welcome(&self, headers: &HeaderMap) -> bool {
        let allowed = |origin: &str| self.origins.iter().any(|o| o == "*" || o == origin);
        let origin = text(headers, "origin");
        let referer = text(headers, "referer");
        if origin.is_empty() && referer.is_empty() {
            let agent = text(headers, "user-agent");
            return agent.contains("Electron") || !agent.starts_with("Mozilla");
        }
        (origin.is_empty() || allowed(&origin))
            && (referer.is_empty() || origin_of(&referer).is_some_and(|origin| allowed(&origin)))
    }

    /// Sets the headers of every answer of a command.
    pub(in crate::http) fn set_headers(&self, headers: &mut HeaderMap) {
        // These feed CORS instead.
        let cors = [ALLOW_ORIGIN, ALLOW_METHODS, ALLOW_CREDENTIALS];
        set(headers, &self.configured, |name| {
            !cors.iter().any(|cors| name.as_str().eq_ignore_ascii_case(cors))
        });
        if let Some(server) = &self.server {
            headers.insert(hyper::header::SERVER, server.clone());
        }
    }

    /// Sets the configured headers, as answers have them that are no command's.
    pub(in crate::http) fn set_configured(&self, headers: &mut HeaderMap) {
        set(headers, &self.configured, |_| true);
    }
}

fn set(
    headers: &mut HeaderMap,
    configured: &[(HeaderName, Vec<HeaderValue>)],
    wanted: impl Fn(&HeaderName) -> bool,
) {
    for (name, values) in configured.iter().filter(|(name, _)| wanted(name)) {
        headers.remove(name);
        for value in values {
            headers.append(name, value.clone());
        }
    }
}

/// A header as text; empty when absent.
fn text(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
    String::from_utf8_lossy(value).into_owned()
}

fn configured(options: &Options) -> Vec<(HeaderName, Vec<HeaderValue>)> {
    let value = |text: &String| HeaderValue::from_bytes(text.as_bytes()).ok();
    let header = |(name, values): &(String, Vec<String>)| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((name, values.iter().filter_map(value).collect()))
    };
    options.headers.iter().filter_map(header).collect()
}

fn authorizations(options: &Options) -> Option<HashMap<String, Vec<String>>> {
    if options.authorizations.is_empty() {
        return None;
    }
    let entries = options.authorizations.iter();
    let entry = |(_, secret, paths): &(String, String, Vec<String>)| {
        Some((header_of(secret)?, paths.clone()))
    };
    Some(entries.filter_map(entry).collect())
}

/// The `Authorization` header that a configured secret stands for.
pub(in crate::http) fn header_of(secret: &str) -> Option<String> {
    match secret.split_once(':') {
        _ if secret.is_empty() => None,
        None => Some(format!("Bearer {secret}")),
        Some(("bearer", token)) => Some(format!("Bearer {token}")),
        Some(("basic", login)) if login.contains(':') => {
            Some(format!("Basic {}", STANDARD.encode(login)))
        }
        Some(("basic", encoded)) => Some(format!("Basic {encoded}")),
        Some(_) => None,
    }
}

/// Whether every requested header is allowed: known, sorted, none twice.
fn are_allowed_headers(values: &[&HeaderValue]) -> bool {
    let mut last = None;
    let mut empty = 0;
    for value in values {
        for name in value.as_bytes().split(|b| *b == b',') {
            let name = String::from_utf8_lossy(name);
            let is_blank = |c| c == ' ' || c == '\t';
            let name = name.strip_prefix(is_blank).unwrap_or(&name);
            let name = name.strip_suffix(is_blank).unwrap_or(name);
            if name.is_empty() {
                empty += 1;
                if empty > EMPTY_ELEMENTS_MAX {
                    return false;
                }
                continue;
            }
            let place = REQUEST_HEADERS.iter().position(|allowed| *allowed == name);
            if place.is_none() || place <= last {
                return false;
            }
            last = place;
        }
    }
    true
}

/// `scheme://host` of a URL as Go's `url.Parse` reads it; `None` for what it refuses.
fn origin_of(url: &str) -> Option<String> {
    if url.bytes().any(|b| b < b' ' || b == 0x7f) {
        return None;
    }
    let url = url.split('#').next().unwrap_or_default();
    let (scheme, rest) = match url.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_lowercase(), rest),
        Some(("", _)) => return None,
        // A colon in the first segment of a relative path is no URL.
        Some((first, _)) if !first.contains('/') => return None,
        _ => (String::new(), url),
    };
    let Some(rest) = rest.strip_prefix("//") else { return Some(format!("{scheme}://")) };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let path = path.split('?').next().unwrap_or_default();
    if !is_host(host) || super::query::unescape_path(path).is_err() {
        return None;
    }
    Some(format!("{scheme}://{host}"))
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// Whether Go takes it for `host[:port]`.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) => (name, port),
            None => return false,
        },
        None => match host.rfind(':') {
            Some(i) => host.split_at(i),
            None => (host, ""),
        },
    };
    let is_port = |port: &str| port.chars().all(|c| c.is_ascii_digit());
    let good_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    good_port && !name.contains([' ', '<', '>', '"', '\\', '^', '`', '{', '|', '}'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_become_the_headers_that_kubo_compares() {
        let cases = [
            ("abc", Some("Bearer abc")),
            ("bearer:abc", Some("Bearer abc")),
            ("basic:user:pass", Some("Basic dXNlcjpwYXNz")),
            ("basic:dXNlcjpwYXNz", Some("Basic dXNlcjpwYXNz")),
            ("digest:x", None),
            ("", None),
        ];
        for (secret, want) in cases {
            assert_eq!(header_of(secret).as_deref(), want, "{secret}");
        }
    }

    #[test]
    fn the_origin_of_a_referer_is_its_scheme_and_host() {
        let cases = [
            ("http://localhost:5001/x?y", Some("http://localhost:5001")),
            ("HTTP://u:p@h:1", Some("http://h:1")),
            ("/path", Some("://")),
            ("//h/x", Some("://h")),
            ("http://h:x/", None),
            ("http://[::1", None),
            (":x", None),
            ("http://h/%zz", None),
        ];
        for (url, want) in cases {
            assert_eq!(origin_of(url).as_deref(), want, "{url}");
        }
    }

    #[test]
    fn requested_headers_must_be_known_sorted_and_unique() {
        let check = |text: &'static str| are_allowed_headers(&[&HeaderValue::from_static(text)]);
        assert!(check("accept, content-type,x-requested-with"));
        assert!(check(""));
        assert!(!check("content-type,accept"));
        assert!(!check("accept,accept"));
        assert!(!check("x-other"));
        assert!(!check("Accept"));
    }
}
