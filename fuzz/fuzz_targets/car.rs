//! CAR files: any bytes in pieces of any size end, in the same way for every size, and hold no
//! more than was pushed; what was written is read.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pinmesh::car::{Reader, Step, header, section_head};
use pinmesh::ipld::{Cid, codec, hash};

fuzz_target!(|input: &[u8]| {
    let Some((size, file)) = input.split_first() else { return };
    let pieces = usize::from(*size).max(1);
    assert_eq!(read(file, pieces), read(file, usize::MAX));
    let digest = hash::digest(hash::SHA2_256, file, None).expect("a known function");
    let cid = Cid::new_v1(codec::RAW, digest);
    let mut whole = header(std::slice::from_ref(&cid));
    whole.extend(section_head(&cid, file.len()));
    whole.extend_from_slice(file);
    let said = read(&whole, pieces);
    assert_eq!(said, format!("1 [{cid:?}] {cid}:{} end", file.len()));
});

fn read(file: &[u8], size: usize) -> String {
    let mut reader = Reader::new();
    let mut pieces = file.chunks(size);
    let mut said = String::new();
    loop {
        match reader.step() {
            Ok(Step::NeedsInput) => match pieces.next() {
                Some(piece) => reader.push(Bytes::copy_from_slice(piece)),
                None => reader.finish(),
            },
            Ok(Step::Header { version, roots }) => said += &format!("{version} {roots:?} "),
            Ok(Step::Section(section)) => match section.verify() {
                Ok(block) => said += &format!("{}:{} ", block.cid, block.data.len()),
                Err(error) => said += &format!("{error} "),
            },
            Ok(Step::End) => return said + "end",
            Err(error) => return said + &error.to_string(),
        }
    }
}
