//! A client of other people's HTTP servers: one request, one connection, `http` or `https`.
//!
//! Responsible for dialling, TLS, redirects and deadlines, and for saying why an exchange failed in
//! the words of Go's client, which Kubo's errors contain. Not responsible for what is asked or what
//! the answer means. Certificates are checked against those that the machine trusts, read once, at
//! the first `https` request. Keeps nothing on disk, follows no proxy, and asks for no compression.

mod url;

pub use url::{Url, escape_query, escape_segment};

use std::io;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::ext::ReasonPhrase;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use tokio_util::task::AbortOnDropHandle;

/// How often a request is sent on, as in Go's client.
const REDIRECTS_MAX: usize = 10;

/// A handle to the client; cloning it is cheap.
#[derive(Debug, Clone, Default)]
pub struct Client(Arc<OnceLock<Result<Arc<ClientConfig>, String>>>);

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// Headers beside `Host` and `Content-Length`.
    pub headers: HeaderMap,
    /// The body; empty is none.
    pub body: Bytes,
    /// When the answer must have come, body included.
    pub deadline: Option<Instant>,
}

/// An answer whose head has come.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// Status and reason as sent: `404 Not Found`.
    pub status_line: String,
    /// The headers.
    pub headers: HeaderMap,
    body: Incoming,
    deadline: Option<Instant>,
    _connection: AbortOnDropHandle<()>,
}

/// Why there is no answer: `Get "http://…": dial tcp 127.0.0.1:1: connect: connection refused`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{method} \"{url}\": {cause}")]
pub struct Error {
    method: String,
    url: String,
    cause: Cause,
}

/// What went wrong.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Cause {
    /// The deadline has passed.
    #[error("context deadline exceeded")]
    Deadline,
    /// The URL names no server.
    #[error("http: no Host in request URL")]
    NoHost,
    /// The name leads nowhere.
    #[error("dial tcp: lookup {host}: {reason}")]
    Lookup {
        /// The name.
        host: String,
        /// Why.
        reason: String,
    },
    /// Nobody answers there.
    #[error("dial tcp {address}: connect: {reason}")]
    Connect {
        /// Address and port.
        address: String,
        /// Why.
        reason: String,
    },
    /// No secure connection.
    #[error("tls: {0}")]
    Tls(String),
    /// The server hung up.
    #[error("EOF")]
    Closed,
    /// What the server says is no HTTP, or is cut off.
    #[error("{0}")]
    Broken(String),
    /// The answer is longer than it may be.
    #[error("the answer has more than {0} bytes")]
    TooLong(usize),
    /// The server sends the request around.
    #[error("stopped after 10 redirects")]
    Redirects,
}

impl Client {
    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    /// When there is none; never for a status.
    pub async fn send(&self, mut request: Request) -> Result<Response, Error> {
        for _ in 0..=REDIRECTS_MAX {
            let sent = within(request.deadline, self.exchange(&request)).await;
            let response = sent.map_err(|cause| request.error(cause))?;
            match redirected(&request, &response) {
                Some(next) => request = next,
                None => return Ok(response),
            }
        }
        Err(request.error(Cause::Redirects))
    }

    async fn exchange(&self, request: &Request) -> Result<Response, Cause> {
        let url = &request.url;
        let stream = dial(url).await?;
        let (mut sender, connection) = if url.is_https() {
            let tls = TlsConnector::from(self.tls()?);
            let name = ServerName::try_from(url.host().to_owned());
            let name = name.map_err(|error| Cause::Tls(error.to_string()))?;
            let stream = tls.connect(name, stream).await.map_err(|e| Cause::Tls(e.to_string()))?;
            handshake(stream).await?
        } else {
            handshake(stream).await?
        };
        let mut head = hyper::Request::builder()
            .method(request.method.clone())
            .uri(url.target())
            .body(Full::new(request.body.clone()))
            .map_err(|error| Cause::Broken(error.to_string()))?;
        *head.headers_mut() = request.headers.clone();
        let host = HeaderValue::from_str(&url.authority());
        head.headers_mut().insert(header::HOST, host.map_err(|e| Cause::Broken(e.to_string()))?);
        let response = sender.send_request(head).await.map_err(|error| cause_of(&error))?;
        let (head, body) = response.into_parts();
        let reason = match head.extensions.get::<ReasonPhrase>() {
            Some(reason) => String::from_utf8_lossy(reason.as_bytes()).into_owned(),
            None => head.status.canonical_reason().unwrap_or_default().to_owned(),
        };
        Ok(Response {
            status: head.status,
            status_line: format!("{} {reason}", head.status.as_str()),
            headers: head.headers,
            body,
            deadline: request.deadline,
            _connection: connection,
        })
    }

    /// The certificates that this machine trusts.
    fn tls(&self) -> Result<Arc<ClientConfig>, Cause> {
        self.0.get_or_init(trusted).clone().map_err(Cause::Tls)
    }
}

fn trusted() -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
        return Err(format!(
            "this machine trusts no certificate authority (SSL_CERT_FILE names a file of them){why}"
        ));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

impl Request {
    /// A request without headers and body.
    #[must_use]
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: Bytes::new(), deadline: None }
    }

    /// Why this request failed.
    fn error(&self, cause: Cause) -> Error {
        let method = match self.method.as_str().split_at_checked(1) {
            Some((first, rest)) => format!("{first}{}", rest.to_lowercase()),
            None => String::new(),
        };
        Error { method, url: self.url.without_password(), cause }
    }
}

impl Response {
    /// The next bytes of the body; `None` at its end.
    ///
    /// # Errors
    /// When the answer is cut off.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Cause> {
        loop {
            let next = async { Ok(self.body.frame().await) };
            match within(self.deadline, next).await? {
                None => return Ok(None),
                Some(Err(error)) => return Err(cause_of(&error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The whole body, of at most `bytes_max`.
    ///
    /// # Errors
    /// When the answer is cut off or longer.
    pub async fn read_all(mut self, bytes_max: usize) -> Result<Bytes, Cause> {
        let mut all = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if all.len() + chunk.len() > bytes_max {
                return Err(Cause::TooLong(bytes_max));
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.into())
    }
}

async fn within<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, Cause>>,
) -> Result<T, Cause> {
    match deadline {
        None => work.await,
        Some(due) => tokio::time::timeout_at(due, work).await.unwrap_or(Err(Cause::Deadline)),
    }
}

async fn dial(url: &Url) -> Result<TcpStream, Cause> {
    let host = url.host();
    if host.is_empty() {
        return Err(Cause::NoHost);
    }
    let found = tokio::net::lookup_host((host, url.port())).await;
    let lookup = |reason: &str| Cause::Lookup { host: host.to_owned(), reason: reason.to_owned() };
    let mut failed = lookup("no such host");
    let mut is_first = true;
    for address in found.map_err(|_| lookup("no such host"))? {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // A request is one small packet that somebody waits for.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) if is_first => {
                let (address, reason) = (address.to_string(), reason_of(&error));
                failed = Cause::Connect { address, reason };
                is_first = false;
            }
            Err(_) => {}
        }
    }
    Err(failed)
}

async fn handshake<S>(
    stream: S,
) -> Result<(http1::SendRequest<Full<Bytes>>, AbortOnDropHandle<()>), Cause>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| cause_of(&error))?;
    // It ends with the connection, or with the answer that needs it.
    let task = tokio::spawn(async move {
        // Whoever waits for the answer is told.
        let _ = connection.await;
    });
    Ok((sender, AbortOnDropHandle::new(task)))
}

fn cause_of(error: &hyper::Error) -> Cause {
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return Cause::Closed;
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(deeper) = source {
        text = format!("{text}: {deeper}");
        source = deeper.source();
    }
    Cause::Broken(text)
}

/// The system's text, as Go writes it.
fn reason_of(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// The request that a redirect asks for, by the rules of Go's client.
fn redirected(request: &Request, response: &Response) -> Option<Request> {
    let keeps_method = match response.status.as_u16() {
        301..=303 => false,
        307 | 308 => true,
        _ => return None,
    };
    let place = response.headers.get(header::LOCATION)?.to_str().ok()?;
    let mut next = request.clone();
    next.url = request.url.join(place)?;
    if !keeps_method && request.method != Method::HEAD {
        next.method = Method::GET;
        next.body = Bytes::new();
        next.headers.remove(header::CONTENT_TYPE);
    }
    // What opens one server is nobody else's business.
    if next.url.host() != request.url.host() || (request.url.is_https() && !next.url.is_https()) {
        const SECRETS: [HeaderName; 2] = [header::AUTHORIZATION, header::COOKIE];
        SECRETS.iter().for_each(|name| drop(next.headers.remove(name)));
    }
    Some(next)
}

#[cfg(test)]
mod tests;
