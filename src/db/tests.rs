//! Tests of the state database.

use super::{Db, Error, Schema};

const COUNTERS: Schema = Schema {
    owner: "test",
    migrations: &[
        "CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL)",
        "ALTER TABLE counter ADD COLUMN unit TEXT",
    ],
};

fn insert(tx: &super::Transaction<'_>, name: &str) -> Result<(), Error> {
    tx.execute("INSERT INTO counter (name, value) VALUES (?1, 1)", [name])?;
    Ok(())
}

fn count(db: &Db) -> i64 {
    db.read::<_, Error>(|c| Ok(c.query_row("SELECT count(*) FROM counter", [], |r| r.get(0))?))
        .unwrap()
}

#[tokio::test]
async fn a_failed_write_undoes_its_own_changes_only() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("state.sqlite"), &[COUNTERS]).unwrap();
    let writes = (0..100).map(|n| {
        let db = db.clone();
        async move {
            db.write(move |tx| {
                insert(tx, &format!("{n}"))?;
                if n % 2 == 0 { insert(tx, &format!("{n}")) } else { Ok(()) }
            })
            .await
        }
    });
    let results = futures_util::future::join_all(writes).await;
    assert_eq!(results.iter().filter(|r: &&Result<(), Error>| r.is_ok()).count(), 50);
    assert_eq!(count(&db), 50);
}

#[tokio::test]
async fn a_panic_in_a_write_is_an_error_and_the_writer_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("state.sqlite"), &[COUNTERS]).unwrap();
    let result: Result<(), Error> = db
        .write(|tx| {
            insert(tx, "a")?;
            panic!("on purpose")
        })
        .await;
    assert!(matches!(result, Err(Error::Panicked)));
    db.write(|tx| insert(tx, "b")).await.unwrap();
    assert_eq!(count(&db), 1);
}

#[tokio::test]
async fn migrations_run_once_and_a_newer_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.sqlite");
    let first = Schema { owner: "test", migrations: &COUNTERS.migrations[..1] };
    let db = Db::open(&path, &[first]).unwrap();
    db.write(|tx| insert(tx, "a")).await.unwrap();
    drop(db);
    let db = Db::open(&path, &[COUNTERS]).unwrap();
    assert_eq!(count(&db), 1);
    drop(db);
    assert!(matches!(Db::open(&path, &[first]), Err(Error::Newer { found: 2, known: 1, .. })));
}

#[test]
fn a_file_that_is_no_database_is_reported_as_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.sqlite");
    std::fs::write(&path, vec![7; 8192]).unwrap();
    assert!(matches!(Db::open(&path, &[COUNTERS]), Err(Error::Corrupt(_))));
}

#[tokio::test]
async fn a_full_disk_is_reported_and_the_database_goes_on_with_room() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("state.sqlite"), &[COUNTERS]).unwrap();
    db.write(|tx| insert(tx, "kept")).await.unwrap();
    let limit = async |pages: u32| {
        let sql = format!("PRAGMA max_page_count = {pages}");
        let set = move |tx: &super::Transaction<'_>| {
            Ok::<_, Error>(tx.query_row(&sql, [], |_| Ok(()))?)
        };
        db.write(set).await.unwrap();
    };
    limit(1).await;
    let refused = db
        .write(|tx| (0..500).try_for_each(|n| insert(tx, &format!("a long name, {n:0200}"))))
        .await;
    assert!(matches!(refused, Err(Error::Full)), "{refused:?}");
    assert_eq!(count(&db), 1);
    limit(u32::MAX - 1).await;
    db.write(|tx| insert(tx, "more")).await.unwrap();
    assert_eq!(count(&db), 2);
}
