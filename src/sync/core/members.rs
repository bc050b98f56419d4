//! Who is in the group: hellos, and the clocks in them.

use super::{Action, Author, Authoring, Core, Hlc, Now, Peer, Sign, Warning};
use crate::sync::message::{Hello, Message};

/// Members that are known at most.
const MEMBERS_MAX: usize = 4096;

/// A member: whoever said hello, and whoever signed a record.
#[derive(Debug, Clone)]
pub(super) struct Member {
    /// Its last hello; none if only records of it were seen.
    pub(super) hello: Option<Hello>,
    /// When that came, in milliseconds of the monotonic clock.
    pub(super) heard_at_ms: u64,
    /// The same by the wall clock, for after a restart.
    pub(super) heard_wall_ms: u64,
}

impl Member {
    pub(super) fn save(&self) -> Vec<u8> {
        let mut bytes = self.heard_wall_ms.to_be_bytes().to_vec();
        if let Some(hello) = &self.hello {
            bytes.extend(Message::Hello(Box::new(hello.clone())).encode(0));
        }
        bytes
    }

    pub(super) fn load(name: &str, bytes: &[u8], now: Now) -> Option<(Author, Self)> {
        let (wall_ms, hello) = bytes.split_first_chunk::<8>()?;
        let heard_wall_ms = u64::from_be_bytes(*wall_ms);
        let hello = match Message::decode(hello) {
            Ok((_, Message::Hello(hello))) => Some(*hello),
            _ => None,
        };
        let ago_ms = now.wall_ms.saturating_sub(heard_wall_ms);
        let heard_at_ms = now.mono_ms.saturating_sub(ago_ms);
        let author = author_of(name.split_once('/')?.1)?;
        Some((author, Self { hello, heard_at_ms, heard_wall_ms }))
    }
}

fn author_of(hex: &str) -> Option<Author> {
    let mut author = Author([0; 32]);
    for (index, byte) in author.0.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    (hex.len() == 64).then_some(author)
}

impl<K: Sign> Core<K> {
    /// The hello of this node.
    pub(super) fn hello(&mut self, now: Now) -> Message {
        let node_hlc = self.claim(now);
        let floor_low = self.floor_low(now);
        if floor_low > self.voted {
            self.voted = floor_low;
            self.unsaved.voted = true;
        }
        let hello = Hello {
            peer: self.config.peer.clone(),
            addresses: self.config.addresses.clone(),
            node_hlc,
            wall_ms: now.wall_ms,
            boot_nonce: self.boot_nonce,
            roots: self.roots(),
            floor_low,
            roster_digest: self.roster_digest(),
            status: self.status,
            weight: self.weight,
            binding: self.config.binding.clone(),
            ..Hello::blank()
        };
        Message::Hello(Box::new(hello.sign(&self.keys, &self.group.id)))
    }

    pub(super) fn heard_hello(&mut self, from: &Peer, hello: Hello, now: Now) {
        if !hello.is_signed(&self.keys, &self.group.id)
            || !self.keys.is_bound(&hello, &self.group.id)
        {
            return self.blame(from, "a hello that is not signed");
        }
        if hello.author == self.keys.author() {
            return self.heard_myself(&hello);
        }
        let (author, roots, node_hlc) = (hello.author, hello.roots, hello.node_hlc);
        let is_direct = hello.peer == from.as_bytes();
        let wall_ms = hello.wall_ms;
        let known = self.members.get(&author).and_then(|member| member.hello.as_ref());
        // A clock that was set back stands still until it is reached again: the vote may rise all
        // the same.
        let is_news = known.is_none_or(|known| {
            let progress = |hello: &Hello| (hello.node_hlc, hello.floor_low);
            progress(&hello) > progress(known)
                || (is_direct
                    && (hello.node_hlc == known.node_hlc || hello.boot_nonce != known.boot_nonce))
        });
        let other_roster = hello.roster_digest != self.roster_digest();
        if is_news {
            self.remember(author, Some(hello), now);
        }
        // Members that the floor did not wait for, because they are new or were silent, make no
        // records below it: others would take their tombstones for seen.
        let floor = roots.floor.min(self.certified(now));
        self.clock.lift(floor);
        self.reserve();
        if !is_direct {
            return;
        }
        if self.members.contains_key(&author) {
            self.clock.heard(author, wall_ms, now.wall_ms);
        }
        if let Some(link) = self.links.get_mut(from) {
            link.author = Some(author);
        }
        if other_roster {
            self.introduce(from);
        }
        self.heard_roots(from, author, (roots, node_hlc), now);
    }

    /// Another node with our key is alive if its hellos go on; an old one of ours may come back
    /// from a peer, but always the same.
    fn heard_myself(&mut self, hello: &Hello) {
        if hello.boot_nonce == self.boot_nonce {
            return;
        }
        let heard = (hello.boot_nonce, hello.wall_ms);
        match self.foreign_nonce {
            Some((nonce, wall_ms)) if nonce == heard.0 && wall_ms < heard.1 => {
                if self.authoring != Authoring::Cloned {
                    self.authoring = Authoring::Cloned;
                    self.warn(Warning::Cloned);
                }
            }
            Some((nonce, _)) if nonce == heard.0 => {}
            _ => self.foreign_nonce = Some(heard),
        }
    }

    /// Remembers a member; one that only records speak of holds up the floor for a lease too.
    pub(super) fn remember(&mut self, author: Author, hello: Option<Hello>, now: Now) {
        if author == self.keys.author()
            || (hello.is_none() && self.members.contains_key(&author))
            || (self.members.len() >= MEMBERS_MAX && !self.members.contains_key(&author))
        {
            return;
        }
        let member = Member { hello, heard_at_ms: now.mono_ms, heard_wall_ms: now.wall_ms };
        self.members.insert(author, member);
        self.unsaved.members.insert(author);
    }

    /// Tells a peer of the members that it may not know.
    fn introduce(&mut self, to: &Peer) {
        let digest = self.roster_digest();
        let Some(link) = self.links.get_mut(to) else { return };
        if link.introduced == Some(digest) {
            return;
        }
        link.introduced = Some(digest);
        let hellos: Vec<_> = self
            .members
            .values()
            .filter_map(|member| member.hello.clone())
            .filter(|hello| hello.peer != to.as_bytes())
            .collect();
        for hello in hellos {
            self.send(to, &Message::Hello(Box::new(hello)));
        }
    }

    /// Forgets a member that an administrator has removed: it holds up nothing any more.
    pub fn evict(&mut self, author: &Author) {
        self.members.remove(author);
        self.unsaved.members.insert(*author);
        self.clock.forget(author);
    }

    /// The author key of a peer that has said hello.
    pub(super) fn author_of(&self, peer: &Peer) -> Option<Author> {
        if let Some(link) = self.links.get(peer) {
            return link.author;
        }
        let hellos = self.members.values().filter_map(|member| member.hello.as_ref());
        hellos.into_iter().find(|hello| hello.peer == peer.as_bytes()).map(|hello| hello.author)
    }

    /// The members that are known, with their last hello.
    pub fn members(&self) -> impl Iterator<Item = (Author, Option<&Hello>)> {
        self.members.iter().map(|(author, member)| (*author, member.hello.as_ref()))
    }

    /// How long ago a member was heard, in milliseconds.
    pub fn heard_ago_ms(&self, author: &Author, now: Now) -> Option<u64> {
        let member = self.members.get(author)?;
        Some(now.mono_ms.saturating_sub(member.heard_at_ms))
    }

    pub(super) fn say_hello(&mut self, now: Now) {
        let correction_ms = self.clock.correction_ms();
        if correction_ms != 0 {
            self.warn(Warning::ClockIsOff(correction_ms));
        }
        let hello = self.hello(now).encode(self.config.epoch);
        self.actions.push(Action::Broadcast(hello));
        self.hello_at_ms = now.mono_ms + self.config.hello_ms;
    }

    /// What this node has seen of every active member: its vote on the floor.
    pub(super) fn floor_low(&mut self, now: Now) -> Hlc {
        let claim = self.claim(now);
        let active = self.active(now);
        active.into_iter().fold(claim, |low, author| low.min(self.vector.get(&author)))
    }
}
