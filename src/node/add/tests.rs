//! What `add` makes of entries, without HTTP.

use std::collections::VecDeque;

use futures_util::StreamExt as _;

use super::*;
use crate::config::Config;
use crate::node::start;
use crate::pins::{Mode, Pins};
use crate::repo::{self, Identity, Repo};
use crate::unixfs::settings::Requested;

/// Entries that are there at once.
struct Ready {
    entries: VecDeque<(Entry, Bytes)>,
    current: Option<Bytes>,
    /// What happens after the last entry.
    end: Result<(), Error>,
}

impl Ready {
    fn new(entries: &[(&str, Kind, &str)]) -> Self {
        let entry = |(path, kind, body): &(&str, Kind, &str)| {
            let entry = Entry {
                path: (*path).to_owned(),
                depth: path.matches('/').count(),
                kind: kind.clone(),
                stat: EntryStat::default(),
                has_disk_path: false,
            };
            (entry, Bytes::copy_from_slice(body.as_bytes()))
        };
        Self { entries: entries.iter().map(entry).collect(), current: None, end: Ok(()) }
    }
}

impl Source for Ready {
    async fn next(&mut self) -> Result<Option<Entry>, Error> {
        let Some((entry, body)) = self.entries.pop_front() else {
            return self.end.clone().map(|()| None);
        };
        self.current = Some(body);
        Ok(Some(entry))
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        Ok(self.current.take())
    }
}

/// Three MiB in pieces; garbage is collected between any two of them.
struct Collected {
    node: Node,
    begun: bool,
    left: u8,
}

impl Collected {
    fn new(node: &Node) -> Self {
        Self { node: node.clone(), begun: false, left: 48 }
    }
}

async fn collect_garbage(node: &Node) -> usize {
    let mut run = node.collect_garbage();
    let mut removed = 0;
    while let Some(block) = run.next().await {
        block.unwrap();
        removed += 1;
    }
    removed
}

impl Source for Collected {
    async fn next(&mut self) -> Result<Option<Entry>, Error> {
        let first = !std::mem::replace(&mut self.begun, true);
        Ok(first.then(|| Ready::new(&[("f", Kind::File, "")]).entries.remove(0).unwrap().0))
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        collect_garbage(&self.node).await;
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        Ok(Some(vec![left; 65_536].into()))
    }
}

struct Fixture {
    node: Node,
    _dir: tempfile::TempDir,
}

async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity::generate("ed25519", None).unwrap();
    let private_key = identity.private_key_text();
    let config = Config::fresh(&identity.peer_id().to_string(), &private_key).unwrap();
    repo::init(dir.path(), &config).unwrap();
    let repo = Repo::open(dir.path(), None).unwrap();
    let options = start::Options { offline: true, ..start::Options::default() };
    let running = start::start(repo, options).await.unwrap();
    Fixture { node: running.node().clone(), _dir: dir }
}

fn options() -> Options {
    let requested = Requested { hash: "sha2-256".to_owned(), ..Requested::default() };
    Options { requested, pin: true, empty_dirs: true, ..Options::default() }
}

/// `name hash-prefix size bytes` of each event, and the error.
async fn run(node: &Node, options: Options, source: Ready) -> Vec<String> {
    let events = node.add(options, source).map(|event| match event {
        Err(error) => format!("error: {error}"),
        Ok(Event { name, root: Some((cid, size)), .. }) => {
            format!("{name} {} {size}", &cid.to_string()[..8])
        }
        Ok(Event { name, bytes, .. }) => format!("{name} {bytes}"),
    });
    events.collect().await
}

#[tokio::test]
async fn directories_come_after_all_files_children_first() {
    let fixture = fixture().await;
    let source = Ready::new(&[
        ("d", Kind::Directory, ""),
        ("d/s", Kind::Directory, ""),
        ("d/s/x", Kind::File, "1"),
        ("d/e", Kind::Directory, ""),
        ("d/l", Kind::Symlink("t".to_owned()), ""),
        ("f", Kind::File, "hi\n"),
        ("", Kind::File, "a"),
    ]);
    let got = run(&fixture.node, options(), source).await;
    let names: Vec<&str> = got.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names[..6], ["d/s/x", "d/l", "d/e", "d/s", "d", "f"], "{got:?}");
    assert!(got[5].ends_with(" 11"), "{got:?}");
    assert!(names[6].starts_with("Qm"), "{got:?}");
    let pins = Pins::new(fixture.node.db().clone(), fixture.node.store().clone());
    assert_eq!(pins.page(Mode::Recursive, "", None, 10).unwrap().len(), 4);
}

#[tokio::test]
async fn a_directory_without_a_name_holds_everything_after_it() {
    let fixture = fixture().await;
    let mut source = Ready::new(&[("", Kind::Directory, ""), ("e", Kind::Directory, "")]);
    let mut inside = Ready::new(&[("e/x", Kind::File, "1"), ("y", Kind::File, "2")]);
    source.entries.append(&mut inside.entries);
    source.entries.iter_mut().skip(1).for_each(|(entry, _)| entry.depth += 1);
    let got = run(&fixture.node, options(), source).await;
    let names: Vec<&str> = got.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["e/x", "y", "e", ""], "{got:?}");
}

#[tokio::test]
async fn what_came_before_a_failure_is_pinned() {
    let fixture = fixture().await;
    let mut source = Ready::new(&[("a", Kind::File, "a"), ("b", Kind::File, "b")]);
    source.end = Err(Error::failed("unexpected EOF"));
    let got = run(&fixture.node, options(), source).await;
    assert_eq!(got.len(), 3);
    assert_eq!(got[2], "error: unexpected EOF");
    let pins = Pins::new(fixture.node.db().clone(), fixture.node.store().clone());
    assert_eq!(pins.page(Mode::Recursive, "", None, 10).unwrap().len(), 3);
}

#[tokio::test]
async fn only_hash_stores_and_pins_nothing() {
    let fixture = fixture().await;
    let before = fixture.node.store().stats().unwrap().blocks;
    let only_hash = Options { only_hash: true, progress: true, ..options() };
    let source = Ready::new(&[("a", Kind::File, "a")]);
    let got = run(&fixture.node, only_hash, source).await;
    assert_eq!(got.len(), 2);
    assert_eq!(got[0], "a 1");
    assert_eq!(fixture.node.store().stats().unwrap().blocks, before);
}

#[tokio::test]
async fn colliding_names_and_empty_requests_are_errors() {
    let fixture = fixture().await;
    let wrap = Options { wrap: true, silent: true, ..options() };
    let source = || Ready::new(&[("a", Kind::File, "1"), ("a", Kind::File, "2")]);
    let got = run(&fixture.node, wrap.clone(), source()).await;
    assert_eq!(got, ["error: directory already has entry by that name"]);
    assert_eq!(run(&fixture.node, options(), source()).await.len(), 2);
    let got = run(&fixture.node, options(), Ready::new(&[])).await;
    assert_eq!(got, ["error: expected a file argument"]);
    let got = run(&fixture.node, wrap, Ready::new(&[])).await;
    assert_eq!(got, [" QmUNLLsP 4"]);
    let mut endless = options();
    endless.requested.file_links_max = Some(1);
    endless.requested.chunker = "size-1".to_owned();
    let got = run(&fixture.node, endless, Ready::new(&[("a", Kind::File, "12")])).await;
    assert_eq!(got, ["error: max-file-links must be at least 2 for a file of more than one chunk"]);
}

#[tokio::test]
async fn an_unpinned_add_loses_nothing_to_a_collector_until_it_is_done() {
    let fixture = fixture().await;
    let node = &fixture.node;
    let before = node.store().stats().unwrap().blocks;
    let mut options = Options { pin: false, ..options() };
    options.requested.chunker = "size-65536".to_owned();
    let events: Vec<_> = node.add(options, Collected::new(node)).collect().await;
    assert!(matches!(events.as_slice(), [Ok(Event { root: Some(_), .. })]), "{events:?}");
    // 48 leaves, their root, and the directory that an unwrapped file passes through.
    assert_eq!(node.store().stats().unwrap().blocks, before + 50);
    assert_eq!(collect_garbage(node).await, 50);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_only_garbage() {
    let fixture = fixture().await;
    let node = &fixture.node;
    let before = node.store().stats().unwrap().blocks;
    let options = Options { progress: true, ..options() };
    let mut events = Box::pin(node.add(options, Collected::new(node)));
    assert!(matches!(events.next().await, Some(Ok(Event { root: None, .. }))));
    drop(events);
    collect_garbage(node).await;
    assert_eq!(node.store().stats().unwrap().blocks, before);
    let pins = Pins::new(node.db().clone(), node.store().clone());
    assert_eq!(pins.page(Mode::Recursive, "", None, 10).unwrap().len(), 1);
}
