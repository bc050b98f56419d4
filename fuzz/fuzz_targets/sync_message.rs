//! Messages of the sync protocol: hostile bytes end, what is read can be written and read again; and
//! a node that is sent any of them stays whole.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pinmesh::sync::core::{Config, Core, Event, Now, Options, Peer, Start};
use pinmesh::sync::keys::{Group, Signer};
use pinmesh::sync::message::Message;
use pinmesh::sync::store::Memory;

fuzz_target!(|input: &[u8]| {
    if let Ok((epoch, message)) = Message::decode(input) {
        let again = message.encode(epoch);
        assert_eq!(Message::decode(&again), Ok((epoch, message)));
    }
    let options = Options {
        keys: Signer::from_seed(&[1; 32]).expect("32 bytes"),
        group: Group::derive(&[2; 32]),
        config: Config { sketch_cells: 64, ..Config::new(vec![1; 38]) },
        seed: [3; 32],
        start: Start::Trusted,
    };
    let mut store = Memory::default();
    let now = |ms| Now { wall_ms: 1_700_000_000_000 + ms, mono_ms: ms };
    let Ok(mut core) = Core::open(options, &mut store, now(0));
    let peer = Peer::new(&[4; 38]);
    let Ok(_) = core.step(&mut store, now(1), Event::Connected(peer.clone()));
    for (turn, part) in input.chunks(2048).chain([input]).enumerate() {
        let event = Event::Received(peer.clone(), part.to_vec());
        let Ok(_) = core.step(&mut store, now(10 + turn as u64), event);
    }
    assert!(core.scrub(&mut store).expect("memory"));
});
