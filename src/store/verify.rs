//! Checks every stored block against its name.

use std::sync::Arc;

use crate::ipld::{Cid, Multihash, codec, hash};

use super::{Error, Store};

/// What was found of one block.
#[derive(Debug, Clone)]
pub enum Verified {
    /// The bytes are what the multihash names.
    Whole(Multihash),
    /// They are not, or cannot be read.
    Corrupt {
        /// The name of the block.
        hash: Multihash,
        /// Why; for people.
        reason: String,
    },
}

impl Store {
    /// Reads and hashes every block, in the order in which they came; constant memory.
    pub fn verify(&self) -> impl Iterator<Item = Result<Verified, Error>> + Send + use<> {
        let shared = Arc::clone(&self.inner.shared);
        self.iterate().filter_map(move |row| {
            let name = match row {
                Ok((name, _)) => name,
                Err(error) => return Some(Err(error)),
            };
            let reason = match shared.get(&Cid::new_v1(codec::RAW, name.clone())) {
                // Deleted since it was listed.
                Ok(None) => return None,
                Ok(Some(data)) => match hash::verify(&name, &data) {
                    Ok(true) => return Some(Ok(Verified::Whole(name))),
                    Ok(false) => "block in storage has different hash than requested".to_owned(),
                    Err(error) => error.to_string(),
                },
                Err(Error::Corrupt { reason, .. }) => reason.to_owned(),
                Err(error) => return Some(Err(error)),
            };
            Some(Ok(Verified::Corrupt { hash: name, reason }))
        })
    }
}
