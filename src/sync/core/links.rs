//! Connected peers, what they announced last, and when something is due.

use super::session::Session;
use super::{Author, Core, Hlc, Mutant, Now, Peer, Sign, Store};
use crate::sync::message::{Roots, Update};

/// Sessions that this node has begun and not ended.
const SESSIONS_MAX: usize = 16;
/// Waiting after a failed session, doubled with each further one up to the second.
const RETRY_MS: u64 = 1_000;
const RETRY_MS_MAX: u64 = 60_000;
/// Pushed records that a peer may send in a second, and at once.
const RECORDS_PER_SECOND: u64 = 2_000;
const RECORDS_BURST: u64 = 20_000;
/// Questions that a peer may ask in a second, and at once. A page is 256 KiB, so this is no limit
/// for who reads the answers.
const FETCHES_PER_SECOND: u64 = 500;
const FETCHES_BURST: u64 = 1_000;

/// A connected peer.
#[derive(Debug, Clone)]
pub(super) struct Link {
    /// Its author key, once it has said hello.
    pub(super) author: Option<Author>,
    /// Its trees, as it told them last.
    pub(super) roots: Option<Roots>,
    vector_digest: Option<[u8; 8]>,
    /// The members that it was told of.
    pub(super) introduced: Option<[u8; 8]>,
    pub(super) session: Option<Session>,
    /// A session has brought both to the same records since the connection began.
    pub(super) was_equal: bool,
    /// When to begin a session if the trees still differ.
    pub(super) due_at_ms: Option<u64>,
    failures: u32,
    records: Bucket,
    fetches: Bucket,
}

/// A token bucket.
#[derive(Debug, Clone)]
struct Bucket {
    tokens: u64,
    filled_at_ms: u64,
}

impl Bucket {
    /// Takes `count` tokens, or as a whole none.
    fn take(&mut self, count: u64, per_second: u64, burst: u64, now: Now) -> bool {
        let earned =
            now.mono_ms.saturating_sub(self.filled_at_ms).saturating_mul(per_second) / 1000;
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned).min(burst);
            self.filled_at_ms = now.mono_ms;
        }
        let enough = self.tokens >= count;
        if enough {
            self.tokens -= count;
        }
        enough
    }
}

impl Link {
    fn new(now: Now) -> Self {
        let bucket = |tokens| Bucket { tokens, filled_at_ms: now.mono_ms };
        Self {
            author: None,
            roots: None,
            vector_digest: None,
            introduced: None,
            session: None,
            was_equal: false,
            due_at_ms: None,
            failures: 0,
            records: bucket(RECORDS_BURST),
            fetches: bucket(FETCHES_BURST),
        }
    }

    /// Whether a question of the peer may be answered now.
    pub(super) fn may_ask(&mut self, now: Now) -> bool {
        self.fetches.take(1, FETCHES_PER_SECOND, FETCHES_BURST, now)
    }
}

impl<K: Sign> Core<K> {
    pub(super) fn connected(&mut self, peer: Peer, now: Now) {
        self.unsaved.met |= !self.has_met;
        self.has_met = true;
        self.links.insert(peer.clone(), Link::new(now));
        let hello = self.hello(now);
        self.send(&peer, &hello);
    }

    pub(super) fn disconnected(&mut self, peer: &Peer) {
        self.links.remove(peer);
        self.withheld.remove(peer);
    }

    pub(super) fn heard_update<S: Store>(
        &mut self,
        store: &mut S,
        now: Now,
        from: &Peer,
        update: Update,
    ) -> Result<(), S::Error> {
        if let Some(link) = self.links.get_mut(from) {
            link.vector_digest = Some(update.vector_digest);
            let count = update.records.len() as u64;
            if !link.records.take(count, RECORDS_PER_SECOND, RECORDS_BURST, now) {
                // What is not taken now is found by the next session.
                return Ok(());
            }
        }
        self.merge_all(store, now, from, update.records)?;
        if let Some(author) = self.author_of(from) {
            self.heard_roots(from, author, (update.roots, update.node_hlc), now);
        }
        Ok(())
    }

    /// A member's trees at a time of its own: when they are ours, nothing of it is missing here.
    pub(super) fn heard_roots(
        &mut self,
        from: &Peer,
        author: Author,
        (roots, node_hlc): (Roots, Hlc),
        now: Now,
    ) {
        let same = roots.same_state(&self.roots());
        if same || !self.rules.keeps(Mutant::R5) {
            self.unsaved.vector |= self.vector.raise(author, node_hlc);
        }
        let (jitter, gap) = (self.random.next(), self.config.announce_ms_min);
        let Some(link) = self.links.get_mut(from) else { return };
        let is_new = link.roots.is_none();
        link.roots = Some(roots);
        if same {
            link.due_at_ms = None;
        } else if link.due_at_ms.is_none() && link.session.is_none() {
            // A push that is under way may be all that is missing; who just came has missed more.
            let wait_ms = if is_new { 0 } else { gap / 4 + jitter % gap.max(1) };
            link.due_at_ms = Some(now.mono_ms + wait_ms);
        }
    }

    /// Does what is due.
    pub(super) fn tick<S: Store>(&mut self, store: &mut S, now: Now) -> Result<(), S::Error> {
        if self.flush_at_ms.is_some_and(|at_ms| at_ms <= now.mono_ms)
            || self.outbox.len() >= crate::sync::message::UPDATE_RECORDS_MAX
        {
            self.flush(now);
        }
        if self.floor_at_ms <= now.mono_ms {
            self.floor_at_ms = now.mono_ms + self.config.hello_ms / 4;
            self.raise_floor(now);
            if self.collect(store, now)? {
                self.floor_at_ms = now.mono_ms;
            }
        }
        if self.hello_at_ms <= now.mono_ms {
            self.say_hello(now);
        }
        if self.announce_at_ms <= now.mono_ms {
            self.announce(now);
        }
        self.end_late_sessions(now);
        self.begin_due_sessions(now);
        Ok(())
    }

    fn announce(&mut self, now: Now) {
        let announcement = self.update(now, Vec::new());
        let peers: Vec<Peer> = self.links.keys().cloned().collect();
        for peer in peers {
            self.send(&peer, &announcement);
        }
        self.announce_at_ms = now.mono_ms + self.announce_gap_ms;
        self.announce_gap_ms = (self.announce_gap_ms * 2).min(self.config.announce_ms_max);
    }

    fn begin_due_sessions(&mut self, now: Now) {
        if self.vector_at_ms <= now.mono_ms {
            self.vector_at_ms = now.mono_ms + self.config.vector_ms;
            self.pick_for_vector(now);
        }
        let running = self.links.values().filter(|link| link.session.is_some()).count();
        let due: Vec<Peer> = self
            .links
            .iter()
            .filter(|(_, link)| {
                link.session.is_none()
                    && link.author.is_some()
                    && link.due_at_ms.is_some_and(|at_ms| at_ms <= now.mono_ms)
            })
            .map(|(peer, _)| peer.clone())
            .collect();
        for peer in due.into_iter().take(SESSIONS_MAX.saturating_sub(running)) {
            self.begin_session(&peer, now);
        }
    }

    /// Has one peer tell its vector that has seen other things than we have: without that, the
    /// floor would wait for a difference of the trees.
    fn pick_for_vector(&mut self, now: Now) {
        let ours = self.vector_digest();
        let others: Vec<Peer> = self
            .links
            .iter()
            .filter(|(_, link)| {
                link.due_at_ms.is_none() && link.vector_digest.is_some_and(|digest| digest != ours)
            })
            .map(|(peer, _)| peer.clone())
            .collect();
        let pick = self.random.below(others.len() as u64) as usize;
        if let Some(link) = others.get(pick).and_then(|peer| self.links.get_mut(peer)) {
            link.due_at_ms = Some(now.mono_ms);
        }
    }

    /// Ends the session with a peer; a failed one is tried again later and later.
    pub(super) fn end_session(&mut self, peer: &Peer, now: Now, failed: bool) {
        let jitter = self.random.next();
        let Some(link) = self.links.get_mut(peer) else { return };
        link.session = None;
        link.failures = if failed { link.failures.saturating_add(1) } else { 0 };
        if failed {
            let wait_ms = (RETRY_MS << link.failures.min(6)).min(RETRY_MS_MAX);
            link.due_at_ms = Some(now.mono_ms + wait_ms / 2 + jitter % wait_ms);
        }
    }

    /// When the next tick has something to do, in milliseconds of the monotonic clock.
    #[must_use]
    pub fn wake_at_ms(&self) -> u64 {
        let links = self.links.values().filter_map(|link| match &link.session {
            Some(session) => Some(session.ends_at_ms()),
            None => link.due_at_ms,
        });
        links
            .chain(self.flush_at_ms)
            .chain([self.floor_at_ms, self.hello_at_ms, self.announce_at_ms, self.vector_at_ms])
            .min()
            .unwrap_or_default()
    }
}
