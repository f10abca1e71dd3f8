//! [`ResultBuffer`]: finished results of one request that wait for its client.
//!
//! A render holds memory of the bulk lane, which all bulk requests and jobs share, so no render may wait for a client.
//! A few results wait in memory that is counted for the request alone. Further results wait in temporary files, and are
//! read from them in pieces. Past a bound of bytes in files no further item of the request begins. Running items may
//! end past that bound, as long as there is room. After that, or if the file fails, their results are refused in their
//! lines. Half of the room is split evenly, so that no request can take the share of another; the other half is for
//! requests that need it. Only the client is waited for, and all that is held belongs to the request.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::hold::hold;
use crate::http::app::App;
use crate::http::error::Error;
use crate::http::message::options::Options;
use crate::http::message::spill_file::{SpillFile, Spilled};
use crate::http::message::spool::{PIECE_BYTES, Spools};

/// Results of one request that wait for its client.
pub(super) struct ResultBuffer {
    /// Permits for bytes that wait in memory.
    memory: Arc<Semaphore>,
    file: Arc<SpillFile>,
    file_bytes_max: u64,
}

/// A result that waits. Its permit goes with its bytes.
pub(super) enum Buffered {
    Memory(Bytes),
    File(Spilled),
}

impl ResultBuffer {
    pub(super) fn of(app: &App) -> ResultBuffer {
        ResultBuffer::new(app.spools.clone(), &app.options)
    }

    pub(super) fn new(spools: Spools, options: &Options) -> ResultBuffer {
        let memory_bytes_max = options.bulk_results_bytes_max.min(Semaphore::MAX_PERMITS);
        let memory = Arc::new(Semaphore::new(memory_bytes_max));
        ResultBuffer {
            memory,
            file: SpillFile::new(spools, share_bytes(options)),
            file_bytes_max: options.spool_bytes_max,
        }
    }

    /// Waits until a further item may begin.
    pub(super) async fn has_room(&self) {
        self.file.is_within(self.file_bytes_max).await;
    }

    /// Moves a result to memory or a file of the request, which frees what it held until now.
    pub(super) async fn put(&self, result: Bytes) -> Result<Buffered, Error> {
        if let Some(room) = self.room_for(result.len()) {
            let copy: Box<[u8]> = result.as_ref().into();
            return Ok(Buffered::Memory(hold(copy, room)));
        }
        let kept = self.file.spill(result).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot write a result to a temporary file; the result is refused");
            None
        });
        kept.map(Buffered::File).ok_or(Error::Busy { retry_after_s: 1 })
    }

    fn room_for(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        self.memory.clone().try_acquire_many_owned(u32::try_from(bytes).ok()?).ok()
    }
}

impl Buffered {
    /// Bytes that are left.
    pub(super) fn len(&self) -> u64 {
        match self {
            Buffered::Memory(bytes) => bytes.len() as u64,
            Buffered::File(kept) => kept.len(),
        }
    }

    /// The next bytes, up to [`PIECE_BYTES`], and the rest after them. All pieces but the last are full.
    pub(super) async fn next(self) -> Result<(Bytes, Option<Buffered>), Error> {
        match self {
            Buffered::Memory(mut rest) => {
                let piece = rest.split_to(rest.len().min(PIECE_BYTES));
                Ok((piece, (!rest.is_empty()).then_some(Buffered::Memory(rest))))
            }
            Buffered::File(kept) => {
                let (piece, rest) = kept.next().await.map_err(|error| {
                    tracing::error!(%error, "cannot read a result back from its temporary file");
                    Error::Internal
                })?;
                Ok((piece, rest.map(Buffered::File)))
            }
        }
    }
}

/// The bytes in files that are guaranteed to a request, whatever the others keep. This is never less than the bound
/// past which no further item begins.
fn share_bytes(options: &Options) -> u64 {
    let requests = options.bulk_requests_max.max(1) as u64;
    (options.spools_bytes_max / 2 / requests).max(options.spool_bytes_max)
}

#[cfg(test)]
impl ResultBuffer {
    pub(super) fn file_pieces(&self) -> usize {
        self.file.pieces()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use futures_util::FutureExt;

    use super::*;

    const PIECE: u64 = PIECE_BYTES as u64;

    /// A buffer of ten bytes in memory, two pieces in its file, and four in all files.
    fn buffer() -> ResultBuffer {
        let options = Options { bulk_results_bytes_max: 10, spool_bytes_max: 2 * PIECE, ..Options::default() };
        ResultBuffer::new(Spools::new(0, 4 * PIECE), &options)
    }

    /// A result that holds a permit of the lane.
    fn held(lane: &Arc<Semaphore>, bytes: &[u8]) -> Bytes {
        let room = lane.clone().try_acquire_owned().expect("room");
        hold(Bytes::copy_from_slice(bytes), room)
    }

    async fn read(waiting: Buffered) -> Vec<u8> {
        let (mut all, mut rest) = (Vec::new(), Some(waiting));
        while let Some(waiting) = rest {
            let (piece, more) = waiting.next().await.expect("its bytes");
            all.extend_from_slice(&piece);
            rest = more;
        }
        all
    }

    #[tokio::test]
    async fn results_wait_in_memory_up_to_their_bound_then_in_a_file_and_hold_nothing_of_the_lane() {
        let (lane, buffer) = (Arc::new(Semaphore::new(1)), buffer());
        let whole = buffer.put(held(&lane, b"0123456789")).await.expect("room");
        assert!(matches!(whole, Buffered::Memory(_)), "the bound itself");
        let past = buffer.put(held(&lane, b"x")).await.expect("room");
        assert!(matches!(past, Buffered::File(..)), "one past it");
        assert_eq!(lane.available_permits(), 1);
        assert_eq!((whole.len(), past.len()), (10, 1));
        assert_eq!(read(whole).await, b"0123456789");
        assert_eq!(read(past).await, b"x");
        let again = buffer.put(held(&lane, b"0123456789")).await.expect("room");
        assert!(matches!(again, Buffered::Memory(_)), "it is given back");
    }

    #[tokio::test]
    async fn a_result_counts_until_its_last_piece_is_on_its_way() {
        let options = Options { bulk_results_bytes_max: PIECE_BYTES + 1, ..Options::default() };
        let buffer = ResultBuffer::new(Spools::new(0, 0), &options);
        let waiting = buffer.put(vec![7; PIECE_BYTES + 1].into()).await.expect("room");
        let (first, rest) = waiting.next().await.expect("its bytes");
        let (last, end) = rest.expect("one byte more").next().await.expect("its bytes");
        assert_eq!((first.len(), last.len(), end.is_none()), (PIECE_BYTES, 1, true));
        drop(first);
        assert!(
            matches!(buffer.put(vec![8].into()).await, Err(Error::Busy { .. })),
            "memory is full, files have no room"
        );
        drop(last);
        assert!(buffer.put(vec![8].into()).await.is_ok());
    }

    #[tokio::test]
    async fn items_begin_until_the_file_is_past_its_bound_and_again_when_it_is_not() {
        let buffer = buffer();
        let _memory = buffer.put(vec![0; 10].into()).await.expect("room");
        let first = buffer.put(vec![1; PIECE_BYTES + 1].into()).await.expect("room");
        assert!(buffer.has_room().now_or_never().is_some(), "the bound itself");
        let second = buffer.put(vec![2; 1].into()).await.expect("room");
        assert!(buffer.has_room().now_or_never().is_none(), "one piece past it");
        let third = buffer.put(vec![3; 1].into()).await.expect("the room of all files itself");
        assert!(matches!(buffer.put(vec![4; 1].into()).await, Err(Error::Busy { .. })), "no file has room");
        assert!(read(first).await == vec![1; PIECE_BYTES + 1]);
        assert!(buffer.has_room().now_or_never().is_some());
        drop((second, third));
    }

    #[tokio::test]
    async fn a_request_whose_client_is_slow_leaves_the_others_their_shares() {
        for (bulk_requests_max, share) in [(2, 4), (99, 3)] {
            let options = Options {
                bulk_results_bytes_max: 0,
                bulk_requests_max,
                spool_bytes_max: 3 * PIECE,
                spools_bytes_max: 16 * PIECE,
                ..Options::default()
            };
            let spools = Spools::new(0, options.spools_bytes_max);
            let [slow, other] = [(); 2].map(|()| ResultBuffer::new(spools.clone(), &options));
            let mut waiting = Vec::new();
            for (buffer, pieces) in [(&slow, 8), (&other, share)] {
                for _ in 0..pieces {
                    waiting.push(buffer.put(vec![1].into()).await.expect("room"));
                }
                assert!(matches!(buffer.put(vec![2].into()).await, Err(Error::Busy { .. })), "one past {pieces}");
            }
        }
    }

    #[tokio::test]
    async fn results_that_a_file_fails_to_take_are_refused_and_hold_nothing_of_the_lane() {
        let (lane, mut buffer) = (Arc::new(Semaphore::new(1)), buffer());
        buffer.file = SpillFile::new(Spools::new(0, 4 * PIECE).created_by(|| Err(io::Error::other("no folder"))), 0);
        let _memory = buffer.put(vec![0; 10].into()).await.expect("room");
        assert!(matches!(buffer.put(held(&lane, b"x")).await, Err(Error::Busy { .. })));
        assert_eq!(lane.available_permits(), 1);
    }
}
