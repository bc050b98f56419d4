//! A client of the RPC: one request a connection, body and answer at the same time.
//!
//! By hand and blocking, because a command is one call: a thread sends the body while the answer is
//! read, and the trailer that ends a broken stream must be seen.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};

use super::listen::tcp_socket;
use crate::net::parse_multiaddr;

/// How long a daemon may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest line of a head.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// The most lines of a head.
const LINES_MAX: usize = 1000;
/// The trailer with the error that ended a stream.
const STREAM_ERROR: &str = "x-stream-error";

/// Where a daemon listens.
#[derive(Debug, Clone)]
pub(super) enum Address {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

/// A stream to a daemon, readable and writable from two threads.
trait Duplex: Read + Write + Send {
    fn duplicate(&self) -> io::Result<Box<dyn Duplex>>;
}

impl Duplex for TcpStream {
    fn duplicate(&self) -> io::Result<Box<dyn Duplex>> {
        Ok(Box::new(self.try_clone()?))
    }
}

impl Duplex for UnixStream {
    fn duplicate(&self) -> io::Result<Box<dyn Duplex>> {
        Ok(Box::new(self.try_clone()?))
    }
}

impl Address {
    /// Reads a multiaddr.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        if let Some(path) = text.strip_prefix("/unix/") {
            return Ok(Self::Unix(PathBuf::from(format!("/{}", path.trim_start_matches('/')))));
        }
        let multiaddr = parse_multiaddr(text)?;
        let socket = tcp_socket(&multiaddr);
        socket.map(Self::Tcp).ok_or_else(|| anyhow!("cannot dial {text}: no TCP or unix socket"))
    }

    /// Opens a connection.
    fn connect(&self) -> io::Result<Box<dyn Duplex>> {
        Ok(match self {
            Self::Tcp(address) => Box::new(TcpStream::connect_timeout(address, CONNECT_TIMEOUT)?),
            Self::Unix(path) => Box::new(UnixStream::connect(path)?),
        })
    }

    /// Whether somebody answers there.
    pub(super) fn is_alive(&self) -> bool {
        self.connect().is_ok()
    }
}

/// A call.
pub(super) struct Call {
    /// Path and query, after `/api/v0/`.
    pub(super) target: String,
    /// The `Authorization` header.
    pub(super) authorization: Option<String>,
    /// Content type and writer of the body.
    pub(super) body: Option<(String, BodyWriter)>,
}

/// Writes a body.
pub(super) type BodyWriter = Box<dyn FnOnce(&mut dyn Write) -> anyhow::Result<()> + Send>;

/// Makes a call; what it answers goes to `out` as it comes.
///
/// # Errors
/// With the message of the command, when it fails.
pub(super) fn call(address: &Address, call: Call, out: &mut dyn Write) -> anyhow::Result<()> {
    let stream = address.connect().context("cannot connect to the api")?;
    let mut sender = stream.duplicate()?;
    let mut head = format!(
        "POST /api/v0/{} HTTP/1.1\r\nHost: pinmesh\r\nUser-Agent: pinmesh\r\nConnection: close\r\n",
        call.target
    );
    if let Some(value) = &call.authorization {
        head.push_str(&format!("Authorization: {value}\r\n"));
    }
    match &call.body {
        Some((content_type, _)) => head.push_str(&format!(
            "Content-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
        )),
        None => head.push_str("Content-Length: 0\r\n\r\n"),
    }
    sender.write_all(head.as_bytes())?;
    let sending = call.body.map(|(_, write)| {
        thread::spawn(move || -> anyhow::Result<()> {
            let mut chunks = io::BufWriter::with_capacity(256 << 10, Chunks(sender));
            write(&mut chunks)?;
            let mut stream = chunks.into_inner().map_err(io::IntoInnerError::into_error)?.0;
            stream.write_all(b"0\r\n\r\n")?;
            Ok(())
        })
    });
    let answered = answer(BufReader::with_capacity(256 << 10, stream), out);
    // A file that cannot be read is the better explanation of a body that was cut.
    if let Some(Ok(Err(error))) = sending.filter(thread::JoinHandle::is_finished).map(|t| t.join())
        && error.downcast_ref::<io::Error>().is_none()
    {
        return Err(error);
    }
    answered
}

/// Each write is a chunk.
struct Chunks(Box<dyn Duplex>);

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !bytes.is_empty() {
            write!(self.0, "{:x}\r\n", bytes.len())?;
            self.0.write_all(bytes)?;
            self.0.write_all(b"\r\n")?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn answer(mut stream: impl BufRead, out: &mut dyn Write) -> anyhow::Result<()> {
    let (status, headers) = loop {
        let status = line(&mut stream)?;
        let headers = head(&mut stream)?;
        let code = status.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok());
        match code {
            // An interim answer; the real one follows.
            Some(100..200) => {}
            Some(code) => break (code, headers),
            None => bail!("no HTTP answer: {status:?}"),
        }
    };
    let header = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, v)| v.as_str());
    let is_chunked = header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"));
    let mut failed = Vec::new();
    let target: &mut dyn Write = if status == 200 { out } else { &mut failed };
    let trailers = if is_chunked {
        chunked(&mut stream, target)?
    } else {
        io::copy(&mut stream, target)?;
        Vec::new()
    };
    target.flush()?;
    if status == 404 {
        bail!("Command not found.");
    }
    if status != 200 {
        bail!(message(&failed));
    }
    match trailers.into_iter().find(|(name, _)| name == STREAM_ERROR) {
        Some((_, error)) => Err(anyhow!(error)),
        None => Ok(()),
    }
}

/// The text of an error answer.
fn message(body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let text = json.as_ref().and_then(|json| json.get("Message")).and_then(|text| text.as_str());
    text.map_or_else(|| String::from_utf8_lossy(body).trim().to_owned(), str::to_owned)
}

/// Copies a chunked body; returns its trailers.
fn chunked(
    stream: &mut impl BufRead,
    out: &mut dyn Write,
) -> anyhow::Result<Vec<(String, String)>> {
    loop {
        let size = line(stream)?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| anyhow!("the answer was cut off"))?;
        if size == 0 {
            return head(stream);
        }
        let copied = io::copy(&mut stream.by_ref().take(size), out)?;
        if copied < size || !line(stream)?.is_empty() {
            bail!("the answer was cut off");
        }
        out.flush()?;
    }
}

fn head(stream: &mut impl BufRead) -> anyhow::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    while headers.len() < LINES_MAX {
        let line = line(stream)?;
        if line.is_empty() {
            return Ok(headers);
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    bail!("too many headers")
}

fn line(stream: &mut impl BufRead) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    stream.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)?;
    if bytes.pop() != Some(b'\n') {
        bail!("the answer was cut off");
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
