//! The mutable file system against a model of a tree, under random operations.

use std::collections::BTreeMap;

use bytes::Bytes;
use pinmesh::db::Db;
use pinmesh::exchange::Exchange;
use pinmesh::ipld::Cid;
use pinmesh::mfs::{self, Error, Mfs, Naming, NewFolder, Target, WriteOptions};
use pinmesh::store::{self, Marks, Store};
use pinmesh::unixfs::chunk::{Chunker, Chunks};
use pinmesh::unixfs::data::Stat;
use pinmesh::unixfs::dir::{DirBuilder, DirOptions, Entry};
use pinmesh::unixfs::import::{self, FileBuilder, ImportOptions, Layout};
use pinmesh::unixfs::read::{FileReader, FileStep, Node};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::daemon::{Daemon, fresh_repo, run};

/// Small chunks and a small directory: files of several layers, and HAMTs that come and go.
const CHUNKER: &str = "size-37";
const THRESHOLD: u64 = 320;

#[derive(Debug, Clone)]
enum Op {
    Write {
        path: String,
        offset: usize,
        bytes: Vec<u8>,
        truncate: bool,
        flush: bool,
    },
    MakeFolder {
        path: String,
        parents: bool,
    },
    Remove {
        path: String,
    },
    Rename {
        from: String,
        to: String,
    },
    /// The node is started anew; what was not flushed is gone.
    Restart,
}

/// A tree as it should be.
#[derive(Debug, Clone)]
enum Model {
    Folder(BTreeMap<String, Model>),
    /// Bytes, and whether they came in one write to an empty file.
    File(Vec<u8>, bool),
}

struct Fixture {
    dir: tempfile::TempDir,
    store: Store,
    mfs: Mfs,
}

async fn open(dir: tempfile::TempDir) -> Fixture {
    let store = Store::open(dir.path(), store::Options::default()).unwrap();
    let db = Db::open(&dir.path().join("state.sqlite"), &[mfs::SCHEMA]).unwrap();
    let options = mfs::Options {
        root: Naming::V0,
        directories: dir_options(THRESHOLD),
        chunker: Chunker::parse(CHUNKER).unwrap(),
        unflushed_max: 0,
    };
    let mfs = Mfs::open(db, Exchange::new(store.clone(), None), options).await.unwrap();
    Fixture { dir, store, mfs }
}

fn dir_options(threshold: u64) -> DirOptions {
    DirOptions { threshold, ..DirOptions::default() }
}

fn path() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"]);
    prop::collection::vec(name, 1..3).prop_map(|names| format!("/{}", names.join("/")))
}

fn op() -> impl Strategy<Value = Op> {
    // 174 leaves are a full layer: 6,438 bytes.
    let bytes = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..200),
        1 => (0..20_000_usize, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ];
    let offset = prop_oneof![4 => Just(0), 3 => 0..300_usize, 1 => 0..12_000_usize];
    prop_oneof![
        8 => (path(), offset, bytes, any::<bool>(), any::<bool>()).prop_map(
            |(path, offset, bytes, truncate, flush)| Op::Write { path, offset, bytes, truncate, flush }
        ),
        2 => (path(), any::<bool>()).prop_map(|(path, parents)| Op::MakeFolder { path, parents }),
        3 => path().prop_map(|path| Op::Remove { path }),
        2 => (path(), path()).prop_map(|(from, to)| Op::Rename { from, to }),
        1 => Just(Op::Restart),
    ]
}

fn names(path: &str) -> Vec<&str> {
    path.trim_matches('/').split('/').filter(|name| !name.is_empty()).collect()
}

impl Model {
    fn get(&self, path: &str) -> Option<&Model> {
        names(path).into_iter().try_fold(self, |at, name| match at {
            Model::Folder(entries) => entries.get(name),
            Model::File(..) => None,
        })
    }

    /// The entries of the directory that a path is in, and its name there.
    fn parent<'a>(&mut self, path: &'a str) -> Option<(&mut BTreeMap<String, Model>, &'a str)> {
        let mut names = names(path);
        let last = names.pop()?;
        let mut at = self;
        for name in names {
            let Model::Folder(entries) = at else { return None };
            at = entries.get_mut(name)?;
        }
        match at {
            Model::Folder(entries) => Some((entries, last)),
            Model::File(..) => None,
        }
    }

    /// Does what an operation that has succeeded should have done.
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Write { path, offset, bytes, truncate, .. } => {
                let (entries, name) = self.parent(path).unwrap();
                let empty = || Model::File(Vec::new(), true);
                let Model::File(content, fresh) =
                    entries.entry(name.to_owned()).or_insert_with(empty)
                else {
                    panic!("{path} is a directory")
                };
                // Cutting leaves an empty leaf behind, and bytes that are there keep their leaves.
                *fresh &= content.is_empty() && *offset == 0;
                if *truncate {
                    content.clear();
                }
                let end = offset + bytes.len();
                content.resize(content.len().max(*offset).max(end), 0);
                content[*offset..end].copy_from_slice(bytes);
            }
            Op::MakeFolder { path, .. } => {
                let mut at = self;
                for name in names(path) {
                    let Model::Folder(entries) = at else { panic!("{path}") };
                    let empty = || Model::Folder(BTreeMap::new());
                    at = entries.entry(name.to_owned()).or_insert_with(empty);
                }
            }
            Op::Remove { path } => {
                let (entries, name) = self.parent(path).unwrap();
                entries.remove(name).unwrap();
            }
            Op::Rename { from, to } => {
                let moved = self.get(from).unwrap().clone();
                let to = match self.get(to) {
                    Some(Model::Folder(_)) => format!("{to}/{}", names(from).pop().unwrap()),
                    _ => to.clone(),
                };
                let own =
                    |path: &str| names(path).into_iter().rev().nth(1).unwrap_or("").to_owned();
                let last = |path: &str| names(path).pop().unwrap_or("").to_owned();
                let (entries, name) = self.parent(&to).unwrap();
                entries.insert(name.to_owned(), moved);
                // Between directories of one name boxo copies.
                if own(from) != own(&to) || last(from) != last(&to) {
                    let (entries, name) = self.parent(from).unwrap();
                    entries.remove(name);
                }
            }
            Op::Restart => {}
        }
    }
}

impl Fixture {
    async fn run(&self, op: &Op) -> Result<(), Error> {
        match op {
            Op::Write { path, offset, bytes, truncate, flush } => {
                let options = WriteOptions {
                    create: Some(Naming::V0),
                    offset: *offset as u64,
                    truncate: *truncate,
                    flush: *flush,
                    ..WriteOptions::default()
                };
                // In pieces of odd sizes.
                let pieces: Vec<_> = bytes
                    .chunks(113)
                    .map(|piece| Ok::<_, ()>(Bytes::copy_from_slice(piece)))
                    .collect();
                let written =
                    self.mfs.write(path, options, futures_util::stream::iter(pieces)).await?;
                written.unwrap();
                Ok(())
            }
            Op::MakeFolder { path, parents } => {
                let new = NewFolder { naming: Naming::V0, parents: *parents };
                self.mfs.make_folder(path, new, false).await
            }
            Op::Remove { path } => self.mfs.remove(path, true, false).await,
            Op::Rename { from, to } => self.mfs.rename(from, to).await,
            Op::Restart => Ok(()),
        }
    }

    fn bytes(&self, cid: &Cid) -> Vec<u8> {
        let block = self.store.get(cid).unwrap().unwrap();
        let node = Node::decode(cid, &block).unwrap();
        let mut reader = FileReader::new(cid, &node, 0..u64::MAX).unwrap();
        let mut content = Vec::new();
        loop {
            match reader.step() {
                FileStep::Bytes(bytes) => content.extend_from_slice(&bytes),
                FileStep::Need(cid) => {
                    reader.supply(&self.store.get(&cid).unwrap().unwrap()).unwrap();
                }
                FileStep::Done => return content,
            }
        }
    }

    /// Compares with the model, and CIDs with those of an import; the entry.
    async fn check(&self, path: &str, model: &Model) -> Entry {
        let target = self.mfs.target(path).await.unwrap();
        let entry = target.entry().clone();
        match (model, &target) {
            (Model::File(content, fresh), Target::File { .. }) => {
                assert_eq!(&self.bytes(&entry.cid), content, "{path}");
                // Beyond a full layer of leaves boxo appends otherwise than it lays out.
                if *fresh && content.len() <= 174 * 37 {
                    assert_eq!(entry, imported(content), "{path}");
                }
            }
            (Model::Folder(entries), Target::Folder(_)) => {
                let mut found: Vec<_> = self.mfs.list(path, false).await.unwrap();
                found.sort_by(|a, b| a.name.cmp(&b.name));
                let found: Vec<_> = found
                    .iter()
                    .map(|item| String::from_utf8(item.name.to_vec()).unwrap())
                    .collect();
                assert_eq!(found, entries.keys().cloned().collect::<Vec<_>>(), "{path}");
                let (mut plain, mut sharded, mut size) = (builder(u64::MAX), builder(1), 0);
                for (name, model) in entries {
                    let below = format!("{}/{name}", path.trim_end_matches('/'));
                    let below = Box::pin(self.check(&below, model)).await;
                    size += name.len() as u64 + 34;
                    plain.insert(name.clone().into(), below.clone());
                    sharded.insert(name.clone().into(), below);
                }
                let plain = plain.finish(&mut Vec::new()).unwrap();
                let sharded = sharded.finish(&mut Vec::new()).unwrap();
                if size > THRESHOLD + 40 {
                    assert_eq!(entry, sharded, "{path} of {size}");
                } else if entry != sharded || entries.is_empty() {
                    assert_eq!(entry, plain, "{path} of {size}");
                }
            }
            _ => panic!("{path}: {target:?} is not {model:?}"),
        }
        entry
    }
}

fn builder(threshold: u64) -> DirBuilder {
    DirBuilder::new(dir_options(threshold), Stat::default())
}

/// What an import of these bytes gives.
fn imported(content: &[u8]) -> Entry {
    let chunker = Chunker::parse(CHUNKER).unwrap();
    let options = ImportOptions { chunker, layout: Layout::Trickle, ..ImportOptions::default() };
    let mut chunks = Chunks::new(&chunker);
    let mut builder = FileBuilder::new(options);
    let mut push = |chunk| {
        let leaf = import::leaf(&options, chunk).unwrap();
        builder.push(leaf.subtree(), &mut Vec::new()).unwrap();
    };
    chunks.push(Bytes::copy_from_slice(content)).unwrap();
    while let Some(chunk) = chunks.next_chunk().unwrap() {
        push(chunk);
    }
    chunks.finish().into_iter().for_each(push);
    let root = builder.finish(Stat::default(), None).unwrap().root;
    Entry { cid: root.cid, dag_size: root.dag_size }
}

async fn check_all(ops: Vec<Op>) {
    let mut fixture = open(tempfile::tempdir().unwrap()).await;
    let mut model = Model::Folder(BTreeMap::new());
    for op in &ops {
        match fixture.run(op).await {
            Ok(()) => model.apply(op),
            Err(
                Error::NotExist
                | Error::Access(_)
                | Error::NotFile(_)
                | Error::FileExists
                | Error::Exists
                | Error::WasNotDirectory(_)
                | Error::NotDirectory(_)
                | Error::ParentNotDirectory,
            ) => {}
            Err(error) => panic!("{op:?}: {error}"),
        }
        if matches!(op, Op::Restart) {
            fixture.mfs.flush().await.unwrap();
            let Fixture { dir, store, mfs } = fixture;
            drop((store, mfs));
            fixture = open(dir).await;
        }
        fixture.check("/", &model).await;
    }
    fixture.mfs.flush().await.unwrap();
    let mut walk = fixture.store.walk(Marks::default()).complete();
    for root in fixture.mfs.roots() {
        walk.root(&root).unwrap();
        while walk.advance().unwrap() {}
    }
    assert!(walk.take_problems().is_empty());
    drop(fixture.dir);
}

#[test]
fn random_operations_leave_what_an_import_of_the_same_tree_gives() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config { cases: 40, max_shrink_iters: 200, ..Config::default() };
    let ops = prop::collection::vec(op(), 1..40)
        // A move of a directory into itself loses it, as in Kubo: not what this is about.
        .prop_map(|ops| {
            let sane = |op: &Op| match op {
                Op::Rename { from, to } => !format!("{to}/").starts_with(&format!("{from}/")),
                _ => true,
            };
            ops.into_iter().filter(sane).collect::<Vec<_>>()
        });
    let checked = TestRunner::new(config).run(&ops, |ops| {
        runtime.block_on(check_all(ops));
        Ok(())
    });
    if let Err(error) = checked {
        let text: String = error.to_string().chars().take(20_000).collect();
        panic!("{text}");
    }
}

#[test]
fn another_root_is_set_where_no_daemon_runs() {
    let repo = fresh_repo();
    let said = |arguments: &[&str]| {
        let output = run(repo.path(), &[&["files", "chroot"], arguments].concat());
        let text = if output.status.success() { output.stdout } else { output.stderr };
        String::from_utf8(text).unwrap()
    };
    let text = said(&[]);
    assert!(text.contains("pass --confirm to proceed"), "{text}");
    let empty = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn";
    assert!(run(repo.path(), &["files", "mkdir", "/a"]).status.success());
    let stat = run(repo.path(), &["files", "stat", "--hash", "/"]);
    let root = String::from_utf8(stat.stdout).unwrap().trim().to_owned();
    assert_ne!(root, empty);
    let text = said(&["--confirm"]);
    assert!(text.starts_with(&format!("MFS root changed from {root} to {empty}\n")), "{text}");
    assert!(text.contains(&format!("The old root {root} will be garbage collected")), "{text}");
    assert_eq!(run(repo.path(), &["files", "ls"]).stdout, b"");
    said(&["--confirm", &root]);
    assert_eq!(run(repo.path(), &["files", "ls"]).stdout, b"a\n");
    let absent = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";
    let text = said(&["--confirm", absent]);
    assert!(text.contains("does not exist locally"), "{text}");
    let text = said(&["--confirm", "nonsense"]);
    assert!(text.contains("invalid CID \"nonsense\""), "{text}");
    let file = repo.path().join("file");
    std::fs::write(&file, vec![7; 300_000]).unwrap();
    let added = run(repo.path(), &["add", "-Q", file.to_str().unwrap()]);
    let file = String::from_utf8(added.stdout).unwrap().trim().to_owned();
    let text = said(&["--confirm", &file]);
    assert!(text.contains("new root must be a directory, got File"), "{text}");
    let daemon = Daemon::start(repo.path(), &["--offline"]);
    let text = said(&["--confirm"]);
    assert!(text.contains("opening repo (is the daemon running?)"), "{text}");
    daemon.signal("TERM");
    assert!(daemon.end().0.success());
}
