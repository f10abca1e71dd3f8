//! [`Activity`]: what a connection is doing. The parts of its task record it, and one timer compares it with the
//! bounds.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use tokio::time::Instant;

use super::options::{Options, ms};

/// The state of a connection. The fields are atomic, because the parts of its task share them.
pub(in crate::http) struct Activity {
    opened: Instant,
    /// A handler is working, under bounds of its own.
    busy: AtomicBool,
    /// The last request has a body.
    has_body: AtomicBool,
    /// The last four bytes that came.
    tail: AtomicU32,
    /// When a response last moved or ended, in milliseconds since `opened`.
    moved_ms: AtomicU64,
    /// When a head began to arrive; `NEVER` if none is arriving. The first one is awaited from the start.
    head_ms: AtomicU64,
    /// When the client stopped taking bytes; `NEVER` if it takes them.
    stalled_ms: AtomicU64,
    /// When the client fell behind, so that bytes wait for it; `NEVER` if it has taken all.
    behind_ms: AtomicU64,
    /// Bytes that the client has taken since it fell behind.
    taken: AtomicU64,
    /// The body of a request was left unread, so what follows in the socket is no request.
    unread: AtomicBool,
}

const NEVER: u64 = u64::MAX;

/// The end of a head, as the last bytes that came.
const END_OF_HEAD: u32 = u32::from_be_bytes(*b"\r\n\r\n");

impl Activity {
    pub(in crate::http) fn new() -> Activity {
        Activity {
            opened: Instant::now(),
            busy: AtomicBool::new(false),
            has_body: AtomicBool::new(false),
            tail: AtomicU32::new(END_OF_HEAD),
            moved_ms: AtomicU64::new(0),
            head_ms: AtomicU64::new(0),
            stalled_ms: AtomicU64::new(NEVER),
            behind_ms: AtomicU64::new(NEVER),
            taken: AtomicU64::new(0),
            unread: AtomicBool::new(false),
        }
    }

    fn now_ms(&self) -> u64 {
        self.opened.elapsed().as_millis() as u64
    }

    /// Records that the head of a request is complete.
    pub(in crate::http) fn begin(&self, has_body: bool) {
        self.busy.store(true, Ordering::Relaxed);
        self.has_body.store(has_body, Ordering::Relaxed);
        self.head_ms.store(NEVER, Ordering::Relaxed);
    }

    /// Records that the response is known. A part of the next head may have come with the request: without a body, all
    /// that came would end as a head does.
    pub(in crate::http) fn end(&self) {
        self.busy.store(false, Ordering::Relaxed);
        self.moved_ms.store(self.now_ms(), Ordering::Relaxed);
        if !self.has_body.load(Ordering::Relaxed) && !ends_head(self.tail.load(Ordering::Relaxed)) {
            self.head_ms.store(self.now_ms(), Ordering::Relaxed);
        }
    }

    /// Restarts the clocks of a client that does not read: an error was added, and the client gets as much time to take
    /// it.
    pub(in crate::http) fn wait_again(&self) {
        for since in [&self.stalled_ms, &self.behind_ms] {
            if since.load(Ordering::Relaxed) != NEVER {
                since.store(self.now_ms(), Ordering::Relaxed);
            }
        }
        self.taken.store(0, Ordering::Relaxed);
    }

    /// Records that a body was dropped before its end.
    pub(in crate::http) fn leave_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    /// Whether this connection can take no further request.
    pub(in crate::http) fn unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    pub(in crate::http) fn arrived(&self, bytes: &[u8]) {
        let last = &bytes[bytes.len().saturating_sub(4)..];
        let tail = last.iter().fold(self.tail.load(Ordering::Relaxed), |tail, byte| tail << 8 | u32::from(*byte));
        self.tail.store(tail, Ordering::Relaxed);
        if !self.busy.load(Ordering::Relaxed) && self.head_ms.load(Ordering::Relaxed) == NEVER {
            self.head_ms.store(self.now_ms(), Ordering::Relaxed);
        }
    }

    pub(in crate::http) fn written(&self, bytes: usize) {
        // A client that keeps up costs one load. This is on the path of every hit.
        if self.behind_ms.load(Ordering::Relaxed) == NEVER {
            return;
        }
        self.taken.fetch_add(bytes as u64, Ordering::Relaxed);
        if self.stalled_ms.swap(NEVER, Ordering::Relaxed) != NEVER {
            self.moved_ms.store(self.now_ms(), Ordering::Relaxed);
        }
    }

    pub(in crate::http) fn stalled(&self) {
        if self.stalled_ms.load(Ordering::Relaxed) == NEVER {
            self.stalled_ms.store(self.now_ms(), Ordering::Relaxed);
        }
        if self.behind_ms.load(Ordering::Relaxed) == NEVER {
            self.behind_ms.store(self.now_ms(), Ordering::Relaxed);
            self.taken.store(0, Ordering::Relaxed);
        }
    }

    /// Records that nothing is left to send.
    pub(in crate::http) fn caught_up(&self) {
        if self.behind_ms.load(Ordering::Relaxed) != NEVER {
            self.behind_ms.store(NEVER, Ordering::Relaxed);
        }
    }

    /// Since when the connection waits for a request, of which a part may have come; `None` while one is answered.
    pub(in crate::http) fn idle_since(&self) -> Option<Instant> {
        if self.busy.load(Ordering::Relaxed) || self.behind_ms.load(Ordering::Relaxed) != NEVER {
            return None;
        }
        let head = self.head_ms.load(Ordering::Relaxed);
        let since = if head == NEVER { self.moved_ms.load(Ordering::Relaxed) } else { head };
        Some(self.opened + ms(since))
    }

    /// Until when a client may stay behind, given what it has taken.
    fn rate_due(&self, options: &Options) -> u64 {
        let taken = self.taken.load(Ordering::Relaxed);
        let earned = taken.saturating_mul(1_000).checked_div(options.write_rate_min).unwrap_or(NEVER);
        self.behind_ms.load(Ordering::Relaxed).saturating_add(earned.max(options.write_grace_ms))
    }

    /// When this connection is to be closed, unless something happens before.
    pub(in crate::http) fn deadline(&self, options: &Options) -> Instant {
        let stalled = self.stalled_ms.load(Ordering::Relaxed);
        let head = self.head_ms.load(Ordering::Relaxed);
        let moved = self.moved_ms.load(Ordering::Relaxed);
        let due = if stalled != NEVER {
            (stalled + options.write_stall_ms).min(self.rate_due(options))
        } else if self.busy.load(Ordering::Relaxed) {
            self.now_ms() + options.keep_alive_ms
        } else if head != NEVER {
            // Bytes of the next request may wait while a response is still moving.
            head.max(moved) + options.head_timeout_ms
        } else {
            moved + options.keep_alive_ms
        };
        self.opened + ms(due)
    }
}

/// Whether the last bytes are those of a head: an empty line. A line may end without CR (RFC 9112, 2.2).
fn ends_head(tail: u32) -> bool {
    tail & 0xff_ff == u32::from_be_bytes(*b"\0\0\n\n") || tail & 0xff_ff_ff == u32::from_be_bytes(*b"\0\n\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_of_a_head_that_came_with_the_request_before_is_awaited_as_a_head() {
        let options = Options { head_timeout_ms: 1_000, keep_alive_ms: 600_000, ..Options::default() };
        let check = |chunks: &[&str], has_body: bool, is_awaited: bool| {
            let activity = Activity::new();
            chunks.iter().for_each(|chunk| activity.arrived(chunk.as_bytes()));
            activity.begin(has_body);
            activity.end();
            let is_soon = activity.deadline(&options) < Instant::now() + ms(300_000);
            assert_eq!(is_soon, is_awaited, "{chunks:?}");
        };
        check(&["GET / HTTP/1.1\r\n\r\n"], false, false);
        check(&["GET / HTTP/1.1\r\n\r", "\n"], false, false);
        check(&["GET / HTTP/1.1\n\n"], false, false);
        check(&["GET / HTTP/1.1\r\n\r\nGET "], false, true);
        check(&["GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n"], false, true);
        // What comes after a body cannot be told from its end.
        check(&["POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx"], true, false);
    }
}
