//! [`Backlog`]: results of one request that have ended and wait for the client.
//!
//! A render holds memory of the bulk lane, for which all bulk requests and jobs wait: so nothing of it may wait for a client. A few
//! results wait in memory that is counted for the request alone, and what is more in temporary files. Past a bound of these no
//! further item of the request is begun. Those that are under way may end past it, as long as all files have room for them; after
//! that they are refused, in their lines. Nobody here waits for anything but the client, and holds only what is the request's own.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::http::error::Error;
use crate::http::stream::{Kept, Spools};
use crate::http::{App, Options};

/// See the module.
pub(super) struct Backlog {
    /// Bytes that may wait in memory.
    memory: Arc<Semaphore>,
    spools: Spools,
    file_bytes_max: u64,
    /// Bytes that wait in files.
    file_bytes: watch::Sender<u64>,
}

/// A result that waits.
pub(super) enum Waiting {
    /// The right to hold it goes with it.
    Memory(Bytes),
    File(Kept, Counted),
}

impl Backlog {
    pub(super) fn of(app: &App) -> Arc<Backlog> {
        Backlog::new(app.spools.clone(), &app.options)
    }

    fn new(spools: Spools, options: &Options) -> Arc<Backlog> {
        let memory_bytes_max = options.bulk_results_bytes_max.min(Semaphore::MAX_PERMITS);
        Arc::new(Backlog {
            memory: Arc::new(Semaphore::new(memory_bytes_max)),
            spools,
            file_bytes_max: options.spool_bytes_max,
            file_bytes: watch::Sender::new(0),
        })
    }

    /// Ready when a further item may begin.
    pub(super) async fn has_room(&self) {
        // The sender is here.
        _ = self.file_bytes.subscribe().wait_for(|bytes| *bytes <= self.file_bytes_max).await;
    }

    /// Puts a result where it may wait; it gives back what it held until now.
    pub(super) async fn wait(self: &Arc<Self>, result: Bytes) -> Result<Waiting, Error> {
        if let Some(room) = self.room_for(result.len()) {
            let copy = Within { bytes: result.as_ref().into(), _room: room };
            return Ok(Waiting::Memory(Bytes::from_owner(copy)));
        }
        match self.spools.keep(result.clone()).await {
            Ok(Some(kept)) => {
                let counted = self.count(kept.len());
                Ok(Waiting::File(kept, counted))
            }
            Ok(None) => Err(Error::Busy { retry_after_s: 1 }),
            Err(error) => {
                tracing::warn!(%error, "a result cannot be kept in a temporary file: it holds memory of the bulk lane");
                Ok(Waiting::Memory(result))
            }
        }
    }

    fn room_for(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        self.memory.clone().try_acquire_many_owned(u32::try_from(bytes).ok()?).ok()
    }

    fn count(self: &Arc<Self>, bytes: u64) -> Counted {
        self.file_bytes.send_modify(|all| *all += bytes);
        Counted { backlog: self.clone(), bytes }
    }
}

impl Waiting {
    /// The bytes: their turn has come.
    pub(super) async fn end(self) -> Result<Bytes, Error> {
        match self {
            Waiting::Memory(bytes) => Ok(bytes),
            Waiting::File(kept, _counted) => kept.take().await.map_err(|error| {
                tracing::error!(%error, "a result cannot be read back from its temporary file");
                Error::Internal
            }),
        }
    }
}

/// Bytes in memory, and their right to be there.
struct Within {
    bytes: Box<[u8]>,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Within {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Bytes in a file, counted until this is dropped.
pub(super) struct Counted {
    backlog: Arc<Backlog>,
    bytes: u64,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.backlog.file_bytes.send_modify(|all| *all -= self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const PIECE: u64 = 64 << 10;

    /// Ten bytes in memory, twenty in files, which have room for two results.
    fn backlog() -> Arc<Backlog> {
        let options = Options { bulk_results_bytes_max: 10, spool_bytes_max: 20, ..Options::default() };
        Backlog::new(Spools::new(options.spool_bytes_max, 2 * PIECE), &options)
    }

    /// A result that holds something of the lane.
    fn held(lane: &Arc<Semaphore>, bytes: &[u8]) -> Bytes {
        let room = lane.clone().try_acquire_owned().expect("room");
        Bytes::from_owner(Within { bytes: bytes.into(), _room: room })
    }

    #[tokio::test]
    async fn results_wait_in_memory_up_to_their_bound_then_in_files_and_hold_nothing_of_the_lane() {
        let (lane, backlog) = (Arc::new(Semaphore::new(1)), backlog());
        let whole = backlog.wait(held(&lane, b"0123456789")).await.expect("room");
        assert!(matches!(whole, Waiting::Memory(_)), "the bound itself");
        let past = backlog.wait(held(&lane, b"x")).await.expect("room");
        assert!(matches!(past, Waiting::File(..)), "one past it");
        assert_eq!(lane.available_permits(), 1);
        assert_eq!(whole.end().await, Ok(Bytes::from_static(b"0123456789")));
        assert_eq!(past.end().await, Ok(Bytes::from_static(b"x")));
        let again = backlog.wait(held(&lane, b"0123456789")).await.expect("room");
        assert!(matches!(again, Waiting::Memory(_)), "it is given back");
    }

    #[tokio::test]
    async fn items_begin_until_files_are_past_their_bound_and_again_when_they_are_not() {
        let backlog = backlog();
        let _memory = backlog.wait(vec![0; 10].into()).await.expect("room");
        let first = backlog.wait(vec![1; 20].into()).await.expect("room");
        assert!(backlog.has_room().now_or_never().is_some(), "the bound itself");
        let second = backlog.wait(vec![2; 1].into()).await.expect("room");
        assert!(backlog.has_room().now_or_never().is_none(), "one past it");
        assert!(matches!(backlog.wait(vec![3; 1].into()).await, Err(Error::Busy { .. })), "no file has room");
        assert_eq!(first.end().await, Ok(vec![1; 20].into()));
        assert!(backlog.has_room().now_or_never().is_some());
        drop(second);
        assert_eq!(*backlog.file_bytes.borrow(), 0);
    }
}
