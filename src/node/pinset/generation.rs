//! Whether the database is the one that this node wrote last: a number in it, and beside it.
//!
//! A repository that was put back from a backup may have an older database. Its node would make
//! records with times that it has given out already (R10 of `docs/sync.md`). The file holds the
//! number of the database, and, while that is being changed, the next one: a crash in between leaves
//! both known.

use crate::node::Error;
use crate::repo::Repo;
use crate::sync::core::Start;

/// The file in the repository.
const FILE: &str = "pinset-generation";

/// The number beside the database.
#[derive(Debug, Clone)]
pub(super) struct Generation {
    repo: Repo,
}

impl Generation {
    pub(super) fn new(repo: Repo) -> Self {
        Self { repo }
    }

    /// How much a database with this number may be believed.
    pub(super) fn start(&self, in_database: Option<u64>) -> Result<Start, Error> {
        let beside = self.read()?;
        let is_known = match in_database {
            Some(number) => beside.contains(&number),
            None => beside.is_empty(),
        };
        Ok(if is_known { Start::Trusted } else { Start::Suspect })
    }

    /// Allows for the numbers, of which one is in the database.
    pub(super) fn write(&self, numbers: &[u64]) -> Result<(), Error> {
        let text: String = numbers.iter().map(|number| format!("{number}\n")).collect();
        Ok(self.repo.write_own_file(FILE, text.as_bytes())?)
    }

    fn read(&self) -> Result<Vec<u64>, Error> {
        let content = self.repo.read_own_file(FILE)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&content);
        Ok(text.lines().filter_map(|line| line.trim().parse().ok()).collect())
    }
}
