//! Sorting more rows than memory should hold.
//!
//! Rows stay in memory up to [`Options::rows_in_memory`]; beyond that they go to a temporary
//! SQLite database, which lives in the file system only while it is open and leaves nothing.

use rusqlite::{Connection, params};

use super::Error;

/// A row: the key it is sorted by, and what belongs to it.
pub type Row = (String, Vec<u8>);

/// Rows of short keys and values that take some megabytes.
const ROWS_IN_MEMORY: usize = 32 << 10;
/// Page cache of the temporary database.
const CACHE_KIB: i32 = 4096;
/// Rows read at a time.
const PAGE_ROWS: i64 = 512;

/// Takes rows in any order and gives them back by the bytes of their keys. Of rows with the same
/// key the first is kept.
#[derive(Debug)]
pub struct Sorter {
    rows: Vec<Row>,
    rows_in_memory: usize,
    disk: Option<Connection>,
}

impl Default for Sorter {
    fn default() -> Self {
        Self::new(ROWS_IN_MEMORY)
    }
}

impl Sorter {
    fn new(rows_in_memory: usize) -> Self {
        Self { rows: Vec::new(), rows_in_memory, disk: None }
    }

    /// Takes a row.
    ///
    /// # Errors
    /// When the temporary database cannot be written.
    pub fn push(&mut self, key: String, value: Vec<u8>) -> Result<(), Error> {
        self.rows.push((key, value));
        if self.rows.len() < self.rows_in_memory {
            return Ok(());
        }
        self.spill()
    }

    /// Begins to give the rows back.
    ///
    /// # Errors
    /// When the temporary database cannot be written.
    pub fn sorted(mut self) -> Result<Sorted, Error> {
        if self.disk.is_some() {
            self.spill()?;
        }
        // Stable: of rows with the same key the first stays first.
        self.rows.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.rows.dedup_by(|(later, _), (first, _)| later == first);
        Ok(Sorted { rows: self.rows.into_iter(), disk: self.disk, after: String::new() })
    }

    fn spill(&mut self) -> Result<(), Error> {
        let disk = match &mut self.disk {
            Some(disk) => disk,
            none => none.insert(open()?),
        };
        let tx = disk.transaction()?;
        {
            let mut insert = tx.prepare_cached("INSERT OR IGNORE INTO rows VALUES (?1, ?2)")?;
            for (key, value) in self.rows.drain(..) {
                insert.execute(params![key, value])?;
            }
        }
        Ok(tx.commit()?)
    }
}

fn open() -> Result<Connection, Error> {
    // An empty name is a database of its own in a temporary file without a name.
    let disk = Connection::open("")?;
    disk.pragma_update(None, "journal_mode", "OFF")?;
    disk.pragma_update(None, "synchronous", "OFF")?;
    disk.pragma_update(None, "cache_size", -CACHE_KIB)?;
    disk.execute_batch(
        "CREATE TABLE rows (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    )?;
    Ok(disk)
}

/// The rows of a [`Sorter`], in order.
#[derive(Debug)]
pub struct Sorted {
    rows: std::vec::IntoIter<Row>,
    disk: Option<Connection>,
    after: String,
}

impl Sorted {
    fn refill(&mut self) -> Result<(), Error> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let mut select = disk
            .prepare_cached("SELECT key, value FROM rows WHERE key > ?1 ORDER BY key LIMIT ?2")?;
        let rows = select
            .query_map(params![self.after, PAGE_ROWS], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<Vec<Row>, _>>()?;
        if let Some((key, _)) = rows.last() {
            self.after.clone_from(key);
        }
        self.rows = rows.into_iter();
        Ok(())
    }
}

impl Iterator for Sorted {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rows.len() == 0
            && let Err(error) = self.refill()
        {
            self.disk = None;
            return Some(Err(error));
        }
        self.rows.next().map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_by_key_and_the_first_of_a_key_stays() {
        for rows_in_memory in [1, 7, 1000, 100_000] {
            let mut sorter = Sorter::new(rows_in_memory);
            for i in 0_u32..2000 {
                // Every key twice, in no order.
                let key = format!("{:04}", i.wrapping_mul(7919) % 1000);
                sorter.push(key, i.to_be_bytes().to_vec()).unwrap();
            }
            let rows: Vec<Row> = sorter.sorted().unwrap().map(Result::unwrap).collect();
            assert_eq!(rows.len(), 1000);
            for (i, (key, value)) in rows.iter().enumerate() {
                assert_eq!(*key, format!("{i:04}"));
                let first = (0_u32..1000).find(|n| n.wrapping_mul(7919) % 1000 == i as u32);
                assert_eq!(value[..], first.unwrap().to_be_bytes());
            }
        }
    }

    #[test]
    fn nothing_sorts_to_nothing() {
        assert_eq!(Sorter::default().sorted().unwrap().count(), 0);
    }
}
