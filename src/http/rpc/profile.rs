//! The archive of `diag/profile`: what the process can say about itself.
//!
//! Kubo asks Go's runtime for profiles. Here the same collectors answer from the operating system:
//! threads, memory maps and processor time, each in a text file whose name says what it is. What
//! the operating system does not know (allocation sites, lock contention, traces) is not there. The
//! archive is written as it is read: nothing but one chunk is held, and a client that leaves ends it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _, Write};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::{Error, version};

/// Bytes of a chunk of the archive.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks that wait for a slow reader.
const CHUNKS_MAX: usize = 4;
/// How often the clock of a collector looks whether anybody still listens.
const TICK: Duration = Duration::from_millis(50);

/// Where chunks go.
type Sender = mpsc::Sender<Result<Bytes, Error>>;

/// One thing to collect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Collector {
    Threads,
    Version,
    Memory,
    Binary,
    Processor,
    /// Known to Kubo; the operating system cannot say it.
    Unavailable,
}

impl Collector {
    /// The collector of this name of Kubo's.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "goroutines-stack" => Self::Threads,
            "version" => Self::Version,
            "heap" => Self::Memory,
            "bin" => Self::Binary,
            "cpu" => Self::Processor,
            "goroutines-pprof" | "allocs" | "mutex" | "block" | "trace" => Self::Unavailable,
            _ => return None,
        })
    }
}

/// The archive, in chunks; it ends with an error when a collector was `unknown`.
pub(super) fn archive(
    collectors: Vec<Collector>,
    time: Duration,
    unknown: Option<String>,
) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    tokio::task::spawn_blocking(move || {
        let failed = match write(&collectors, time, &sender) {
            Ok(()) => unknown.map(|name| format!("unknown collector '{name}'")),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = failed {
            // An error says that the client has left.
            let _ = sender.blocking_send(Err(Error::new(error)));
        }
    });
    futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    })
}

fn write(collectors: &[Collector], time: Duration, sender: &Sender) -> io::Result<()> {
    let mut archive = ZipWriter::new_stream(Chunks { sender: sender.clone(), buffer: Vec::new() });
    let options = SimpleFileOptions::default();
    for collector in collectors {
        let (name, content) = match collector {
            Collector::Threads => ("threads.txt", threads()),
            Collector::Version => ("version.json", format!("{}\n", version::as_json())),
            Collector::Memory => ("memory.txt", memory()),
            Collector::Processor => {
                let before = processor();
                wait(time, sender);
                ("cpu.txt", format!("before:\n{before}\nafter:\n{}", processor()))
            }
            Collector::Binary => {
                archive.start_file("pinmesh", options)?;
                let mut binary = File::open("/proc/self/exe")?;
                let mut buffer = vec![0; CHUNK_BYTES];
                loop {
                    let read = binary.read(&mut buffer)?;
                    if read == 0 {
                        break;
                    }
                    archive.write_all(buffer.get(..read).unwrap_or_default())?;
                }
                continue;
            }
            Collector::Unavailable => continue,
        };
        archive.start_file(name, options)?;
        archive.write_all(content.as_bytes())?;
    }
    archive.finish()?.into_inner().flush()
}

/// Waits as long as somebody listens.
fn wait(time: Duration, sender: &Sender) {
    let mut left = time;
    while !left.is_zero() && !sender.is_closed() {
        let step = left.min(TICK);
        std::thread::sleep(step);
        left = left.saturating_sub(step);
    }
}

/// Every thread: its name, state, and where in the kernel it waits.
fn threads() -> String {
    let mut text = String::new();
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return text };
    for task in tasks.flatten() {
        let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let state = read("status");
        let state = state.lines().find_map(|line| line.strip_prefix("State:")).unwrap_or("").trim();
        let id = task.file_name();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{} {} [{state}] {}",
            id.to_string_lossy(),
            read("comm").trim(),
            read("wchan")
        );
    }
    text
}

fn memory() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    format!("{}\n{}", read("/proc/self/status"), read("/proc/self/smaps_rollup"))
}

/// The processor time of each thread, in clock ticks: user and system.
fn processor() -> String {
    let mut text = String::new();
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return text };
    for task in tasks.flatten() {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        // The name is in parentheses and may hold anything.
        let Some((head, rest)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |index: usize| fields.get(index).copied().unwrap_or("0");
        let name = head.split_once('(').map_or("", |(_, name)| name);
        let id = task.file_name();
        let _ = writeln!(
            text,
            "{} {name} user {} system {}",
            id.to_string_lossy(),
            field(11),
            field(12)
        );
    }
    text
}

/// A writer whose chunks go to the client.
struct Chunks {
    sender: Sender,
    buffer: Vec<u8>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.buffer));
        self.sender.blocking_send(Ok(chunk)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
