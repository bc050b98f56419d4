//! `cid-vectors.json`: what Kubo's `add` answered, without its HTTP.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::Value;

use crate::ipld::Block;
use crate::unixfs::chunk::{Chunk, Chunks};
use crate::unixfs::data::{Mtime, Stat};
use crate::unixfs::dir::{DirOptions, Entry, SizeEstimation};
use crate::unixfs::import::{FileBuilder, ImportOptions, leaf, symlink};
use crate::unixfs::settings::{EntryStat, Requested, Settings};
use crate::unixfs::tree::DirTree;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/compat-tests/golden/cid-vectors.json");

pub(super) fn content(kind: &str, size: usize) -> Bytes {
    match kind {
        "zero" => vec![0; size].into(),
        "sha256ctr" => {
            let mut out = Vec::with_capacity(size + 32);
            let mut counter = 0_u64;
            while out.len() < size {
                let digest = ring::digest::digest(&ring::digest::SHA256, &counter.to_be_bytes());
                out.extend_from_slice(digest.as_ref());
                counter += 1;
            }
            out.truncate(size);
            out.into()
        }
        other => panic!("unknown content {other}"),
    }
}

/// The DAG of a file, made in pieces of a size that is no chunk's.
pub(super) fn file(
    options: &ImportOptions,
    data: &Bytes,
    stat: Stat,
    blocks: &mut Vec<Block>,
) -> Result<Entry, String> {
    let text = |error: crate::unixfs::import::ImportError| error.to_string();
    let mut chunks = Chunks::new(&options.chunker);
    let mut builder = FileBuilder::new(*options);
    let mut last = None;
    let mut push = |chunk: Chunk, builder: &mut FileBuilder, blocks: &mut Vec<Block>| {
        let leaf = leaf(options, chunk).map_err(text)?;
        builder.push(leaf.subtree(), blocks).map_err(text)?;
        blocks.push(leaf.block.clone());
        last = Some(leaf.block);
        Ok::<(), String>(())
    };
    for piece in data.chunks(100_003) {
        chunks.push(data.slice_ref(piece)).map_err(|error| error.to_string())?;
        while let Some(chunk) = chunks.next_chunk().map_err(|error| error.to_string())? {
            push(chunk, &mut builder, blocks)?;
        }
    }
    if let Some(chunk) = chunks.finish() {
        push(chunk, &mut builder, blocks)?;
    }
    let root = builder.finish(stat, last.as_ref()).map_err(text)?;
    blocks.extend(root.blocks);
    Ok(Entry { cid: root.root.cid, dag_size: root.root.dag_size })
}

fn query(text: &str) -> HashMap<&str, &str> {
    text.split('&').filter_map(|pair| pair.split_once('=')).collect()
}

/// What the daemon makes of query and configuration, for the vectors' few.
fn requested(vector: &Value) -> Requested {
    let options = query(vector["query"].as_str().unwrap());
    let import = &vector["config"]["config"]["Import"];
    let int = |name: &str, key: &str| {
        let given = options.get(name).map(|text| text.parse().unwrap());
        given.or_else(|| import[key].as_i64())
    };
    let flag = |name: &str| options.get(name).map(|text| *text == "true");
    let octal = |text: &&str| u64::from_str_radix(text, 8).unwrap();
    let mut out = Requested {
        cid_version: int("cid-version", "CidVersion"),
        raw_leaves: flag("raw-leaves"),
        trickle: flag("trickle").unwrap_or(false),
        file_links_max: int("max-file-links", "UnixFSFileMaxLinks"),
        directory_links_max: int("max-directory-links", "UnixFSDirectoryMaxLinks"),
        fanout: int("max-hamt-fanout", "UnixFSHAMTDirectoryMaxFanout"),
        inline: flag("inline").unwrap_or(false),
        inline_limit: int("inline-limit", "none").unwrap_or(32),
        preserve_mode: flag("preserve-mode").unwrap_or(false),
        preserve_mtime: flag("preserve-mtime").unwrap_or(false),
        mode: options.get("mode").map_or(0, octal),
        mtime: int("mtime", "none").unwrap_or(0),
        mtime_nanoseconds: int("mtime-nsecs", "none").unwrap_or(0).cast_unsigned(),
        ..Requested::default()
    };
    out.chunker = options.get("chunker").map_or_else(String::new, |text| (*text).to_owned());
    if let Some(name) = options.get("hash") {
        out.hash = (*name).to_owned();
    }
    match import["UnixFSHAMTDirectorySizeEstimation"].as_str() {
        Some("block") => out.estimation = SizeEstimation::Block,
        Some("disabled") => out.estimation = SizeEstimation::Disabled,
        _ => {}
    }
    if import["UnixFSHAMTDirectorySizeThreshold"] == "1KiB" {
        out.threshold = 1024;
    }
    match vector["config"]["profiles"][0].as_str() {
        Some("unixfs-v1-2025") => {
            out.cid_version = out.cid_version.or(Some(1));
            out.raw_leaves = out.raw_leaves.or(Some(true));
            out.chunker = "size-1048576".to_owned();
            out.file_links_max = Some(1024);
            out.estimation = SizeEstimation::Block;
        }
        Some(_) => {
            out.cid_version = out.cid_version.or(Some(0));
            out.raw_leaves = out.raw_leaves.or(Some(false));
        }
        None => {}
    }
    out
}

struct Part {
    name: Bytes,
    kind: String,
    body: Bytes,
    stat: EntryStat,
}

fn parts(vector: &Value) -> Vec<Part> {
    let mut out = Vec::new();
    let body = |part: &Value| match part["body"].as_str() {
        Some(text) => Bytes::copy_from_slice(text.as_bytes()),
        None => content(
            part["gen"]["kind"].as_str().unwrap(),
            usize::try_from(part["gen"]["size"].as_u64().unwrap()).unwrap(),
        ),
    };
    for part in vector["parts"].as_array().unwrap() {
        if let Some(many) = part.get("many") {
            let pad = usize::try_from(many["pad"].as_u64().unwrap_or(0)).unwrap();
            for number in 0..many["count"].as_u64().unwrap() {
                let number = format!("{number:0pad$}");
                let name = many["filename"].as_str().unwrap().replace("{i}", &number);
                let kind = "application/octet-stream".to_owned();
                out.push(Part {
                    name: name.into(),
                    kind,
                    body: body(many),
                    stat: EntryStat::default(),
                });
            }
            continue;
        }
        let form = part["name"].as_str().unwrap();
        let kind = part["type"].as_str().unwrap().to_owned();
        let mut stat = form.split_once('?').map_or_else(EntryStat::default, |(_, text)| {
            let options = query(text);
            let number =
                |name: &str| options.get(name).map_or(0, |text| text.parse::<i64>().unwrap());
            let nanoseconds = u32::try_from(number("mtime-nsecs")).unwrap();
            let mode = options.get("mode").map_or(0, |text| u32::from_str_radix(text, 8).unwrap());
            EntryStat { mode, mtime: Some(Mtime { seconds: number("mtime"), nanoseconds }) }
        });
        if kind == "application/symlink" {
            stat.mode = 0x0800_0000 | 0o777;
        }
        let name = part["filename"].as_str().unwrap().replace('+', " ");
        let name: Vec<u8> = percent_encoding::percent_decode_str(&name).collect();
        out.push(Part { name: name.into(), kind, body: body(part), stat });
    }
    out
}

type Answer = Result<Entry, String>;

fn add_file(settings: &Settings, data: &Bytes, only_hash: bool) -> Answer {
    let stat = settings.stat(EntryStat::default());
    let mut blocks = Vec::new();
    let options = &settings.import;
    let wrong = |error: String| {
        let stored_leaf = options.raw_leaves && !only_hash;
        let unknown = error.starts_with("unknown multihash code");
        if stored_leaf && unknown { format!("invalid cid: {error}") } else { error }
    };
    let entry = file(options, data, stat, &mut blocks).map_err(wrong)?;
    // An unnamed file is put into a directory under its CID, and that directory is a block too.
    let mut tree = DirTree::new(settings.dir, settings.dir, Stat::default());
    tree.put(&entry.cid.to_string().into(), entry.clone()).unwrap();
    tree.finish().next_dir(&mut blocks).map_err(|error| error.to_string())?;
    Ok(entry)
}

fn add_parts(vector: &Value, settings: &Settings, only_hash: bool) -> Answer {
    let options = query(vector["query"].as_str().unwrap());
    let wrap = options.get("wrap-with-directory") == Some(&"true");
    let empty_dirs = options.get("empty-dirs") != Some(&"false");
    let config = &vector["config"]["config"]["Import"]["UnixFSHAMTDirectoryMaxFanout"];
    let unlimited = DirOptions {
        links_max: 0,
        fanout: config.as_u64().map_or(256, |fanout| u16::try_from(fanout).unwrap()),
        ..settings.dir
    };
    let parts = parts(vector);
    let top = &parts[0];
    let slash = top.name.iter().position(|byte| *byte == b'/');
    let is_dir = top.kind == "application/x-directory" || slash.is_some();
    let prefix = if wrap { 0 } else { slash.map_or(top.name.len(), |at| at) + 1 };
    let root_stat =
        if is_dir && !wrap && slash.is_none() { top.stat } else { EntryStat::default() };
    let root_stat = settings.stat(root_stat);
    let root_options = if only_hash && root_stat.is_empty() { unlimited } else { settings.dir };
    let mut tree = DirTree::new(root_options, settings.dir, root_stat);
    let mut blocks = Vec::new();
    let mut files = 0;
    for (at, part) in parts.iter().enumerate() {
        let path = part.name.slice(prefix.min(part.name.len())..);
        let stat = settings.stat(part.stat);
        // Directories on the way are entries too, without a mode of their own.
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let implied = settings.stat(EntryStat::default());
            tree.make_dir(&path.slice(..at), implied).map_err(|error| error.to_string())?;
        }
        let entry = match part.kind.as_str() {
            "application/x-directory" => {
                let inside =
                    |other: &Part| other.name.starts_with(&[&part.name[..], b"/"].concat());
                let needed = empty_dirs || parts.get(at + 1).is_some_and(inside);
                if needed && !path.is_empty() {
                    tree.make_dir(&path, stat).map_err(|error| error.to_string())?;
                }
                continue;
            }
            "application/symlink" => {
                let stat = Stat { mode: None, ..stat };
                let block = symlink(&settings.import.cid, part.body.clone(), stat).unwrap();
                Entry { dag_size: block.data.len() as u64, cid: block.cid }
            }
            _ => file(&settings.import, &part.body, stat, &mut blocks)?,
        };
        files += 1;
        if !is_dir && !wrap {
            return Ok(entry);
        }
        tree.put(&path, entry).map_err(|error| error.to_string())?;
    }
    let mut finishing = tree.finish();
    while !finishing.only_root_left() {
        finishing.next_dir(&mut blocks).map_err(|error| error.to_string())?;
    }
    if only_hash && !root_stat.is_empty() && files > 0 {
        let first = finishing.first_entry().unwrap();
        return Err(format!("ipld: could not find {}", first.cid));
    }
    finishing.next_dir(&mut blocks).map_err(|error| error.to_string())?;
    let root = finishing.root().cloned().unwrap();
    assert_eq!(finishing.into_dirs().last().unwrap().cid, root.cid);
    Ok(root)
}

fn answer(vector: &Value, contents: &mut HashMap<String, Bytes>, only_hash: bool) -> Answer {
    let settings = requested(vector).settings().map_err(|error| error.to_string())?;
    settings.chunker.clone().map_err(|error| error.to_string())?;
    if let Some(wanted) = vector.get("content") {
        let make = || {
            let size = usize::try_from(wanted["size"].as_u64().unwrap()).unwrap();
            content(wanted["kind"].as_str().unwrap(), size)
        };
        let data = contents.entry(wanted.to_string()).or_insert_with(make).clone();
        return add_file(&settings, &data, only_hash);
    }
    add_parts(vector, &settings, only_hash)
}

fn check(vector: &Value, expected: &Value, answer: Answer) -> Result<(), String> {
    let wanted = match expected["error"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => Ok((
            expected["cid"].as_str().unwrap().to_owned(),
            expected["dag_size"].as_u64().unwrap(),
        )),
    };
    let got = answer.map(|entry| (entry.cid.to_string(), entry.dag_size));
    if got == wanted {
        return Ok(());
    }
    let content = vector.get("content").or(vector.get("parts")).unwrap().to_string();
    let content = &content[..content.len().min(300)];
    Err(format!("{} {} {content}:\n  {got:?}\n  {wanted:?}", vector["group"], vector["query"]))
}

#[test]
fn every_vector_has_the_cid_that_kubo_gave() {
    let text = std::fs::read_to_string(PATH).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let vectors = document["vectors"].as_array().unwrap();
    let mut contents = HashMap::new();
    let mut failures = Vec::new();
    for vector in vectors {
        let stored = answer(vector, &mut contents, false);
        failures.extend(check(vector, vector, stored).err());
        // Where only-hash answers something else, the vector says what.
        if let Some(expected) = vector.get("only_hash") {
            let hashed = answer(vector, &mut contents, true);
            failures.extend(
                check(vector, expected, hashed).err().map(|text| format!("only-hash {text}")),
            );
        }
    }
    let count = failures.len();
    failures.truncate(20);
    assert!(failures.is_empty(), "{count} of {}:\n{}", vectors.len(), failures.join("\n"));
}
