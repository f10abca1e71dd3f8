//! Settings: uploads and the store.

use super::{BYTES_MAX, MS_MAX};
use crate::config::setting::{Setting, bounded, in_words, number};
use crate::store::Level;

/// Levels of durability by name.
const LEVELS: [(&str, Level); 3] = [("strict", Level::Strict), ("relaxed", Level::Relaxed), ("none", Level::None)];

pub const ROWS: &[Setting] = &[
    number!(
        "uploads_bytes_max",
        "Bytes of all uploads that are not yet durable.",
        1..=BYTES_MAX,
        layers.store.uploads_bytes_max
    ),
    number!(
        "memory_upload_bytes_max",
        "Bytes up to which an upload stays in memory until it is committed.",
        0..=1 << 30,
        layers.store.memory_bytes_max
    ),
    Setting {
        key: "store_level",
        doc: "Durability of an acknowledged upload: `strict`, `relaxed` or `none`. `strict` survives a power cut. \
              `relaxed` survives one that comes some seconds later: the bytes are synced, the name is not. `none` \
              survives the end of the process: for tests.",
        get: |config| {
            let named = LEVELS.iter().find(|(_, level)| *level == config.layers.store.level);
            named.map_or_else(String::new, |(name, _)| (*name).to_owned())
        },
        set: |config, text| {
            let named = LEVELS.iter().find(|(name, _)| *name == text);
            let (_, level) = named.ok_or_else(|| format!("{text:?}; allowed: strict, relaxed, none"))?;
            config.layers.store.level = *level;
            Ok(())
        },
        default_text: None,
    },
    number!(
        "verify_after_s",
        "Time after which a verified image is hashed again when it is read.",
        0..=10 * 365 * 86_400,
        layers.store.verify_after_s
    ),
    number!("batch_max", "Uploads of one group commit.", 1..=10_000, layers.store.batch_max),
    number!(
        "batch_bytes_max",
        "Bytes at which a group commit takes no further upload.",
        1..=BYTES_MAX,
        layers.store.batch_bytes_max
    ),
    number!(
        "read_back_max",
        "Uploads over `memory_upload_bytes_max` held in memory at once for inspection.",
        1..=1_024,
        layers.store.read_back_max
    ),
    number!(
        "syncfs_batch_min",
        "Uploads from which a group commit syncs the whole file system; 0: never. It does so instead of syncing each \
         file and folder, only on ext4, XFS and Btrfs, and only while at most 64 MiB wait to be written on the \
         machine. A failed write of another program counts as a failed sync then.",
        0..=1_000_000,
        layers.store.syncfs_batch_min
    ),
    number!("sync_threads", "Threads that write and sync.", 1..=1_024, layers.store.sync_threads),
    number!(
        "read_threads",
        "Threads that read bytes which are not in the page cache.",
        1..=1_024,
        layers.store.read_threads
    ),
    number!(
        "full_retry_ms",
        "Time for which uploads are refused at once after the device was full.",
        0..=MS_MAX,
        layers.store.full_retry_ms
    ),
    Setting {
        key: "space_reserve_bytes",
        doc: "Bytes of the device that uploads leave free; they end with 507 before that. At most a twentieth of the \
              device counts. The renditions on disk give way before uploads end: they leave twice as much free.",
        get: |config| config.layers.store.space_reserve_bytes.to_string(),
        set: |config, text| {
            let bytes = bounded(text, 0..=BYTES_MAX)?;
            config.layers.store.space_reserve_bytes = bytes;
            config.layers.renditions.space_reserve_bytes = bytes;
            Ok(())
        },
        default_text: None,
    },
    number!(
        "scrub_days",
        "Days in which every image is read once in the background; 0: never. What is read is checked against its id.",
        0..=3_650,
        layers.store.scrub_days
    ),
    number!(
        "scrub_rate_max",
        "Bytes a second read in the background at most.",
        1 << 18..=BYTES_MAX,
        layers.store.scrub_rate_max
    ),
    number!(
        "memory_store_bytes_max",
        "Bytes of a `memory:` store.",
        1..=BYTES_MAX,
        layers.store.memory_store_bytes_max
    ),
];
