//! Listing pins: as they are found, or by the text of their CIDs.
//!
//! Both in constant memory but for one bit a block below recursive pins. What is pinned
//! indirectly comes from recorded links; a block that is not here is waited for when this node is
//! on a network.

use super::pin::{Kind, Kinds, Listed};
use super::{Error, Node, Reach, blocking};
use crate::db::{Sorted, Sorter};
use crate::ipld::{Cid, links};
use crate::pins::{self, Indirect, Mode, Pin};

/// Pins of one page.
const PAGE_PINS: usize = 1024;

/// Which pins are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Their kinds.
    pub kinds: Kinds,
    /// What their names contain; empty: any.
    pub name: String,
}

impl Filter {
    fn name(&self) -> Option<String> {
        (!self.name.is_empty()).then(|| self.name.clone())
    }

    /// Whether indirect pins, which have no names, can be among the pins.
    fn lists_indirect(&self) -> bool {
        self.kinds.indirect() && self.name.is_empty()
    }
}

type Iter = Box<dyn Iterator<Item = Result<Pin, pins::Error>> + Send>;

/// Pins as they are found: see [`Node::list_pins`].
pub struct PinList {
    pins: Option<Iter>,
    below: Option<Below>,
}

impl Node {
    /// The pins, recursive ones first, then direct ones, then indirect ones; each CID once.
    #[must_use]
    pub fn list_pins(&self, filter: &Filter) -> PinList {
        let pins = self.pins();
        let modes = [
            filter.kinds.recursive().then_some(Mode::Recursive),
            filter.kinds.direct().then_some(Mode::Direct),
        ];
        let name = filter.name();
        let listed = modes.into_iter().flatten();
        let listed = listed.flat_map(move |mode| pins.iterate(mode, name.clone()));
        let below = filter.lists_indirect().then(|| Below::new(self));
        PinList { pins: Some(Box::new(listed)), below }
    }

    /// The pins in the order of the texts that `text` makes of their CIDs; `None`: of their own.
    #[must_use]
    pub fn list_pins_by_text(&self, filter: &Filter, text: Option<TextOf>) -> PinsByText {
        let pins: Iter = match (&text, filter.kinds) {
            (_, Kinds::Recursive) => Box::new(self.pins().iterate(Mode::Recursive, filter.name())),
            (_, Kinds::Direct) => Box::new(self.pins().iterate(Mode::Direct, filter.name())),
            (_, Kinds::All) => Box::new(self.pins().iterate_all(filter.name())),
            (_, Kinds::Indirect) => Box::new(std::iter::empty()),
        };
        let below = filter.lists_indirect().then(|| Below::new(self));
        PinsByText { pins: Some(pins), text, below, merge: None }
    }
}

impl PinList {
    /// The next pins; `None` after the last.
    ///
    /// # Errors
    /// When pins or recorded links cannot be read, or a block on the way is not to be had.
    pub async fn next(&mut self) -> Result<Option<Vec<Listed>>, Error> {
        if let Some(mut pins) = self.pins.take() {
            let (pins, page) = blocking(move || {
                let page = pins.by_ref().take(PAGE_PINS).map(|pin| pin.map(Listed::from));
                let page = page.collect::<Result<Vec<_>, _>>()?;
                Ok((pins, page))
            })
            .await?;
            if !page.is_empty() {
                self.pins = Some(pins);
                return Ok(Some(page));
            }
        }
        let Some(below) = &mut self.below else { return Ok(None) };
        let page = below.next().await?;
        Ok(page.map(|cids| cids.into_iter().map(indirect).collect()))
    }
}

fn indirect(cid: Cid) -> Listed {
    Listed { cid, kind: Kind::Indirect(None), name: String::new() }
}

/// What is pinned indirectly, in pages.
struct Below {
    node: Node,
    /// Away while a page is made.
    indirect: Option<Indirect>,
    missing: Option<Cid>,
}

impl Below {
    fn new(node: &Node) -> Self {
        Self { node: node.clone(), indirect: Some(node.pins().indirect()), missing: None }
    }

    async fn next(&mut self) -> Result<Option<Vec<Cid>>, Error> {
        loop {
            if let Some(cid) = self.missing.take() {
                let block = self.node.get_block(&cid, Reach::Network).await?;
                if let Some(indirect) = &mut self.indirect {
                    indirect.resume(&links(cid.codec(), &block)?)?;
                }
            }
            let Some(mut indirect) = self.indirect.take() else { return Ok(None) };
            let (indirect, page, end) = blocking(move || {
                let mut page = Vec::new();
                let end = loop {
                    match indirect.next() {
                        Some(Ok(cid)) => page.push(cid),
                        end => break end.transpose(),
                    }
                    if page.len() == PAGE_PINS {
                        break Ok(None);
                    }
                };
                Ok((indirect, page, end))
            })
            .await?;
            let is_full = page.len() == PAGE_PINS;
            match end {
                Err(pins::Error::Missing(cid)) => self.missing = Some(cid),
                end => drop(end?),
            }
            if is_full || self.missing.is_some() {
                self.indirect = Some(indirect);
            }
            if !page.is_empty() {
                return Ok(Some(page));
            }
        }
    }
}

/// Makes the text of a CID.
pub type TextOf = Box<dyn Fn(&Cid) -> String + Send>;

/// Pins by text: see [`Node::list_pins_by_text`].
pub struct PinsByText {
    pins: Option<Iter>,
    text: Option<TextOf>,
    below: Option<Below>,
    merge: Option<Merge>,
}

impl PinsByText {
    /// The next pins and their texts; `None` after the last.
    ///
    /// # Errors
    /// When pins or recorded links cannot be read, or a block on the way is not to be had.
    pub async fn next(&mut self) -> Result<Option<Vec<(String, Listed)>>, Error> {
        let merge = match self.merge.take() {
            Some(merge) => merge,
            None => match self.pins.take() {
                Some(pins) => self.begin(pins).await?,
                None => return Ok(None),
            },
        };
        let (merge, page) = blocking(move || merge.page()).await?;
        if page.is_empty() {
            return Ok(None);
        }
        self.merge = Some(merge);
        Ok(Some(page))
    }

    /// Sorts what does not come in order.
    async fn begin(&mut self, pins: Iter) -> Result<Merge, Error> {
        let mut sorter = Sorter::default();
        let text = self.text.take();
        let (mut sorter, ordered, text) = blocking(move || {
            let Some(text) = text else { return Ok((sorter, pins, None)) };
            for pin in pins {
                let pin = Listed::from(pin?);
                sorter.push(text(&pin.cid), encode(&pin))?;
            }
            let nothing: Iter = Box::new(std::iter::empty());
            Ok((sorter, nothing, Some(text)))
        })
        .await?;
        if let Some(below) = &mut self.below {
            while let Some(page) = below.next().await? {
                for cid in page {
                    let key = text.as_ref().map_or_else(|| cid.to_string(), |text| text(&cid));
                    sorter.push(key, encode(&indirect(cid)))?;
                }
            }
        }
        Ok(Merge { pins: ordered.peekable(), sorted: sorter.sorted()?.peekable() })
    }
}

/// A row of the sorter: the kind, the length of the CID, the CID, the name.
fn encode(pin: &Listed) -> Vec<u8> {
    let kind = match pin.kind {
        Kind::Recursive => b'r',
        Kind::Direct => b'd',
        Kind::Indirect(_) => b'i',
    };
    let mut row = vec![kind];
    pin.cid.append_to(&mut row);
    row.extend_from_slice(pin.name.as_bytes());
    row
}

fn decode(row: &[u8]) -> Option<Listed> {
    let (kind, rest) = row.split_first()?;
    let (cid, name) = Cid::read(rest).ok()?;
    let kind = match kind {
        b'r' => Kind::Recursive,
        b'd' => Kind::Direct,
        _ => Kind::Indirect(None),
    };
    Some(Listed { cid, kind, name: String::from_utf8_lossy(name).into_owned() })
}

/// Two ordered lists as one; of two with the same text the pin wins.
struct Merge {
    pins: std::iter::Peekable<Iter>,
    sorted: std::iter::Peekable<Sorted>,
}

impl Merge {
    fn page(mut self) -> Result<(Self, Vec<(String, Listed)>), Error> {
        let mut page = Vec::with_capacity(PAGE_PINS);
        while page.len() < PAGE_PINS {
            let Some(entry) = self.next()? else { break };
            page.push(entry);
        }
        Ok((self, page))
    }

    fn next(&mut self) -> Result<Option<(String, Listed)>, Error> {
        let pin = match self.pins.peek() {
            Some(Ok(pin)) => Some(&pin.text),
            Some(Err(error)) => return Err(error.clone().into()),
            None => None,
        };
        let sorted = match self.sorted.peek() {
            Some(Ok((text, _))) => Some(text),
            Some(Err(error)) => return Err(error.clone().into()),
            None => None,
        };
        let pin_first = match (pin, sorted) {
            (Some(pin), Some(sorted)) if pin == sorted => {
                self.sorted.next();
                true
            }
            (Some(pin), Some(sorted)) => pin < sorted,
            (pin, _) => pin.is_some(),
        };
        if pin_first {
            let Some(pin) = self.pins.next().transpose()? else { return Ok(None) };
            return Ok(Some((pin.text.clone(), Listed::from(pin))));
        }
        let Some((text, row)) = self.sorted.next().transpose()? else { return Ok(None) };
        let broken = || Error::failed("a row of the temporary database is damaged");
        Ok(Some((text, decode(&row).ok_or_else(broken)?)))
    }
}
