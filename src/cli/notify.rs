//! Telling the service manager that the daemon is ready, or stopping: systemd's `sd_notify`.

use std::os::unix::net::UnixDatagram;

/// Sends `state` to whoever started the daemon, if they asked for it.
pub(super) fn service_manager(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else {
        return;
    };
    let Ok(socket) = UnixDatagram::unbound() else { return };
    let sent = match path.to_string_lossy().strip_prefix('@') {
        None => socket.send_to(state.as_bytes(), &path),
        Some(name) => to_abstract(&socket, name, state),
    };
    if let Err(error) = sent {
        tracing::warn!(%error, "the service manager could not be told {state}");
    }
}

#[cfg(target_os = "linux")]
fn to_abstract(socket: &UnixDatagram, name: &str, state: &str) -> std::io::Result<usize> {
    use std::os::linux::net::SocketAddrExt as _;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    socket.send_to_addr(state.as_bytes(), &address)
}

#[cfg(not(target_os = "linux"))]
fn to_abstract(_: &UnixDatagram, _: &str, _: &str) -> std::io::Result<usize> {
    Err(std::io::ErrorKind::Unsupported.into())
}
