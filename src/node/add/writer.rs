//! Where the blocks and pins of one `add` go.
//!
//! Blocks go through a store session, which keeps them from collection until it is dropped. Pins
//! wait until their blocks are durable; several are committed together.

use super::{Error, Options};
use crate::ipld::{Block, Cid};
use crate::node::Node;
use crate::node::pinset::{Change, PinOptions, Pinset};
use crate::pins::Mode;
use crate::store::Session;

/// Bytes of blocks that go to the store together.
const PUT_BYTES: usize = 1024 * 1024;
/// Blocks that do.
const PUT_BLOCKS: usize = 128;
/// Pins that are committed together.
const PINS: usize = 256;

pub(super) struct Writer {
    /// `None` when nothing is to be stored.
    session: Option<Session>,
    pinset: Pinset,
    /// The name under which to pin, when to pin.
    pin_name: Option<String>,
    /// What else the group is told of them.
    group: PinOptions,
    /// What was pinned, for who waits until others hold it.
    pinned: Option<Vec<Cid>>,
    waiting: Vec<Block>,
    waiting_bytes: usize,
    roots: Vec<Cid>,
    /// Something was put since the last flush.
    dirty: bool,
}

impl Writer {
    pub(super) fn new(node: &Node, options: &Options) -> Self {
        let stored = !options.only_hash;
        Self {
            session: stored.then(|| node.store().session()),
            pinset: node.pinset().clone(),
            pin_name: (stored && options.pin).then(|| options.pin_name.clone().unwrap_or_default()),
            group: options.group.clone(),
            pinned: (options.wait > 1).then(Vec::new),
            waiting: Vec::new(),
            waiting_bytes: 0,
            roots: Vec::new(),
            dirty: false,
        }
    }

    /// Takes blocks; waits while the store is behind.
    pub(super) async fn put(&mut self, blocks: &mut Vec<Block>) -> Result<(), Error> {
        if self.session.is_none() {
            blocks.clear();
            return Ok(());
        }
        self.waiting_bytes += blocks.iter().map(|block| block.data.len()).sum::<usize>();
        self.waiting.append(blocks);
        if self.waiting_bytes >= PUT_BYTES || self.waiting.len() >= PUT_BLOCKS {
            self.put_waiting().await?;
        }
        Ok(())
    }

    async fn put_waiting(&mut self) -> Result<(), Error> {
        let blocks = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        if let Some(session) = &self.session
            && !blocks.is_empty()
        {
            self.dirty = true;
            session.put_many(blocks).await?;
        }
        Ok(())
    }

    /// The root of a top entry whose blocks were all put.
    pub(super) async fn pin(&mut self, root: Cid) -> Result<(), Error> {
        if self.session.is_none() {
            return Ok(());
        }
        self.roots.push(root);
        if self.roots.len() >= PINS { self.commit().await } else { Ok(()) }
    }

    /// Whether a complete entry waits to be made durable.
    pub(super) fn has_pins(&self) -> bool {
        !self.roots.is_empty()
    }

    /// What was pinned, when somebody waits until others hold it.
    pub(super) fn pinned(&self) -> &[Cid] {
        self.pinned.as_deref().unwrap_or_default()
    }

    /// Makes everything durable, blocks before the pins that speak of them.
    pub(super) async fn commit(&mut self) -> Result<(), Error> {
        let roots = std::mem::take(&mut self.roots);
        if roots.is_empty() {
            return Ok(());
        }
        self.put_waiting().await?;
        if let Some(session) = &self.session
            && std::mem::take(&mut self.dirty)
        {
            session.flush().await?;
        }
        let Some(name) = &self.pin_name else { return Ok(()) };
        if let Some(pinned) = &mut self.pinned {
            pinned.extend(roots.iter().cloned());
        }
        let pins = roots.into_iter().map(|cid| {
            let (name, options) = (name.clone(), self.group.clone());
            Change::Add { cid, mode: Mode::Recursive, name, options }
        });
        self.pinset.change(pins.collect()).await
    }
}
