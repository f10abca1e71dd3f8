//! [`Activity`]: what a connection is doing. The parts of its task record it, and one timer compares it with the
//! bounds.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::time::Instant;

use super::options::{Options, ms};

/// The state of a connection. The fields are atomic, because the parts of its task share them.
pub(in crate::http) struct Activity {
    opened: Instant,
    /// A handler is working, under bounds of its own.
    busy: AtomicBool,
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

impl Activity {
    pub(in crate::http) fn new() -> Activity {
        Activity {
            opened: Instant::now(),
            busy: AtomicBool::new(false),
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
    pub(in crate::http) fn begin(&self) {
        self.busy.store(true, Ordering::Relaxed);
        self.head_ms.store(NEVER, Ordering::Relaxed);
    }

    /// Records that the response is known.
    pub(in crate::http) fn end(&self) {
        self.busy.store(false, Ordering::Relaxed);
        self.moved_ms.store(self.now_ms(), Ordering::Relaxed);
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

    pub(in crate::http) fn arrived(&self) {
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
