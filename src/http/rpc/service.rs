//! A call over HTTP, from head to answer, in the order in which Kubo looks at it.

use std::time::Duration;

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Error;
use super::body::Body as RequestBody;
use super::call::{Deadline, Request};
use super::commands_log::CommandLog;
use super::emit::{Framing, Limits};
use super::guard::{DENIED, Guard};
use super::parse::{ParseError, Parsed, Parts, parse};
use super::table::{Command, Run};
use super::value::Encoding;
use crate::http::reply::{self, Body};
use crate::node::Node;

/// The commands of a node, as a service.
#[derive(Debug, Clone)]
pub(in crate::http) struct Rpc {
    pub(in crate::http) node: Node,
    pub(in crate::http) log: CommandLog,
}

/// A request to the RPC.
pub(in crate::http) struct Incoming<'a> {
    pub(in crate::http) method: &'a str,
    /// Decoded, with `/api/v0`.
    pub(in crate::http) path: &'a str,
    pub(in crate::http) query: &'a str,
    pub(in crate::http) headers: &'a HeaderMap,
    pub(in crate::http) body: RequestBody,
    pub(in crate::http) hung_up: CancellationToken,
}

impl Rpc {
    /// Answers a request.
    pub(in crate::http) async fn call(
        &self,
        guard: &Guard,
        incoming: Incoming<'_>,
    ) -> Response<Body> {
        let Incoming { method, path, query, headers, body, hung_up } = incoming;
        if !guard.is_authorized(path, headers) {
            return reply::error(StatusCode::FORBIDDEN, HeaderMap::new(), DENIED);
        }
        if let Some(answer) = guard.preflight(method, headers) {
            return reply::empty(StatusCode::NO_CONTENT, answer);
        }
        let mut answer = guard.cors(method, headers);
        let Some(path) = path.strip_prefix("/api/v0") else { return reply::not_found(answer) };
        if method != "POST" {
            answer.insert(header::ALLOW, HeaderValue::from_static("OPTIONS, POST"));
            if method == "OPTIONS" {
                return reply::empty(StatusCode::NO_CONTENT, answer);
            }
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return reply::error(status, answer, "405 - Method Not Allowed");
        }
        if !guard.is_welcome(headers) {
            return reply::error(StatusCode::FORBIDDEN, answer, "403 - Forbidden");
        }
        let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let content_type = String::from_utf8_lossy(content_type.unwrap_or_default());
        let body_end = body.end();
        let parsed = match parse(Parts { path, query, content_type: &content_type, body }).await {
            Ok(parsed) => parsed,
            Err(ParseError::NotFound) => return reply::not_found(answer),
            Err(ParseError::Bad(error)) => {
                return reply::error(StatusCode::BAD_REQUEST, answer, error.message());
            }
        };
        guard.set_headers(&mut answer);
        let Ok(due) = due(&parsed) else {
            // Kubo says nothing at all to a timeout that it cannot read.
            return reply::empty(StatusCode::OK, answer);
        };
        let encoding = match encoding(parsed.command, parsed.options.string("encoding")) {
            Ok(encoding) => encoding,
            Err(text) => return reply::error(StatusCode::BAD_REQUEST, answer, &text),
        };
        let deadline = Deadline::new(due);
        let framing = Framing {
            headers: answer,
            encoding,
            limits: Limits::new(deadline.clone(), hung_up),
            body_end,
            running: self.log.begin(
                parsed.command.path,
                parsed.options.clone(),
                parsed.args.clone(),
            ),
        };
        self.run(framing, parsed, deadline).await
    }

    async fn run(&self, framing: Framing, parsed: Parsed, deadline: Deadline) -> Response<Body> {
        let handler = match parsed.command.run {
            Run::Group => return framing.nothing(),
            Run::Later => return framing.error(&Error::not_available(parsed.command.path)),
            Run::Removed(text) => return framing.error(&Error::new(text)),
            Run::Handler(handler) => handler,
        };
        let Parsed { command, args, options, files, body_args } = parsed;
        let request = Request {
            node: self.node.clone(),
            command,
            args,
            options,
            files,
            deadline,
            log: self.log.clone(),
            body_args,
        };
        framing.run(handler(request)).await
    }
}

/// When the request times out.
fn due(parsed: &Parsed) -> Result<Option<Instant>, String> {
    let Some(text) = parsed.options.opt_string("timeout") else { return Ok(None) };
    let nanos = crate::config::parse_duration(text)?;
    let after = Duration::from_nanos(u64::try_from(nanos).unwrap_or_default());
    Ok(Instant::now().checked_add(after))
}

/// The encoding of this name, or the text of its refusal.
fn encoding(command: &Command, name: &str) -> Result<Encoding, String> {
    if let Some(own) = command.encodings.iter().find(|own| **own == name) {
        return Ok(Encoding::Own(own));
    }
    match name {
        "json" => Ok(Encoding::Json),
        "xml" => Ok(Encoding::Xml),
        "text" => Ok(Encoding::Text),
        "textnl" => Ok(Encoding::TextNl),
        "octet-stream" => Ok(Encoding::OctetStream),
        name => Err(format!("invalid encoding: {name}")),
    }
}
