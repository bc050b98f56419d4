//! Pins: add, remove, update, find, list.
//!
//! A pin is acknowledged when every block of its DAG is here, protected from a collection that
//! runs meanwhile, and the pin is durable. Listing what is pinned indirectly reads recorded links
//! and no blocks, but for those that are not here: these are asked for, as Kubo does.
//!
//! Not responsible for the pins' table ([`crate::pins`]) nor for verifying ([`super::verify`]). A
//! crash between the blocks and the pin leaves garbage for the collector.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indexmap::IndexSet;

use super::fetch::{Fetched, Fetcher};
use super::pinset::{Change, PinOptions};
use super::{Error, Node, Reach, blocking};
use crate::ipld::{Cid, hash, links};
use crate::pins::{self, Mode, Pin, Update};
pub use crate::replicate::Progress;
use crate::store::{Marks, Problem, Session, Store};

/// How a pin holds a CID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// It and all below.
    Recursive,
    /// It alone.
    Direct,
    /// Below a recursive pin; which one, if it has been looked for.
    Indirect(Option<Cid>),
}

/// Kinds of pins that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinds {
    /// Every kind.
    All,
    /// Recursive ones.
    Recursive,
    /// Direct ones.
    Direct,
    /// Indirect ones.
    Indirect,
}

impl Kinds {
    /// By Kubo's name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "all" => Some(Self::All),
            "recursive" => Some(Self::Recursive),
            "direct" => Some(Self::Direct),
            "indirect" => Some(Self::Indirect),
            _ => None,
        }
    }

    /// Whether recursive pins are among them.
    pub(super) fn recursive(self) -> bool {
        matches!(self, Self::All | Self::Recursive)
    }

    /// Whether direct pins are among them.
    pub(super) fn direct(self) -> bool {
        matches!(self, Self::All | Self::Direct)
    }

    /// Whether indirect pins are among them.
    pub(super) fn indirect(self) -> bool {
        matches!(self, Self::All | Self::Indirect)
    }
}

/// A pin as it is found or listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What is pinned.
    pub cid: Cid,
    /// How.
    pub kind: Kind,
    /// Its name; indirect pins have none.
    pub name: String,
}

impl From<Pin> for Listed {
    fn from(pin: Pin) -> Self {
        let kind = match pin.mode {
            Mode::Recursive => Kind::Recursive,
            Mode::Direct => Kind::Direct,
        };
        Self { cid: pin.cid, kind, name: pin.name }
    }
}

/// A pin to add.
#[derive(Debug, Clone)]
pub struct Add<'a> {
    /// What to pin.
    pub root: &'a Cid,
    /// With everything below it.
    pub recursive: bool,
    /// Its name, or empty.
    pub name: &'a str,
    /// What else the group is told.
    pub options: PinOptions,
}

impl Node {
    /// Pins a DAG, or a block: fetches what is not here, then makes the pin durable.
    ///
    /// The root is taken from where `reach` says; what is below it may come from the network
    /// whenever this node is on it, as in Kubo.
    ///
    /// # Errors
    /// When a block cannot be had or read, and for a direct pin of what is pinned recursively.
    pub async fn add_pin(
        &self,
        pin: Add<'_>,
        reach: Reach,
        progress: Option<&Progress>,
    ) -> Result<(), Error> {
        let session = Arc::new(self.store().session());
        let root = self.get_block(pin.root, reach).await?;
        // A block that is no block of its codec cannot be pinned, not even alone.
        links(pin.root.codec(), &root)?;
        let mode = if pin.recursive {
            self.protect_dag(pin.root, &session, progress).await?;
            Mode::Recursive
        } else {
            self.protect(pin.root, &session, reach).await?;
            Mode::Direct
        };
        // A block that an unfinished put brought must be durable before its pin.
        session.flush().await?;
        let (cid, name, options) = (pin.root.clone(), pin.name.to_owned(), pin.options.clone());
        self.pinset().change(vec![Change::Add { cid, mode, name, options }]).await?;
        self.announce_root(pin.root);
        Ok(())
    }

    /// Keeps one block from the collector, fetching it if need be.
    async fn protect(&self, cid: &Cid, session: &Session, reach: Reach) -> Result<(), Error> {
        while !session.touch(cid.hash())? {
            self.exchange().ensure(cid, reach).await?;
        }
        Ok(())
    }

    /// Keeps a whole DAG from the collector until `session` ends, fetching what is not here.
    pub(super) async fn protect_dag(
        &self,
        root: &Cid,
        session: &Arc<Session>,
        progress: Option<&Progress>,
    ) -> Result<(), Error> {
        let mut roots = vec![root.clone()];
        let mut marks = Marks::default();
        let (mut fetcher, mut is_first) = (None, true);
        while !roots.is_empty() {
            let stop = Stop::default();
            let walk = Protection {
                store: self.store().clone(),
                session: Arc::clone(session),
                // What is walked again has been counted.
                progress: progress.cloned().filter(|_| is_first),
                stop: stop.flag(),
            };
            let from = std::mem::take(&mut roots);
            let (walked, problems) = blocking(move || walk.run(&from, marks)).await?;
            marks = walked;
            let mut missing = IndexSet::new();
            for problem in problems {
                match problem {
                    Problem::Missing(cid) => drop(missing.insert(cid)),
                    Problem::Unreadable(_, error) => return Err(error.into()),
                }
            }
            let fetcher =
                fetcher.get_or_insert_with(|| Fetcher::keeping(self, Arc::clone(session)));
            fetcher.come_again(&missing);
            // What is below what has come, and was here already, is where the walk goes on.
            for cid in self.fetch_all(fetcher, progress).await? {
                if missing.contains(&cid) {
                    // It was being deleted, or came meanwhile. The walk has marked the node itself.
                    roots.extend(self.protect_node(&cid, session, progress).await?);
                } else {
                    roots.push(cid);
                }
            }
            if fetcher.take_forgotten() {
                (roots, marks, is_first) = (vec![root.clone()], Marks::default(), false);
            }
        }
        Ok(())
    }

    /// Keeps one block from the collector; returns what it links to.
    async fn protect_node(
        &self,
        cid: &Cid,
        session: &Session,
        progress: Option<&Progress>,
    ) -> Result<Vec<Cid>, Error> {
        let block = self.get_block(cid, Reach::Network).await?;
        self.protect(cid, session, Reach::Network).await?;
        if let Some(progress) = progress {
            progress.count(block.len() as u64);
        }
        Ok(links(cid.codec(), &block)?)
    }

    /// Fetches all that is named to a fetcher; returns what was here.
    async fn fetch_all(
        &self,
        fetcher: &mut Fetcher,
        progress: Option<&Progress>,
    ) -> Result<Vec<Cid>, Error> {
        let mut here = Vec::new();
        while let Some(fetched) = fetcher.next().await {
            match fetched {
                Fetched::Came(cid, data) => {
                    // A block that is no block of its codec cannot be pinned.
                    links(cid.codec(), &data)?;
                    if let Some(progress) = progress {
                        progress.count(data.len() as u64);
                    }
                }
                Fetched::Here(cid) => here.push(cid),
                Fetched::Failed(error) => return Err(error.into()),
            }
        }
        Ok(here)
    }

    /// Removes a pin.
    ///
    /// # Errors
    /// When there is none, or it is a recursive one and only direct ones may go.
    pub async fn remove_pin(&self, cid: &Cid, recursive: bool) -> Result<(), Error> {
        self.pinset().remove(cid.clone(), recursive).await
    }

    /// Pins `to` recursively under the name of the pin of `from`, which goes if `unpin` says so.
    /// `waiting` is told what stands before the error of a wait that is given up.
    ///
    /// # Errors
    /// When `from` is not pinned recursively, `to` is, or a block of `to` cannot be had.
    pub async fn update_pin(
        &self,
        from: &Cid,
        to: &Cid,
        unpin: bool,
        waiting: impl Fn(String),
    ) -> Result<(), Error> {
        if self.pins().check_update(from, to)? == Update::Nothing {
            return Ok(());
        }
        let session = Arc::new(self.store().session());
        for root in [from, to] {
            waiting(format!("get {root}: "));
            let failed =
                |error: &dyn std::fmt::Display| Error::failed(format!("get {root}: {error}"));
            let block = self.get_block(root, Reach::Network).await;
            let block = block.map_err(|error| failed(&error))?;
            links(root.codec(), &block).map_err(|error| failed(&error))?;
        }
        waiting(String::new());
        self.protect_dag(to, &session, None).await?;
        session.flush().await?;
        let (from, to) = (from.clone(), to.clone());
        self.pinset().change(vec![Change::Update { from, to: to.clone(), unpin }]).await?;
        self.announce_root(&to);
        Ok(())
    }

    /// How each of `cids` is pinned, in their order; `None` for what is not, or not in this way.
    ///
    /// # Errors
    /// When a block on the way to an indirect pin is not to be had.
    pub async fn find_pins(
        &self,
        cids: Vec<Cid>,
        kinds: Kinds,
    ) -> Result<Vec<Option<Listed>>, Error> {
        let pins = self.pins();
        let mut found = Vec::with_capacity(cids.len());
        let mut below = Vec::new();
        for cid in &cids {
            let recursive = pins.get_mode(cid, Mode::Recursive)?;
            // What is pinned directly may be pinned indirectly as well; Kubo tells when asked.
            let is_root = recursive.is_some();
            let mut pin = recursive.filter(|_| kinds.recursive());
            if pin.is_none() && kinds.direct() {
                pin = pins.get_mode(cid, Mode::Direct)?;
            }
            if pin.is_none() && kinds.indirect() && !is_root {
                below.push(cid.clone());
            }
            found.push(pin.map(Listed::from));
        }
        let mut roots = self.find_roots(below.clone()).await?.into_iter();
        let mut below = below.into_iter().peekable();
        for (slot, cid) in found.iter_mut().zip(cids) {
            if slot.is_none() && below.next_if_eq(&cid).is_some() {
                let root = roots.next().flatten();
                *slot = root.map(|root| Listed {
                    cid,
                    kind: Kind::Indirect(Some(root)),
                    name: String::new(),
                });
            }
        }
        Ok(found)
    }

    /// For each CID a recursive pin that it is below. A block on the way that is not here is
    /// waited for when this node is on a network.
    async fn find_roots(&self, cids: Vec<Cid>) -> Result<Vec<Option<Cid>>, Error> {
        if cids.is_empty() {
            return Ok(Vec::new());
        }
        loop {
            let (pins, cids) = (self.pins(), cids.clone());
            let found = blocking(move || Ok(pins.through(&cids))).await?;
            match found {
                Err(pins::Error::Missing(cid)) => {
                    self.exchange().ensure(&cid, Reach::Network).await?;
                }
                found => return Ok(found?),
            }
        }
    }

    /// Removes a block, unless it is pinned. With `force` it need not be there.
    ///
    /// # Errors
    /// When it is pinned or absent, or the deletion fails.
    pub async fn remove_block(&self, cid: &Cid, force: bool) -> Result<(), Error> {
        // What is pinned from now on has been touched, and stays.
        let watch = self.store().watch().await?;
        let found = async {
            self.pins().settle().await?;
            self.find_pins(vec![cid.clone()], Kinds::All).await
        };
        let found =
            found.await.map_err(|error| Error::failed(format!("pin check failed: {error}")))?;
        if let Some(pin) = found.into_iter().flatten().next() {
            return Err(Error::failed(match pin.kind {
                Kind::Recursive => "pinned: recursive".to_owned(),
                Kind::Direct => "pinned: direct".to_owned(),
                Kind::Indirect(Some(root)) => format!("pinned via {root}"),
                Kind::Indirect(None) => "pinned: indirect".to_owned(),
            }));
        }
        if !force && !self.store().has(cid.hash())? {
            return Err(Error::NotFound(cid.clone()));
        }
        let removed = watch.delete_many(vec![cid.hash().clone()]).await?;
        let is_inline = cid.hash().code() == hash::IDENTITY;
        if removed.is_empty() && !is_inline && self.store().has(cid.hash())? {
            return Err(Error::failed("in use by a running add or pin"));
        }
        Ok(())
    }
}

/// A walk that protects what it meets; on the blocking pool.
struct Protection {
    store: Store,
    session: Arc<Session>,
    progress: Option<Progress>,
    stop: Arc<AtomicBool>,
}

impl Protection {
    /// Walks on from the roots to the end, and returns what it has met and what it could not
    /// pass.
    fn run(&self, roots: &[Cid], marks: Marks) -> Result<(Marks, Vec<Problem>), Error> {
        let mut walk = self.store.walk(marks).protected_by(&self.session).complete();
        let mut problems = Vec::new();
        for root in roots {
            // A root is not among what the walk finds.
            if walk.root(root)? {
                self.count([root])?;
            }
            loop {
                let more = walk.advance()?;
                let found = walk.take_found();
                if self.progress.is_some() {
                    self.count(self.store.cids(&found)?.iter().flatten())?;
                }
                problems.append(&mut walk.take_problems());
                if !more || self.stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        }
        Ok((walk.into_marks(), problems))
    }

    /// Counts blocks that are here.
    fn count<'a>(&self, cids: impl IntoIterator<Item = &'a Cid>) -> Result<(), Error> {
        let Some(progress) = &self.progress else { return Ok(()) };
        for cid in cids {
            if let Some(size) = self.store.size(cid.hash())? {
                progress.count(size);
            }
        }
        Ok(())
    }
}

/// Stops work on the blocking pool when its owner is dropped.
#[derive(Debug, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
