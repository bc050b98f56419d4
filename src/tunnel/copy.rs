//! Carrying bytes between a connection and a stream, both ways, no faster than either takes them.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
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
pub(super) async fn both_ways<S>(connection: Connection, mut stream: S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
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
