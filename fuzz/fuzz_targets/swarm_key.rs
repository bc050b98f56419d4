//! `swarm.key`: any bytes are a key or an error; what is a key survives being written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pinmesh::net::SwarmKey;

fuzz_target!(|file: &[u8]| {
    if let Ok(key) = SwarmKey::parse(file) {
        assert_eq!(SwarmKey::parse(key.to_file_text().as_bytes()), Ok(key));
    }
});
