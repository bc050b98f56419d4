//! Records: their bytes, made and read, and what makes one valid.

use bytes::Bytes;
use libp2p_identity::{Keypair, PublicKey};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Name, RECORD_BYTES_MAX};
use crate::ipld::node::{Node, Schema, Typed};
use crate::ipld::path::{Path, PathError};
use crate::ipld::protobuf::{self, Fields, Value};
use crate::ipld::{Cid, CidError, codec, data};

/// The value that stands for an empty one: an identity CID of no bytes.
const NOOP_VALUE: &str = "/ipfs/bafkqaaa";
/// What is signed begins with this, so that the signature fits nothing else.
const SIGNATURE_PREFIX: &[u8] = b"ipns-signature:";
/// The one type of validity: until a point in time.
const VALIDITY_EOL: i64 = 0;

/// Why bytes are no record, or a record is not valid. The texts are boxo's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Longer than records may be.
    #[error("record exceeds allowed size limit")]
    TooLong,
    /// No protobuf, no dag-cbor, or a field is missing or of another type.
    #[error("record is malformed\n{0}")]
    Malformed(String),
    /// A time to live below zero.
    #[error("record is malformed: negative TTL")]
    NegativeTtl,
    /// The value is no path.
    #[error("value is not a valid content path\n{0}")]
    Path(#[from] PathError),
    /// The value is no CID either.
    #[error("value is not a valid content path\n{0}")]
    Cid(#[from] CidError),
    /// Valid for a reason that nobody knows.
    #[error("record contains an unrecognized validity type")]
    UnknownValidity,
    /// The end of its life is no time.
    #[error("record contains an invalid validity\n{0}")]
    Validity(String),
    /// No signature, or not that of the key.
    #[error("signature verification failed")]
    Signature,
    /// The two halves of a record of both versions differ.
    #[error("field \"{0}\" did not match between protobuf and CBOR")]
    Mismatch(&'static str),
    /// Its time is over.
    #[error("record is expired")]
    Expired,
    /// The key in it is none.
    #[error("public key invalid\n{0}")]
    PublicKey(String),
    /// The key in it is not that of the name.
    #[error("record public key does not match the expected public key")]
    OtherKey,
    /// Neither the name nor the record holds the key.
    #[error("public key is not embedded in peer ID")]
    NoKey,
    /// The key cannot sign.
    #[error("cannot sign the record: {0}")]
    Sign(String),
}

/// Which signatures a record has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureType {
    /// Both, for readers of before 2021.
    V1V2,
    /// The one that counts.
    V2,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The path that the name points at, as text.
    pub value: String,
    /// Grows with every new value.
    pub sequence: u64,
    /// Until when the record is valid.
    pub validity: OffsetDateTime,
    /// How long it may be kept without asking again, in nanoseconds.
    pub ttl_nanos: i64,
}

/// The protobuf message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Message {
    value: Option<Bytes>,
    signature_v1: Option<Bytes>,
    validity_type: Option<u64>,
    validity: Option<Bytes>,
    sequence: Option<u64>,
    ttl: Option<u64>,
    public_key: Option<Bytes>,
    signature_v2: Option<Bytes>,
    data: Option<Bytes>,
}

/// A record: read, but not yet known to be valid.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    message: Message,
    /// The dag-cbor document that is signed.
    data: Node,
    bytes: Bytes,
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn decode(bytes: &Bytes) -> Result<Self, RecordError> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(RecordError::TooLong);
        }
        let message = Message::decode(bytes)?;
        let document = present(message.data.as_ref());
        if document.is_empty() {
            let text = "record is missing the dag-cbor data field";
            return Err(RecordError::Malformed(text.to_owned()));
        }
        let malformed = |error: crate::ipld::DecodeError| RecordError::Malformed(error.to_string());
        let data = data::decode(codec::DAG_CBOR, &document).map_err(malformed)?.node;
        if !matches!(data, Node::Map(_)) {
            return Err(RecordError::Malformed("the data is no map".to_owned()));
        }
        Ok(Self { message, data, bytes: bytes.clone() })
    }

    /// Makes a record and signs it; `v1` with the fields that old readers need.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn create(key: &Keypair, contents: &Contents, v1: bool) -> Result<Self, RecordError> {
        let validity = contents.validity.to_offset(time::UtcOffset::UTC).format(&Rfc3339);
        let validity = Bytes::from(validity.map_err(|e| RecordError::Validity(e.to_string()))?);
        let value = Bytes::from(contents.value.clone());
        let ttl = contents.ttl_nanos.max(0);
        let document = document(&value, &validity, contents.sequence, ttl)?;
        let sign = |bytes: &[u8]| {
            let signature = key.sign(bytes).map_err(|e| RecordError::Sign(e.to_string()))?;
            Ok::<_, RecordError>(Some(Bytes::from(signature)))
        };
        let mut message = Message {
            signature_v2: sign(&[SIGNATURE_PREFIX, &document].concat())?,
            data: Some(document),
            ..Message::default()
        };
        if v1 {
            message.signature_v1 = sign(&[&value[..], &validity, b"EOL"].concat())?;
            message.value = Some(value);
            message.validity_type = Some(0);
            message.validity = Some(validity);
            message.sequence = Some(contents.sequence);
            message.ttl = Some(ttl.cast_unsigned());
        }
        let public = key.public();
        if Name::of(public.to_peer_id()).public_key().is_none() {
            message.public_key = Some(public.encode_protobuf().into());
        }
        Self::decode(&message.encode().into())
    }

    /// The record as it was read or made.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What the name points at.
    ///
    /// # Errors
    /// When it is no path.
    pub fn value(&self) -> Result<Path, RecordError> {
        let value = self.bytes_at("Value")?;
        match value.first() {
            None => Ok(Path::parse_plain(NOOP_VALUE)?),
            Some(b'/') => Ok(Path::parse_plain(&String::from_utf8_lossy(value))?),
            Some(_) => Ok(Path::from_cid(Cid::from_bytes(value)?)),
        }
    }

    /// Why it is valid.
    ///
    /// # Errors
    /// When the field is missing.
    pub fn validity_type(&self) -> Result<i64, RecordError> {
        self.int_at("ValidityType")
    }

    /// Until when it is valid.
    ///
    /// # Errors
    /// When it does not say so.
    pub fn validity(&self) -> Result<OffsetDateTime, RecordError> {
        if self.validity_type()? != VALIDITY_EOL {
            return Err(RecordError::UnknownValidity);
        }
        let text = String::from_utf8_lossy(self.bytes_at("Validity")?);
        let time = OffsetDateTime::parse(&text, &Rfc3339);
        let time = time.map_err(|error| RecordError::Validity(error.to_string()))?;
        Ok(time.to_offset(time::UtcOffset::UTC))
    }

    /// The sequence number.
    ///
    /// # Errors
    /// When the field is missing.
    pub fn sequence(&self) -> Result<u64, RecordError> {
        self.int_at("Sequence").map(i64::cast_unsigned)
    }

    /// How long it may be kept without asking again, in nanoseconds.
    ///
    /// # Errors
    /// When the field is missing.
    pub fn ttl_nanos(&self) -> Result<i64, RecordError> {
        self.int_at("TTL")
    }

    /// Which signatures it has.
    #[must_use]
    pub fn signature_type(&self) -> SignatureType {
        if self.has_v1() { SignatureType::V1V2 } else { SignatureType::V2 }
    }

    fn has_v1(&self) -> bool {
        let has = |field: &Option<Bytes>| field.as_ref().is_some_and(|bytes| !bytes.is_empty());
        has(&self.message.signature_v1) || has(&self.message.value)
    }

    /// Checks that the record is one of this name, and still valid at `now`.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn validate(&self, name: &Name, now: OffsetDateTime) -> Result<(), RecordError> {
        let key = self.public_key(name)?;
        let signature = present(self.message.signature_v2.as_ref());
        let signed = [SIGNATURE_PREFIX, &present(self.message.data.as_ref())].concat();
        if signature.is_empty() || !key.verify(&signed, &signature) {
            return Err(RecordError::Signature);
        }
        if self.has_v1() {
            self.check_halves()?;
        }
        if now > self.validity()? {
            return Err(RecordError::Expired);
        }
        if self.ttl_nanos().is_ok_and(|ttl| ttl < 0) {
            return Err(RecordError::NegativeTtl);
        }
        Ok(())
    }

    /// The key that signs the records of this name.
    fn public_key(&self, name: &Name) -> Result<PublicKey, RecordError> {
        let own = present(self.message.public_key.as_ref());
        if own.is_empty() {
            return name.public_key().ok_or(RecordError::NoKey);
        }
        let key = PublicKey::try_decode_protobuf(&own)
            .map_err(|error| RecordError::PublicKey(error.to_string()))?;
        if key.to_peer_id() == name.peer() { Ok(key) } else { Err(RecordError::OtherKey) }
    }

    /// Checks that the fields for old readers say what is signed.
    fn check_halves(&self) -> Result<(), RecordError> {
        let message = &self.message;
        let equal = |name, same: bool| if same { Ok(()) } else { Err(RecordError::Mismatch(name)) };
        equal("Value", self.bytes_at("Value")? == &present(message.value.as_ref()))?;
        equal("Validity", self.bytes_at("Validity")? == &present(message.validity.as_ref()))?;
        let kind = message.validity_type.unwrap_or_default().cast_signed();
        equal("ValidityType", self.validity_type()? == kind)?;
        equal("Sequence", self.sequence()? == message.sequence.unwrap_or_default())?;
        equal("TTL", self.ttl_nanos()?.cast_unsigned() == message.ttl.unwrap_or_default())
    }

    fn field(&self, name: &str) -> Result<&Node, RecordError> {
        let missing = || RecordError::Malformed(format!("key not found: \"{name}\""));
        self.data.get(name).ok_or_else(missing)
    }

    fn bytes_at(&self, name: &str) -> Result<&Bytes, RecordError> {
        match self.field(name)? {
            Node::Bytes(bytes) => Ok(bytes),
            other => Err(wrong_kind("AsBytes", other, "bytes")),
        }
    }

    fn int_at(&self, name: &str) -> Result<i64, RecordError> {
        match self.field(name)? {
            Node::Int(number) => i64::try_from(*number).map_err(|_| {
                let text = "unsigned integer out of range of int64 type";
                RecordError::Malformed(text.to_owned())
            }),
            other => Err(wrong_kind("AsInt", other, "int")),
        }
    }
}

/// Whether `a` is the better record of two valid ones: newer, or else valid for longer.
///
/// # Errors
/// When one of them lacks a field.
pub fn is_better(a: &Record, b: &Record) -> Result<bool, RecordError> {
    let rank = |record: &Record| {
        let has_v2 = record.message.signature_v2.is_some();
        Ok::<_, RecordError>((has_v2, record.sequence()?, record.validity()?))
    };
    // Equal in all that counts, the bytes decide, so that all nodes choose the same.
    Ok((rank(a)?, &a.bytes) > (rank(b)?, &b.bytes))
}

fn present(field: Option<&Bytes>) -> Bytes {
    field.cloned().unwrap_or_default()
}

fn wrong_kind(method: &str, node: &Node, expected: &str) -> RecordError {
    let kind = node.kind().0;
    RecordError::Malformed(format!(
        "func called on wrong kind: \"{method}\" called on a {kind} node (kind: {kind}), but only \
         makes sense on {expected}"
    ))
}

/// The signed document; its keys are in the order of dag-cbor.
fn document(
    value: &Bytes,
    validity: &Bytes,
    sequence: u64,
    ttl: i64,
) -> Result<Bytes, RecordError> {
    let entry = |name: &'static str, node| (Bytes::from_static(name.as_bytes()), node);
    let node = Node::Map(vec![
        entry("TTL", Node::Int(ttl.into())),
        entry("Value", Node::Bytes(value.clone())),
        // Go keeps it as signed.
        entry("Sequence", Node::Int(sequence.cast_signed().into())),
        entry("Validity", Node::Bytes(validity.clone())),
        entry("ValidityType", Node::Int(VALIDITY_EOL.into())),
    ]);
    let mut out = Vec::new();
    let typed = Typed { node, schema: Schema::Plain };
    data::encode(codec::DAG_CBOR, &typed, &mut out)
        .map_err(|error| RecordError::Malformed(error.to_string()))?;
    Ok(out.into())
}

impl Message {
    fn decode(bytes: &Bytes) -> Result<Self, RecordError> {
        let mut message = Self::default();
        let mut fields = Fields::new(bytes);
        let malformed = |error: protobuf::Malformed| RecordError::Malformed(error.to_string());
        while let Some((number, value)) = fields.next_field().map_err(malformed)? {
            match (number, value) {
                (1, Value::Bytes(value)) => message.value = Some(bytes.slice_ref(value)),
                (2, Value::Bytes(value)) => message.signature_v1 = Some(bytes.slice_ref(value)),
                (3, Value::Varint(value)) => message.validity_type = Some(value),
                (4, Value::Bytes(value)) => message.validity = Some(bytes.slice_ref(value)),
                (5, Value::Varint(value)) => message.sequence = Some(value),
                (6, Value::Varint(value)) => message.ttl = Some(value),
                (7, Value::Bytes(value)) => message.public_key = Some(bytes.slice_ref(value)),
                (8, Value::Bytes(value)) => message.signature_v2 = Some(bytes.slice_ref(value)),
                (9, Value::Bytes(value)) => message.data = Some(bytes.slice_ref(value)),
                _ => {}
            }
        }
        Ok(message)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let bytes = |number, field: &Option<Bytes>, out: &mut Vec<u8>| {
            if let Some(value) = field {
                protobuf::append_bytes(number, value, out);
            }
        };
        bytes(1, &self.value, &mut out);
        bytes(2, &self.signature_v1, &mut out);
        self.validity_type.iter().for_each(|v| protobuf::append_number(3, *v, &mut out));
        bytes(4, &self.validity, &mut out);
        self.sequence.iter().for_each(|v| protobuf::append_number(5, *v, &mut out));
        self.ttl.iter().for_each(|v| protobuf::append_number(6, *v, &mut out));
        bytes(7, &self.public_key, &mut out);
        bytes(8, &self.signature_v2, &mut out);
        bytes(9, &self.data, &mut out);
        out
    }
}
