//! The client.

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Status;
use super::decode::{self, Failure, RemotePin};
use crate::http_client::{self, Cause, Client, Request, Url, escape_query, escape_segment};
use crate::ipld::Cid;
use crate::ipld::quote::quote;

/// How many pins a service is asked for at once.
pub const LIMIT_DEFAULT: u32 = 10;

/// The longest answer: a thousand pins with all that they may say of themselves.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A service, and how to be let in.
#[derive(Debug, Clone)]
pub struct Service {
    client: Client,
    endpoint: Url,
    authorization: HeaderValue,
    deadline: Option<Instant>,
}

/// Which pins are meant.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// With one of these CIDs; any when empty.
    pub cids: Vec<Cid>,
    /// With this name; any when empty.
    pub name: String,
    /// In one of these states; the service decides when empty.
    pub statuses: Vec<Status>,
}

/// A pin to make.
#[derive(Debug, Clone)]
pub struct NewPin {
    /// The root.
    pub cid: Cid,
    /// The name; empty is none.
    pub name: String,
    /// Multiaddrs of peers that have the DAG.
    pub origins: Vec<String>,
}

/// Some of the pins that are meant, the newest first.
#[derive(Debug, Clone)]
pub struct Page {
    /// How many there are in all.
    pub count: i32,
    /// Those of this page.
    pub pins: Vec<RemotePin>,
}

/// Why a service did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The endpoint is none.
    #[error("service endpoint must be a valid HTTP URL")]
    NoUrl,
    /// It has a query.
    #[error("service endpoint should be provided without any query parameters")]
    Query,
    /// It is not where the API begins.
    #[error("service endpoint should be provided without the /pins suffix")]
    PinsSuffix,
    /// The key cannot be sent.
    #[error("the key of the service holds characters that no HTTP header may hold")]
    Key,
    /// There is no answer.
    #[error("empty response from remote pinning service: {0}")]
    NoAnswer(#[from] http_client::Error),
    /// The service refuses.
    #[error("reason: {}, details: {}: {status}", quote(reason), quote(details))]
    Refused {
        /// Its word for that.
        reason: String,
        /// What it says of it.
        details: String,
        /// The HTTP status.
        status: String,
    },
    /// The answer is none of this API.
    #[error("remote pinning service returned http error {status}: {reason}")]
    BadAnswer {
        /// The HTTP status.
        status: u16,
        /// What is wrong.
        reason: String,
    },
    /// There are said to be more pins, of which the service shows none.
    #[error("invalid pinning service response: PinResults.count={0} but no PinResults.results")]
    NoResults(i32),
}

/// The endpoint as it is kept: cleaned, and fit to have paths added.
///
/// # Errors
/// When it is none.
pub fn check_endpoint(text: &str) -> Result<Url, Error> {
    let url = Url::parse(text).ok_or(Error::NoUrl)?.cleaned();
    if url.has_query() {
        return Err(Error::Query);
    }
    if url.path().ends_with("/pins") {
        return Err(Error::PinsSuffix);
    }
    Ok(url)
}

impl Service {
    /// The service at `endpoint`; it may take its time.
    ///
    /// # Errors
    /// When endpoint or key cannot be used.
    pub fn new(client: Client, endpoint: &str, key: &str) -> Result<Self, Error> {
        let endpoint = check_endpoint(endpoint)?;
        let mut authorization =
            HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| Error::Key)?;
        authorization.set_sensitive(true);
        Ok(Self { client, endpoint, authorization, deadline: None })
    }

    /// This service, which must answer before `due`.
    #[must_use]
    pub fn until(self, due: Option<Instant>) -> Self {
        Self { deadline: due, ..self }
    }

    /// When it must have answered.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The newest pins that are meant, at most `limit`, and older than `before` when that is given.
    ///
    /// # Errors
    /// When the service does not say.
    pub async fn list(
        &self,
        filter: &Filter,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Page, Error> {
        let cids: Vec<String> = filter.cids.iter().map(Cid::to_string).collect();
        let statuses: Vec<&str> = filter.statuses.iter().map(|status| status.as_str()).collect();
        // Sorted by name, as Go sends them.
        let parameters = [
            ("before", before.unwrap_or_default().to_owned()),
            ("cid", cids.join(",")),
            ("limit", limit.to_string()),
            ("name", filter.name.clone()),
            ("status", statuses.join(",")),
        ];
        let query: Vec<String> = parameters
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={}", escape_query(value)))
            .collect();
        let answer = self.call(Method::GET, "/pins", &query.join("&"), None).await?;
        let (count, pins) = answer.decode(decode::page)?;
        Ok(Page { count, pins })
    }

    /// What the pins of the next page are older than; `None` after the last page.
    ///
    /// # Errors
    /// When the service contradicts itself.
    pub fn next_before(page: &Page) -> Result<Option<String>, Error> {
        if usize::try_from(page.count) == Ok(page.pins.len()) {
            return Ok(None);
        }
        let last = page.pins.last().ok_or(Error::NoResults(page.count))?;
        Ok(Some(last.created.clone()))
    }

    /// Asks for a pin.
    ///
    /// # Errors
    /// When the service refuses.
    pub async fn add(&self, pin: &NewPin) -> Result<RemotePin, Error> {
        let mut message = json!({"cid": pin.cid.to_string()});
        if let Value::Object(fields) = &mut message {
            if !pin.name.is_empty() {
                fields.insert("name".to_owned(), json!(pin.name));
            }
            if !pin.origins.is_empty() {
                fields.insert("origins".to_owned(), json!(pin.origins));
            }
        }
        self.call(Method::POST, "/pins", "", Some(message)).await?.decode(decode::pin)
    }

    /// How far a pin is.
    ///
    /// # Errors
    /// When the service does not know it.
    pub async fn pin(&self, request_id: &str) -> Result<RemotePin, Error> {
        let path = format!("/pins/{}", escape_segment(request_id));
        self.call(Method::GET, &path, "", None).await?.decode(decode::pin)
    }

    /// Removes a pin.
    ///
    /// # Errors
    /// When the service does not know it.
    pub async fn remove(&self, request_id: &str) -> Result<(), Error> {
        let path = format!("/pins/{}", escape_segment(request_id));
        self.call(Method::DELETE, &path, "", None).await.map(drop)
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        query: &str,
        message: Option<Value>,
    ) -> Result<Answer, Error> {
        let mut request = Request::new(method, self.endpoint.clone().with(path, query));
        request.deadline = self.deadline;
        let headers = &mut request.headers;
        headers.insert(header::AUTHORIZATION, self.authorization.clone());
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static("pinmesh"));
        if let Some(message) = message {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            request.body = message.to_string().into();
        }
        let response = self.client.send(request).await?;
        let (status, status_line) = (response.status, response.status_line.clone());
        let bad = |reason: String| Error::BadAnswer { status: status.as_u16(), reason };
        let content_type = response.headers.get(header::CONTENT_TYPE);
        let is_json = content_type.and_then(|value| value.to_str().ok()).is_some_and(is_json);
        let body = response.read_all(ANSWER_BYTES_MAX).await;
        let body = body.map_err(|cause: Cause| bad(cause.to_string()))?;
        let answer = Answer { status, is_json, body };
        if status.as_u16() < 300 {
            return Ok(answer);
        }
        if status.as_u16() < 400 {
            return Err(bad(status_line));
        }
        let Failure { reason, details } = answer.decode(decode::failure)?;
        Err(Error::Refused { reason, details, status: status_line })
    }
}

/// An answer in full.
struct Answer {
    status: StatusCode,
    is_json: bool,
    body: Bytes,
}

impl Answer {
    /// What it says; an empty one says nothing.
    fn decode<T: Default>(&self, decode: fn(&str) -> Result<T, String>) -> Result<T, Error> {
        if self.body.is_empty() {
            return Ok(T::default());
        }
        let decoded = match self.is_json {
            true => decode(&String::from_utf8_lossy(&self.body)),
            false => Err("undefined response type".to_owned()),
        };
        decoded.map_err(|reason| Error::BadAnswer { status: self.status.as_u16(), reason })
    }
}

/// Whether boxo takes this content type for JSON: `application/json`, `text/vnd.x+json` and so on,
/// anywhere in it.
fn is_json(content_type: &str) -> bool {
    let content_type = content_type.to_ascii_lowercase();
    ["application/", "text/"].iter().any(|kind| {
        content_type.split(kind).skip(1).any(|rest| {
            let vendor = rest.strip_prefix("vnd.").and_then(|rest| rest.split_once('+'));
            rest.starts_with("json") || vendor.is_some_and(|(_, rest)| rest.starts_with("json"))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_where_the_api_begins() {
        let endpoint = |text: &str| {
            check_endpoint(text).map_or_else(|error| error.to_string(), |url| url.to_string())
        };
        assert_eq!(endpoint("http://x/pins"), Error::PinsSuffix.to_string());
        assert_eq!(endpoint("http://x/a/pins//"), Error::PinsSuffix.to_string());
        assert_eq!(endpoint("http://x/?q=1"), Error::Query.to_string());
        assert_eq!(endpoint("ftp://x"), Error::NoUrl.to_string());
        assert_eq!(endpoint("https://x/psa/"), "https://x/psa");
        assert_eq!(endpoint("https://x/mypins"), "https://x/mypins");
    }

    #[test]
    fn json_is_told_by_its_content_type() {
        for text in ["application/json", "Text/JSON; charset=utf-8", "application/vnd.a.b+json"] {
            assert!(is_json(text), "{text}");
        }
        for text in ["text/html", "application/problem+json", "json"] {
            assert!(!is_json(text), "{text}");
        }
    }
}
