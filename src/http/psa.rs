//! `/psa/v1/pins`: this node as a service of the IPFS Pinning Service API 1.0.
//!
//! Translates requests into calls of the node. There is a service when `API.Authorizations` opens
//! paths that begin with `/psa/v1` to somebody; what each such entry asks for is its own. Web pages of
//! any origin may call: the token is what lets in, and browsers do not send it by themselves.

use futures_util::StreamExt as _;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Value;

use super::options::Options;
use super::reply::{self, Body};
use super::rpc::body::Body as RequestBody;
use super::rpc::{guard, query};
use super::wire::Target;
use crate::node::{Error, Node};
use crate::psa::message::{self, NewRequest, Query};

/// Where the API begins.
const ROOT: &str = "/psa/v1";

/// The longest body: a thousand entries of metadata.
const BODY_BYTES_MAX: usize = 1 << 20;

/// The service, as the config describes it when the server starts.
#[derive(Debug)]
pub(super) struct Service {
    clients: Vec<Client>,
}

/// Who is let in.
#[derive(Debug)]
struct Client {
    /// The name of the entry.
    name: String,
    /// The `Authorization` header.
    header: String,
    /// What paths it may ask for begin with.
    prefixes: Vec<String>,
}

/// Why a request is not answered as it was meant to be.
struct Refusal {
    status: StatusCode,
    reason: &'static str,
    details: String,
}

impl Refusal {
    fn bad(details: impl Into<String>) -> Self {
        let status = StatusCode::BAD_REQUEST;
        Self { status, reason: "BAD_REQUEST", details: details.into() }
    }

    fn not_found() -> Self {
        let details = "there is no such pin request".to_owned();
        Self { status: StatusCode::NOT_FOUND, reason: "NOT_FOUND", details }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        if let Error::InvalidArgument(text) = error {
            return Self::bad(text);
        }
        tracing::error!(%error, "a request of the pinning service failed");
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self { status, reason: "INTERNAL_SERVER_ERROR", details: error.to_string() }
    }
}

impl Service {
    /// The service that the options describe, if they do.
    pub(super) fn new(options: &Options) -> Option<Self> {
        let clients = options.authorizations.iter().filter_map(|(name, secret, paths)| {
            let header = guard::header_of(secret).filter(|header| header.starts_with("Bearer "))?;
            let prefixes = paths.iter().filter(|path| path.starts_with(ROOT)).cloned();
            let prefixes: Vec<String> = prefixes.collect();
            (!prefixes.is_empty()).then(|| Client { name: name.clone(), header, prefixes })
        });
        let clients: Vec<Client> = clients.collect();
        (!clients.is_empty()).then_some(Self { clients })
    }

    /// Whether the path is the service's.
    pub(super) fn has(path: &str) -> bool {
        path.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Answers a request.
    pub(super) async fn answer(
        &self,
        node: &Node,
        target: &Target,
        headers: &HeaderMap,
        body: RequestBody,
    ) -> Response<Body> {
        if target.method == "OPTIONS" {
            return reply::empty(StatusCode::NO_CONTENT, cors());
        }
        let (status, json) = match self.call(node, target, headers, body).await {
            Ok(answer) => answer,
            Err(refusal) => {
                let Refusal { status, reason, details } = refusal;
                (status, Some(message::failure(reason, &details)))
            }
        };
        let mut answer = cors();
        let Some(json) = json else { return reply::empty(status, answer) };
        answer.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if status == StatusCode::UNAUTHORIZED {
            answer.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        reply::response(status, answer, json.to_string().into_bytes())
    }

    async fn call(
        &self,
        node: &Node,
        target: &Target,
        headers: &HeaderMap,
        body: RequestBody,
    ) -> Result<(StatusCode, Option<Value>), Refusal> {
        let owner = self.owner(&target.path, headers)?;
        let rest = target.path.strip_prefix(ROOT).unwrap_or_default();
        let accepted = |json| Ok((StatusCode::ACCEPTED, json));
        let id = match rest {
            "/pins" => None,
            other => Some(other.strip_prefix("/pins/").unwrap_or_default()),
        };
        match (target.method.as_str(), id) {
            ("GET", None) => {
                let parameters = query::parse_strict(&target.query).map_err(Refusal::bad)?;
                let query = Query::parse(&parameters).map_err(Refusal::bad)?;
                let (count, requests) = node.pin_requests(owner, &query)?;
                Ok((StatusCode::OK, Some(message::page(count, &requests, &node.pin_delegates()))))
            }
            ("POST", id) if id != Some("") => {
                let request = NewRequest::parse(&read(body).await?).map_err(Refusal::bad)?;
                let queued = node.request_pin(owner, request, id).await?;
                let queued = queued.ok_or_else(Refusal::not_found)?;
                accepted(Some(message::status(&queued, &node.pin_delegates())))
            }
            ("GET", Some(id)) => {
                let request = node.pin_request(owner, id)?.ok_or_else(Refusal::not_found)?;
                Ok((StatusCode::OK, Some(message::status(&request, &node.pin_delegates()))))
            }
            ("DELETE", Some(id)) => match node.remove_pin_request(owner, id).await? {
                true => accepted(None),
                false => Err(Refusal::not_found()),
            },
            (_, Some("")) => Err(Refusal::not_found()),
            (method, _) => Err(Refusal {
                status: StatusCode::METHOD_NOT_ALLOWED,
                reason: "METHOD_NOT_ALLOWED",
                details: format!("{method} is not among the methods of this path"),
            }),
        }
    }

    /// Whose requests these are.
    fn owner(&self, path: &str, headers: &HeaderMap) -> Result<&str, Refusal> {
        let sent = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        let client = self.clients.iter().find(|client| {
            Some(client.header.as_bytes()) == sent
                && client.prefixes.iter().any(|prefix| path.starts_with(prefix))
        });
        client.map(|client| client.name.as_str()).ok_or_else(|| Refusal {
            status: StatusCode::UNAUTHORIZED,
            reason: "UNAUTHORIZED",
            details: "the access token is missing, or is not one that opens this path".to_owned(),
        })
    }
}

/// What every answer says to browsers.
fn cors() -> HeaderMap {
    let pairs: [(HeaderName, &'static str); 3] = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type"),
    ];
    pairs.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect()
}

/// The whole body.
async fn read(mut body: RequestBody) -> Result<Vec<u8>, Refusal> {
    let mut all = Vec::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| Refusal::bad(error.to_string()))?;
        if all.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(Refusal::bad(format!("the body has more than {BODY_BYTES_MAX} bytes")));
        }
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}
