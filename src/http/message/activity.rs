//! [`Activity`]: what a connection is doing, noted by the pieces of its task and compared with its bounds by one timer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::time::Instant;

use super::options::{Options, ms};

/// What a connection is doing. Atomics, because the pieces of its task share it.
pub(in crate::http) struct Activity {
    opened: Instant,
    /// A handler is at work, under bounds of its own.
    busy: AtomicBool,
    /// When an answer last moved or ended, in milliseconds since `opened`.
    moved_ms: AtomicU64,
    /// Since when a head is arriving; `NEVER`: it is not.
    head_ms: AtomicU64,
    /// Since when the client takes no byte; `NEVER`: it does.
    stalled_ms: AtomicU64,
    /// Since when there is more to send than the client has taken; `NEVER`: it has taken all.
    behind_ms: AtomicU64,
    /// Bytes that it took since then.
    taken: AtomicU64,
    /// A request's body was left unread: what follows in the socket is not a request.
    unread: AtomicBool,
}

const NEVER: u64 = u64::MAX;

impl Activity {
    pub(in crate::http) fn new() -> Activity {
        Activity {
            opened: Instant::now(),
            busy: AtomicBool::new(false),
            moved_ms: AtomicU64::new(0),
            head_ms: AtomicU64::new(NEVER),
            stalled_ms: AtomicU64::new(NEVER),
            behind_ms: AtomicU64::new(NEVER),
            taken: AtomicU64::new(0),
            unread: AtomicBool::new(false),
        }
    }

    fn now_ms(&self) -> u64 {
        self.opened.elapsed().as_millis() as u64
    }

    /// A request is complete up to its body.
    pub(in crate::http) fn begin(&self) {
        self.busy.store(true, Ordering::Relaxed);
        self.head_ms.store(NEVER, Ordering::Relaxed);
    }

    /// The answer is known.
    pub(in crate::http) fn end(&self) {
        self.busy.store(false, Ordering::Relaxed);
        self.moved_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// A client that takes nothing was told so: it has as long again to take that.
    pub(in crate::http) fn wait_again(&self) {
        for since in [&self.stalled_ms, &self.behind_ms] {
            if since.load(Ordering::Relaxed) != NEVER {
                since.store(self.now_ms(), Ordering::Relaxed);
            }
        }
        self.taken.store(0, Ordering::Relaxed);
    }

    /// A body is dropped before its end.
    pub(in crate::http) fn leave_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    /// Whether this connection cannot take another request.
    pub(in crate::http) fn unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    pub(in crate::http) fn arrived(&self) {
        if !self.busy.load(Ordering::Relaxed) && self.head_ms.load(Ordering::Relaxed) == NEVER {
            self.head_ms.store(self.now_ms(), Ordering::Relaxed);
        }
    }

    pub(in crate::http) fn written(&self, bytes: usize) {
        // A client that keeps up costs one load: it is on the path of every hit.
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

    /// Nothing is left to send.
    pub(in crate::http) fn caught_up(&self) {
        if self.behind_ms.load(Ordering::Relaxed) != NEVER {
            self.behind_ms.store(NEVER, Ordering::Relaxed);
        }
    }

    /// Until when a client that is behind may be, with what it has taken.
    fn rate_due(&self, options: &Options) -> u64 {
        let taken = self.taken.load(Ordering::Relaxed);
        let earned = taken.saturating_mul(1_000).checked_div(options.write_rate_min).unwrap_or(NEVER);
        self.behind_ms.load(Ordering::Relaxed).saturating_add(earned.max(options.write_grace_ms))
    }

    /// When this connection is to be closed, unless something happens until then.
    pub(in crate::http) fn deadline(&self, options: &Options) -> Instant {
        let stalled = self.stalled_ms.load(Ordering::Relaxed);
        let head = self.head_ms.load(Ordering::Relaxed);
        let moved = self.moved_ms.load(Ordering::Relaxed);
        let due = if stalled != NEVER {
            (stalled + options.write_stall_ms).min(self.rate_due(options))
        } else if self.busy.load(Ordering::Relaxed) {
            self.now_ms() + options.keep_alive_ms
        } else if head != NEVER {
            // Bytes of a next request may wait behind an answer that still moves.
            head.max(moved) + options.head_timeout_ms
        } else {
            moved + options.keep_alive_ms
        };
        self.opened + ms(due)
    }
}
