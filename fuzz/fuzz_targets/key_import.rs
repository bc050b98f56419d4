//! Keys in both formats: whatever is read is written as it was, or in its one canonical form.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pinmesh::repo::Key;

fuzz_target!(|input: &[u8]| {
    for key in [Key::decode(input), Key::from_pem(input)].into_iter().flatten() {
        let again = Key::decode(key.encoded()).unwrap();
        assert_eq!(again.peer_id(), key.peer_id());
        assert_eq!(again.encoded(), key.encoded());
        let pem = key.to_pem().unwrap();
        assert_eq!(Key::from_pem(pem.as_bytes()).unwrap().peer_id(), key.peer_id());
    }
});
