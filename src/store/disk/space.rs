//! [`Space`]: whether the device has less free than its reserve. Uploads end before a device is full, so that deletes, the
//! log of the queue, and other programs still have room.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::fs::Fs;

/// How long one look at the device holds. In this time a fast device takes a small part of the reserve.
const LOOK_AFTER: Duration = if cfg!(test) { Duration::ZERO } else { Duration::from_millis(100) };

/// The part of a small device that is its reserve, if the setting is more.
pub const DEVICE_PART: u64 = 20;

/// Looks at the free space of a device, from time to time.
pub struct Space {
    reserve_bytes: u64,
    seen: Mutex<Option<(Instant, bool)>>,
}

impl Space {
    /// A device of which `reserve_bytes` stay free, or a twentieth if that is less.
    pub fn new(reserve_bytes: u64) -> Space {
        Space { reserve_bytes, seen: Mutex::new(None) }
    }

    /// Whether less than the reserve is free. A device that does not tell has enough.
    pub fn is_short(&self, fs: &impl Fs) -> bool {
        let mut seen = self.seen.lock();
        if let Some((at, is_short)) = *seen
            && at.elapsed() < LOOK_AFTER
        {
            return is_short;
        }
        let is_short = fs.statvfs().is_ok_and(|room| room.free < self.reserve_bytes.min(room.all / DEVICE_PART));
        *seen = Some((Instant::now(), is_short));
        is_short
    }
}
