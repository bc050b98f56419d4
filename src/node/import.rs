//! Importing CARs: every block is checked against its CID and its codec, then stored.
//!
//! Blocks are checked on the blocking pool, in groups, as many groups at a time as there are
//! cores, and stored in the order of the file. Memory is bounded by those groups and the store's
//! queue. Until the import ends everything it has stored is protected from the collector; a crash
//! leaves blocks that no pin keeps.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use indexmap::IndexSet;

use super::block::{SOFT_BYTES_MAX, TOO_BIG};
use super::pinset::Change;
use super::{Error, Node};
use crate::car::{self, Reader, Section, Step};
use crate::ipld::{Block, Cid, DecodeError, links};
use crate::store::Session;

/// Bytes of blocks that are checked together.
const GROUP_BYTES: usize = 2 << 20;
/// Blocks that are checked together.
const GROUP_BLOCKS: usize = 1024;
/// Groups that are checked at a time, and wait to be stored.
const GROUPS_MAX: usize = 4;

/// Why an import failed, as Kubo tells it.
#[derive(Debug, Clone, thiserror::Error)]
enum ImportError {
    #[error("import failed at block \"{0}\": {1}")]
    At(Cid, String),
    #[error("import failed after block \"{0}\": {1}")]
    After(Cid, String),
    #[error("import failed: {0}")]
    First(String),
}

/// A group of blocks that has been checked: those that are right, and the first that is not.
#[derive(Debug)]
struct Checked {
    blocks: Vec<Block>,
    failed: Option<Failure>,
}

/// What is wrong with a block.
#[derive(Debug)]
enum Failure {
    /// It is not what its CID names: it is none.
    NoBlock(String),
    /// It may not be stored, or cannot be decoded.
    Refused(Cid, String),
}

type Group = tokio::task::JoinHandle<Checked>;

/// An import of any number of CARs.
#[derive(Debug)]
pub struct Import {
    node: Node,
    session: Arc<Session>,
    allow_big: bool,
    roots: IndexSet<Cid>,
    reader: Reader,
    /// Whether the header of the current CAR has been read.
    has_header: bool,
    sections: Vec<Section>,
    sections_bytes: usize,
    groups: VecDeque<Group>,
    /// The last block of the file that was right.
    previous: Option<Cid>,
    blocks: u64,
    bytes: u64,
}

/// What became of a CAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File {
    /// All of it is in.
    Imported,
    /// It ends before its header. Kubo takes that for the end of the whole import.
    Empty,
}

impl Node {
    /// Begins an import; blocks over 2 MiB are refused unless `allow_big`.
    #[must_use]
    pub fn import(&self, allow_big: bool) -> Import {
        Import {
            node: self.clone(),
            session: Arc::new(self.store().session()),
            allow_big,
            roots: IndexSet::new(),
            reader: Reader::new(),
            has_header: false,
            sections: Vec::new(),
            sections_bytes: 0,
            groups: VecDeque::new(),
            previous: None,
            blocks: 0,
            bytes: 0,
        }
    }
}

impl Node {
    /// Announces imported roots at once, as `fast-provide-wait` asks for, and waits until that is
    /// done. Nothing happens on a node that announces nothing.
    ///
    /// # Errors
    /// When nobody could be told: without peers, always.
    pub fn provide_roots(&self, are_pinned: bool) -> Result<(), Error> {
        let config = self.repo().config();
        let has_dht = !matches!(config.text("Routing.Type"), Some("none" | "delegated"));
        let strategy = config.text("Provide.Strategy").unwrap_or("all");
        let is_provided = match strategy {
            "mfs" => false,
            "pinned" | "roots" | "pinned+mfs" => are_pinned,
            _ => true,
        };
        let is_enabled = config.flag("Provide.Enabled").unwrap_or(true);
        if !self.is_online() || !has_dht || !is_enabled || !is_provided {
            return Ok(());
        }
        Err(Error::failed("failed to find any peer in table"))
    }
}

impl Import {
    /// Takes the next bytes of the current CAR.
    ///
    /// # Errors
    /// When they are not what a CAR has there, a block is wrong, or the store fails.
    pub async fn push(&mut self, bytes: Bytes) -> Result<File, Error> {
        self.reader.push(bytes);
        self.read().await
    }

    /// Ends the current CAR; the next bytes begin another.
    ///
    /// # Errors
    /// As [`Import::push`].
    pub async fn end_file(&mut self) -> Result<File, Error> {
        self.reader.finish();
        let end = self.read().await?;
        self.reader = Reader::new();
        self.has_header = false;
        self.check_group();
        while !self.groups.is_empty() {
            self.store_group().await?;
        }
        self.previous = None;
        Ok(end)
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn commit(&mut self) -> Result<(), Error> {
        Ok(self.session.flush().await?)
    }

    /// The roots that the CARs name, each once.
    pub fn roots(&self) -> impl Iterator<Item = &Cid> {
        self.roots.iter()
    }

    /// How many blocks there were, and their bytes.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.blocks, self.bytes)
    }

    /// Pins a root recursively. What is below it and not here is waited for when this node is on
    /// a network.
    ///
    /// # Errors
    /// When the root is not here, or what is below is not to be had or read.
    pub async fn pin_root(&self, root: &Cid) -> Result<(), Error> {
        let Some(block) = self.node.store().get(root)? else {
            return Err(Error::NotFound(root.clone()));
        };
        links(root.codec(), &block)?;
        self.node.protect_dag(root, &self.session, None).await?;
        self.session.flush().await?;
        self.node.pinset().change(vec![Change::recursive(root.clone(), String::new())]).await?;
        self.node.announce_root(root);
        Ok(())
    }

    async fn read(&mut self) -> Result<File, Error> {
        loop {
            match self.reader.step() {
                Ok(Step::Header { roots, .. }) => {
                    self.has_header = true;
                    self.roots.extend(roots);
                }
                Ok(Step::Section(section)) => self.add(section).await?,
                Ok(Step::NeedsInput | Step::End) => return Ok(File::Imported),
                Err(error) => return self.broken(error).await,
            }
        }
    }

    /// What a CAR that cannot be read on comes to.
    async fn broken(&mut self, error: car::Error) -> Result<File, Error> {
        match error {
            _ if self.has_header => {}
            car::Error::Eof => return Ok(File::Empty),
            error => return Err(Error::failed(error)),
        }
        // Blocks before it that are wrong are the first error.
        self.check_group();
        while !self.groups.is_empty() {
            self.store_group().await?;
        }
        Err(self.after(error.to_string()))
    }

    fn after(&self, text: String) -> Error {
        Error::failed(match &self.previous {
            Some(cid) => ImportError::After(cid.clone(), text),
            None => ImportError::First(text),
        })
    }

    async fn add(&mut self, section: Section) -> Result<(), Error> {
        self.sections_bytes += section.data.len();
        self.sections.push(section);
        if self.sections_bytes < GROUP_BYTES && self.sections.len() < GROUP_BLOCKS {
            return Ok(());
        }
        self.check_group();
        while self.groups.len() >= GROUPS_MAX {
            self.store_group().await?;
        }
        Ok(())
    }

    /// Begins to check the blocks read so far.
    fn check_group(&mut self) {
        let sections = std::mem::take(&mut self.sections);
        self.sections_bytes = 0;
        if sections.is_empty() {
            return;
        }
        let allow_big = self.allow_big;
        self.groups.push_back(tokio::task::spawn_blocking(move || check(sections, allow_big)));
    }

    /// Stores the oldest group.
    async fn store_group(&mut self) -> Result<(), Error> {
        let Some(group) = self.groups.pop_front() else { return Ok(()) };
        let Checked { blocks, failed } = group.await.map_err(Error::failed)?;
        self.blocks += blocks.len() as u64;
        self.bytes += blocks.iter().map(|block| block.data.len() as u64).sum::<u64>();
        if let Some(last) = blocks.last() {
            self.previous = Some(last.cid.clone());
        }
        self.session.put_many(blocks).await?;
        match failed {
            None => Ok(()),
            Some(Failure::NoBlock(text)) => Err(self.after(text)),
            Some(Failure::Refused(cid, text)) => Err(Error::failed(ImportError::At(cid, text))),
        }
    }
}

fn check(sections: Vec<Section>, allow_big: bool) -> Checked {
    let mut blocks = Vec::with_capacity(sections.len());
    for section in sections {
        let block = match section.verify() {
            Ok(block) => block,
            Err(error) => {
                let failed = Some(Failure::NoBlock(error.to_string()));
                return Checked { blocks, failed };
            }
        };
        if let Err(text) = accept(&block, allow_big) {
            return Checked { blocks, failed: Some(Failure::Refused(block.cid, text)) };
        }
        blocks.push(block);
    }
    Checked { blocks, failed: None }
}

/// Whether a block may be stored; the text says why not.
fn accept(block: &Block, allow_big: bool) -> Result<(), String> {
    if block.data.len() > SOFT_BYTES_MAX && !allow_big {
        return Err(TOO_BIG.to_owned());
    }
    crate::ipld::hash::validate(block.cid.hash()).map_err(|error| error.to_string())?;
    let text = |error: DecodeError| error.to_string();
    links(block.cid.codec(), &block.data).map(drop).map_err(text)
}
