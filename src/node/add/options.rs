//! The options of `add`, merged with the configuration.

use crate::config::{Config, Import};
use crate::node::pinset::PinOptions;
use crate::node::{Error, Node};
use crate::unixfs::dir::{FANOUT_DEFAULT, SHARD_THRESHOLD_DEFAULT, SizeEstimation};
use crate::unixfs::settings::{Requested, Settings};

/// The longest name of a pin.
const PIN_NAME_BYTES_MAX: usize = 255;

/// What a call of `add` asks for.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command")]
pub struct Options {
    /// What the blocks depend on, before the configuration is asked: empty texts and `None` are
    /// "not said".
    pub requested: Requested,
    /// Trickle layout, or balanced, when said.
    pub trickle: Option<bool>,
    /// Pin the roots.
    pub pin: bool,
    /// Under this name, when said.
    pub pin_name: Option<String>,
    /// Link the roots into the mutable file system, at or in this path.
    pub to_files: Option<String>,
    /// Compute only.
    pub only_hash: bool,
    /// One directory around everything.
    pub wrap: bool,
    /// Report files while they are read.
    pub progress: bool,
    /// Do not report files.
    pub silent: bool,
    /// Keep empty directories.
    pub empty_dirs: bool,
    /// What the group is told of the pins.
    pub group: PinOptions,
    /// Members that are to hold the pins before the end; 0 and 1: this node alone.
    pub wait: u64,
}

impl Options {
    /// These options, with the configuration for what they do not say.
    #[must_use]
    pub fn with_config(mut self, config: &Config) -> Self {
        let import: Import = config.import();
        let requested = &mut self.requested;
        requested.cid_version = requested.cid_version.or(import.cid_version);
        requested.raw_leaves = requested.raw_leaves.or(import.raw_leaves);
        requested.file_links_max = requested.file_links_max.or(import.file_links_max);
        requested.directory_links_max =
            requested.directory_links_max.or(import.directory_links_max);
        requested.fanout = requested.fanout.or(import.hamt_fanout);
        if requested.chunker.is_empty() {
            requested.chunker = import.chunker.unwrap_or_default();
        }
        if requested.hash.is_empty() {
            requested.hash = import.hash_function.unwrap_or_else(|| "sha2-256".to_owned());
        }
        requested.threshold = import.hamt_threshold.unwrap_or(SHARD_THRESHOLD_DEFAULT);
        requested.estimation = match import.hamt_estimation.as_deref() {
            Some("block") => SizeEstimation::Block,
            Some("disabled") => SizeEstimation::Disabled,
            _ => SizeEstimation::Links,
        };
        let from_config = import.layout.as_deref() == Some("trickle");
        requested.trickle = self.trickle.unwrap_or(from_config);
        self
    }

    /// Checks what the options say against each other, in the order in which Kubo does.
    ///
    /// # Errors
    /// When they exclude each other.
    pub fn check(&self) -> Result<(), Error> {
        let requested = &self.requested;
        requested.check_inline().map_err(Error::failed)?;
        let name_len = self.pin_name.as_ref().map_or(0, String::len);
        if name_len > PIN_NAME_BYTES_MAX {
            let text = format!("pin name is {name_len} bytes (max {PIN_NAME_BYTES_MAX} bytes)");
            return Err(Error::failed(text));
        }
        requested.check_metadata().map_err(Error::failed)?;
        let text = if self.only_hash && self.to_files.is_some() {
            "only-hash and to-files options are not compatible"
        } else if self.pin_name.is_some() && (!self.pin || self.only_hash) {
            "pin-name option requires pin to be set"
        } else if self.wrap && self.to_files.is_some() {
            "wrap-with-directory and to-files options are not compatible"
        } else {
            return requested.hash_code().map(|_| ()).map_err(Error::failed);
        };
        Err(Error::failed(text))
    }

    /// Checks the time, which Kubo does after all else.
    ///
    /// # Errors
    /// When there are nanoseconds of no time.
    pub fn check_mtime(&self) -> Result<(), Error> {
        self.requested.check_mtime().map_err(Error::failed)
    }

    /// What the blocks depend on.
    pub(super) fn settings(&self, node: &Node) -> Result<Settings, Error> {
        let settings = self.requested.settings().map_err(Error::failed)?;
        let config = node.repo().config();
        let enabled = |key: &str| config.flag(&format!("Experimental.{key}")).unwrap_or(false);
        let stores = enabled("FilestoreEnabled") || enabled("UrlstoreEnabled");
        if self.requested.no_copy && !stores {
            return Err(Error::failed(
                "either the filestore or the urlstore must be enabled to use nocopy, see: \
                 https://github.com/ipfs/kubo/blob/master/docs/experimental-features.md\
                 #ipfs-filestore",
            ));
        }
        Ok(settings)
    }

    /// Refuses to store a reference instead of a file.
    pub(super) fn check_references(&self, has_disk_path: bool) -> Result<(), Error> {
        if !self.requested.no_copy {
            return Ok(());
        }
        if !has_disk_path {
            let text = "missing file path or URL, can't create filestore reference";
            return Err(Error::failed(text));
        }
        Err(Error::failed("the filestore is not available yet in pinmesh"))
    }
}

impl Node {
    /// Slots of a HAMT node where the options of one command do not reach.
    pub(super) fn import_fanout(&self) -> u16 {
        let configured = self.repo().config().import().hamt_fanout;
        configured.and_then(|fanout| u16::try_from(fanout).ok()).unwrap_or(FANOUT_DEFAULT)
    }
}
