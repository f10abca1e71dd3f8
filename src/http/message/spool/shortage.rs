//! Calls of temporary files that fail for lack of descriptors, memory or threads: each call once. What waits is kept or the
//! response is visibly cut, no byte is wrong, and the next response finds all of the room.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{File, PIECE_BYTES, Spools};
use crate::http::message::spill_file::SpillFile;

/// EMFILE, ENFILE, ENOMEM, EAGAIN.
const LACKS: [i32; 4] = [24, 23, 12, 11];

const PIECES: usize = 64;

/// The call that fails: how many come before it, and its error.
#[derive(Clone, Default)]
struct Lack(Arc<Mutex<Option<(usize, i32)>>>);

impl Lack {
    fn after(&self, calls: usize, errno: i32) {
        *self.0.lock() = Some((calls, errno));
    }

    /// Lets no call fail any more. Returns whether one has.
    fn end(&self) -> bool {
        self.0.lock().take().is_none()
    }

    fn lacks(&self) -> io::Result<()> {
        let mut lack = self.0.lock();
        let Some((left, errno)) = *lack else { return Ok(()) };
        *lack = left.checked_sub(1).map(|left| (left, errno));
        if left == 0 { Err(io::Error::from_raw_os_error(errno)) } else { Ok(()) }
    }

    /// Files with room for [`PIECES`] pieces.
    fn spools(&self) -> Spools {
        let lack = self.clone();
        Spools::new(u64::MAX >> 1, (PIECES * PIECE_BYTES) as u64).created_by(move || {
            lack.lacks()?;
            Ok(Arc::new(Lacking { file: tempfile::tempfile()?, lack: lack.clone() }) as File)
        })
    }
}

/// A temporary file whose calls may fail.
struct Lacking {
    file: std::fs::File,
    lack: Lack,
}

impl FileExt for Lacking {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.lack.lacks()?;
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<usize> {
        self.lack.lacks()?;
        self.file.write_at(buffer, offset)
    }
}

/// Runs `ask` with each call failing once, until it makes no more calls, and each time once more without a failure.
pub(in crate::http) async fn each_call(ask: impl AsyncFn(&Spools, bool)) {
    for errno in LACKS {
        for nth in 0.. {
            let lack = Lack::default();
            let spools = lack.spools();
            lack.after(nth, errno);
            ask(&spools, true).await;
            let came = lack.end();
            ask(&spools, false).await;
            assert_eq!(spools.free_pieces(), PIECES, "call {nth}");
            if !came {
                assert!(nth > 2, "{nth} calls: too few");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_result_that_finds_no_file_is_not_taken_and_leaves_no_room_taken() {
    each_call(async |spools, may_fail| {
        let bytes: Vec<u8> = (0..2 * PIECE_BYTES + 5).map(|at| (at / 3) as u8).collect();
        let owner = SpillFile::new(spools.clone(), u64::MAX);
        let mut rest = match owner.spill(Bytes::from(bytes.clone())).await {
            Ok(spilled) => Some(spilled.expect("there is room")),
            Err(error) => return assert!(may_fail, "{error}"),
        };
        let mut read = Vec::new();
        while let Some(spilled) = rest {
            match spilled.next().await {
                Ok((piece, more)) => {
                    read.extend_from_slice(&piece);
                    rest = more;
                }
                Err(error) => {
                    assert!(may_fail && bytes.starts_with(&read), "{error}");
                    return;
                }
            }
        }
        assert!(read == bytes);
    })
    .await;
}
