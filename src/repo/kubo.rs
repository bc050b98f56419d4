//! What a Kubo has left in a repo: the description of its datastore, and whether it stored blocks.
//!
//! Reads only. A repo in which Kubo has written nothing but what its `init` writes is empty, and
//! may be used; its `blocks/` and `datastore/` stay as they are, beside our files.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use super::Error;
use crate::config::{Config, render_compact};

/// Files of the blocks that `ipfs init` writes by itself: the empty directory, and the
/// introduction that `init --empty-repo=false` and `daemon --init` add.
const INIT_BLOCKS: [&str; 9] = [
    "CIQB4655YD5GLBB7WWEUAHCO6QONU5ICBONAA5JEPBIOEIVZ5RXTIYY.data",
    "CIQBED3K6YA5I3QQWLJOCHWXDRK5EXZQILBCKAPEDUJENZ5B5HJ5R3A.data",
    "CIQBT4N7PS5IZ5IG2ZOUGKFK27IE33WKGJNDW2TY3LSBNQ34R6OVOOQ.data",
    "CIQBZNLCBI3U2I5F7O636DRBO552SCMSK2X2WYVCQ6BMYJN4MJTRI2Q.data",
    "CIQCODPXR5G237BYM7E5JF4A624CLH2TQDLC4QI6HEZK7FUWZQESTPI.data",
    "CIQFKVEG2CPWTPRG5KNRUAWMOABRSTYUFHFK3QF6KN3M67G5E3ILUCY.data",
    "CIQFTFEEHEDF6KLBT32BFAGLXEZL4UWFNWM4LFTLMXQBCERZ6CMLX3Y.data",
    "CIQJFGRQHQ45VCQLM7AJNF2GF5UHUAGGHC6LLAH6VYDEKLQMD4QLILY.data",
    "CIQPHMHGQLLZXC32FQQW2YVM4KGFORVFJAQYY55VK3WJGLZ2MS4RJNQ.data",
];

/// The part of a datastore spec that must not change once the repo is made, as Kubo writes it to
/// `datastore_spec`.
pub(super) fn disk_spec(spec: &Value) -> Result<String, Error> {
    let refuse = |text: &str| Error::Config(crate::config::Error(text.to_owned()));
    let mut spec = spec;
    // A wrapper has the identity of what it wraps.
    while let Some("measure" | "log") = spec.get("type").and_then(Value::as_str) {
        spec = spec.get("child").ok_or_else(|| refuse("'child' field is missing"))?;
    }
    let kind = match spec.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        Some(_) => return Err(refuse("'type' field is not a string")),
        None => return Err(refuse("'type' field is missing or not a string")),
    };
    let identity: &[&str] = match kind {
        "mount" => return mounts_spec(spec),
        "flatfs" => &["path", "shardFunc", "type"],
        "levelds" | "badgerds" | "pebbleds" => &["path", "type"],
        "mem" => &["type"],
        other => {
            return Err(refuse(&format!("unknown datastore type: {other}")));
        }
    };
    let field = |key: &&str| spec.get(*key).map(|value| ((*key).to_owned(), value.clone()));
    let fields: Map<String, Value> = identity.iter().filter_map(field).collect();
    Ok(render_compact(&Value::Object(fields)))
}

fn mounts_spec(spec: &Value) -> Result<String, Error> {
    let mounts = spec.get("mounts").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut parts: Vec<(String, Value)> = Vec::with_capacity(mounts.len());
    for mount in &mounts {
        let mountpoint = mount.get("mountpoint").and_then(Value::as_str).unwrap_or_default();
        if mount.get("type").and_then(Value::as_str) == Some("mount") {
            let text = "a mount inside a mount is not supported".to_owned();
            return Err(Error::Config(crate::config::Error(text)));
        }
        let inner: Value = serde_json::from_str(&disk_spec(mount)?).unwrap_or_default();
        let mut fields = inner.as_object().cloned().unwrap_or_default();
        fields.insert("mountpoint".to_owned(), mountpoint.into());
        fields.sort_keys();
        parts.push((mountpoint.to_owned(), Value::Object(fields)));
    }
    parts.sort_by(|(a, _), (b, _)| b.cmp(a));
    let parts: Vec<Value> = parts.into_iter().map(|(_, fields)| fields).collect();
    Ok(render_compact(&serde_json::json!({"mounts": parts, "type": "mount"})))
}

/// Refuses the repo in `dir` when Kubo has stored blocks in it.
pub(super) fn check_empty(dir: &Path, config: &Config) -> Result<(), Error> {
    let mut found = flatfs_block(&dir.join("blocks"));
    for child in children(config.value("Datastore.Spec")) {
        let path = child.get("path").and_then(Value::as_str).unwrap_or_default();
        if found.is_some() || path.is_empty() {
            continue;
        }
        let at = dir.join(path);
        found = match child.get("type").and_then(Value::as_str) {
            Some("flatfs") => flatfs_block(&at),
            // Their files cannot be looked into; there are none unless Kubo has opened them.
            Some("badgerds" | "pebbleds") => any_file(&at),
            _ => None,
        };
    }
    match found {
        Some(what) => Err(Error::HoldsKuboBlocks { path: dir.to_owned(), what }),
        None => Ok(()),
    }
}

/// The datastores in a spec, without mounts and wrappers.
fn children(spec: &Value) -> Vec<&Value> {
    let mut open = vec![spec];
    let mut found = Vec::new();
    while let Some(at) = open.pop() {
        if let Some(mounts) = at.get("mounts").and_then(Value::as_array) {
            open.extend(mounts);
        } else if let Some(child) = at.get("child") {
            open.push(child);
        } else {
            found.push(at);
        }
    }
    found
}

/// A block file of flatfs in `dir` that `ipfs init` did not write.
fn flatfs_block(dir: &Path) -> Option<String> {
    let shards = fs::read_dir(dir).ok()?;
    for shard in shards.flatten().filter(|entry| entry.path().is_dir()) {
        let Ok(files) = fs::read_dir(shard.path()) else { continue };
        for name in files.flatten().map(|file| file.file_name()) {
            let name = name.to_string_lossy();
            if name.ends_with(".data") && !INIT_BLOCKS.contains(&name.as_ref()) {
                let shard = shard.file_name();
                return Some(format!("for example blocks/{}/{name}", shard.to_string_lossy()));
            }
        }
    }
    None
}

fn any_file(dir: &Path) -> Option<String> {
    let first = fs::read_dir(dir).ok()?.flatten().next()?;
    Some(format!("in {}", first.path().display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_spec_is_written_as_kubo_does() {
        let config = Config::fresh("p", "k").unwrap();
        assert_eq!(
            disk_spec(config.value("Datastore.Spec")).unwrap(),
            "{\"mounts\":[{\"mountpoint\":\"/blocks\",\"path\":\"blocks\",\"shardFunc\":\
             \"/repo/flatfs/shard/v1/next-to-last/2\",\"type\":\"flatfs\"},{\"mountpoint\":\"/\",\
             \"path\":\"datastore\",\"type\":\"levelds\"}],\"type\":\"mount\"}"
        );
        let measured = config.with_profile("flatfs-measure").unwrap();
        assert_eq!(
            disk_spec(measured.value("Datastore.Spec")).unwrap(),
            disk_spec(config.value("Datastore.Spec")).unwrap()
        );
    }

    #[test]
    fn only_blocks_that_init_did_not_write_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let shard = dir.path().join("blocks/X3");
        fs::create_dir_all(&shard).unwrap();
        let empty_dir = "CIQFTFEEHEDF6KLBT32BFAGLXEZL4UWFNWM4LFTLMXQBCERZ6CMLX3Y.data";
        fs::write(shard.join(empty_dir), [10, 2, 8, 1]).unwrap();
        fs::write(dir.path().join("blocks/00000001.pack"), b"ours").unwrap();
        let config = Config::fresh("p", "k").unwrap();
        check_empty(dir.path(), &config).unwrap();
        fs::write(shard.join("CIQAAAA.data"), b"x").unwrap();
        let error = check_empty(dir.path(), &config).unwrap_err().to_string();
        assert!(error.contains("blocks/X3/CIQAAAA.data"), "{error}");
        assert!(error.contains("ipfs dag export"), "{error}");
    }
}
