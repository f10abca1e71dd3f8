//! [`Space`]: whether the device has less free than its reserve. Uploads end before a device is full, so that deletes, the
//! log of the queue, and other programs still have room.

use parking_lot::Mutex;

use super::fs::Fs;
use crate::store::FreeSpace;

/// The part of a small device that is its reserve, if the setting is more.
const DEVICE_PART: u64 = 20;

/// The bytes that stay free on a device of `all` bytes, if the setting is `reserve_bytes`: at most a twentieth of it.
pub fn reserve(reserve_bytes: u64, all: u64) -> u64 {
    reserve_bytes.min(all / DEVICE_PART)
}

/// The free space of a device, as it was last seen.
pub struct Space {
    reserve_bytes: u64,
    seen: Mutex<Option<FreeSpace>>,
}

impl Space {
    /// A device of which [`reserve`] stays free. It has enough until the first look.
    pub fn new(reserve_bytes: u64) -> Space {
        Space { reserve_bytes, seen: Mutex::default() }
    }

    /// Whether less than the reserve was free at the last look.
    pub fn was_short(&self) -> bool {
        self.seen().is_some_and(|seen| seen.bytes < seen.reserve_bytes)
    }

    /// What was found at the last look; `None`: the device does not tell.
    pub fn seen(&self) -> Option<FreeSpace> {
        *self.seen.lock()
    }

    /// Looks whether less than the reserve is free. A device that does not tell has enough. The call may wait for the
    /// device.
    pub fn is_short(&self, fs: &impl Fs) -> bool {
        let found = fs.statvfs().ok();
        *self.seen.lock() = found.map(|room| {
            let reserve_bytes = reserve(self.reserve_bytes, room.all);
            FreeSpace { bytes: room.free, reserve_bytes }
        });
        self.was_short()
    }
}
