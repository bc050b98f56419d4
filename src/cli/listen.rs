//! The sockets of the RPC: multiaddrs to listeners.

use crate::ipld::quote::quote;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::anyhow;

use crate::http::Listener;
use crate::net::{self, Multiaddr, parse_multiaddr};

/// Listens on a multiaddr: `/ip4/…/tcp/…`, `/ip6/…/tcp/…` or `/unix/…`.
pub(super) fn bind(address: &str) -> anyhow::Result<Listener> {
    let failed = |why: String| anyhow!("serveHTTPApi: manet.Listen({address}) failed: {why}");
    if let Some(path) = address.strip_prefix("/unix/") {
        let path = format!("/{}", path.trim_start_matches('/'));
        return Listener::unix(Path::new(&path))
            .map_err(|error| failed(format!("listen unix {path}: bind: {}", why(&error))));
    }
    let multiaddr = parse_multiaddr(address).map_err(|error| {
        let quoted = quote(address);
        anyhow!("serveHTTPApi: invalid API address: {quoted} (err: {error})")
    })?;
    let Some(socket) = tcp_socket(&multiaddr) else {
        return Err(failed("address is no TCP or unix socket".to_owned()));
    };
    net::bind(socket).map(Listener::tcp).map_err(|error| {
        let family = if socket.is_ipv4() { "tcp4" } else { "tcp6" };
        failed(format!("listen {family} {socket}: bind: {}", why(&error)))
    })
}

/// The words of the system in Go's form: lower case, without the number.
fn why(error: &std::io::Error) -> String {
    let text = error.to_string().to_lowercase();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// The multiaddr by which clients on this machine reach `listener`.
pub(super) fn local_multiaddr(listener: &Listener) -> String {
    match listener.tcp_address() {
        Some(socket) if socket.ip().is_unspecified() => {
            let (family, ip) = if socket.is_ipv4() { ("ip4", "127.0.0.1") } else { ("ip6", "::1") };
            format!("/{family}/{ip}/tcp/{}", socket.port())
        }
        _ => listener.multiaddr(),
    }
}

/// The URL of the web interface, for browsers on this machine.
pub(super) fn web_url(listener: &Listener) -> Option<String> {
    let socket = listener.tcp_address()?;
    let host = match socket.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => "127.0.0.1".to_owned(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) if ip.is_unspecified() => "[::1]".to_owned(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    Some(format!("http://{host}:{}/webui", socket.port()))
}

/// The socket of a plain TCP multiaddr.
pub(super) fn tcp_socket(multiaddr: &Multiaddr) -> Option<SocketAddr> {
    use multiaddr::Protocol;
    let mut parts = multiaddr.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    match (parts.next()?, parts.next()) {
        (Protocol::Tcp(port), None | Some(Protocol::Http)) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}
