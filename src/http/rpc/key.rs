//! `key/*`: kubo core/commands/keystore.go. `key/export` and `key/rotate` are on the command line
//! alone: see `cli`.

use serde::Serialize;

use super::tabwriter::align;
use super::{Error, Reply, Request, Value};
use crate::ipld::base::{self, Base};
use crate::ipld::quote::escape_unprintable;
use crate::node::keys::NamedKey;

/// The largest key file that is read; the largest key has a few KiB.
const KEY_BYTES_MAX: usize = 1 << 20;
/// The largest message that is signed or verified: it is held in memory.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

#[derive(Debug, Clone, Serialize)]
#[serde(rename = "KeyOutput", rename_all = "PascalCase")]
struct KeyOutput {
    name: String,
    id: String,
}

impl Value for KeyOutput {
    fn text(&self) -> Option<Result<String, Error>> {
        Some(Ok(format!("{}\n", self.id)))
    }
}

#[derive(Debug, Serialize)]
#[serde(rename = "KeyOutputList", rename_all = "PascalCase")]
struct KeyOutputList {
    keys: Vec<KeyOutput>,
    /// The `l` option.
    #[serde(skip)]
    long: bool,
}

impl Value for KeyOutputList {
    fn text(&self) -> Option<Result<String, Error>> {
        let line = |key: &KeyOutput| {
            let name = escape_unprintable(&key.name);
            if self.long { format!("{}\t{name}\t\n", key.id) } else { format!("{name}\n") }
        };
        Some(Ok(align(&self.keys.iter().map(line).collect::<String>(), 1)))
    }
}

#[derive(Debug, Serialize)]
#[serde(rename = "KeyRenameOutput", rename_all = "PascalCase")]
struct KeyRenameOutput {
    was: String,
    now: String,
    id: String,
    overwrite: bool,
}

impl Value for KeyRenameOutput {
    fn text(&self) -> Option<Result<String, Error>> {
        let end = if self.overwrite { " with overwriting" } else { "" };
        let now = escape_unprintable(&self.now);
        Some(Ok(format!("Key {} renamed to {now}{end}\n", self.id)))
    }
}

#[derive(Debug, Serialize)]
#[serde(rename = "KeySignOutput", rename_all = "PascalCase")]
struct KeySignOutput {
    key: KeyOutput,
    signature: String,
}

impl Value for KeySignOutput {}

#[derive(Debug, Serialize)]
#[serde(rename = "KeyVerifyOutput", rename_all = "PascalCase")]
struct KeyVerifyOutput {
    key: KeyOutput,
    signature_valid: bool,
}

impl Value for KeyVerifyOutput {}

/// How keys are written in an answer: `ipns-base`.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyEncoder(Option<Base>);

impl KeyEncoder {
    /// The encoder that the request asks for.
    pub(super) fn of(request: &Request) -> Result<Self, Error> {
        match request.options.string("ipns-base") {
            "b58mh" | "v0" => Ok(Self(None)),
            name => {
                let base = base::by_name(name).map_err(|error| Error::new(error.to_string()))?;
                Ok(Self(Some(base)))
            }
        }
    }

    /// The text of a key.
    pub(super) fn encode(self, key: &NamedKey) -> String {
        self.0.map_or_else(|| key.peer_id.clone(), |base| key.cid.to_text(base))
    }

    fn output(self, key: NamedKey) -> KeyOutput {
        KeyOutput { id: self.encode(&key), name: key.name }
    }
}

/// `key/gen`.
pub(super) async fn generate(request: Request) -> Result<Reply, Error> {
    let name = request.arg(0).to_owned();
    // Kubo looks at this name before it looks at the base.
    if name == crate::node::keys::SELF {
        return Err(Error::new("cannot create key with name 'self'"));
    }
    let bits = request.options.opt_int("size");
    let encoder = KeyEncoder::of(&request)?;
    let algorithm = request.options.string("type").to_owned();
    let key = request.node.generate_key(name, algorithm, bits).await?;
    Ok(Reply::one(encoder.output(key)))
}

/// `key/ls` and `key/list`.
pub(super) async fn list(request: Request) -> Result<Reply, Error> {
    let encoder = KeyEncoder::of(&request)
        .map_err(|error| Error::new(format!("cannot get key encoder: {}", error.message())))?;
    let keys = request.node.keys().await.map_err(|error| {
        Error::new(format!("listing keys failed: cannot list keys in keystore: {error}"))
    })?;
    let keys = keys.into_iter().map(|key| encoder.output(key)).collect();
    Ok(Reply::one(KeyOutputList { keys, long: request.options.bool("l") }))
}

/// `key/rename`.
pub(super) async fn rename(request: Request) -> Result<Reply, Error> {
    let encoder = KeyEncoder::of(&request)?;
    let (was, now) = (request.arg(0).to_owned(), request.arg(1).to_owned());
    let force = request.options.bool("force");
    let renamed = request.node.rename_key(was.clone(), now.clone(), force).await?;
    let (key, overwrite) = renamed;
    Ok(Reply::one(KeyRenameOutput { was, now, id: encoder.encode(&key), overwrite }))
}

/// `key/rm`: one after the other; those before one that fails are gone.
pub(super) async fn remove(mut request: Request) -> Result<Reply, Error> {
    let encoder = KeyEncoder::of(&request)?;
    let mut keys = Vec::new();
    for name in request.all_args().await? {
        keys.push(encoder.output(request.node.remove_key(name).await?));
    }
    Ok(Reply::one(KeyOutputList { keys, long: request.options.bool("l") }))
}

/// `key/import`.
pub(super) async fn import(mut request: Request) -> Result<Reply, Error> {
    let name = request.arg(0).to_owned();
    if name == crate::node::keys::SELF {
        return Err(Error::new("cannot import key with name 'self'"));
    }
    let encoder = KeyEncoder::of(&request)?;
    let file = read(&mut request, KEY_BYTES_MAX, "the key file is too long to hold a key").await?;
    let format = request.options.string("format").to_owned();
    let any_type = request.options.bool("allow-any-key-type");
    let key = request.node.import_key(name, file, format, any_type).await?;
    Ok(Reply::one(encoder.output(key)))
}

/// `key/sign`.
pub(super) async fn sign(mut request: Request) -> Result<Reply, Error> {
    let encoder = KeyEncoder::of(&request)?;
    let message = read(&mut request, MESSAGE_BYTES_MAX, TOO_LONG).await?;
    let name = request.options.string("key").to_owned();
    let (key, signature) = request.node.sign(name, message).await?;
    let signature = base::encode(Base::Base64Url, &signature);
    let signature = String::from_utf8_lossy(&signature).into_owned();
    Ok(Reply::all([KeySignOutput { key: encoder.output(key), signature }]))
}

/// `key/verify`.
pub(super) async fn verify(mut request: Request) -> Result<Reply, Error> {
    let encoder = KeyEncoder::of(&request)?;
    let signature = base::decode(request.options.string("signature").as_bytes());
    let (_, signature) = signature.map_err(|error| Error::new(error.to_string()))?;
    let message = read(&mut request, MESSAGE_BYTES_MAX, TOO_LONG).await?;
    let key = request.options.string("key").to_owned();
    let (key, signature_valid) = request.node.verify(key, signature, message).await?;
    Ok(Reply::all([KeyVerifyOutput { key: encoder.output(key), signature_valid }]))
}

const TOO_LONG: &str = "messages of more than 64 MiB are not signed: sign their hash";

/// The first file of the body.
pub(super) async fn read(
    request: &mut Request,
    limit: usize,
    too_long: &str,
) -> Result<Vec<u8>, Error> {
    if request.first_file().await?.is_none() {
        return Err(Error::new("expected a file argument"));
    }
    request.files.read_all(limit, too_long).await
}
