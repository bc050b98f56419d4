//! `dag/import`: kubo `core/commands/dag/import.go`.

use serde::Serialize;
use tokio::time::Instant;

use super::super::call::CidEncoder;
use super::super::files::{EntryKind, Files};
use super::super::options::Options;
use super::super::value::{Link, Omit};
use super::super::{Error, Reply, Request, Value};
use super::EVENTS_AHEAD;
use crate::ipld::Cid;
use crate::ipld::quote::quote;
use crate::node::import::{File, Import};
use crate::node::produce::{Sink, produce};

/// `RootMeta`.
#[derive(Debug, Serialize)]
#[serde(rename = "RootMeta", rename_all = "PascalCase")]
struct RootMeta {
    cid: Link,
    pin_error_msg: String,
}

/// `CarImportStats`.
#[derive(Debug, Serialize)]
#[serde(rename = "CarImportStats", rename_all = "PascalCase")]
struct Stats {
    block_count: u64,
    block_bytes_count: u64,
}

/// `CarImportOutput`.
#[derive(Debug, Serialize)]
#[serde(rename = "CarImportOutput", rename_all = "PascalCase")]
struct Output {
    root: Omit<Option<RootMeta>>,
    stats: Omit<Option<Stats>>,
    #[serde(skip)]
    silent: bool,
    #[serde(skip)]
    encoder: Result<CidEncoder, Error>,
}

impl Value for Output {
    fn text(&self) -> Option<Result<String, Error>> {
        if self.silent {
            return Some(Ok(String::new()));
        }
        if let Some(Stats { block_count, block_bytes_count }) = &self.stats.0 {
            return Some(Ok(format!(
                "Imported {block_count} blocks ({block_bytes_count} bytes)\n"
            )));
        }
        let RootMeta { cid, pin_error_msg } = self.root.0.as_ref()?;
        let cid = cid.0.as_ref()?;
        Some(self.encoder.clone().and_then(|encoder| {
            let cid = encoder.encode(cid);
            if pin_error_msg.is_empty() {
                return Ok(format!("Pinned root\t{cid}\tsuccess\n"));
            }
            Err(Error::new(format!("pinning root {} FAILED: {pin_error_msg}", quote(&cid))))
        }))
    }
}

/// The options of an import.
#[derive(Debug, Clone)]
struct Plan {
    pin_roots: bool,
    silent: bool,
    stats: bool,
    allow_big: bool,
    encoder: Result<CidEncoder, Error>,
}

impl Plan {
    fn new(request: &Request) -> Result<Self, Error> {
        let options = &request.options;
        let pin_roots = options.opt_bool("pin-roots");
        let local_only = options.bool("local-only");
        if local_only && pin_roots == Some(true) {
            return Err(Error::new(
                "--local-only implies --pin-roots=false and cannot be combined with \
                 --pin-roots=true; please drop one of them",
            ));
        }
        Ok(Self {
            pin_roots: pin_roots.unwrap_or(true) && !local_only,
            silent: options.bool("silent"),
            stats: options.bool("stats"),
            allow_big: options.bool("allow-big-block"),
            encoder: request.cid_encoder(),
        })
    }

    fn output(&self, root: Option<RootMeta>, stats: Option<Stats>) -> Output {
        let (root, stats) = (Omit(root), Omit(stats));
        Output { root, stats, silent: self.silent, encoder: self.encoder.clone() }
    }
}

/// `dag/import`.
pub(in super::super) async fn import(request: Request) -> Result<Reply, Error> {
    let plan = Plan::new(&request)?;
    let provides = waits_for_provide(&request);
    Ok(Reply::many(produce(EVENTS_AHEAD, move |events| async move {
        let Request { node, mut files, deadline, .. } = request;
        let mut import = node.import(plan.allow_big);
        if read(&mut import, &mut files).await? == File::Empty {
            return Ok(());
        }
        import.commit().await?;
        if plan.pin_roots {
            // A pin that is not done by then is told, not the end of the import.
            pin_roots(&import, &plan, deadline.take_over(), &events).await;
        }
        if plan.stats {
            let (block_count, block_bytes_count) = import.counts();
            let stats = Stats { block_count, block_bytes_count };
            events.send(plan.output(None, Some(stats))).await;
        }
        if provides && import.roots().next().is_some() {
            let provided = node.provide_roots(plan.pin_roots);
            return provided.map_err(|error| Error::new(format!("fast-provide: {error}")));
        }
        Ok(())
    })))
}

/// Reads every CAR of the body.
async fn read(import: &mut Import, files: &mut Files) -> Result<File, Error> {
    while let Some(entry) = files.next_top().await? {
        match entry.kind {
            EntryKind::File => {
                while let Some(bytes) = files.chunk().await? {
                    import.push(bytes).await?;
                }
            }
            EntryKind::Symlink(target) => {
                import.push(target.into()).await?;
            }
            EntryKind::Directory => return Err(Error::new("expected a file handle")),
        }
        if import.end_file().await? == File::Empty {
            return Ok(File::Empty);
        }
    }
    Ok(File::Imported)
}

async fn pin_roots(import: &Import, plan: &Plan, due: Option<Instant>, events: &Sink<Output>) {
    let roots: Vec<Cid> = import.roots().cloned().collect();
    for root in roots {
        let pin = import.pin_root(&root);
        let pinned = match due {
            None => pin.await.map_err(|error| error.to_string()),
            Some(due) => match tokio::time::timeout_at(due, pin).await {
                Ok(pinned) => pinned.map_err(|error| error.to_string()),
                Err(_) => Err("context deadline exceeded".to_owned()),
            },
        };
        let pin_error_msg = pinned.err().unwrap_or_default();
        let meta = RootMeta { cid: root.into(), pin_error_msg };
        events.send(plan.output(Some(meta), None)).await;
    }
}

/// Whether the answer waits until the roots are announced.
fn waits_for_provide(request: &Request) -> bool {
    let config = request.node.config();
    let set = |options: &Options, name: &str, key: &str, default: bool| {
        options.opt_bool(name).or_else(|| config.flag(key)).unwrap_or(default)
    };
    let options = &request.options;
    set(options, "fast-provide-wait", "Import.FastProvideWait", false)
        && set(options, "fast-provide-root", "Import.FastProvideRoot", true)
        && !set(options, "fast-provide-dag", "Import.FastProvideDAG", false)
}
