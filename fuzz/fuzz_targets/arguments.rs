//! From request to call: heads, paths, queries, options, arguments in the body.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pinmesh::http::is_valid_head;
use pinmesh::http::rpc::body::Body;
use pinmesh::http::rpc::parse::{Parts, parse};

fuzz_target!(|input: &[u8]| {
    is_valid_head(input);
    let mut lines = input.splitn(4, |byte| *byte == b'\n');
    let mut text = || String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let (path, query, content_type) = (text(), text(), text());
    let body = Bytes::copy_from_slice(lines.next().unwrap_or_default());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let body = Body::from_frames([Ok(body)]);
        let parts = Parts { path: &path, query: &query, content_type: &content_type, body };
        if let Ok(parsed) = parse(parts).await {
            let required = parsed.command.args.iter().filter(|arg| arg.required && !arg.file);
            assert!(parsed.args.len() >= required.count());
        }
    });
});
