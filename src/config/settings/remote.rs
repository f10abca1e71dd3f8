//! Settings: remote images.

use super::{BYTES_MAX, MS_MAX};
use crate::config::setting::{Setting, bounded, in_words, joined, listed, number};

pub const ROWS: &[Setting] = &[
    Setting {
        key: "remote_allow",
        doc: "Hosts that may be fetched from, separated by commas; none: off. Each is `example.com`, \
              `*.example.com`, or `*` for any. Applies to `/remote`, bulk items and uploads by URL.",
        get: |config| joined(&config.layers.fetch.allow),
        set: |config, text| listed(text).map(|value| config.layers.fetch.allow = value),
        default_text: None,
    },
    Setting {
        key: "remote_ports",
        doc: "Ports that may be fetched from.",
        get: |config| joined(&config.layers.fetch.ports),
        set: |config, text| listed(text).map(|value| config.layers.fetch.ports = value),
        default_text: None,
    },
    Setting {
        key: "remote_private_allow",
        doc: "Private networks that may be fetched from, such as `10.1.0.0/16`.",
        get: |config| joined(&config.layers.fetch.private_allow),
        set: |config, text| listed(text).map(|value| config.layers.fetch.private_allow = value),
        default_text: None,
    },
    number!("remote_timeout_ms", "Time of one fetch.", 1..=MS_MAX, layers.fetch.timeout_ms),
    number!("remote_stall_ms", "Time that a fetch may wait for its next step.", 1..=MS_MAX, layers.fetch.stall_ms),
    number!(
        "remote_bytes_max",
        "Bytes of a fetched image. `bytes_max` applies, too.",
        1..=1 << 40,
        layers.fetch.bytes_max
    ),
    number!("remote_fetches_max", "Fetches at once.", 1..=10_000, layers.fetch.fetches_max),
    number!(
        "remote_max_age_s",
        "Time for which a fetched image is used without asking its origin again. The origin may shorten it.",
        0..=31_536_000,
        layers.fetch.max_age_s
    ),
    number!(
        "remote_cache_bytes_max",
        "Bytes of fetched images cached in memory; 0: none.",
        0..=BYTES_MAX,
        layers.fetch.cache_bytes_max
    ),
    number!(
        "remote_failures_max_age_s",
        "Time for which caches may keep a failure of an origin. That is its 404, its timeout and the like.",
        0..=300,
        layers.fetch.failures_max_age_s
    ),
];
