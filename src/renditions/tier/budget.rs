//! [`Budget`]: the bytes that the tier may take. That is its setting, or less while its device is short of room: the tier
//! gives way before uploads end.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::store;

/// The tier leaves so many reserves free. Uploads leave one.
const RESERVES: u64 = 2;

/// A budget in bytes.
pub struct Budget {
    bytes_max: u64,
    reserve_bytes: u64,
    now: AtomicU64,
}

impl Budget {
    /// Up to `bytes_max` bytes on a device of which `reserve_bytes` are kept.
    pub fn new(bytes_max: u64, reserve_bytes: u64) -> Budget {
        Budget { bytes_max, reserve_bytes, now: AtomicU64::new(bytes_max) }
    }

    /// The bytes that the tier may take now.
    pub fn bytes(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Looks at the device of `folder`, on which the tier takes `held` bytes. A device that does not tell has enough.
    pub fn look(&self, folder: &Path, held: u64) {
        if let Ok(found) = rustix::fs::statvfs(folder) {
            let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
            self.set(held, bytes(found.f_bavail), bytes(found.f_blocks));
        }
    }

    /// Sets the budget for a device with `free` of `all` bytes.
    pub fn set(&self, held: u64, free: u64, all: u64) {
        let kept = store::reserve(self.reserve_bytes, all) * RESERVES;
        let now = held.saturating_add(free).saturating_sub(kept).min(self.bytes_max);
        self.now.store(now, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tier_gives_way_before_the_reserve_is_touched() {
        let budget = Budget::new(1_000, 100);
        for (held, free, all, expected) in [
            (500, 10_000, 20_000, 1_000),
            (500, 200, 20_000, 500),
            (500, 150, 20_000, 450),
            (500, 0, 20_000, 300),
            (100, 0, 20_000, 0),
            // A twentieth of a small device.
            (500, 30, 400, 490),
        ] {
            budget.set(held, free, all);
            assert_eq!(budget.bytes(), expected, "{held} held, {free} free of {all}");
        }
    }
}
