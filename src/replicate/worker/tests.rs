//! Tests of the worker, with content that comes when the test says so.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::replicate::tests::{HOUR_MS, NOW_MS, cid, peer, record, roster, tombstone};
use crate::replicate::{Counts, SCHEMA, Subject, recover, wake_failed};
use crate::sync::Record;
use crate::sync::record::Live;

type Answer = oneshot::Sender<Result<(), Failure>>;

/// Content that comes when the test says so.
struct Shelf {
    begun: mpsc::Sender<(Task, Answer)>,
    pinned: mpsc::Sender<Cid>,
    room: Arc<AtomicU64>,
}

impl Content for Shelf {
    type Guard = ();

    async fn hold(&self, task: Task) -> Result<(), Failure> {
        let (answer, result) = oneshot::channel();
        self.begun.send((task, answer)).await.unwrap();
        match result.await {
            Ok(result) => result,
            Err(_) => std::future::pending().await,
        }
    }

    fn room_bytes(&self) -> Option<u64> {
        Some(self.room.load(Ordering::Relaxed))
    }

    fn pinned(&self, cid: &Cid) {
        self.pinned.try_send(cid.clone()).unwrap();
    }
}

struct Bench {
    db: Db,
    queue: Queue,
    room: Arc<AtomicU64>,
    begun: mpsc::Receiver<(Task, Answer)>,
    pinned: mpsc::Receiver<Cid>,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
    dir: tempfile::TempDir,
}

/// Nobody gives up by himself.
fn patient() -> Options {
    let long = Duration::from_secs(3600);
    Options {
        grace: long,
        patience: long,
        probe_patience: long,
        look: Duration::from_millis(5),
        save: Duration::from_millis(5),
        room: Duration::from_millis(1),
        full: Duration::from_millis(5),
        now_ms: || NOW_MS,
        ..Options::default()
    }
}

fn bench(options: Options) -> Bench {
    bench_in(tempfile::tempdir().unwrap(), options)
}

fn bench_in(dir: tempfile::TempDir, options: Options) -> Bench {
    let schemas = [SCHEMA, crate::pins::SCHEMA];
    let db = Db::open(&dir.path().join("state.sqlite"), &schemas).unwrap();
    let (begin, begun) = mpsc::channel(2000);
    let (pin, pinned) = mpsc::channel(2000);
    let room = Arc::new(AtomicU64::new(1 << 40));
    let shelf = Shelf { begun: begin, pinned: pin, room: Arc::clone(&room) };
    let (queue, stop) = (Queue::default(), CancellationToken::new());
    let service = Service::new(db.clone(), shelf, queue.clone(), options);
    let running = tokio::spawn(service.run(stop.clone().cancelled_owned()));
    Bench { db, queue, room, begun, pinned, stop, running, dir }
}

impl Bench {
    async fn tell(&self, records: Vec<Record>) {
        let write = move |tx: &Transaction<'_>| {
            records.iter().try_for_each(|record| {
                let (key, cid) = (record.key(), record.cid().clone());
                let subject = Subject { key: &key, cid: &cid, record: Some(record), held: false };
                follow::follow(tx, &subject, &roster(3), NOW_MS)
            })
        };
        self.db.write(write).await.unwrap();
        self.queue.wake();
    }

    /// Pins of another member.
    async fn pin(&self, numbers: std::ops::Range<u32>, live: Live) {
        let records = numbers.map(|number| record(2, &cid(number), NOW_MS, live.clone()));
        self.tell(records.collect()).await;
    }

    async fn begun(&mut self) -> (Task, Answer) {
        self.begun.recv().await.unwrap()
    }

    fn row(&self, number: u32) -> Option<Row> {
        self.db.read(|c| self.queue.row(c, &Key::of(&cid(number)))).unwrap()
    }

    fn counts(&self) -> Counts {
        self.db.read(|c| self.queue.counts(c)).unwrap()
    }

    fn local(&self, number: u32) -> Option<(Mode, String)> {
        let pin = self.db.read(|c| crate::pins::get(c, &cid(number))).unwrap();
        pin.map(|pin| (pin.mode, pin.name))
    }

    /// Waits until what the queue says makes `is_so` true.
    async fn until(&self, mut is_so: impl FnMut(&Self) -> bool) {
        let mut changes = self.queue.changes();
        while !is_so(self) {
            changes.changed().await.unwrap();
        }
    }

    async fn stop(self) -> tempfile::TempDir {
        self.stop.cancel();
        self.running.await.unwrap();
        self.dir
    }
}

fn named(name: &str) -> Live {
    Live { name: name.to_owned(), ..Live::default() }
}

#[tokio::test]
async fn a_pin_is_fetched_and_made() {
    let mut bench = bench(patient());
    let live = Live { origins: vec![vec![1, 2, 3]], ..named("name") };
    bench.pin(1..2, live).await;
    let (task, answer) = bench.begun().await;
    assert_eq!((&task.cid, task.mode), (&cid(1), Mode::Recursive));
    assert_eq!((task.peers, task.origins), (vec![peer(2)], vec![vec![1, 2, 3]]));
    task.progress.count(100);
    let row = bench.row(1).unwrap();
    assert_eq!((row.state, row.blocks, row.bytes), (State::Fetching, 1, 100));
    assert_eq!(bench.counts(), Counts { fetching: 1, ..Counts::default() });
    assert_eq!(bench.local(1), None);
    answer.send(Ok(())).unwrap();
    assert_eq!(bench.pinned.recv().await, Some(cid(1)));
    assert_eq!(bench.local(1), Some((Mode::Recursive, "name".to_owned())));
    assert_eq!((bench.row(1), bench.counts()), (None, Counts::default()));
    bench.stop().await;
}

#[tokio::test]
async fn many_pins_share_their_transactions() {
    let mut bench = bench(patient());
    bench.pin(0..1000, Live { size_bytes: Some(512), ..Live::default() }).await;
    let changes = bench.queue.changes();
    let before = *changes.borrow();
    for _ in 0..1000 {
        let (_, answer) = bench.begun().await;
        answer.send(Ok(())).unwrap();
    }
    for _ in 0..1000 {
        bench.pinned.recv().await.unwrap();
    }
    assert_eq!(bench.counts(), Counts::default());
    let commits = *changes.borrow() - before;
    assert!(commits <= 500, "{commits} commits");
    bench.stop().await;
}

#[tokio::test]
async fn what_cannot_be_had_delays_nothing_else() {
    let options = Options { grace: Duration::from_millis(20), ..patient() };
    let mut bench = bench(options);
    bench.pin(0..60, Live::default()).await;
    bench.pin(100..101, Live::default()).await;
    let mut waiting = Vec::new();
    loop {
        let (task, answer) = bench.begun().await;
        if task.cid == cid(100) {
            answer.send(Ok(())).unwrap();
            break;
        }
        waiting.push((task, answer));
    }
    assert_eq!(bench.pinned.recv().await, Some(cid(100)));
    // What was waited for comes after all.
    let (task, answer) = waiting.swap_remove(3);
    answer.send(Ok(())).unwrap();
    assert_eq!(bench.pinned.recv().await, Some(task.cid));
    bench.stop().await;
}

#[tokio::test]
async fn of_too_many_that_wait_the_longest_gives_up() {
    let options = Options { grace: Duration::from_millis(5), idle_max: 20, ..patient() };
    let mut bench = bench(options);
    bench.pin(0..40, Live::default()).await;
    let mut waiting = Vec::new();
    while waiting.len() < 40 {
        waiting.push(bench.begun().await);
    }
    bench.until(|bench| bench.counts().failing == 20).await;
    assert_eq!(bench.counts().fetching, 20);
    bench.stop().await;
}

#[tokio::test]
async fn what_makes_no_progress_gives_up_and_waits() {
    let mut bench = bench(Options { patience: Duration::from_millis(30), ..patient() });
    bench.pin(1..2, Live::default()).await;
    let (task, mut answer) = bench.begun().await;
    task.progress.count(10);
    answer.closed().await;
    bench.until(|bench| bench.counts().failing == 1).await;
    let row = bench.row(1).unwrap();
    assert_eq!((row.state, row.attempts, row.lane), (State::Failed, 1, Lane::Fresh));
    assert_eq!(row.error, "no peer sent any of its blocks");
    assert_eq!((row.blocks, row.bytes), (1, 10));
    assert!(row.next_at_ms.is_some_and(|at| at > NOW_MS && at <= NOW_MS + 30_000), "{row:?}");
    // A peer comes that has it.
    bench.db.write(|tx| wake_failed(tx, &peer(2))).await.unwrap();
    bench.queue.wake();
    let (_, answer) = bench.begun().await;
    answer.send(Ok(())).unwrap();
    bench.pinned.recv().await.unwrap();
    bench.stop().await;
}

#[tokio::test]
async fn what_failed_comes_back_when_its_time_has_come() {
    // Every wait is over at once.
    let mut bench = bench(Options { now_ms: later, ..patient() });
    static NOW: AtomicU64 = AtomicU64::new(NOW_MS);
    fn later() -> u64 {
        NOW.fetch_add(6 * HOUR_MS, Ordering::Relaxed)
    }
    bench.pin(1..2, Live::default()).await;
    for attempts in 1..=7 {
        let (_, answer) = bench.begun().await;
        answer.send(Err(Failure::Failed(format!("failure {attempts}")))).unwrap();
    }
    let (_, answer) = bench.begun().await;
    let row = bench.db.read(|c| row::row(c, &Key::of(&cid(1)))).unwrap().unwrap();
    assert_eq!((row.state, row.attempts, row.lane), (State::Stalled, 7, Lane::Stalled));
    assert_eq!(row.error, "failure 7");
    answer.send(Ok(())).unwrap();
    bench.pinned.recv().await.unwrap();
    bench.stop().await;
}

#[tokio::test]
async fn what_is_removed_while_it_is_fetched_is_dropped() {
    let mut bench = bench(patient());
    let first = record(2, &cid(1), NOW_MS, Live::default());
    bench.tell(vec![first.clone()]).await;
    let (_, mut answer) = bench.begun().await;
    bench.tell(vec![tombstone(&first, NOW_MS + 1)]).await;
    answer.closed().await;
    assert_eq!((bench.row(1), bench.local(1)), (None, None));
    // One that has come already when it is removed is not pinned.
    let second = record(2, &cid(2), NOW_MS, Live::default());
    bench.tell(vec![second.clone()]).await;
    let (_, answer) = bench.begun().await;
    let write = move |tx: &Transaction<'_>| row::delete(tx, &second.key());
    let changes = bench.queue.changes();
    bench.db.write(write).await.unwrap();
    // It may have been dropped by now.
    let _ = answer.send(Ok(()));
    drop(changes);
    bench.pin(3..4, Live::default()).await;
    let (_, answer) = bench.begun().await;
    answer.send(Ok(())).unwrap();
    assert_eq!(bench.pinned.recv().await, Some(cid(3)));
    assert_eq!(bench.local(2), None);
    bench.stop().await;
}

#[tokio::test]
async fn a_pin_is_made_as_the_newest_record_says() {
    let mut bench = bench(patient());
    bench.pin(1..2, named("old")).await;
    let (_, answer) = bench.begun().await;
    bench.tell(vec![record(3, &cid(1), NOW_MS + 1, named("new"))]).await;
    answer.send(Ok(())).unwrap();
    bench.pinned.recv().await.unwrap();
    assert_eq!(bench.local(1), Some((Mode::Recursive, "new".to_owned())));
    // All of what was to be its root alone.
    let direct = Live { mode: crate::sync::record::Mode::Direct, ..Live::default() };
    bench.pin(2..3, direct).await;
    let (task, _answer) = bench.begun().await;
    assert_eq!(task.mode, Mode::Direct);
    bench.tell(vec![record(3, &cid(2), NOW_MS + 1, Live::default())]).await;
    let (task, answer) = bench.begun().await;
    assert_eq!(task.mode, Mode::Recursive);
    answer.send(Ok(())).unwrap();
    bench.pinned.recv().await.unwrap();
    assert_eq!(bench.local(2), Some((Mode::Recursive, String::new())));
    bench.stop().await;
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was() {
    let mut first = bench(patient());
    first.pin(1..3, Live::default()).await;
    let (task, _answer) = first.begun().await;
    let (_, other) = first.begun().await;
    task.progress.count(1000);
    let saved = |bench: &Bench| {
        let row = bench.db.read(|c| row::row(c, &Key::of(&task.cid))).unwrap().unwrap();
        row.bytes == 1000
    };
    while !saved(&first) {
        tokio::task::yield_now().await;
    }
    other.send(Ok(())).unwrap();
    first.pinned.recv().await.unwrap();
    let dir = first.stop().await;
    let mut second = bench_in(dir, patient());
    let (again, answer) = second.begun().await;
    assert_eq!(again.cid, task.cid);
    answer.send(Ok(())).unwrap();
    assert_eq!(second.pinned.recv().await, Some(task.cid));
    assert_eq!(second.counts(), Counts::default());
    second.stop().await;
}

#[tokio::test]
async fn a_full_disk_holds_everything_until_there_is_room() {
    let mut bench = bench(patient());
    bench.room.store(0, Ordering::Relaxed);
    bench.pin(1..3, Live::default()).await;
    bench.until(|bench| bench.queue.is_full()).await;
    assert_eq!(bench.counts(), Counts { disk_full: 2, ..Counts::default() });
    assert_eq!(bench.row(1).unwrap().state, State::DiskFull);
    let full = bench.db.read(|c| bench.queue.page(c, &[State::DiskFull], None, 9)).unwrap();
    assert_eq!(full.len(), 2);
    assert_eq!(bench.db.read(|c| bench.queue.page(c, &[State::Queued], None, 9)).unwrap(), []);
    bench.room.store(1 << 30, Ordering::Relaxed);
    for _ in 0..2 {
        let (_, answer) = bench.begun().await;
        answer.send(Ok(())).unwrap();
        bench.pinned.recv().await.unwrap();
    }
    assert!(!bench.queue.is_full());
    bench.stop().await;
}

#[tokio::test]
async fn what_is_too_large_lets_smaller_ones_pass() {
    let mut bench = bench(patient());
    bench.room.store(1 << 20, Ordering::Relaxed);
    bench.pin(1..2, Live { size_bytes: Some(2 << 20), ..Live::default() }).await;
    bench.until(|bench| bench.counts().disk_full == 1).await;
    let row = bench.row(1).unwrap();
    assert_eq!((row.state, row.attempts), (State::DiskFull, 0));
    bench.pin(2..3, Live { size_bytes: Some(1000), ..Live::default() }).await;
    let (task, answer) = bench.begun().await;
    assert_eq!(task.cid, cid(2));
    // What the disk refuses is no attempt either.
    answer.send(Err(Failure::DiskFull)).unwrap();
    bench.until(|bench| bench.counts().disk_full == 2).await;
    assert_eq!(bench.row(2).unwrap().attempts, 0);
    bench.room.store(1 << 40, Ordering::Relaxed);
    bench.db.write(|tx| recover(tx, None)).await.unwrap();
    bench.queue.wake();
    for _ in 0..2 {
        let (_, answer) = bench.begun().await;
        answer.send(Ok(())).unwrap();
        bench.pinned.recv().await.unwrap();
    }
    bench.stop().await;
}

#[tokio::test]
async fn pages_tell_what_is_being_fetched_from_what_waits() {
    let mut bench = bench(patient());
    bench.pin(0..30, Live::default()).await;
    let mut begun = Vec::new();
    while begun.len() < 16 {
        begun.push(bench.begun().await);
    }
    let page = |states: &[State]| bench.db.read(|c| bench.queue.page(c, states, None, 99)).unwrap();
    let mut fetching: Vec<Key> = begun.iter().map(|(task, _)| Key::of(&task.cid)).collect();
    fetching.sort_unstable();
    let keys: Vec<Key> = page(&[State::Fetching]).iter().map(|row| row.key).collect();
    assert_eq!(keys, fetching);
    assert_eq!(page(&[State::Queued]).len(), 14);
    assert_eq!(page(&[State::Queued, State::Fetching]).len(), 30);
    assert_eq!(page(&[]).iter().filter(|row| row.state == State::Fetching).count(), 16);
    assert_eq!(bench.counts(), Counts { queued: 14, fetching: 16, ..Counts::default() });
    bench.stop().await;
}

#[tokio::test]
async fn pins_end_by_themselves() {
    let mut bench = bench(Options { now_ms: later, ..patient() });
    static NOW: AtomicU64 = AtomicU64::new(NOW_MS);
    fn later() -> u64 {
        NOW.load(Ordering::Relaxed)
    }
    bench.pin(1..2, Live { expire_ms: Some(NOW_MS + HOUR_MS), ..Live::default() }).await;
    let (_, answer) = bench.begun().await;
    answer.send(Ok(())).unwrap();
    bench.pinned.recv().await.unwrap();
    assert!(bench.local(1).is_some());
    NOW.store(NOW_MS + HOUR_MS, Ordering::Relaxed);
    bench.queue.wake();
    bench.until(|bench| bench.local(1).is_none()).await;
    bench.stop().await;
}
