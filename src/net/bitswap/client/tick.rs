//! What becomes of wants when nothing happens.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use libp2p_identity::PeerId;

use super::super::message::WantType;
use super::want::Want;
use super::{
    ASK_AGE_MAX, Action, Client, PATIENCE, RETRY_DELAY_MAX, SEARCH_DELAY, SEARCH_INTERVAL_MAX,
    SessionId,
};
use crate::ipld::Multihash;

impl Client {
    pub(super) fn tick(&mut self, now: Instant) {
        let silent = self.peers.iter().filter(|(_, peer)| peer.is_silent(now, PATIENCE));
        let silent: Vec<PeerId> = silent.map(|(id, _)| *id).collect();
        for id in silent {
            tracing::debug!(peer = %id, "bitswap: no answer");
            self.stalled(now, id);
        }
        let open: Vec<Multihash> = self.due(now);
        for hash in open {
            self.look_again(now, &hash);
        }
        self.search(now);
    }

    /// The wants for which the time may have come to do something.
    fn due(&self, now: Instant) -> Vec<Multihash> {
        let is_due = |want: &Want| {
            want.is_open
                && (!want.is_busy()
                    || want.wave_at.is_some_and(|at| at <= now)
                    || want.asked.iter().any(|ask| now - ask.at > ASK_AGE_MAX))
        };
        let wants = self.wants.iter().filter(|(_, want)| is_due(want));
        wants.map(|(hash, _)| hash.clone()).collect()
    }

    fn look_again(&mut self, now: Instant, hash: &Multihash) {
        let Some(want) = self.wants.get_mut(hash) else { return };
        if want.wave_at.is_some_and(|at| at <= now) {
            want.wave_at = None;
            if !want.asks_block() {
                self.ask_around(now, hash, usize::MAX);
            }
        }
        let Some(want) = self.wants.get(hash) else { return };
        let overdue = want.asked.iter().filter(|ask| {
            let passed_over =
                self.peers.get(&ask.peer).is_some_and(|peer| peer.has_passed_over(ask.at));
            now - ask.at > ASK_AGE_MAX && passed_over
        });
        let overdue: Vec<PeerId> = overdue.map(|ask| ask.peer).collect();
        for peer in overdue {
            self.given_up(now, peer, hash);
        }
        let Some(want) = self.wants.get(hash) else { return };
        if !want.is_busy() {
            self.place(now, hash);
        }
        let Some(want) = self.wants.get_mut(hash) else { return };
        if !want.is_busy() && want.retry_at <= now {
            want.retry_at = now + want.retry_delay;
            want.retry_delay = (want.retry_delay * 2).min(RETRY_DELAY_MAX);
            want.lacking.clear();
            let peers: Vec<PeerId> = self.peers.keys().copied().collect();
            for peer in peers {
                self.ask(now, hash, peer, WantType::Have);
            }
        }
    }

    /// Has providers searched for the first want of each session that nobody answers.
    fn search(&mut self, now: Instant) {
        let nobody = self.peers.is_empty();
        let mut first: HashMap<SessionId, &Want> = HashMap::new();
        for want in self.wants.values().filter(|want| want.is_open && !want.is_busy()) {
            for id in &want.sessions {
                let other = first.entry(*id).or_insert(want);
                if want.order < other.order {
                    *other = want;
                }
            }
        }
        for (id, want) in first {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            let delay = if nobody { Duration::ZERO } else { SEARCH_DELAY };
            let at = *session.search_at.get_or_insert(now + delay);
            if at <= now {
                session.search_interval =
                    (session.search_interval * 2).clamp(SEARCH_DELAY, SEARCH_INTERVAL_MAX);
                session.search_at = Some(now + session.search_interval);
                self.out.push(Action::FindProviders(want.cid.clone()));
            }
        }
    }
}
