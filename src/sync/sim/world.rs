//! Nodes, their disks and clocks, and the network between them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::convert::Infallible;

use super::oracle::{History, Knowledge};
use super::{Dice, Fault, config};
use crate::sync::Hlc;
use crate::sync::core::{Action, Core, Event, NotReady, Now, Op, Options, Peer, Rules, Start};
use crate::sync::keys::{Group, Sign};
use crate::sync::record::Kind;
use crate::sync::store::{Memory, Store};
use crate::sync::testing::Key as Signer;

/// Begin of virtual time, in Unix milliseconds: some months after nothing.
const EPOCH_MS: u64 = 1_700_000_000_000;

/// Something that will happen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Message { from: usize, to: usize, bytes: Vec<u8> },
    Tick(usize),
    Start(usize),
}

/// A computer.
pub(super) struct Node {
    pub(super) core: Option<Core<Signer>>,
    pub(super) disk: Memory,
    pub(super) backup: Option<Memory>,
    /// How far its wall clock is off, in milliseconds.
    pub(super) clock_off_ms: i64,
    /// How much its wall clock runs fast, in millionths.
    drift_ppm: i64,
    /// What its wall clock shows for ever, when it stands still.
    frozen_ms: Option<u64>,
    /// The process stands still until then.
    paused_until_ms: u64,
    pub(super) is_suspect: bool,
    /// A record was changed behind the core's back.
    pub(super) is_damaged: bool,
    /// Its floor when it was last looked at.
    floor: Hlc,
    boots: u64,
    next_tick_ms: u64,
}

/// Everything.
pub(super) struct World {
    pub(super) now_ms: u64,
    pub(super) dice: Dice,
    pub(super) nodes: Vec<Node>,
    pub(super) history: History,
    /// The side of a partition that a node is on.
    pub(super) sides: Vec<u64>,
    /// Ways that lose every message although the connection stands.
    pub(super) cut: BTreeSet<(usize, usize)>,
    pub(super) loss_percent: u64,
    pub(super) twice_percent: u64,
    pub(super) delay_ms: u64,
    pub(super) keys: u64,
    pub(super) steps_back: bool,
    pub(super) restores: bool,
    sketch_cells: usize,
    connected: BTreeSet<(usize, usize)>,
    due: BinaryHeap<Reverse<(u64, u64, Due)>>,
    sequence: u64,
    events: u64,
    rules: Rules,
    seed: u64,
    /// Found where nothing could be returned.
    fault: Option<Fault>,
    is_traced: bool,
}

fn sure<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(value) => value,
    }
}

impl World {
    pub(super) fn new(seed: u64, rules: Rules) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let count = 2 + dice.below(4) as usize;
        let wrong_clocks = dice.percent(40);
        let drifting = dice.percent(30);
        let nodes = (0..count).map(|_| {
            let days = 24 * 3_600_000;
            let clock_off_ms = if wrong_clocks && dice.percent(40) {
                dice.below(33 * days) as i64 - 10 * days as i64
            } else {
                dice.below(200) as i64
            };
            Node {
                core: None,
                disk: Memory::default(),
                backup: None,
                clock_off_ms,
                drift_ppm: if drifting { dice.below(20_000) as i64 - 10_000 } else { 0 },
                frozen_ms: None,
                paused_until_ms: 0,
                is_suspect: false,
                is_damaged: false,
                floor: Hlc(0),
                boots: 0,
                next_tick_ms: 0,
            }
        });
        let nodes: Vec<Node> = nodes.collect();
        let lossy = dice.percent(50);
        let slow = dice.percent(30);
        let mut world = Self {
            now_ms: 1_000,
            history: History::new(count),
            sides: vec![0; count],
            cut: BTreeSet::new(),
            loss_percent: if lossy { dice.below(50) } else { 0 },
            twice_percent: if lossy { dice.below(20) } else { 0 },
            delay_ms: if slow { 60_000 } else { 100 },
            keys: 2 + dice.below(10),
            steps_back: dice.percent(30),
            restores: dice.percent(30),
            sketch_cells: if dice.percent(50) { 128 } else { 0 },
            connected: BTreeSet::new(),
            due: BinaryHeap::new(),
            sequence: 0,
            events: 0,
            nodes,
            dice,
            rules,
            seed,
            fault: None,
            is_traced: std::env::var_os("SIM_TRACE").is_some(),
        };
        for node in 0..count {
            world.start(node);
        }
        world
    }

    pub(super) fn events(&self) -> u64 {
        self.events
    }

    fn at(&mut self, ms: u64, due: Due) {
        self.sequence += 1;
        self.due.push(Reverse((ms, self.sequence, due)));
    }

    pub(super) fn now(&self, node: usize) -> Now {
        let this = &self.nodes[node];
        let gained_ms = self.now_ms as i64 * this.drift_ppm / 1_000_000;
        let wall_ms = (EPOCH_MS + self.now_ms).saturating_add_signed(this.clock_off_ms + gained_ms);
        Now { wall_ms: this.frozen_ms.unwrap_or(wall_ms), mono_ms: self.now_ms }
    }

    pub(super) fn lease_ms(&self) -> u64 {
        config(0, 0).lease_ms
    }

    /// Boots a node from its disk.
    pub(super) fn start(&mut self, node: usize) {
        if self.nodes[node].core.is_some() {
            return;
        }
        let now = self.now(node);
        let this = &mut self.nodes[node];
        this.boots += 1;
        let mut seed = [node as u8; 32];
        seed[..8].copy_from_slice(&self.seed.to_be_bytes());
        seed[8..16].copy_from_slice(&this.boots.to_be_bytes());
        let start = if this.is_suspect { Start::Suspect } else { Start::Trusted };
        let options = Options {
            keys: Signer::new(node as u8),
            group: Group::derive(&[1; 32]),
            config: config(node as u8, self.sketch_cells),
            seed,
            start,
        };
        let mut core = sure(Core::open_with(options, self.rules, &mut this.disk, now));
        if this.is_damaged {
            sure(core.scrub(&mut this.disk));
            this.is_damaged = false;
        }
        this.floor = core.roots().floor;
        this.core = Some(core);
        self.history.forget_removals(node);
        self.connect();
        self.schedule(node);
    }

    /// Ends a node as a power cut does.
    pub(super) fn stop(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        if this.core.take().is_some_and(|core| core.is_ready()) {
            this.is_suspect = false;
        }
        self.connect();
    }

    fn may_talk(&self, a: usize, b: usize) -> bool {
        a != b
            && self.sides[a] == self.sides[b]
            && self.nodes[a].core.is_some()
            && self.nodes[b].core.is_some()
    }

    /// Prints what happens, when `SIM_TRACE` is set.
    pub(super) fn trace(&self, text: impl FnOnce() -> String) {
        if self.is_traced {
            println!("{:>8} {}", self.now_ms, text());
        }
    }

    /// Makes and ends connections as partitions and power allow.
    pub(super) fn connect(&mut self) {
        for a in 0..self.nodes.len() {
            for b in 0..self.nodes.len() {
                let may = self.may_talk(a, b);
                let peer = Peer::new(&[b as u8; 32]);
                if may && self.connected.insert((a, b)) {
                    let result = self.step(a, Event::Connected(peer));
                    self.fault = self.fault.take().or(result.err());
                } else if !may && self.connected.remove(&(a, b)) {
                    let result = self.step(a, Event::Disconnected(peer));
                    self.fault = self.fault.take().or(result.err());
                }
            }
        }
    }

    fn schedule(&mut self, node: usize) {
        let Some(core) = &self.nodes[node].core else { return };
        let wake_ms = core.wake_at_ms().max(self.now_ms + 1);
        if self.nodes[node].next_tick_ms <= self.now_ms || wake_ms < self.nodes[node].next_tick_ms {
            self.nodes[node].next_tick_ms = wake_ms;
            self.at(wake_ms, Due::Tick(node));
        }
    }

    /// Lets a node take an event, and does what it wants done.
    pub(super) fn step(&mut self, node: usize, event: Event) -> Result<(), Fault> {
        let now = self.now(node);
        let this = &mut self.nodes[node];
        let Some(core) = &mut this.core else { return Ok(()) };
        // A crash in the middle: nothing of the step is kept, nothing was told.
        if self.dice.below(3_000) == 0 {
            let mut lost = this.disk.clone();
            drop(core.step(&mut lost, now, event));
            self.stop(node);
            let back_ms = self.now_ms + 500 + self.dice.below(5_000);
            self.at(back_ms, Due::Start(node));
            return Ok(());
        }
        let actions = sure(core.step(&mut this.disk, now, event));
        self.events += 1;
        self.note_floor(node);
        self.act(node, actions)
    }

    /// Lets the user of a node change a pin; `None` if the node is down or may not.
    pub(super) fn author(&mut self, node: usize, ops: &[Op]) -> Result<Option<()>, Fault> {
        let now = self.now(node);
        let this = &mut self.nodes[node];
        if this.paused_until_ms > now.mono_ms {
            return Ok(None);
        }
        let Some(core) = &mut this.core else { return Ok(None) };
        match sure(core.author_all(&mut this.disk, now, ops)) {
            Ok(actions) => {
                self.note_floor(node);
                self.act(node, actions)?;
                for op in ops {
                    self.history.check_own_write(&self.nodes[node].disk, op)?;
                }
                Ok(Some(()))
            }
            Err(NotReady::MustAsk | NotReady::Cloned) => Ok(None),
            Err(error) => Err(format!("node {node} cannot pin: {error}")),
        }
    }

    /// Tells the oracle whom a new floor of a node did not wait for.
    fn note_floor(&mut self, node: usize) {
        let now = self.now(node);
        let this = &mut self.nodes[node];
        let Some(core) = &this.core else { return };
        let floor = core.roots().floor;
        if floor > this.floor {
            let mut waited_for = core.active(now);
            waited_for.push(core.author());
            this.floor = floor;
            self.history.note_floor(floor, &waited_for);
        }
    }

    fn act(&mut self, node: usize, actions: Vec<Action>) -> Result<(), Fault> {
        for action in actions {
            match action {
                Action::Send(to, bytes) => {
                    let to = usize::from(to.as_bytes()[0]);
                    self.post(node, to, bytes);
                }
                Action::Broadcast(bytes) => {
                    for to in 0..self.nodes.len() {
                        if to != node {
                            self.post(node, to, bytes.clone());
                        }
                    }
                }
                Action::Changed(change) => {
                    self.trace(|| {
                        let records = [&change.before, &change.after].map(|record| {
                            record.as_ref().map(|r| {
                                let pin = r.live().map(|live| live.name.clone());
                                (r.author().0[0], r.hlc().0, pin)
                            })
                        });
                        format!("node {node} {:?} {records:?} {:?}", change.key, change.cause)
                    });
                    self.history.note(node, &change, self.now_ms)?;
                }
                Action::InSync(_) | Action::Warn(_) => {}
            }
        }
        self.schedule(node);
        Ok(())
    }

    /// Puts a message on its way, or loses it.
    fn post(&mut self, from: usize, to: usize, mut bytes: Vec<u8>) {
        if !self.may_talk(from, to)
            || self.cut.contains(&(from, to))
            || self.dice.percent(self.loss_percent)
        {
            return;
        }
        let times = 1 + u64::from(self.dice.percent(self.twice_percent));
        for _ in 0..times {
            let mut delay_ms = 1 + self.dice.below(50);
            if self.delay_ms > 100 && self.dice.percent(5) {
                delay_ms = self.dice.below(self.delay_ms);
            }
            if self.loss_percent > 0 && self.dice.below(200) == 0 {
                // The transport authenticates: what arrives changed was made so by a member.
                bytes.truncate(self.dice.below(bytes.len() as u64) as usize);
            }
            let message = Due::Message { from, to, bytes: bytes.clone() };
            self.at(self.now_ms + delay_ms, message);
        }
    }

    /// When the process that something will happen to goes on, if it stands still.
    fn paused_until(&self, due: &Due) -> Option<u64> {
        let (Due::Message { to: node, .. } | Due::Tick(node) | Due::Start(node)) = due;
        Some(self.nodes[*node].paused_until_ms).filter(|until_ms| *until_ms > self.now_ms)
    }

    /// Stops a process for a time; what arrives meanwhile waits.
    pub(super) fn pause(&mut self, node: usize, ms: u64) {
        self.nodes[node].paused_until_ms = self.now_ms + ms;
    }

    /// Stops the wall clock of a node, or lets it jump to where it would be.
    pub(super) fn freeze(&mut self, node: usize) {
        let wall_ms = self.now(node).wall_ms;
        let frozen_ms = &mut self.nodes[node].frozen_ms;
        *frozen_ms = if frozen_ms.is_none() { Some(wall_ms) } else { None };
    }

    /// The disk of a node is full: what it does next is not kept, and it opens its pinset anew.
    pub(super) fn fail_disk(&mut self, node: usize, op: &Op) {
        let now = self.now(node);
        let this = &mut self.nodes[node];
        if let Some(core) = &mut this.core {
            drop(core.author_all(&mut this.disk.clone(), now, std::slice::from_ref(op)));
        }
        self.stop(node);
        self.start(node);
    }

    /// Lets time pass.
    pub(super) fn advance(&mut self, ms: u64) -> Result<(), Fault> {
        let end_ms = self.now_ms + ms;
        while let Some(Reverse((at_ms, ..))) = self.due.peek() {
            if *at_ms > end_ms {
                break;
            }
            let Some(Reverse((at_ms, _, due))) = self.due.pop() else { break };
            self.now_ms = self.now_ms.max(at_ms);
            if let Some(until_ms) = self.paused_until(&due) {
                self.at(until_ms, due);
                continue;
            }
            match due {
                // A partition cuts what is under way too; a delayed copy may come much later.
                Due::Message { from, to, bytes } => {
                    if self.may_talk(from, to) {
                        self.step(to, Event::Received(Peer::new(&[from as u8; 32]), bytes))?;
                    }
                }
                Due::Tick(node) => {
                    // A pause may have put it off.
                    if self.nodes[node].next_tick_ms <= at_ms {
                        self.step(node, Event::Tick)?;
                    }
                }
                Due::Start(node) => self.start(node),
            }
        }
        self.now_ms = end_ms;
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        Ok(())
    }

    /// Everything works again; time passes until all agree.
    pub(super) fn heal(&mut self) -> Result<(), Fault> {
        self.loss_percent = 0;
        self.twice_percent = 0;
        self.delay_ms = 100;
        self.sides.fill(0);
        self.cut.clear();
        for node in 0..self.nodes.len() {
            self.nodes[node].paused_until_ms = 0;
            self.nodes[node].frozen_ms = None;
            self.start(node);
        }
        self.connect();
        for _ in 0..60 {
            self.advance(5_000)?;
            if self.nodes.iter().all(|node| node.core.is_some()) && self.all_equal() {
                return Ok(());
            }
        }
        let roots: Vec<String> = self
            .nodes
            .iter()
            .map(|node| format!("{:?}", node.core.as_ref().map(|core| short(core.roots()))))
            .collect();
        Err(format!("no agreement after 300 s: {roots:?}"))
    }

    fn all_equal(&self) -> bool {
        let mut roots = self.nodes.iter().filter_map(|node| Some(node.core.as_ref()?.roots()));
        let Some(first) = roots.next() else { return true };
        roots.all(|roots| roots.same_state(&first))
    }

    pub(super) fn check_end(&self) -> Result<(), Fault> {
        for (number, node) in self.nodes.iter().enumerate() {
            let Some(core) = &node.core else { continue };
            let roots = core.roots();
            let mut disk = node.disk.clone();
            for (kind, root) in [(Kind::Live, roots.live), (Kind::Tomb, roots.tomb)] {
                let tree = sure(crate::sync::tree::Tree::rebuild(kind, &mut disk));
                if tree.root() != root {
                    return Err(format!("node {number}: the root is not that of its records"));
                }
            }
            let end = roots.floor.before(config(0, 0).keep_ms);
            if node.disk.records().any(|r| r.kind() == Kind::Tomb && r.hlc() <= end) {
                return Err(format!("node {number}: a tombstone below the floor"));
            }
            self.history
                .check_list(&node.disk)
                .map_err(|fault| format!("node {number}: {fault}"))?;
        }
        Ok(())
    }

    /// Takes the disk of a node back to its backup, and what only that disk had out of the
    /// expectations.
    pub(super) fn restore(&mut self, node: usize) {
        let Some(backup) = self.nodes[node].backup.clone() else { return };
        self.stop(node);
        self.nodes[node].disk = backup;
        self.nodes[node].is_suspect = true;
        self.forget(node);
    }

    /// The disk of a node is another one now: the oracle forgets what nobody can know any more.
    fn forget(&mut self, node: usize) {
        let known = self.nodes.iter().enumerate().map(|(number, node)| {
            let known = Knowledge::of(Signer::new(number as u8).author(), &node.disk);
            if node.is_damaged { known.without_claims() } else { known }
        });
        self.history.lose(&known.collect::<Vec<_>>());
        self.history.forget_seen(node);
    }

    /// Changes one record on the disk of a node that is down.
    pub(super) fn damage(&mut self, node: usize) {
        self.stop(node);
        let this = &mut self.nodes[node];
        let count = this.disk.len() as u64;
        let pick = self.dice.below(count) as usize;
        let Some(key) = this.disk.records().nth(pick).map(|record| record.key()) else { return };
        sure(this.disk.remove(&key));
        this.is_damaged = true;
        self.forget(node);
    }

    pub(super) fn pins(&self, node: usize) -> BTreeMap<crate::sync::hash::Key, crate::ipld::Cid> {
        let live = self.nodes[node].disk.records().filter(|record| record.kind() == Kind::Live);
        live.map(|record| (record.key(), record.cid().clone())).collect()
    }
}

fn short(roots: crate::sync::message::Roots) -> String {
    format!(
        "live {:02x}{:02x} ({}), tomb {:02x}{:02x} ({}), floor {}",
        roots.live[0],
        roots.live[1],
        roots.live_count,
        roots.tomb[0],
        roots.tomb[1],
        roots.tomb_count,
        roots.floor.ms()
    )
}
