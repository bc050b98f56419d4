//! `p2p/*`: kubo core/commands/p2p.go.
//!
//! Unlike Kubo: a forward whose target names no peer is refused, and lists are in order.

use futures_util::{StreamExt as _, future, stream};
use serde::Serialize;

use super::tabwriter::align;
use super::{Error, Reply, Request, Value};
use crate::node::tunnels::{Carried, Closed, ListenOptions, Listener, Made};

#[derive(Debug, Serialize)]
#[serde(rename = "P2PLsOutput", rename_all = "PascalCase")]
struct Listeners {
    listeners: Option<Vec<ListenerInfo>>,
    #[serde(skip)]
    headers: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename = "P2PListenerInfoOutput", rename_all = "PascalCase")]
struct ListenerInfo {
    protocol: String,
    listen_address: String,
    target_address: String,
}

#[derive(Debug, Serialize)]
#[serde(rename = "P2PStreamsOutput", rename_all = "PascalCase")]
struct Streams {
    streams: Option<Vec<StreamInfo>>,
    #[serde(skip)]
    headers: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename = "P2PStreamInfoOutput", rename_all = "PascalCase")]
struct StreamInfo {
    #[serde(rename = "HandlerID")]
    handler_id: String,
    protocol: String,
    origin_address: String,
    target_address: String,
}

/// What a listener that ends with its request says.
#[derive(Debug, Clone, Serialize)]
#[serde(rename = "P2PForegroundOutput", rename_all = "PascalCase")]
struct Foreground {
    status: &'static str,
    protocol: String,
    address: String,
    #[serde(skip)]
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Forwards,
    Serves,
}

/// A number of listeners.
#[derive(Debug, Serialize)]
#[serde(rename = "int")]
struct Count(i64);

impl From<Listener> for ListenerInfo {
    fn from(listener: Listener) -> Self {
        Self {
            protocol: listener.protocol,
            listen_address: listener.listen.to_string(),
            target_address: listener.target.to_string(),
        }
    }
}

impl From<Carried> for StreamInfo {
    fn from(carried: Carried) -> Self {
        Self {
            handler_id: carried.id.to_string(),
            protocol: carried.protocol,
            origin_address: carried.origin.to_string(),
            target_address: carried.target.to_string(),
        }
    }
}

impl Value for Listeners {
    fn text(&self) -> Option<Result<String, Error>> {
        // As in Kubo, the headers stand before each line.
        let headers = if self.headers { "Protocol\tListen Address\tTarget Address\n" } else { "" };
        let line = |listener: &ListenerInfo| {
            let ListenerInfo { protocol, listen_address, target_address } = listener;
            format!("{headers}{protocol}\t{listen_address}\t{target_address}\n")
        };
        Some(Ok(align(&self.listeners.iter().flatten().map(line).collect::<String>(), 1)))
    }
}

impl Value for Streams {
    fn text(&self) -> Option<Result<String, Error>> {
        let headers = if self.headers { "ID\tProtocol\tOrigin\tTarget\n" } else { "" };
        let line = |stream: &StreamInfo| {
            let StreamInfo { handler_id, protocol, origin_address, target_address } = stream;
            format!("{headers}{handler_id}\t{protocol}\t{origin_address}\t{target_address}\n")
        };
        Some(Ok(align(&self.streams.iter().flatten().map(line).collect::<String>(), 1)))
    }
}

impl Value for Foreground {
    fn text(&self) -> Option<Result<String, Error>> {
        let Self { protocol, address, .. } = self;
        Some(Ok(match (self.kind, self.status) {
            (Kind::Forwards, ACTIVE) => {
                format!("Forwarding {protocol} to {address}, waiting for interrupt...\n")
            }
            (Kind::Forwards, _) => {
                format!("Received interrupt, removing forwarder for {protocol}\n")
            }
            (Kind::Serves, ACTIVE) => format!(
                "Listening on {protocol}, forwarding to {address}, waiting for interrupt...\n"
            ),
            (Kind::Serves, _) => format!("Received interrupt, removing listener for {protocol}\n"),
        }))
    }
}

impl Value for Count {
    const BY_VALUE: bool = true;

    fn text(&self) -> Option<Result<String, Error>> {
        Some(Ok(format!("Closed {} stream(s)\n", self.0)))
    }
}

const ACTIVE: &str = "active";
const CLOSING: &str = "closing";

/// `p2p/forward`.
pub(super) async fn forward(request: Request) -> Result<Reply, Error> {
    let options = listen_options(&request);
    let made = request.node.forward_connections(&options, request.arg(1), request.arg(2)).await?;
    Ok(listening(request, made, Kind::Forwards))
}

/// `p2p/listen`.
pub(super) async fn listen(request: Request) -> Result<Reply, Error> {
    let options = listen_options(&request);
    let made = request.node.serve_streams(&options, request.arg(1)).await?;
    Ok(listening(request, made, Kind::Serves))
}

fn listen_options(request: &Request) -> ListenOptions {
    ListenOptions {
        protocol: request.arg(0).to_owned(),
        allow_custom: request.options.bool("allow-custom-protocol"),
        reports_peer: request.options.opt_bool("report-peer-id").unwrap_or(false),
    }
}

/// Nothing, or what a listener in the foreground has to say until the request or the node ends.
fn listening(request: Request, made: Made, kind: Kind) -> Reply {
    if !request.options.bool("foreground") {
        return Reply::Nothing;
    }
    let said = Foreground {
        status: ACTIVE,
        protocol: request.arg(0).to_owned(),
        address: request.arg(1).to_owned(),
        kind,
    };
    let (node, last) = (request.node, Foreground { status: CLOSING, ..said.clone() });
    let guard = InForeground(made);
    let closing = async move {
        let guard = guard;
        tokio::select! {
            () = guard.0.closed() => Some(Ok(last)),
            () = node.stopped() => None,
        }
    };
    let first = stream::once(future::ready(Ok(said)));
    Reply::live(first.chain(stream::once(closing).filter_map(future::ready)))
}

/// Closes a listener with the request that made it.
struct InForeground(Made);

impl Drop for InForeground {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// `p2p/ls`.
pub(super) async fn ls(request: Request) -> Result<Reply, Error> {
    let listeners = request.node.tunnel_listeners()?;
    let listeners: Vec<_> = listeners.into_iter().map(ListenerInfo::from).collect();
    Ok(Reply::one(Listeners {
        listeners: (!listeners.is_empty()).then_some(listeners),
        headers: request.options.bool("headers"),
    }))
}

/// `p2p/close`.
pub(super) async fn close(request: Request) -> Result<Reply, Error> {
    let all = request.options.bool("all");
    let wanted = Closed {
        protocol: request.options.opt_string("protocol"),
        listen: request.options.opt_string("listen-address"),
        target: request.options.opt_string("target-address"),
    };
    let is_some = [wanted.protocol, wanted.listen, wanted.target].iter().any(Option::is_some);
    // What is wrong with an address comes first, and so does what is wrong with the node.
    request.node.check_tunnels(wanted)?;
    match (all, is_some) {
        (false, false) => return Err(Error::new("no matching options given")),
        (true, true) => {
            return Err(Error::new("can't combine --all with other matching options"));
        }
        _ => {}
    }
    let closed = request.node.close_tunnels(wanted)?;
    Ok(Reply::one(Count(i64::try_from(closed).unwrap_or(i64::MAX))))
}

/// `p2p/stream/ls`.
pub(super) async fn stream_ls(request: Request) -> Result<Reply, Error> {
    let streams: Vec<_> = request.node.carried()?.into_iter().map(StreamInfo::from).collect();
    Ok(Reply::one(Streams {
        streams: (!streams.is_empty()).then_some(streams),
        headers: request.options.bool("headers"),
    }))
}

/// `p2p/stream/close`.
pub(super) async fn stream_close(request: Request) -> Result<Reply, Error> {
    request.node.check_tunnels(Closed::default())?;
    let id = match (request.options.bool("all"), request.args.first()) {
        (true, _) => None,
        (false, None) => return Err(Error::new("no id specified")),
        (false, Some(id)) => Some(parse_id(id)?),
    };
    request.node.reset_carried(id)?;
    Ok(Reply::Nothing)
}

/// Go's `strconv.ParseUint(text, 10, 64)`.
fn parse_id(text: &str) -> Result<u64, Error> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let reason = if is_number { "value out of range" } else { "invalid syntax" };
    let failed = || {
        let quoted = crate::ipld::quote::quote(text);
        Error::new(format!("strconv.ParseUint: parsing {quoted}: {reason}"))
    };
    if is_number { text.parse().map_err(|_| failed()) } else { Err(failed()) }
}
