//! [`Locks`]: one asynchronous lock for each digest. A lock exists while a caller holds or awaits it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::digest::Digest;

type Table = Arc<Mutex<HashMap<Digest, Arc<AsyncMutex<()>>>>>;

/// The locks of one store for one purpose. Their number is bounded by that of holders and waiters.
#[derive(Clone, Default)]
pub struct Locks(Table);

/// Holds the lock of a digest until it is dropped. May be moved to another thread.
pub struct Guard {
    table: Table,
    digest: Digest,
    held: Option<OwnedMutexGuard<()>>,
}

impl Locks {
    /// Waits for the lock of `digest`.
    pub async fn acquire(&self, digest: Digest) -> Guard {
        let lock = Arc::clone(self.0.lock().entry(digest).or_default());
        // Made before the wait, so that a waiter that leaves removes an unused lock as well.
        let mut guard = Guard { table: Arc::clone(&self.0), digest, held: None };
        guard.held = Some(lock.lock_owned().await);
        guard
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.lock().len()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut table = self.table.lock();
        self.held = None;
        // Holders and waiters take their reference under the table's lock, so one reference means that there are no
        // others.
        if table.get(&self.digest).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            table.remove(&self.digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_lock_excludes_its_own_digest_only_and_leaves_nothing_behind() {
        let locks = Locks::default();
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let held = locks.acquire(a).await;
        let mut waiting = Box::pin(locks.acquire(a));
        assert!((&mut waiting).now_or_never().is_none());
        drop(locks.acquire(b).await);
        drop(held);
        drop(waiting.await);
        let held = locks.acquire(a).await;
        let mut abandoned = Box::pin(locks.acquire(a));
        assert!((&mut abandoned).now_or_never().is_none());
        drop(abandoned);
        drop(held);
        assert_eq!(locks.len(), 0);
    }
}
