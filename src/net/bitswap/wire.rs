//! Messages on streams: each behind its length.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::message::MESSAGE_BYTES_MAX;
use crate::ipld::varint;

/// A message that has begun comes on within this time, piece by piece, or never.
const PIECE_TIMEOUT: Duration = Duration::from_secs(60);
/// What a piece is: a peer on a slow line sends it in time.
const PIECE_BYTES: usize = 64 << 10;

/// The length of the next message; `None` at the end of the stream.
pub(super) async fn read_len<R: AsyncRead + Unpin>(stream: &mut R) -> io::Result<Option<usize>> {
    let mut bytes = [0_u8; varint::LEN_MAX];
    for at in 0..bytes.len() {
        let Some(byte) = bytes.get_mut(at..=at) else { break };
        if at == 0 {
            if stream.read(byte).await? == 0 {
                return Ok(None);
            }
        } else {
            in_time(stream.read_exact(byte)).await?;
        }
        match varint::read(bytes.get(..=at).unwrap_or_default()) {
            Ok((len, _)) if len <= MESSAGE_BYTES_MAX as u64 => return Ok(Some(len as usize)),
            Ok((len, _)) => return Err(invalid(format!("a message of {len} bytes"))),
            Err(varint::VarintError::Underflow) => {}
            Err(error) => return Err(invalid(error.to_string())),
        }
    }
    Err(invalid("no length".to_owned()))
}

/// A message of `len` bytes.
pub(super) async fn read_body<R: AsyncRead + Unpin>(
    stream: &mut R,
    len: usize,
) -> io::Result<Bytes> {
    // Zeroed by the system when it is touched: a length that lies costs nothing.
    let mut body = vec![0; len];
    for piece in body.chunks_mut(PIECE_BYTES) {
        in_time(stream.read_exact(piece)).await?;
    }
    Ok(body.into())
}

/// Writes a message; gives up when the peer takes none of it for long.
pub(super) async fn write<W: AsyncWrite + Unpin>(
    stream: &mut W,
    pieces: &[Bytes],
) -> io::Result<()> {
    for piece in pieces {
        for piece in piece.chunks(PIECE_BYTES) {
            in_time(stream.write_all(piece)).await?;
        }
    }
    in_time(stream.flush()).await
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(PIECE_TIMEOUT, work).await {
        Ok(done) => done,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use futures_util::io::Cursor;

    use super::*;

    async fn read(bytes: &[u8]) -> io::Result<Option<Bytes>> {
        let mut stream = Cursor::new(bytes);
        match read_len(&mut stream).await? {
            Some(len) => read_body(&mut stream, len).await.map(Some),
            None => Ok(None),
        }
    }

    #[tokio::test]
    async fn what_is_written_is_read() {
        let mut out = Cursor::new(Vec::new());
        let pieces = [Bytes::from_static(&[0x82, 1]), Bytes::from(vec![7; 130])];
        write(&mut out, &pieces).await.unwrap();
        assert_eq!(read(out.get_ref()).await.unwrap(), Some(vec![7; 130].into()));
        assert_eq!(read(&[]).await.unwrap(), None);
        assert_eq!(read(&[0]).await.unwrap(), Some(Bytes::new()));
    }

    #[tokio::test]
    async fn what_is_too_long_or_cut_is_an_error() {
        for bytes in [&[0x81, 0x80, 0x80, 2][..], &[0x80], &[0x80, 0], &[5, 1], &[0xff; 12]] {
            assert!(read(bytes).await.is_err(), "{bytes:?}");
        }
    }
}
