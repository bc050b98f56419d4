//! Verifying recursive pins: what of their DAGs is not here or cannot be read.
//!
//! Looks at this node's blocks alone. Reads recorded links where there are any.

use std::collections::HashMap;
use std::sync::Arc;

use super::walk::Seen;
use super::{Error, Node, blocking};
use crate::exchange;
use crate::ipld::{Cid, hash};
use crate::pins::{Mode, Pin};
use crate::store::{self, Store};

/// Bad nodes that are told of one pin. The same node is told once for each way to it, of which a
/// crafted DAG may have any number.
const BAD_NODES_MAX: usize = 100_000;

/// Pins read at a time.
const PAGE_PINS: usize = 256;

/// A block that is not as its pin needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadNode {
    /// Its CID.
    pub cid: Cid,
    /// What is wrong with it.
    pub error: String,
}

/// What the check of a pin came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The root of the pin.
    pub cid: Cid,
    /// What is wrong below it, in link order, once for each way to it; empty: nothing is.
    pub bad: Arc<[BadNode]>,
}

/// What is known of the nodes that were checked under earlier pins.
#[derive(Debug, Default)]
struct Known {
    whole: Seen,
    /// Roots of DAGs that are not whole, and what is wrong below.
    broken: HashMap<Cid, Arc<[BadNode]>>,
}

impl Known {
    fn get(&self, cid: &Cid) -> Option<Arc<[BadNode]>> {
        if self.whole.contains(cid) {
            return Some(Arc::default());
        }
        self.broken.get(cid).cloned()
    }

    fn set(&mut self, cid: Cid, bad: Vec<BadNode>) -> Arc<[BadNode]> {
        if bad.is_empty() {
            self.whole.insert(&cid);
            return Arc::default();
        }
        let bad: Arc<[BadNode]> = bad.into();
        self.broken.insert(cid, Arc::clone(&bad));
        bad
    }

    /// Checks the DAG under `root`, children first. Iterative: depth is the client's to choose.
    fn check(&mut self, store: &Store, root: &Cid) -> Result<Arc<[BadNode]>, Error> {
        let mut stack = Vec::new();
        let mut done = self.enter(store, root.clone(), &mut stack)?;
        while let Some(mut frame) = stack.pop() {
            if let Some(bad) = done.take() {
                let room = BAD_NODES_MAX.saturating_sub(frame.bad.len());
                frame.bad.extend(bad.iter().take(room).cloned());
            }
            match frame.links.next() {
                Some(child) => {
                    stack.push(frame);
                    done = self.enter(store, child, &mut stack)?;
                }
                None => done = Some(self.set(frame.cid, frame.bad)),
            }
        }
        Ok(done.unwrap_or_default())
    }

    /// Looks at a node: what is wrong with it if that is known at once, else it is on the stack.
    fn enter(
        &mut self,
        store: &Store,
        cid: Cid,
        stack: &mut Vec<Frame>,
    ) -> Result<Option<Arc<[BadNode]>>, Error> {
        if let Some(bad) = self.get(&cid) {
            return Ok(Some(bad));
        }
        match look(store, &cid)? {
            Ok(links) => {
                stack.push(Frame { cid, links: links.into_iter(), bad: Vec::new() });
                Ok(None)
            }
            Err(error) => {
                let bad = vec![BadNode { cid: cid.clone(), error }];
                Ok(Some(self.set(cid, bad)))
            }
        }
    }
}

struct Frame {
    cid: Cid,
    links: std::vec::IntoIter<Cid>,
    bad: Vec<BadNode>,
}

/// The links of a node, or what is wrong with it.
fn look(store: &Store, cid: &Cid) -> Result<Result<Vec<Cid>, String>, Error> {
    if let Err(error) = hash::validate(cid.hash()) {
        return Ok(Err(error.to_string()));
    }
    match store.children(cid) {
        Ok(Some(links)) => Ok(Ok(links)),
        Ok(None) => Ok(Err(exchange::Error::NotFound(cid.clone()).to_string())),
        Err(error @ (store::Error::Links { .. } | store::Error::Corrupt { .. })) => {
            Ok(Err(Error::from(error).to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

/// A check of every recursive pin.
#[derive(Debug)]
pub struct PinCheck {
    node: Node,
    /// Away while a check runs.
    known: Known,
    /// The text of the last pin.
    after: String,
    roots: std::vec::IntoIter<Pin>,
}

impl Node {
    /// Checks every recursive pin against this node's blocks.
    #[must_use]
    pub fn verify_pins(&self) -> PinCheck {
        let roots = Vec::new().into_iter();
        PinCheck { node: self.clone(), known: Known::default(), after: String::new(), roots }
    }
}

impl PinCheck {
    /// What the check of the next pin came to; `None` after the last.
    ///
    /// # Errors
    /// When pins or blocks cannot be read at all.
    pub async fn next(&mut self) -> Result<Option<Checked>, Error> {
        if self.roots.len() == 0 {
            let page = self.node.pins().page(Mode::Recursive, &self.after, None, PAGE_PINS)?;
            self.roots = page.into_iter();
        }
        let Some(Pin { cid, text, .. }) = self.roots.next() else { return Ok(None) };
        self.after = text;
        let (store, mut known) = (self.node.store().clone(), std::mem::take(&mut self.known));
        let check = move || {
            let bad = known.check(&store, &cid)?;
            Ok((known, Checked { cid, bad }))
        };
        let (known, checked) = blocking(check).await?;
        self.known = known;
        Ok(Some(checked))
    }
}

impl Checked {
    /// Whether the DAG is here and can be read.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.bad.is_empty()
    }
}
