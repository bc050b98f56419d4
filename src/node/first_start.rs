//! What a repo holds from its first start on: the empty directory, pinned, as after `ipfs init`.
//!
//! Owns the table `first_start`, whose row says that this has been done. Row and pin are one
//! transaction, so a crash before it leaves a first start that is still to come, and a pin that
//! somebody has removed later does not come back.

use bytes::Bytes;
use rusqlite::OptionalExtension as _;

use super::Error;
use crate::db::{self, Db, Schema};
use crate::ipld::{Block, Cid, codec, hash};
use crate::pins::{self, Mode};
use crate::store::Store;

/// The table of this module.
pub(super) const SCHEMA: Schema = Schema {
    owner: "first_start",
    migrations: &["CREATE TABLE first_start (done INTEGER NOT NULL PRIMARY KEY)"],
};

/// The block of the empty UnixFS directory.
const EMPTY_DIRECTORY: &[u8] = &[0x0a, 0x02, 0x08, 0x01];

/// Does what the first start has to, unless it has been done.
pub(super) async fn ensure(db: &Db, store: &Store) -> Result<(), Error> {
    let done = db.read(|connection| {
        let row = connection.query_row("SELECT done FROM first_start", [], |row| row.get(0));
        row.optional().map_err(db::Error::from)
    });
    let done: Option<bool> = done.map_err(Error::Db)?;
    if done.is_some() {
        return Ok(());
    }
    let cid = put_empty_directory(store).await?;
    db.write(move |tx| {
        pins::add(tx, &cid, Mode::Recursive, "")?;
        tx.execute("INSERT INTO first_start (done) VALUES (1)", []).map_err(db::Error::from)?;
        Ok::<(), pins::Error>(())
    })
    .await
    .map_err(Error::failed)
}

/// Makes sure that the empty UnixFS directory is here, durably.
pub(super) async fn put_empty_directory(store: &Store) -> Result<Cid, Error> {
    let cid = empty_directory()?;
    let session = store.session();
    let data = Bytes::from_static(EMPTY_DIRECTORY);
    session.put(Block { cid: cid.clone(), data }).await?;
    session.flush().await?;
    Ok(cid)
}

/// The empty UnixFS directory.
pub(super) fn empty_directory() -> Result<Cid, Error> {
    let name = hash::digest(hash::SHA2_256, EMPTY_DIRECTORY, None).map_err(Error::failed)?;
    Ok(Cid::new_v0(name.clone()).unwrap_or_else(|| Cid::new_v1(codec::DAG_PB, name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pins::Pins;
    use crate::store;

    #[tokio::test]
    async fn the_empty_directory_is_pinned_once_and_stays_unpinned_after_that() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), store::Options::default()).unwrap();
        let schemas = [pins::SCHEMA, SCHEMA];
        let db = Db::open(&dir.path().join("state.sqlite"), &schemas).unwrap();
        let pins = Pins::new(db.clone(), store.clone());
        ensure(&db, &store).await.unwrap();
        let cid = empty_directory().unwrap();
        assert_eq!(cid.to_string(), "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn");
        assert!(pins.get(&cid).unwrap().is_some());
        pins.remove(cid.clone(), true).await.unwrap();
        ensure(&db, &store).await.unwrap();
        assert!(pins.get(&cid).unwrap().is_none());
    }
}
