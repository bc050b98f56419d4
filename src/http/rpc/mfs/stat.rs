//! `files/stat`.

use serde::Serialize;

use super::super::ls::{FileMode, Time};
use super::super::value::{Int, Omit};
use super::super::{Error, Reply, Request, Value};
use crate::config::humanize_bytes;
use crate::node::files::{Locality, Stat, check_any_path};
use crate::unixfs::data::{Kind, Mtime};

const DEFAULT_FORMAT: &str = "<hash>\nSize: <size>\nCumulativeSize: <cumulsize>\nChildBlocks: \
     <childs>\nType: <type>\nMode: <mode> (<mode-octal>)\nMtime: <mtime>";
const NOT_SET: &str = "not set";

/// `statOutput`.
#[derive(Debug, Serialize)]
#[serde(rename = "statOutput", rename_all = "PascalCase")]
struct StatOutput {
    hash: String,
    size: u64,
    cumulative_size: u64,
    blocks: Int,
    r#type: &'static str,
    with_locality: Omit<bool>,
    local: Omit<bool>,
    size_local: Omit<u64>,
    #[serde(rename = ">Mode")]
    mode_bits: u32,
    mtime: Omit<i64>,
    mtime_nsecs: Omit<Int>,
    #[serde(rename = "Mode>")]
    mode: Omit<String>,
    #[serde(skip)]
    format: String,
    #[serde(skip)]
    time: Option<Mtime>,
}

/// `files/stat`.
pub(in crate::http::rpc) async fn stat(request: Request) -> Result<Reply, Error> {
    let format = format(&request)?;
    let path = check_any_path(request.arg(0))?;
    let with_local = request.options.bool("with-local");
    let encoder = request.cid_encoder()?;
    let stat = request.node.stat_file(&path, request.reach()).await?;
    let local = match with_local {
        true => Some(request.node.locality(stat.cid.clone()).await?),
        false => None,
    };
    let hash = encoder.encode(&stat.cid);
    Ok(Reply::one(StatOutput::new(hash, &stat, local, format)))
}

/// What the text is made of.
fn format(request: &Request) -> Result<String, Error> {
    let options = &request.options;
    let format = options.string("format");
    let (hash, size) = (options.bool("hash"), options.bool("size"));
    let said = [hash, size, format != DEFAULT_FORMAT];
    if said.into_iter().filter(|said| *said).count() > 1 {
        return Err(Error::client(
            "invalid parameters: format was set by multiple options. Only one format option is \
             allowed",
        ));
    }
    Ok(match (hash, size) {
        (true, _) => "<hash>",
        (_, true) => "<cumulsize>",
        _ => format,
    }
    .to_owned())
}

impl StatOutput {
    fn new(hash: String, stat: &Stat, local: Option<Locality>, format: String) -> Self {
        let is_directory = stat.kind.is_directory();
        let mode = stat.mode.map(FileMode::of_permissions);
        let mode = match (stat.kind, mode) {
            (Kind::Symlink, mode) => Some(mode.unwrap_or(FileMode(0o777)).symlink()),
            (_, mode) if is_directory => mode.map(FileMode::directory),
            (_, mode) => mode,
        };
        let mode = mode.map_or(0, |mode| mode.0);
        let mtime = stat.mtime.unwrap_or(Mtime { seconds: 0, nanoseconds: 0 });
        let bytes = local.map_or(0, |local| local.bytes);
        Self {
            hash,
            size: stat.size,
            cumulative_size: stat.dag_size,
            blocks: Int(i64::try_from(stat.links).unwrap_or(i64::MAX)),
            r#type: if is_directory { "directory" } else { "file" },
            with_locality: Omit(local.is_some()),
            local: Omit(local.is_some_and(|local| local.is_whole)),
            size_local: Omit(bytes),
            mode_bits: mode,
            mtime: Omit(mtime.seconds),
            mtime_nsecs: Omit(Int(i64::from(mtime.nanoseconds))),
            mode: Omit(if mode == 0 { String::new() } else { format!("{mode:04o}") }),
            format,
            time: stat.mtime.filter(|mtime| mtime.seconds > 0),
        }
    }
}

impl Value for StatOutput {
    fn text(&self) -> Option<Result<String, Error>> {
        let unset = || NOT_SET.to_owned();
        let (mode, octal) = match self.mode_bits {
            0 => (unset(), unset()),
            bits => (FileMode(bits).to_string().to_lowercase(), format!("0{:o}", bits & 0o777)),
        };
        let time = |text: fn(Mtime) -> String| self.time.map_or_else(unset, text);
        let tokens = [
            ("<hash>", self.hash.clone()),
            ("<size>", self.size.to_string()),
            ("<cumulsize>", self.cumulative_size.to_string()),
            ("<childs>", self.blocks.0.to_string()),
            ("<type>", self.r#type.to_owned()),
            ("<mode>", mode),
            ("<mode-octal>", octal),
            ("<mtime>", time(|mtime| Time::of(Some(mtime)).spelled())),
            ("<mtime-secs>", time(|mtime| mtime.seconds.to_string())),
            ("<mtime-nsecs>", time(|mtime| mtime.nanoseconds.to_string())),
        ];
        let format = self.format.clone();
        let mut text =
            tokens.iter().fold(format, |text, (token, value)| text.replace(token, value));
        text.push('\n');
        if self.with_locality.0 {
            let (local, all) = (self.size_local.0, self.cumulative_size);
            #[expect(clippy::cast_precision_loss, reason = "a percentage with two digits")]
            let percent = 100.0 * local as f64 / all as f64;
            let (local, all) = (humanize_bytes(local), humanize_bytes(all));
            text.push_str(&format!("Local: {local} of {all} ({percent:.2}%)\n"));
        }
        Some(Ok(text))
    }
}
