//! Records of the replicated pinset: hostile bytes end, and what is read is written as it was.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pinmesh::sync::Record;
use pinmesh::sync::keys::{Author, Sign, Signer};

fuzz_target!(|input: &[u8]| {
    let Ok(record) = Record::decode(input) else { return };
    assert_eq!(record.as_bytes(), input);
    let signer = Signer::from_seed(&[1; 32]).expect("32 bytes");
    let _ = record.is_signed(&signer, &[0; 32]);
    // Made anew from what was read, it says the same.
    let again = Record::sign(&signer, &[0; 32], record.cid(), record.hlc(), record.body())
        .expect("what was read can be written");
    assert_eq!(again.body(), record.body());
    if record.author() == signer.author() {
        assert_eq!(again.digest(), record.digest());
    }
    assert!(again.is_signed(&signer, &[0; 32]));
    assert_eq!(again.author(), Author(signer.author().0));
});
