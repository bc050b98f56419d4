//! `$IPFS_PATH`: its layout, lock, version, config file, identity, and the files that tell clients
//! where the node listens.
//!
//! Not responsible for blocks (`store`) or state (`db`), which live in the same directory. A
//! [`Repo`] owns the lock and the only copy of the config that may be written. Files are replaced
//! by renaming: a crash leaves the old or the new one. A crash may leave `api`, `gateway` and
//! `repo.lock` behind; the next start replaces them.

mod error;
mod identity;
mod key;
mod keystore;
mod kubo;
mod lock;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::config::{self, Config};
pub use error::Error;
pub use identity::{Identity, inlined_public_key};
pub use key::{Key, KeyError, RSA_BITS_DEFAULT};
pub use keystore::{Keystore, KeystoreError};
use lock::Lock;

/// The file with the swarm key.
const SWARM_KEY: &str = "swarm.key";

/// The version of the repo's layout: that of Kubo 0.38 and later.
pub const VERSION: u32 = 18;

/// An open repo. A clone is a handle to the same repo; the last one dropped closes it.
#[derive(Debug, Clone)]
pub struct Repo(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    config_path: PathBuf,
    /// A std mutex: it is held for the time of one small file write and never across an await.
    config: Mutex<Arc<Config>>,
    lock: Lock,
}

/// Where the repo is unless it is told otherwise: `$IPFS_PATH`, or `~/.ipfs`.
#[must_use]
pub fn default_path() -> PathBuf {
    match std::env::var_os("IPFS_PATH").filter(|path| !path.is_empty()) {
        Some(path) => expand_home(PathBuf::from(path)),
        None => expand_home(PathBuf::from("~/.ipfs")),
    }
}

/// `path` with the home directory for a `~` at its beginning.
#[must_use]
pub fn expand_home(path: PathBuf) -> PathBuf {
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path,
    }
}

/// Whether there is a repo in `path`.
#[must_use]
pub fn is_initialized(path: &Path) -> bool {
    path.join("config").exists()
}

/// The named keys of the repo in `path`, which need not be open: reading one takes no lock.
///
/// # Errors
/// When there is no repo, or it is of another version.
pub fn keystore(path: &Path) -> Result<Keystore, Error> {
    if !is_initialized(path) {
        return Err(Error::NotInitialized { path: path.to_owned() });
    }
    check_version(path)?;
    Ok(Keystore::of_repo(path))
}

/// Makes sure that files can be written in `path`, making the directory when it is missing.
///
/// # Errors
/// With Kubo's texts.
pub fn check_writable(path: &Path) -> Result<(), Error> {
    if !path.exists() {
        // One level only, as Kubo.
        return fs::DirBuilder::new().mode(0o775).create(path).map_err(|error| {
            Error::Unwritable(format!("mkdir {}: {}", path.display(), why(&error)))
        });
    }
    tempfile::Builder::new().prefix("test").tempfile_in(path).map(drop).map_err(|error| {
        let text = match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                format!("{} is not writeable by the current user", path.display())
            }
            _ => format!("unexpected error while checking writeablility of repo root: {error}"),
        };
        Error::Unwritable(text)
    })
}

/// The operating system's words in Go's form: lower case, without the number.
fn why(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_lowercase()
}

/// Makes a repo in `path`, which must be writable.
///
/// # Errors
/// When there is one, or a file cannot be written.
pub fn init(path: &Path, config: &Config) -> Result<(), Error> {
    if is_initialized(path) {
        return Err(Error::Exists);
    }
    let spec = kubo::disk_spec(config.value("Datastore.Spec"))?;
    let keystore = path.join("keystore");
    fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(&keystore)
        .map_err(Error::io("mkdir", &keystore))?;
    let spec_path = path.join("datastore_spec");
    if !spec_path.exists() {
        write_file(&spec_path, spec.as_bytes(), 0o600)?;
    }
    write_file(&path.join("version"), format!("{VERSION}\n").as_bytes(), 0o644)?;
    // Last: a repo without it counts as not made.
    write_file(&path.join("config"), config.to_file_text().as_bytes(), 0o600)
}

/// The content of `swarm.key` in the repo at `path`, when there is one.
///
/// # Errors
/// When it is there and cannot be read.
pub fn read_swarm_key(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    read_if_there(&path.join(SWARM_KEY))
}

fn read_if_there(file: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(file) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("open", file)(error)),
    }
}

/// Makes `swarm.key` in the repo at `path`, readable for its owner only, or replaces it. When this
/// returns, the file survives a power cut.
///
/// # Errors
/// When it cannot be written.
pub fn write_swarm_key(path: &Path, text: &str) -> Result<(), Error> {
    write_durably(path, SWARM_KEY, text.as_bytes(), 0o400)
}

/// As [`write_file`], in the directory `dir`; the name survives a power cut, too.
fn write_durably(dir: &Path, name: &str, content: &[u8], mode: u32) -> Result<(), Error> {
    write_file(&dir.join(name), content, mode)?;
    let opened = fs::File::open(dir).map_err(Error::io("open", dir))?;
    opened.sync_all().map_err(Error::io("sync", dir))
}

/// Replaces the file at `path`; a crash leaves the old one or the new one.
fn write_file(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let file = tempfile::Builder::new()
        .prefix(".pinmesh-")
        .make_in(dir, |temp| {
            fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(temp)
        })
        .map_err(Error::io("create", path))?;
    file.as_file().write_all(content).map_err(Error::io("write", path))?;
    file.as_file().sync_all().map_err(Error::io("sync", path))?;
    file.persist(path).map_err(|error| Error::io("rename", path)(error.error))?;
    Ok(())
}

impl Repo {
    /// Opens the repo in `path`, with the config file `config_file` instead of its own when given.
    ///
    /// # Errors
    /// When there is none, somebody has it open, its version is another, its config is bad, or
    /// Kubo has stored blocks in it.
    pub fn open(path: &Path, config_file: Option<&Path>) -> Result<Self, Error> {
        let path = expand_home(path.to_owned());
        if !is_initialized(&path) {
            return Err(Error::NotInitialized { path });
        }
        let lock = Lock::take(&path)?;
        check_version(&path)?;
        check_writable(&path)?;
        let config_path = config_path(&path, config_file);
        let config = Config::decode(&read_config(&config_path)?)?;
        check_spec(&path, &config)?;
        kubo::check_empty(&path, &config)?;
        let config = Mutex::new(Arc::new(config));
        Ok(Self(Arc::new(Inner { path, config_path, config, lock })))
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The config in force.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.0.config.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The config file as it is on disk, unknown keys included.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn config_file(&self) -> Result<Value, Error> {
        read_config(&self.0.config_path)
    }

    /// The JSON of the config file `name`, which may be a path; a bare name is one in the repo.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn config_file_named(&self, name: &str) -> Result<Value, Error> {
        let path = config_path(&self.0.path, Some(Path::new(name)));
        match fs::read_to_string(&path) {
            Ok(text) => Ok(config::parse_json(&text).map_err(config::Error)?),
            Err(error) => {
                let text = format!("open {}: {}", path.display(), why(&error));
                Err(Error::Unwritable(text))
            }
        }
    }

    /// Puts `config` in force for this process; the file stays as it is.
    pub fn override_config(&self, config: Config) {
        *self.0.config.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    /// Puts `config` in force and into the file, whose other keys stay.
    ///
    /// # Errors
    /// When the file cannot be written; nothing has changed then.
    pub fn set_config(&self, config: Config) -> Result<(), Error> {
        let mut current = self.0.config.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = config::merge(&read_config(&self.0.config_path)?, config.as_json());
        file.sort_all_objects();
        self.write_config(&file)?;
        *current = Arc::new(config);
        Ok(())
    }

    /// Sets one key of the config file, and puts the result in force.
    ///
    /// # Errors
    /// With Kubo's texts, when the key or the value does not fit; nothing has changed then.
    pub fn set_config_key(&self, key: &str, value: Value) -> Result<(), Error> {
        let mut current = self.0.config.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, config) = config::set_key(&read_config(&self.0.config_path)?, key, value)?;
        self.write_config(&file)?;
        *current = Arc::new(config);
        Ok(())
    }

    /// Replaces the value of one key by what `change` makes of it, in the file and in force; two
    /// changes do not miss each other.
    ///
    /// # Errors
    /// Those of `change`, and when the file cannot be written; nothing has changed then.
    pub fn change_config_key<E: From<Error>>(
        &self,
        key: &str,
        change: impl FnOnce(&Value) -> Result<Value, E>,
    ) -> Result<(), E> {
        let mut current = self.0.config.lock().unwrap_or_else(PoisonError::into_inner);
        let value = change(current.value(key))?;
        let file = read_config(&self.0.config_path)?;
        let (file, config) = config::set_key(&file, key, value).map_err(Error::Config)?;
        self.write_config(&file)?;
        *current = Arc::new(config);
        Ok(())
    }

    /// Copies the config file to `config-<prefix><random>`.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn backup_config(&self, prefix: &str) -> Result<(), Error> {
        let text = fs::read(&self.0.config_path).map_err(Error::io("open", &self.0.config_path))?;
        let mut backup = tempfile::Builder::new()
            .prefix(&format!("config-{prefix}"))
            .tempfile_in(&self.0.path)
            .map_err(Error::io("create a backup in", &self.0.path))?;
        backup.write_all(&text).map_err(Error::io("write a backup in", &self.0.path))?;
        backup.keep().map_err(|error| Error::io("keep a backup in", &self.0.path)(error.error))?;
        Ok(())
    }

    fn write_config(&self, file: &Value) -> Result<(), Error> {
        let text = config::render_pretty(file, "  ");
        write_file(&self.0.config_path, text.as_bytes(), 0o600)
    }

    /// The node's key pair.
    ///
    /// # Errors
    /// When the config has none.
    pub fn identity(&self) -> Result<Identity, Error> {
        Identity::from_config(&self.config())
    }

    /// The named keys.
    #[must_use]
    pub fn keystore(&self) -> Keystore {
        Keystore::of_repo(&self.0.path)
    }

    /// The content of `swarm.key`, when there is one.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn swarm_key(&self) -> Result<Option<Vec<u8>>, Error> {
        read_swarm_key(&self.0.path)
    }

    /// The content of a file of this program that Kubo does not have, when it is there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_own_file(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        read_if_there(&self.0.path.join(name))
    }

    /// Makes or replaces such a file, readable for its owner only. When this returns, it survives
    /// a power cut.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_own_file(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        write_durably(&self.0.path, name, content, 0o600)
    }

    /// Tells clients where the RPC listens: writes the multiaddr to `api`, without newline.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_api_file(&self, multiaddr: &str) -> Result<(), Error> {
        write_file(&self.0.path.join("api"), multiaddr.as_bytes(), 0o644)
    }

    /// Removes what tells clients where the node listens.
    pub fn remove_address_files(&self) {
        self.0.remove_address_files();
    }
}

impl Inner {
    fn remove_address_files(&self) {
        for name in ["api", "gateway"] {
            match fs::remove_file(self.path.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!("error removing {name} file: {error}");
                }
                _ => {}
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // While the lock is still held.
        self.remove_address_files();
        let _ = &self.lock;
    }
}

fn config_path(repo: &Path, file: Option<&Path>) -> PathBuf {
    match file {
        None => repo.join("config"),
        // A bare name is one in the repo, anything with a directory a path of its own.
        Some(file) if file.parent() == Some(Path::new("")) => repo.join(file),
        Some(file) => file.to_owned(),
    }
}

/// Reads a config file without deciding what its keys mean.
///
/// # Errors
/// When there is none, or it is no JSON.
pub fn read_config(path: &Path) -> Result<Value, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(config::parse_file(&text)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = "ipfs not initialized, please run 'ipfs init'";
            Err(Error::Config(config::Error(text.to_owned())))
        }
        Err(error) => Err(Error::io("open", path)(error)),
    }
}

fn check_version(repo: &Path) -> Result<(), Error> {
    let path = repo.join("version");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Error::NoVersion),
        Err(error) => return Err(Error::io("open", &path)(error)),
    };
    let found: u32 = text.trim().parse().map_err(|_| {
        Error::Unwritable(format!("invalid data in repo version file {}", path.display()))
    })?;
    match found {
        VERSION => Ok(()),
        0..VERSION => Err(Error::TooOld { found, wanted: VERSION }),
        _ => Err(Error::TooNew { found, wanted: VERSION }),
    }
}

fn check_spec(repo: &Path, config: &Config) -> Result<(), Error> {
    let refuse = |text: &str| Err(Error::Config(config::Error(text.to_owned())));
    let set = |key: &str| config.text(key).is_some_and(|text| !text.is_empty());
    if set("Datastore.Type") || set("Datastore.Path") {
        return refuse("old style datatstore config detected");
    }
    let spec = config.value("Datastore.Spec");
    if spec.is_null() {
        return refuse("required Datastore.Spec entry missing from config file");
    }
    let configured = kubo::disk_spec(spec)?;
    let path = repo.join("datastore_spec");
    let on_disk = fs::read_to_string(&path).map_err(Error::io("open", &path))?;
    let on_disk = on_disk.trim().to_owned();
    if on_disk == configured { Ok(()) } else { Err(Error::SpecMismatch { on_disk, configured }) }
}

#[cfg(test)]
mod tests;
