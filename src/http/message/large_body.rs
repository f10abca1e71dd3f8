//! [`LargeBody`]: a result in memory that is too large to wait there for a slow client, or ranges of it.
//!
//! A result takes memory of renders until it is sent. So that clients which read slowly keep no other from rendering, a
//! large result moves to a temporary file when its client has not taken it after a while. It is sent in copies of its
//! pieces, since one piece that waits in the connection would hold the whole. What the cache holds is not sent in this
//! way: it stays in memory in any case.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::activity::Activity;
use super::slices::Slices;
use super::spill_file::{SpillFile, Spilled};
use super::spool::{PIECE_BYTES, Spools};
use crate::store;

/// Results of at most this many bytes stay in memory, and ranges of them.
pub(in crate::http) const SMALL_BYTES_MAX: usize = 1 << 20;

/// A result that is sent in pieces.
pub(in crate::http) struct LargeBody {
    rest: Arc<Mutex<Rest>>,
    left: u64,
    reading: Option<Reading>,
    mover: AbortHandle,
    /// The connection, which counts as busy until the body has ended.
    activity: Option<Arc<Activity>>,
}

type Reading = Pin<Box<dyn Future<Output = io::Result<(Bytes, Option<Spilled>)>> + Send>>;

/// The bytes that are left.
enum Rest {
    Memory(Slices),
    /// On their way to the file. The client waits for that.
    Moving(Option<Waker>),
    File(Option<Spilled>),
}

impl LargeBody {
    /// A body of `bytes`, which move to a file after `wait`. Must be called on a tokio runtime.
    pub(in crate::http) fn new(bytes: Slices, spools: &Spools, wait: Duration) -> LargeBody {
        let left = bytes.remaining() as u64;
        let rest = Arc::new(Mutex::new(Rest::Memory(bytes)));
        let mover = tokio::spawn(moved(rest.clone(), spools.clone(), wait)).abort_handle();
        LargeBody { rest, left, reading: None, mover, activity: None }
    }

    pub(in crate::http) fn tracked(&mut self, activity: Arc<Activity>) {
        self.activity = Some(activity);
    }

    /// Bytes that were not sent yet.
    pub(in crate::http) fn left(&self) -> u64 {
        self.left
    }

    /// The next piece; `None` after the last one.
    pub(in crate::http) fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, store::Error>>> {
        loop {
            if let Some(reading) = &mut self.reading {
                let read = ready!(reading.as_mut().poll(context));
                self.reading = None;
                return Poll::Ready(Some(self.took(read)));
            }
            let mut rest = self.rest.lock();
            match &mut *rest {
                Rest::Memory(bytes) if !bytes.has_remaining() => return Poll::Ready(None),
                Rest::Memory(bytes) => {
                    let piece = bytes.copied(PIECE_BYTES);
                    self.left -= piece.len() as u64;
                    return Poll::Ready(Some(Ok(piece)));
                }
                Rest::Moving(waker) => {
                    *waker = Some(context.waker().clone());
                    return Poll::Pending;
                }
                Rest::File(kept) => match kept.take() {
                    Some(kept) => self.reading = Some(Box::pin(kept.next())),
                    None => return Poll::Ready(None),
                },
            }
        }
    }

    fn took(&mut self, read: io::Result<(Bytes, Option<Spilled>)>) -> Result<Bytes, store::Error> {
        // hyper only needs to know that the body is not whole.
        let (piece, rest) = read.map_err(|error| store::Error::Unavailable(error.to_string()))?;
        *self.rest.lock() = Rest::File(rest);
        self.left = self.left.saturating_sub(piece.len() as u64);
        Ok(piece)
    }
}

impl Drop for LargeBody {
    fn drop(&mut self) {
        self.mover.abort();
        if let Some(activity) = &self.activity {
            activity.end();
        }
    }
}

/// Moves what is left after `wait` to a file. Where there is no room in files, it stays in memory.
async fn moved(rest: Arc<Mutex<Rest>>, spools: Spools, wait: Duration) {
    tokio::time::sleep(wait).await;
    let Some(bytes) = taken(&rest) else { return };
    // Only the half of the room that is first come, first served: the other is for bulk requests.
    let kept = SpillFile::new(spools, 0).spill(bytes.clone()).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot write a result to a temporary file; it waits in memory");
        None
    });
    let next = kept.map_or(Rest::Memory(bytes), |kept| Rest::File(Some(kept)));
    if let Rest::Moving(Some(waker)) = std::mem::replace(&mut *rest.lock(), next) {
        waker.wake();
    }
}

/// Takes the bytes that are left, if they are more than one piece. A single piece stays in a buffer of its own, as the
/// pieces do that wait in the connection: as a part of the whole it would hold all of that.
fn taken(rest: &Mutex<Rest>) -> Option<Slices> {
    let mut rest = rest.lock();
    let Rest::Memory(bytes) = &mut *rest else { return None };
    if bytes.remaining() <= PIECE_BYTES {
        *bytes = bytes.copied(PIECE_BYTES).into();
        return None;
    }
    let bytes = std::mem::take(bytes);
    *rest = Rest::Moving(None);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hold::hold;

    #[test]
    fn no_rest_holds_the_whole() {
        for (left, moves) in [(SMALL_BYTES_MAX, true), (PIECE_BYTES + 1, true), (PIECE_BYTES, false), (0, false)] {
            let permit = Arc::new(());
            let whole = hold(vec![7; 2 * SMALL_BYTES_MAX], permit.clone());
            let rest = Mutex::new(Rest::Memory(whole.slice(..left).into()));
            drop(whole);
            assert_eq!(taken(&rest).map(|bytes| bytes.remaining()), moves.then_some(left));
            assert_eq!(Arc::strong_count(&permit), 1, "{left}");
            let Rest::Memory(kept) = &*rest.lock() else { continue };
            assert_eq!((kept.remaining(), moves), (left, false));
        }
    }
}
