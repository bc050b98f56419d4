//! The server: listeners, connections, and one handler for everything.
//!
//! Paths are no routes here: a segment may be an argument, and the command table knows which. So
//! the router has a fallback alone. [`Server::run`] owns the tasks of its connections; when it is
//! told to stop it takes no more of them, lets what runs come to its end for a while, and drops
//! the rest. A crash leaves nothing but the file of a unix socket, which the next start replaces.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use bytes::Bytes;
use hyper::body::{Frame, Incoming as HyperBody, SizeHint};
use hyper::service::{Service, service_fn};
use hyper::{HeaderMap, Response};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::mux;
use super::options::Options;
use super::psa;
use super::reply::Body;
use super::rpc::body::Body as RequestBody;
use super::rpc::commands_log::CommandLog;
use super::rpc::guard::Guard;
use super::rpc::service::{Incoming, Rpc};
use super::wire::{Connection, InFlight, Link, Target};
use crate::node::Node;

/// The most connections of a listener at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 4096;
/// How much of an answer may wait for a slow reader, beside the chunk that is being sent.
const BUFFER_BYTES: usize = 128 << 10;
/// How long what runs may take to end after the server was told to stop.
const DRAIN_TIME: Duration = Duration::from_secs(30);
/// How long to wait when the system has no more sockets to give.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Where connections come from.
#[derive(Debug)]
pub enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A unix socket and its file, which goes with the listener.
    Unix(UnixListener, SocketFile),
}

/// The file of a unix socket; removed on drop.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may be gone already, which is as good.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Serves a TCP socket that listens already.
    pub fn tcp(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }

    /// Listens on a unix socket. A socket that nobody listens on any more is replaced.
    pub fn unix(path: &Path) -> io::Result<Self> {
        if std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        {
            std::fs::remove_file(path)?;
        }
        Ok(Self::Unix(UnixListener::bind(path)?, SocketFile(path.to_owned())))
    }

    /// The TCP address; none for a unix socket.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }

    /// The address as a multiaddr.
    pub fn multiaddr(&self) -> String {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(SocketAddr::V4(address)) => {
                    format!("/ip4/{}/tcp/{}", address.ip(), address.port())
                }
                Ok(SocketAddr::V6(address)) => {
                    format!("/ip6/{}/tcp/{}", address.ip(), address.port())
                }
                Err(_) => String::new(),
            },
            Self::Unix(_, file) => format!("/unix{}", file.0.display()),
        }
    }
}

/// The RPC server of a node. Cloning it is cheap; all clones share the log of commands.
#[derive(Debug, Clone)]
pub struct Server {
    rpc: Rpc,
    options: Arc<Options>,
}

/// What the handler of a listener knows.
struct App {
    rpc: Rpc,
    guard: Guard,
    psa: Option<psa::Service>,
    options: Arc<Options>,
}

/// What a connection tells the handler of a request.
#[derive(Clone)]
struct Call {
    target: Arc<Target>,
    in_flight: Arc<InFlight>,
    hung_up: CancellationToken,
}

impl Server {
    /// The server of a node.
    pub fn new(node: Node, options: Options) -> Self {
        let rpc = Rpc { node, log: CommandLog::default() };
        Self { rpc, options: Arc::new(options) }
    }

    /// The log of commands.
    pub fn log(&self) -> CommandLog {
        self.rpc.log.clone()
    }

    /// Serves a listener until `stop` resolves and what runs has come to its end.
    pub async fn run(self, listener: Listener, stop: impl Future<Output = ()>) {
        let port = listener.tcp_address().map(|address| address.port());
        let guard = Guard::new(&self.options, port);
        let node = self.rpc.node.clone();
        let psa = psa::Service::new(&self.options);
        let app = Arc::new(App { rpc: self.rpc, guard, psa, options: self.options });
        let router: Router = Router::new().fallback(handle).with_state(app);
        let stopping = CancellationToken::new();
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            // Ended tasks give their memory back as others come.
            while connections.try_join_next().is_some() {}
            let accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                () = &mut stop => break,
                accepted = accepted => accepted,
            };
            let (router, node, stopping) = (router.clone(), node.clone(), stopping.clone());
            match accepted {
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
                Ok(socket) => {
                    connections.spawn(async move {
                        match socket {
                            Socket::Tcp(socket) => serve(socket, router, node, stopping).await,
                            Socket::Unix(socket) => serve(socket, router, node, stopping).await,
                        }
                        drop(place);
                    });
                }
            }
        }
        drop(listener);
        stopping.cancel();
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_TIME, drained).await.is_err() {
            tracing::warn!("requests that did not end in time are cut off");
        }
    }
}

enum Socket {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

impl Listener {
    async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => {
                let (socket, _) = listener.accept().await?;
                // Values are flushed one by one; waiting for more would only delay them.
                socket.set_nodelay(true)?;
                Ok(Socket::Tcp(socket))
            }
            Self::Unix(listener, _) => Ok(Socket::Unix(listener.accept().await?.0)),
        }
    }
}

/// Serves one connection. A request that comes once the node was asked to end is answered by the
/// end of the connection: who saw `shutdown` answered must not meet a node that works on.
async fn serve<S>(socket: S, router: Router, node: Node, stopping: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let link = Link::default();
    let socket = TokioIo::new(Connection::new(socket, link.clone()));
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<HyperBody>| {
        let (target, in_flight) = link.begin();
        request.extensions_mut().insert(Call {
            target: Arc::new(target),
            in_flight: Arc::new(in_flight),
            hung_up: link.hung_up(),
        });
        let answer = (!node.is_stopping()).then(|| Service::call(&router, request));
        async move {
            match answer {
                Some(answer) => answer.await.map_err(|never| match never {}),
                None => Err(io::Error::other("the node is stopping")),
            }
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .title_case_headers(true)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(socket, service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn handle(State(app): State<Arc<App>>, request: Request) -> Response<axum::body::Body> {
    let (mut parts, body) = request.into_parts();
    let body = RequestBody::new(body);
    let body_end = body.end();
    let Some(call) = parts.extensions.remove::<Call>() else {
        return Response::new(axum::body::Body::empty());
    };
    let mut response = answer(&app, &call, &parts.headers, body).await;
    if !body_end.is_reached() && !response.headers().contains_key(hyper::header::CONNECTION) {
        // hyper closes a connection whose request was not read to its end; the client must know.
        let close = hyper::header::HeaderValue::from_static("close");
        response.headers_mut().insert(hyper::header::CONNECTION, close);
    }
    response.map(|body| axum::body::Body::new(Guarded { body, _in_flight: call.in_flight }))
}

async fn answer(app: &App, call: &Call, headers: &HeaderMap, body: RequestBody) -> Response<Body> {
    let target = &call.target;
    if let Some(service) = app.psa.as_ref().filter(|_| psa::Service::has(&target.path)) {
        return service.answer(&app.rpc.node, target, headers, body).await;
    }
    if let Some(answer) = mux::route(target, headers, &app.guard, &app.options) {
        return answer;
    }
    let incoming = Incoming {
        method: &target.method,
        path: &target.path,
        query: &target.query,
        headers,
        body,
        hung_up: call.hung_up.clone(),
    };
    app.rpc.call(&app.guard, incoming).await
}

/// A body that is in flight until it drops.
struct Guarded {
    body: Body,
    _in_flight: Arc<InFlight>,
}

impl hyper::body::Body for Guarded {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
