//! The values that commands emit, and their encodings.
//!
//! A command's answer is a struct that derives [`Serialize`] under the name and with the field
//! names of Kubo's Go struct, because three encodings show them: JSON by the rules of Go's
//! `encoding/json`, XML by those of `encoding/xml` (element names are Go's type and field names),
//! and Go's `%s`, which is what `encoding=text` gives for a command without a text encoder. Each
//! encoding is a serde serializer of its own; [`Value`] joins them and adds what a type has of its
//! own. Not responsible for framing or headers: see [`super::emit`].
//!
//! Where Go says more than serde can, names and wrappers carry it:
//!
//! - The struct's name is the Go type: `#[serde(rename = "pin.PinLsType")]`; XML shows what follows
//!   the last dot.
//! - A field named `"cid>Cid"` is `cid` in JSON and `Cid` elsewhere; `">mode"` is not in JSON at
//!   all, and `"Mode>"` in JSON alone; a field named `""` is an embedded struct.
//! - [`Omit`] is `omitempty`: JSON leaves an empty one out, the others show it.
//! - [`Link`] is a CID as such (`{"/":"…"}`); a CID shown as text is a `String`.
//! - [`Base64`] is `[]byte`, [`Int`] (and `i32`) is Go's `int`, `i64` its `int64`, `u64` its
//!   `uint64`; `Option` is a pointer, or a slice that may be `nil`.
//! - A newtype struct renamed to `"map[string]pin.PinLsType"` names the type of a map.

mod gofmt;
mod json;
mod xml;

use serde::{Serialize, Serializer};

use super::Error;
use crate::ipld::Cid;

/// The name under which an empty [`Omit`] serializes.
const OMIT: &str = "\0omit";
/// The name under which a [`Link`] serializes.
const LINK: &str = "\0link";
/// The name under which a [`Forms`] serializes: a tuple of JSON, XML and Go forms.
const FORMS: &str = "\0forms";
/// The name under which an [`Int`] serializes.
const INT: &str = "int";

/// A general encoding, chosen by the `encoding` option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `json`.
    Json,
    /// `xml`.
    Xml,
    /// `text`: the value's own text, else Go's `%s`.
    Text,
    /// `textnl`: Go's `%s` and a newline.
    TextNl,
    /// `octet-stream`: Go's `%s`.
    OctetStream,
    /// One of [`super::table::Command::encodings`].
    Own(&'static str),
}

impl Encoding {
    /// The content type of values.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Xml => "application/xml",
            Self::Text | Self::TextNl | Self::Own(_) => "text/plain",
            Self::OctetStream => "application/octet-stream",
        }
    }
}

/// A value that a command emits.
pub trait Value: Serialize + Send + 'static {
    /// Whether Kubo emits the struct and not a pointer to it: Go's `%s` shows `{…}`, not `&{…}`.
    const BY_VALUE: bool = false;

    /// The command's own text encoder, for `encoding=text`. An error ends the answer.
    fn text(&self) -> Option<Result<String, Error>> {
        None
    }

    /// The same for a value whose text is bytes and perhaps no UTF-8; it comes first.
    fn raw_text(&self) -> Option<&[u8]> {
        None
    }

    /// The `String()` method of the Go type: what `%s` shows instead of the fields.
    fn display(&self) -> Option<String> {
        None
    }

    /// What this value is in one of the command's own encodings.
    fn own(&self, _encoding: &'static str) -> Option<Vec<u8>> {
        None
    }
}

impl Value for String {}
impl Value for i64 {}

/// A [`Value`] of any type.
pub trait Emit: Send {
    /// Appends the encoded value. On an error `out` is as it was.
    fn encode(&self, encoding: Encoding, out: &mut Vec<u8>) -> Result<(), Error>;
}

impl<T: Value> Emit for T {
    fn encode(&self, encoding: Encoding, out: &mut Vec<u8>) -> Result<(), Error> {
        let start = out.len();
        let done = encode(self, encoding, out);
        if done.is_err() {
            out.truncate(start);
        }
        done
    }
}

fn encode<T: Value>(value: &T, encoding: Encoding, out: &mut Vec<u8>) -> Result<(), Error> {
    match encoding {
        Encoding::Json => {
            json::write(value, out)?;
            out.push(b'\n');
        }
        Encoding::Xml => xml::write(value, out)?,
        Encoding::Text => match (value.raw_text(), value.text()) {
            (Some(bytes), _) => out.extend_from_slice(bytes),
            (None, Some(text)) => out.extend_from_slice(text?.as_bytes()),
            (None, None) => go_string(value, out)?,
        },
        Encoding::TextNl => {
            go_string(value, out)?;
            out.push(b'\n');
        }
        Encoding::OctetStream => go_string(value, out)?,
        Encoding::Own(name) => match value.own(name) {
            Some(bytes) => out.extend_from_slice(&bytes),
            None => go_string(value, out)?,
        },
    }
    Ok(())
}

fn go_string<T: Value>(value: &T, out: &mut Vec<u8>) -> Result<(), Error> {
    match value.display() {
        Some(text) => out.extend_from_slice(text.as_bytes()),
        None => gofmt::write(value, !T::BY_VALUE, out)?,
    }
    Ok(())
}

/// Appends `value` as Go's `encoding/json` writes it, without the newline.
///
/// For answers that are written piece by piece ([`super::Reply::Json`]).
pub fn write_json<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), Error> {
    Ok(json::write(value, out)?)
}

/// Appends a JSON string.
pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    json::escape(text, out);
}

/// Appends text as XML holds it.
pub(super) fn escape_xml(text: &str, out: &mut Vec<u8>) {
    xml::escape(text, out);
}

/// Why a value cannot be encoded; the text is Go's.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unsupported(String);

impl serde::ser::Error for Unsupported {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl From<Unsupported> for Error {
    fn from(error: Unsupported) -> Self {
        Self::new(error.0)
    }
}

/// What Go calls the empty value of a type.
pub trait Empty {
    /// Whether this is it.
    fn is_empty(&self) -> bool;
}

impl Empty for String {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

impl<T> Empty for Vec<T> {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

impl<T> Empty for Option<T> {
    fn is_empty(&self) -> bool {
        self.is_none()
    }
}

impl<K, V> Empty for std::collections::BTreeMap<K, V> {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

impl Empty for bool {
    fn is_empty(&self) -> bool {
        !self
    }
}

impl Empty for f64 {
    fn is_empty(&self) -> bool {
        *self == 0.0
    }
}

macro_rules! empty_when_zero {
    ($($t:ty)*) => {$(
        impl Empty for $t {
            fn is_empty(&self) -> bool {
                *self == 0
            }
        }
    )*};
}
empty_when_zero!(i32 i64 u32 u64);

impl Empty for Int {
    fn is_empty(&self) -> bool {
        self.0 == 0
    }
}

/// A field with Go's `omitempty`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Omit<T>(pub T);

impl<T: Serialize + Empty> Serialize for Omit<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() {
            serializer.serialize_newtype_struct(OMIT, &self.0)
        } else {
            self.0.serialize(serializer)
        }
    }
}

/// Go's `int`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Int(pub i64);

impl Serialize for Int {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(INT, &self.0)
    }
}

/// Go's `cid.Cid`: `{"/":"…"}` in JSON, `null` when there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Link(pub Option<Cid>);

impl From<Cid> for Link {
    fn from(cid: Cid) -> Self {
        Self(Some(cid))
    }
}

impl Serialize for Link {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.0.as_ref().map(Cid::to_string);
        serializer.serialize_newtype_struct(LINK, text.as_deref().unwrap_or_default())
    }
}

/// Go's `[]byte`: base64 in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Base64(pub bytes::Bytes);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl Empty for Base64 {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A value of a Go type that has methods for some encodings, like `time.Time` or `os.FileMode`:
/// what it is in JSON, in XML, and under `%s`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forms<J, X> {
    /// In JSON.
    pub json: J,
    /// In XML.
    pub xml: X,
    /// Under `%s`.
    pub go: String,
}

impl<J: Serialize, X: Serialize> Serialize for Forms<J, X> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeTupleStruct as _;
        let mut forms = serializer.serialize_tuple_struct(FORMS, 3)?;
        forms.serialize_field(&self.json)?;
        forms.serialize_field(&self.xml)?;
        forms.serialize_field(&self.go)?;
        forms.end()
    }
}

impl<J: Empty, X> Empty for Forms<J, X> {
    fn is_empty(&self) -> bool {
        self.json.is_empty()
    }
}

/// The Go name of a field: what follows `>`, or all of it.
fn go_name(key: &'static str) -> &'static str {
    key.split_once('>').map_or(key, |(_, go)| go)
}

/// The name of a Go type without its package.
fn bare_type(name: &'static str) -> &'static str {
    name.rsplit_once('.').map_or(name, |(_, bare)| bare)
}

#[cfg(test)]
mod tests;
