//! `keystore/`: named private keys, each in a file that is named and written as Kubo does.
//!
//! Responsible for: the names, and that no key is lost or replaced unawares. Not for the node's
//! own key, which the config holds. A file appears whole or not at all, and a rename replaces in
//! one step: a crash leaves the keys before or after.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use super::key::{Key, KeyError};
use crate::ipld::base::{self, Base};

/// What the name of every key file begins with.
const PREFIX: &str = "key_";
/// Nobody but the owner reads a key, and nobody writes it.
const MODE: u32 = 0o400;

/// Why a key cannot be had or kept. The texts are those of boxo's keystore.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// There is no key of this name.
    #[error("no key by the given name was found")]
    NotFound,
    /// There is one already.
    #[error("key by that name already exists, refusing to overwrite")]
    Exists,
    /// No name.
    #[error("key name must be at least one character")]
    NoName,
    /// A file that holds no key.
    #[error("cannot deserialize private key file {path:?}: {source}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why it holds none.
        source: KeyError,
    },
    /// The system refused something.
    #[error("cannot {action} keystore file {path:?}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// The keys of a repo.
#[derive(Debug, Clone)]
pub struct Keystore {
    dir: PathBuf,
}

impl Keystore {
    /// The keys in the repo at `repo`.
    pub(super) fn of_repo(repo: &std::path::Path) -> Self {
        Self { dir: repo.join("keystore") }
    }

    /// The key of this name.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn get(&self, name: &str) -> Result<Key, KeystoreError> {
        let path = self.file(name)?;
        match fs::read(&path) {
            Ok(bytes) => {
                Key::decode(&bytes).map_err(|source| KeystoreError::Damaged { path, source })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Err(KeystoreError::NotFound),
            Err(source) => Err(KeystoreError::Io { action: "read", path, source }),
        }
    }

    /// Whether there is a key of this name.
    ///
    /// # Errors
    /// When it is no name.
    pub fn has(&self, name: &str) -> Result<bool, KeystoreError> {
        Ok(self.file(name)?.exists())
    }

    /// Keeps a key under a name that no other has; it is durable when this returns.
    ///
    /// # Errors
    /// [`KeystoreError::Exists`], or when the file cannot be written.
    pub fn put(&self, name: &str, key: &Key) -> Result<(), KeystoreError> {
        let path = self.file(name)?;
        let io = |action| {
            let path = path.clone();
            move |source| KeystoreError::Io { action, path, source }
        };
        fs::create_dir_all(&self.dir).map_err(io("create"))?;
        // Beside the directory: in it, Kubo would complain about a name that is none.
        let beside = self.dir.parent().unwrap_or(&self.dir);
        let mut file = tempfile::Builder::new()
            .prefix(".pinmesh-key-")
            .make_in(beside, |temp| {
                fs::OpenOptions::new().write(true).create_new(true).mode(MODE).open(temp)
            })
            .map_err(io("create"))?;
        file.as_file_mut().write_all(key.encoded()).map_err(io("write"))?;
        file.as_file().sync_all().map_err(io("sync"))?;
        match file.persist_noclobber(&path) {
            Ok(_) => self.sync(),
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {
                Err(KeystoreError::Exists)
            }
            Err(error) => Err(io("create")(error.error)),
        }
    }

    /// Gives a key another name; with `force`, one that another key has, which is then gone.
    ///
    /// # Errors
    /// When there is no such key, or one of the new name and no `force`.
    pub fn rename(&self, old: &str, new: &str, force: bool) -> Result<(), KeystoreError> {
        let (from, to) = (self.file(old)?, self.file(new)?);
        let done = if force {
            fs::rename(&from, &to)
        } else {
            fs::hard_link(&from, &to).and_then(|()| fs::remove_file(&from))
        };
        done.map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => KeystoreError::Exists,
            ErrorKind::NotFound => KeystoreError::NotFound,
            _ => KeystoreError::Io { action: "rename", path: from, source },
        })?;
        self.sync()
    }

    /// Removes a key for good.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn remove(&self, name: &str) -> Result<(), KeystoreError> {
        let path = self.file(name)?;
        match fs::remove_file(&path) {
            Ok(()) => self.sync(),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(KeystoreError::NotFound),
            Err(source) => Err(KeystoreError::Io { action: "remove", path, source }),
        }
    }

    /// The names of the keys, sorted. Files that are none are passed over.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn names(&self) -> Result<Vec<String>, KeystoreError> {
        let io = |source| {
            let path = self.dir.clone();
            KeystoreError::Io { action: "list", path, source }
        };
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let file = entry.map_err(io)?.file_name();
            match file.to_str().and_then(name_of) {
                Some(name) => names.push(name),
                None => tracing::error!(?file, "ignoring a key file whose name is not encoded"),
            }
        }
        names.sort();
        Ok(names)
    }

    fn file(&self, name: &str) -> Result<PathBuf, KeystoreError> {
        if name.is_empty() {
            return Err(KeystoreError::NoName);
        }
        let encoded = base::encode(Base::Base32Lower, name.as_bytes());
        // Without the character that names the base.
        let encoded = String::from_utf8_lossy(encoded.get(1..).unwrap_or_default()).into_owned();
        Ok(self.dir.join(format!("{PREFIX}{encoded}")))
    }

    fn sync(&self) -> Result<(), KeystoreError> {
        let done = fs::File::open(&self.dir).and_then(|dir| dir.sync_all());
        let path = self.dir.clone();
        done.map_err(|source| KeystoreError::Io { action: "sync", path, source })
    }
}

/// The name of the key in a file of this name.
fn name_of(file: &str) -> Option<String> {
    let encoded = file.strip_prefix(PREFIX)?.to_ascii_lowercase();
    let (_, name) = base::decode(format!("b{encoded}").as_bytes()).ok()?;
    String::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn keystore() -> (tempfile::TempDir, Keystore) {
        let dir = tempfile::tempdir().unwrap();
        let keystore = Keystore::of_repo(dir.path());
        (dir, keystore)
    }

    #[test]
    fn keys_are_files_that_kubo_knows() {
        let (dir, keystore) = keystore();
        let key = Key::generate("ed25519", None).unwrap();
        keystore.put("with space", &key).unwrap();
        let written = fs::read_dir(dir.path().join("keystore")).unwrap().next().unwrap().unwrap();
        assert_eq!(written.file_name(), "key_o5uxi2baonygcy3f");
        assert_eq!(fs::read(written.path()).unwrap(), key.encoded());
        assert_eq!(written.metadata().unwrap().permissions().mode() & 0o777, MODE);
    }

    #[test]
    fn names_are_any_text_and_come_sorted() {
        let (dir, keystore) = keystore();
        assert!(keystore.names().unwrap().is_empty());
        let key = Key::generate("secp256k1", None).unwrap();
        for name in ["é", "a/b", ".", "x"] {
            keystore.put(name, &key).unwrap();
            assert_eq!(keystore.get(name).unwrap().peer_id(), key.peer_id());
        }
        fs::write(dir.path().join("keystore/other"), b"").unwrap();
        fs::write(dir.path().join("keystore/key_!"), b"").unwrap();
        assert_eq!(keystore.names().unwrap(), [".", "a/b", "x", "é"]);
        assert!(matches!(keystore.put("", &key), Err(KeystoreError::NoName)));
        assert!(matches!(keystore.get("none"), Err(KeystoreError::NotFound)));
    }

    #[test]
    fn no_key_is_replaced_unawares() {
        let (_dir, keystore) = keystore();
        let [a, b] = [(); 2].map(|()| Key::generate("ed25519", None).unwrap());
        keystore.put("a", &a).unwrap();
        keystore.put("b", &b).unwrap();
        assert!(matches!(keystore.put("a", &b), Err(KeystoreError::Exists)));
        assert!(matches!(keystore.rename("a", "b", false), Err(KeystoreError::Exists)));
        assert_eq!(keystore.get("b").unwrap().peer_id(), b.peer_id());
        keystore.rename("a", "b", true).unwrap();
        assert_eq!(keystore.get("b").unwrap().peer_id(), a.peer_id());
        assert!(!keystore.has("a").unwrap());
        keystore.rename("b", "c", false).unwrap();
        assert_eq!(keystore.names().unwrap(), ["c"]);
        keystore.remove("c").unwrap();
        assert!(matches!(keystore.remove("c"), Err(KeystoreError::NotFound)));
    }
}
