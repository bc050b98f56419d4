//! The join line: any text is an invitation or an error; what is one survives being written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pinmesh::net::{Invite, SwarmKey};

fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input);
    let _ = Invite::parse(&text);
    // A line with a whole key, so that its addresses are reached.
    let key = SwarmKey::from_bytes([7; 32]);
    let line = Invite { key, addresses: Vec::new() }.to_line();
    if let Ok(invite) = Invite::parse(&format!("{line}{text}")) {
        assert_eq!(Invite::parse(&invite.to_line()), Ok(invite));
    }
});
