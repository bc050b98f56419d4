//! Multipart bodies: read the same however they are cut, and bounded.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pinmesh::http::rpc::body::Body;
use pinmesh::http::rpc::files::{EntryKind, Files};

/// Entries after which a tree is large enough.
const ENTRIES_MAX: usize = 4096;

fuzz_target!(|input: &[u8]| {
    let Some((cut, body)) = input.split_first() else { return };
    let whole = [Bytes::copy_from_slice(body)];
    let size = usize::from(*cut) + 1;
    let pieces: Vec<Bytes> = body.chunks(size).map(Bytes::copy_from_slice).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(read(whole)), runtime.block_on(read(pieces)));
});

/// Entries, contents and the error.
async fn read(frames: impl IntoIterator<Item = Bytes>) -> Vec<String> {
    let mut files = Files::new(Body::from_frames(frames.into_iter().map(Ok)), "b");
    let mut seen = Vec::new();
    for _ in 0..ENTRIES_MAX {
        match files.next().await {
            Ok(None) => break,
            Err(error) => {
                seen.push(error.to_string());
                break;
            }
            Ok(Some(entry)) => {
                seen.push(format!("{entry:?}"));
                if entry.kind == EntryKind::File {
                    let content = files.read_all(1 << 20, "too long").await;
                    seen.push(format!("{content:?}"));
                }
            }
        }
    }
    seen
}
