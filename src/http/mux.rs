//! What stands on the API port beside the RPC, and the way to it.
//!
//! Paths are cleaned and redirected as Go's `http.ServeMux` does.

use hyper::Response;
use hyper::StatusCode;
use hyper::header::HeaderMap;

use super::metrics;
use super::options::Options;
use super::reply::{self, Body};
use super::rpc::guard::Guard;
use super::wire::Target;

/// Where Kubo 0.44 has its web interface: clients open `/webui` and are sent there.
const WEBUI_PATH: &str = "/ipfs/bafybeiciqeyipumpmhxzlxnbqdbbv6u5uij4hy4wax64dmj7kvrhusiq6y";

/// The answer to a request, unless it is one for the RPC.
pub(super) fn route(
    target: &Target,
    headers: &HeaderMap,
    guard: &Guard,
    options: &Options,
) -> Option<Response<Body>> {
    let Target { method, path, escaped_path, query } = target;
    if method == "CONNECT" {
        return Some(reply::empty(StatusCode::OK, HeaderMap::new()));
    }
    if path == "*" {
        let status = if method == "OPTIONS" { StatusCode::OK } else { StatusCode::BAD_REQUEST };
        return Some(reply::empty(status, HeaderMap::new()));
    }
    let clean = clean(escaped_path);
    if clean != *escaped_path {
        return Some(redirect(method, &clean, query));
    }
    if let Some(refusal) = guard.check_version(path, headers) {
        return Some(reply::error(StatusCode::BAD_REQUEST, HeaderMap::new(), &refusal));
    }
    if clean.starts_with("/api/v0/") {
        return None;
    }
    Some(match clean.as_str() {
        "/api/v0" | "/webui" | "/logs" if clean != "/logs" => {
            redirect(method, &format!("{clean}/"), query)
        }
        "/version" => {
            reply::text(format!("Commit: {}\nClient Version: {}\n", options.commit, options.agent))
        }
        "/debug/metrics/prometheus" => metrics::answer(options),
        other => beside(method, other, guard),
    })
}

/// What has no path of its own.
fn beside(method: &str, path: &str, guard: &Guard) -> Response<Body> {
    let within = |prefix: &str| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if path.starts_with("/webui/") {
        let mut headers = HeaderMap::new();
        guard.set_configured(&mut headers);
        return reply::redirect(StatusCode::FOUND, method, headers, WEBUI_PATH);
    }
    if within(WEBUI_PATH) {
        let text = "The web interface is not available yet in pinmesh.";
        return reply::error(StatusCode::SERVICE_UNAVAILABLE, HeaderMap::new(), text);
    }
    let of_go = ["/logs", "/debug/vars", "/debug/stack", "/debug/pprof", "/debug/metrics"];
    let of_go = of_go.iter().any(|prefix| within(prefix))
        || matches!(path, "/debug/pprof-mutex/" | "/debug/pprof-block/");
    if of_go {
        let text = format!("{path} is not available in pinmesh.");
        return reply::error(StatusCode::NOT_IMPLEMENTED, HeaderMap::new(), &text);
    }
    reply::not_found(HeaderMap::new())
}

fn redirect(method: &str, path: &str, query: &str) -> Response<Body> {
    // The path is escaped already and Go escapes it once more.
    let mut location = path.replace('%', "%25");
    if !query.is_empty() {
        location.push('?');
        location.push_str(query);
    }
    reply::redirect(StatusCode::TEMPORARY_REDIRECT, method, HeaderMap::new(), &location)
}

/// Go's `cleanPath`: no empty, `.` or `..` segment, the last slash kept.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut clean = format!("/{}", parts.join("/"));
    if path.ends_with('/') && clean != "/" {
        clean.push('/');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_cleans_them() {
        let cases = [
            ("", "/"),
            ("/", "/"),
            ("//a", "/a"),
            ("/a//b/", "/a/b/"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/../a", "/a"),
            ("/a/b/..", "/a"),
            ("/a%2Fb", "/a%2Fb"),
        ];
        for (path, want) in cases {
            assert_eq!(clean(path), want, "{path}");
        }
    }
}
