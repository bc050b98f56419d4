//! The error of a command, as clients see it.

use hyper::StatusCode;

use super::value::Encoding;
use crate::node;

/// Why a command failed: the message, Kubo's error code and the HTTP status it stands for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    message: String,
    code: u8,
    status: StatusCode,
    length: Option<u64>,
}

impl Error {
    /// A command that failed: code 0, status 500. Almost every error is one.
    pub fn new(message: impl Into<String>) -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self { message: message.into(), code: 0, status, length: None }
    }

    /// A call that cannot succeed as it is: code 1, status 400.
    pub fn client(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1, status: StatusCode::BAD_REQUEST, length: None }
    }

    /// A command that this build does not answer: code 2, status 501.
    pub(super) fn not_available(path: &str) -> Self {
        let message = format!("this command is not available yet in pinmesh: {path}");
        Self { message, code: 2, status: StatusCode::NOT_IMPLEMENTED, length: None }
    }

    /// The same, of a command that had announced the length of its answer (`X-Content-Length`).
    #[must_use]
    pub fn with_length(mut self, length: u64) -> Self {
        self.length = Some(length);
        self
    }

    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// The deadline of the request has passed.
    pub(super) fn deadline(prefix: &str) -> Self {
        Self::new(format!("{prefix}context deadline exceeded"))
    }

    /// A panic inside a command.
    pub(super) fn panicked() -> Self {
        Self::new("an error occurred")
    }

    /// The text.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Kubo's code.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// The status of the answer, when nothing else has been sent.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The body and its content type.
    pub(super) fn encode(&self, encoding: Encoding) -> (Vec<u8>, &'static str) {
        let mut out = Vec::new();
        let content_type = match encoding {
            // Encodings of one command have no form for errors.
            Encoding::Json | Encoding::Own(_) => {
                out.extend_from_slice(b"{\"Message\":");
                super::value::write_text(&self.message, &mut out);
                let rest = format!(",\"Code\":{},\"Type\":\"error\"}}\n", self.code);
                out.extend_from_slice(rest.as_bytes());
                "application/json"
            }
            Encoding::Xml => {
                out.extend_from_slice(b"<Error><Message>");
                super::value::escape_xml(&self.message, &mut out);
                let rest = format!("</Message><Code>{}</Code></Error>", self.code);
                out.extend_from_slice(rest.as_bytes());
                "application/xml"
            }
            Encoding::Text => {
                out.extend_from_slice(self.message.as_bytes());
                "text/plain"
            }
            Encoding::OctetStream => {
                out.extend_from_slice(self.message.as_bytes());
                "application/octet-stream"
            }
            Encoding::TextNl => {
                out.extend_from_slice(self.message.as_bytes());
                out.push(b'\n');
                // Kubo knows no content type for it and sends the header empty.
                ""
            }
        };
        (out, content_type)
    }
}

impl From<node::Error> for Error {
    fn from(error: node::Error) -> Self {
        match error {
            node::Error::InvalidArgument(message) => Self::client(message),
            error => Self::new(error.to_string()),
        }
    }
}
