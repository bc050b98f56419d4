//! From the stream of events that a decoder makes of a block to a tree, or to its links alone.
//!
//! Pure. The decoders guarantee that events nest properly and no deeper than
//! [`super::node::DEPTH_MAX`].

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::Bytes;

use super::cid::Cid;
use super::node::Node;

/// One step of a block.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    String(Cow<'a, [u8]>),
    Bytes(Cow<'a, [u8]>),
    Link(Cid),
    OpenList,
    OpenMap,
    Key(Cow<'a, [u8]>),
    /// The end of the innermost list or map.
    Close,
}

/// Makes a tree of events; what is borrowed from the block shares its memory.
pub(super) struct Builder<'b> {
    block: &'b Bytes,
    open: Vec<Open>,
    root: Option<Node>,
}

/// A list or map that is not yet at its end.
enum Open {
    List(Vec<Node>),
    Map(Vec<(Bytes, Node)>, Bytes),
}

impl<'b> Builder<'b> {
    pub(super) fn new(block: &'b Bytes) -> Self {
        Self { block, open: Vec::new(), root: None }
    }

    pub(super) fn push(&mut self, event: Event<'_>) {
        let node = match event {
            Event::Null => Node::Null,
            Event::Bool(value) => Node::Bool(value),
            Event::Int(value) => Node::Int(value),
            Event::Float(value) => Node::Float(value),
            Event::String(text) => Node::String(self.own(text)),
            Event::Bytes(bytes) => Node::Bytes(self.own(bytes)),
            Event::Link(cid) => Node::Link(cid),
            Event::OpenList => return self.open.push(Open::List(Vec::new())),
            Event::OpenMap => return self.open.push(Open::Map(Vec::new(), Bytes::new())),
            Event::Key(text) => {
                let text = self.own(text);
                if let Some(Open::Map(_, key)) = self.open.last_mut() {
                    *key = text;
                }
                return;
            }
            Event::Close => match self.open.pop() {
                Some(Open::List(values)) => Node::List(values),
                Some(Open::Map(entries, _)) => Node::Map(entries),
                None => return,
            },
        };
        match self.open.last_mut() {
            Some(Open::List(values)) => values.push(node),
            Some(Open::Map(entries, key)) => entries.push((std::mem::take(key), node)),
            None => self.root = Some(node),
        }
    }

    pub(super) fn finish(self) -> Node {
        self.root.unwrap_or(Node::Null)
    }

    fn own(&self, bytes: Cow<'_, [u8]>) -> Bytes {
        match bytes {
            Cow::Borrowed([]) => Bytes::new(),
            Cow::Borrowed(slice) => self.block.slice_ref(slice),
            Cow::Owned(bytes) => Bytes::from(bytes),
        }
    }
}

/// The keys of an open map, to find one that comes twice.
///
/// Canonical blocks have their keys in ascending order, shorter ones first: as long as they do,
/// a comparison with the last one is enough.
#[derive(Default)]
pub(super) struct Keys<'a> {
    in_order: Vec<Cow<'a, [u8]>>,
    all: Option<HashSet<Cow<'a, [u8]>>>,
}

impl<'a> Keys<'a> {
    /// Adds a key; false when it was there.
    pub(super) fn insert(&mut self, key: Cow<'a, [u8]>) -> bool {
        if let Some(all) = &mut self.all {
            return all.insert(key);
        }
        let ascends = self
            .in_order
            .last()
            .is_none_or(|last| (last.len(), last.as_ref()) < (key.len(), key.as_ref()));
        if ascends {
            self.in_order.push(key);
            return true;
        }
        let mut all: HashSet<_> = std::mem::take(&mut self.in_order).into_iter().collect();
        let is_new = all.insert(key);
        self.all = Some(all);
        is_new
    }
}
