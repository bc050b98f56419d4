//! One writer at a time for each path.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

type Lock = tokio::sync::Mutex<()>;

/// The paths that are being written.
#[derive(Debug, Default)]
pub(super) struct Writers(Mutex<HashMap<String, Weak<Lock>>>);

impl Writers {
    /// Waits for its turn at a path.
    pub(super) async fn lock(&self, path: &str) -> OwnedMutexGuard<()> {
        let lock = {
            // No code panics with the lock held.
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match locks.get(path).and_then(Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    locks.retain(|_, lock| lock.strong_count() > 0);
                    let lock = Arc::new(Lock::default());
                    locks.insert(path.to_owned(), Arc::downgrade(&lock));
                    lock
                }
            }
        };
        lock.lock_owned().await
    }
}
