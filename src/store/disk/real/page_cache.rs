//! [`drop_pages`]: drops the cached pages of a file, so that the next read comes from the device.

use std::io::IoSliceMut;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::fs::Advice;
use rustix::io::ReadWriteFlags;

use crate::store::disk::fs::Errno;

/// The stretch of a file that one probe stands for.
const PROBE_BYTES: u64 = 256 << 10;
/// Probes of one place after which its pages count as held. Pages are dropped before each probe.
const PROBES_MAX: u32 = 24;
/// The pause before the second probe, twice as long before the third, and so on: 1.4 s in all. The kernel itself holds
/// pages for a while after they are written (seen on ext4 for some milliseconds after a copy).
const PAUSE: Duration = Duration::from_millis(5);
/// The kind of a file system in memory, which has no device.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Drops the pages of a file of `bytes` bytes, all of them written. Returns whether they are gone. If the file system
/// cannot be probed, they count as gone.
pub fn drop_pages(file: &impl AsFd, bytes: u64) -> Result<bool, Errno> {
    let forget = || rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
    let is_answered = |offset| {
        let mut byte = [0];
        let read = rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut byte)], offset, ReadWriteFlags::NOWAIT);
        read.is_ok_and(|count| count > 0)
    };
    forget()?;
    let forget_again = |probes| {
        std::thread::sleep(PAUSE * probes);
        forget()
    };
    if u64::try_from(rustix::fs::fstatfs(file)?.f_type) == Ok(TMPFS_MAGIC) {
        return Ok(true);
    }
    is_dropped(bytes, is_answered, forget_again)
}

/// Whether no part of a file is in memory. Probes one byte of each stretch. `forget` drops the pages again after so many
/// probes.
///
/// One answered probe proves nothing: the probe itself starts a read ahead, and a fast device may answer in time (seen
/// once or twice in a thousand files). Pages that another process holds are answered every time.
fn is_dropped(
    bytes: u64,
    is_answered: impl Fn(u64) -> bool,
    forget: impl Fn(u32) -> Result<(), Errno>,
) -> Result<bool, Errno> {
    // From the end: a probe may read ahead the bytes after it.
    for stretch in (0..bytes.div_ceil(PROBE_BYTES)).rev() {
        let mut probes = 1;
        while is_answered(stretch * PROBE_BYTES) {
            if probes == PROBES_MAX {
                return Ok(false);
            }
            forget(probes)?;
            probes += 1;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::HashMap;

    use super::*;

    /// Checks a file of three stretches, where each probe is answered `answers` times.
    fn check(answers: u32, expected: bool) {
        let asked = RefCell::new(HashMap::new());
        let is_answered = |offset| {
            let mut asked = asked.borrow_mut();
            let count = asked.entry(offset).or_insert(0);
            *count += 1;
            *count <= answers
        };
        assert_eq!(is_dropped(2 * PROBE_BYTES + 1, is_answered, |_| Ok(())), Ok(expected), "{answers}");
        if expected {
            let asked = asked.into_inner();
            let all = [0, PROBE_BYTES, 2 * PROBE_BYTES].map(|offset| (offset, answers + 1));
            assert_eq!(asked, HashMap::from(all));
        }
    }

    #[test]
    fn what_a_probe_itself_had_read_is_not_taken_as_held() {
        for answers in [0, 1, PROBES_MAX - 1] {
            check(answers, true);
        }
        check(PROBES_MAX, false);
    }

    #[test]
    fn pages_are_dropped_before_they_are_asked_for_again() {
        let in_memory = RefCell::new(true);
        let forget = |_| {
            in_memory.replace(false);
            Ok(())
        };
        assert_eq!(is_dropped(1, |_| *in_memory.borrow(), forget), Ok(true));
        assert_eq!(is_dropped(1, |_| true, |_| Err(Errno::IO)), Err(Errno::IO));
    }
}
