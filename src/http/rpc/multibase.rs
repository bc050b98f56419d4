//! `multibase/*`: kubo core/commands/multibase.go. Unlike Kubo, `encode` answers while it reads
//! wherever the base allows it, and input that must be held is bounded.

use bytes::Bytes;
use futures_util::stream;

use super::files::Files;
use super::{Error, Reply, Request};
use crate::ipld::base::{self, Base};

/// The longest text that is decoded: whether it can be is known only at its end.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// The longest input in base36 or base58, whose work grows with the square of the length.
const RADIX_BYTES_MAX: usize = 128 << 10;

/// `multibase/encode`.
pub(super) async fn encode(mut request: Request) -> Result<Reply, Error> {
    let base = base_option(&request)?;
    open_file(&mut request).await?;
    let mut files = request.files;
    if is_radix(base) {
        let bytes = read(&mut files, RADIX_BYTES_MAX).await?;
        return blocking(move || Ok(Reply::bytes(base::encode(base, &bytes)))).await;
    }
    let encoder = Encoder { files, base, rest: Vec::new(), started: false, ended: false };
    Ok(Reply::raw(stream::try_unfold(encoder, |mut encoder| async move {
        Ok(encoder.next().await?.map(|bytes| (bytes, encoder)))
    })))
}

/// `multibase/decode`.
pub(super) async fn decode(mut request: Request) -> Result<Reply, Error> {
    open_file(&mut request).await?;
    let text = read(&mut request.files, TEXT_BYTES_MAX).await?;
    blocking(move || Ok(Reply::bytes(decode_text(&text)?))).await
}

/// `multibase/transcode`.
pub(super) async fn transcode(mut request: Request) -> Result<Reply, Error> {
    let base = base_option(&request)?;
    open_file(&mut request).await?;
    let text = read(&mut request.files, TEXT_BYTES_MAX).await?;
    blocking(move || {
        let bytes = decode_text(&text)?;
        if is_radix(base) && bytes.len() > RADIX_BYTES_MAX {
            return Err(too_long(RADIX_BYTES_MAX));
        }
        Ok(Reply::bytes(base::encode(base, &bytes)))
    })
    .await
}

fn base_option(request: &Request) -> Result<Base, Error> {
    base::by_name(request.options.string("b")).map_err(|error| Error::new(error.to_string()))
}

async fn open_file(request: &mut Request) -> Result<(), Error> {
    match request.first_file().await? {
        Some(_) => Ok(()),
        None => Err(Error::new("failed to access file: file argument was nil")),
    }
}

async fn read(files: &mut Files, limit: usize) -> Result<Vec<u8>, Error> {
    files.read_all(limit, &too_long(limit).to_string()).await
}

fn too_long(limit: usize) -> Error {
    Error::new(format!("input is too long: at most {limit} bytes can be converted at once"))
}

fn is_radix(base: Base) -> bool {
    use Base::{Base36Lower, Base36Upper, Base58Btc, Base58Flickr};
    matches!(base, Base36Lower | Base36Upper | Base58Btc | Base58Flickr)
}

fn decode_text(text: &[u8]) -> Result<Vec<u8>, Error> {
    let first = text.first().and_then(|first| base::by_code(char::from(*first)));
    if text.len() > RADIX_BYTES_MAX && first.is_some_and(is_radix) {
        return Err(too_long(RADIX_BYTES_MAX));
    }
    let decoded = base::decode(text);
    let (_, bytes) =
        decoded.map_err(|error| Error::new(format!("failed to decode multibase: {error}")))?;
    Ok(bytes)
}

/// Runs work that takes long enough to hold up others.
async fn blocking(
    work: impl FnOnce() -> Result<Reply, Error> + Send + 'static,
) -> Result<Reply, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::new(error.to_string())))
}

/// Encodes a file as it comes.
struct Encoder {
    files: Files,
    base: Base,
    /// Bytes that do not yet fill a group of the base.
    rest: Vec<u8>,
    started: bool,
    ended: bool,
}

impl Encoder {
    /// Bytes that are encoded without regard to what is around them: those whose bits fill whole
    /// characters of every base that is no radix.
    const GROUP: usize = 15;

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while !self.ended {
            let whole = match self.files.chunk().await? {
                Some(chunk) => {
                    self.rest.extend_from_slice(&chunk);
                    self.rest.len() - self.rest.len() % Self::GROUP
                }
                None => {
                    self.ended = true;
                    self.rest.len()
                }
            };
            if whole == 0 && (self.started || !self.ended) {
                continue;
            }
            let rest = self.rest.split_off(whole);
            let mut text = base::encode(self.base, &self.rest);
            if self.started {
                text.drain(..self.base.code().len_utf8());
            }
            self.rest = rest;
            self.started = true;
            return Ok(Some(text.into()));
        }
        Ok(None)
    }
}
