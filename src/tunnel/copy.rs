//! Carrying bytes between a connection and a stream, both ways, no faster than either takes them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::UdpSocket;

use super::endpoint::Connection;

/// Bytes that are on their way in one direction.
const BUFFER_BYTES: usize = 32 * 1024;

/// The longest datagram.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Copies until both ends have said all they had to; an end that has closes its half only.
///
/// # Errors
/// When one end breaks off. Dropping the other then tells it so.
pub(super) async fn both_ways<S>(connection: Connection, stream: S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = Resettable { stream, is_shut: false };
    match connection {
        Connection::Tcp(mut tcp) => {
            let sizes = (BUFFER_BYTES, BUFFER_BYTES);
            tokio::io::copy_bidirectional_with_sizes(&mut tcp, &mut stream, sizes.0, sizes.1)
                .await
                .map(drop)
        }
        Connection::Udp(socket) => datagrams(&socket, &mut stream).await,
    }
}

/// What is read at once goes in one datagram, and the other way round, until the stream ends: as in
/// Kubo, nothing marks where one ends.
async fn datagrams<S>(socket: &UdpSocket, stream: &mut S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut out = vec![0; BUFFER_BYTES];
    let mut back = vec![0; DATAGRAM_BYTES_MAX];
    let to_socket = async {
        loop {
            let read = reader.read(&mut out).await?;
            let Some(data) = out.get(..read).filter(|data| !data.is_empty()) else {
                return Ok::<(), io::Error>(());
            };
            socket.send(data).await?;
        }
    };
    let to_stream = async {
        loop {
            let read = socket.recv(&mut back).await?;
            writer.write_all(back.get(..read).unwrap_or_default()).await?;
            writer.flush().await?;
        }
    };
    tokio::select! {
        done = to_socket => done,
        done = to_stream => done,
    }
}

/// A stream of which a reset can be told from its end. Yamux reads both as the end; but what is reset
/// takes no bytes either, not even none.
struct Resettable<S> {
    stream: S,
    /// Whether this side has said that it sends no more.
    is_shut: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Resettable<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() == before
            && !self.is_shut
            && let Poll::Ready(Err(error)) = Pin::new(&mut self.stream).poll_write(cx, &[])
        {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Resettable<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_shut = true;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
