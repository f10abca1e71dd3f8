//! [`Devices`]: knows which devices report a change of a file at once, by this machine's clock. Makes no system call
//! itself.

use std::collections::HashMap;

use parking_lot::Mutex;

/// File systems of the local kernel (`statfs(2)`). Others may report old metadata: NFS and SMB for up to a minute after
/// another machine wrote, and by another clock; FUSE without any rule. A local file system that is missing here is
/// slow, not wrong.
const LOCAL: [u64; 19] = [
    0xEF53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683E, // Btrfs
    0x2FC1_2FC1, // ZFS
    0xF2F5_2010, // F2FS
    0xCA45_1A4E, // bcachefs
    0x3153_464A, // JFS
    0x5265_4973, // ReiserFS
    0x3434,      // NILFS
    0x794C_7630, // overlay: containers
    0x0102_1994, // tmpfs
    0x4D44,      // FAT
    0x2011_BAB0, // exFAT
    0x7366_746E, // NTFS, of the kernel's newer driver
    0x482B,      // HFS+
    0x1501_3346, // UDF
    0x9660,      // ISO 9660
    0x7371_7368, // SquashFS
    0xE0F5_E1E2, // EROFS
];
/// The most devices that are remembered; then all are forgotten. Each mount is a device, and each subvolume of Btrfs.
const DEVICES_MAX: usize = 1_000;

/// Devices, and whether each is local. Threads share it.
#[derive(Default)]
pub struct Devices(Mutex<HashMap<u64, bool>>);

impl Devices {
    /// Whether `device` is local. `kind` returns the kind of its file system; it is called once for each device.
    pub fn is_local(&self, device: u64, kind: impl FnOnce() -> Option<u64>) -> bool {
        let known = || self.0.lock();
        if let Some(is_local) = known().get(&device) {
            return *is_local;
        }
        // Not under the lock: a device that does not answer must not hold up others.
        let is_local = kind().is_some_and(|kind| LOCAL.contains(&kind));
        let mut known = known();
        if known.len() >= DEVICES_MAX {
            known.clear();
        }
        known.insert(device, is_local);
        is_local
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_fuse_and_what_is_not_known_are_not_local() {
        let local = |kind: Option<u64>| Devices::default().is_local(1, || kind);
        let (ext, btrfs, tmpfs) = (0xEF53, 0x9123_683E, 0x0102_1994);
        assert!([ext, btrfs, tmpfs].into_iter().all(|kind| local(Some(kind))));
        // NFS, CIFS, SMB, SMB2, FUSE, 9p, Ceph, AFS (two), Coda, Lustre, GPFS, proc.
        let others = [
            0x6969,
            0xFF53_4D42,
            0x517B,
            0xFE53_4D42,
            0x6573_5546,
            0x0102_1997,
            0x00C3_6400,
            0x5346_414F,
            0x6B41_4653,
            0x7375_7245,
            0x0BD0_0BD0,
            0x4750_4653,
            0x9FA0,
        ];
        assert!(!others.into_iter().any(|kind| local(Some(kind))));
        assert!(!local(None), "it does not say");
    }

    #[test]
    fn a_device_is_asked_once_until_there_are_too_many() {
        let devices = Devices::default();
        let is_asked = |device: u64| {
            let mut is_asked = false;
            let is_local = devices.is_local(device, || {
                is_asked = true;
                device.is_multiple_of(2).then_some(0xEF53)
            });
            assert_eq!(is_local, device.is_multiple_of(2));
            is_asked
        };
        let all = 0..DEVICES_MAX as u64;
        assert!(all.clone().all(is_asked));
        assert!(!all.clone().any(is_asked));
        assert!(is_asked(all.end), "one past it");
        assert!(!is_asked(all.end) && is_asked(0));
    }
}
