//! A want: who was asked for it, and who said what.

use std::time::{Duration, Instant};

use libp2p_identity::PeerId;

use super::super::message::{Entry, WantType};
use super::{RETRY_DELAY, SessionId};
use crate::ipld::Cid;

/// A question that a peer has not answered yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub(super) peer: PeerId,
    pub(super) want: WantType,
    pub(super) at: Instant,
}

#[derive(Debug)]
pub(super) struct Want {
    pub(super) cid: Cid,
    /// Which want of this node it was.
    pub(super) order: u64,
    pub(super) sessions: Vec<SessionId>,
    /// Whether its turn has come.
    pub(super) is_open: bool,
    /// Who owes an answer.
    pub(super) asked: Vec<Ask>,
    /// Who remembers it.
    pub(super) told: Vec<PeerId>,
    /// Who has it.
    pub(super) holders: Vec<PeerId>,
    /// Who does not have it, or does not answer.
    pub(super) lacking: Vec<PeerId>,
    /// When peers are asked that have not been yet.
    pub(super) wave_at: Option<Instant>,
    /// When everybody is asked again.
    pub(super) retry_at: Instant,
    pub(super) retry_delay: Duration,
}

impl Want {
    pub(super) fn new(cid: Cid, order: u64, now: Instant) -> Self {
        Self {
            cid,
            order,
            sessions: Vec::with_capacity(1),
            is_open: false,
            asked: Vec::new(),
            told: Vec::new(),
            holders: Vec::new(),
            lacking: Vec::new(),
            wave_at: None,
            retry_at: now + RETRY_DELAY,
            retry_delay: RETRY_DELAY,
        }
    }

    pub(super) fn opened(&mut self, now: Instant) {
        self.is_open = true;
        self.retry_at = now + RETRY_DELAY;
    }

    /// Whether somebody owes an answer.
    pub(super) fn is_busy(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Whether somebody owes the block.
    pub(super) fn asks_block(&self) -> bool {
        self.asked.iter().any(|ask| ask.want == WantType::Block)
    }

    pub(super) fn asks_block_of(&self, peer: &PeerId) -> bool {
        self.asked.iter().any(|ask| ask.peer == *peer && ask.want == WantType::Block)
    }

    /// Whether a peer owes this answer, or a better one.
    pub(super) fn is_asked(&self, peer: &PeerId, want: WantType) -> bool {
        self.asked.iter().any(|ask| ask.peer == *peer && ask.want >= want)
    }

    /// When a peer was asked that has not answered yet.
    pub(super) fn asked_at(&self, peer: &PeerId) -> Option<Instant> {
        self.asked.iter().find(|ask| ask.peer == *peer).map(|ask| ask.at)
    }

    /// Notes a question; returns the one to the same peer that it replaces.
    pub(super) fn ask(&mut self, now: Instant, peer: PeerId, want: WantType) -> Option<Ask> {
        let before = self.unask(&peer);
        self.asked.push(Ask { peer, want, at: now });
        self.holders.retain(|other| *other != peer);
        if !self.told.contains(&peer) {
            self.told.push(peer);
        }
        before
    }

    /// Takes back a question that needs no answer any more.
    pub(super) fn unask(&mut self, peer: &PeerId) -> Option<Ask> {
        let at = self.asked.iter().position(|ask| ask.peer == *peer)?;
        Some(self.asked.swap_remove(at))
    }

    /// Forgets a peer.
    pub(super) fn gone(&mut self, peer: &PeerId) {
        self.unask(peer);
        for peers in [&mut self.told, &mut self.holders, &mut self.lacking] {
            peers.retain(|other| other != peer);
        }
    }

    /// What a peer is told. Earlier wants come first.
    pub(super) fn entry(&self, want: WantType) -> Entry {
        let order = i32::try_from(self.order & 0x7fff_ffff).unwrap_or_default();
        let (cid, priority) = (self.cid.clone(), i32::MAX - order);
        Entry { cid, priority, cancel: false, want, send_dont_have: true }
    }
}
