//! [`Space`]: whether the device has less free than its reserve. Uploads end before a device is full, so that deletes, the
//! log of the queue, and other programs still have room.

use std::sync::atomic::{AtomicBool, Ordering};

use super::fs::Fs;

/// The part of a small device that is its reserve, if the setting is more.
const DEVICE_PART: u64 = 20;

/// The bytes that stay free on a device of `all` bytes, if the setting is `reserve_bytes`: at most a twentieth of it.
pub fn reserve(reserve_bytes: u64, all: u64) -> u64 {
    reserve_bytes.min(all / DEVICE_PART)
}

/// The free space of a device, as it was last seen.
pub struct Space {
    reserve_bytes: u64,
    is_short: AtomicBool,
}

impl Space {
    /// A device of which [`reserve`] stays free. It has enough until the first look.
    pub fn new(reserve_bytes: u64) -> Space {
        Space { reserve_bytes, is_short: AtomicBool::new(false) }
    }

    /// Whether less than the reserve was free at the last look.
    pub fn was_short(&self) -> bool {
        self.is_short.load(Ordering::Relaxed)
    }

    /// Looks whether less than the reserve is free. A device that does not tell has enough. The call may wait for the
    /// device.
    pub fn is_short(&self, fs: &impl Fs) -> bool {
        let is_short = fs.statvfs().is_ok_and(|room| room.free < reserve(self.reserve_bytes, room.all));
        self.is_short.store(is_short, Ordering::Relaxed);
        is_short
    }
}
