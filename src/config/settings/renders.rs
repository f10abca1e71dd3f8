//! Settings: renders, single and in bulk.

use super::{BYTES_MAX, MS_MAX};
use crate::config::setting::{Setting, bounded, in_words, number, read, switch};

pub const SINGLE: &[Setting] = &[
    number!(
        "rendition_tier_bytes_max",
        "Bytes of renditions on disk, in the data folder; 0: none. These survive a restart.",
        0..=BYTES_MAX,
        layers.renditions.tier_bytes_max
    ),
    number!("render_threads", "Threads that render.", 1..=1_024, layers.renditions.render_threads, "one per processor"),
    number!(
        "render_memory_bytes_max",
        "Planned memory of all renders, and of results being sent. `cache_bytes_max` comes on top.",
        1..=BYTES_MAX,
        layers.renditions.render_memory_bytes_max
    ),
    number!("queue_max", "Renders that wait for admission.", 0..=1_000_000, layers.renditions.queue_max),
    number!(
        "queue_timeout_ms",
        "Time that a render may wait for admission.",
        0..=MS_MAX,
        layers.renditions.queue_timeout_ms
    ),
    number!(
        "render_timeout_ms",
        "Time that a render may run. A bulk render may use this much processor time.",
        1..=MS_MAX,
        layers.renditions.render_timeout_ms
    ),
    number!(
        "effort_max",
        "Largest `effort` of a request without a key or a signature. A format's own default is always allowed. Presets, \
         bulk requests and jobs may use all of it.",
        0..=9,
        layers.http.effort_max
    ),
    switch!(
        "tolerant",
        "Show what there is of damaged images, unless a request says `tolerant=0`. If off, refuse them, unless it says \
         `tolerant=1`.",
        layers.http.tolerant
    ),
    switch!(
        "isolate",
        "Render in worker processes. A worker that crashes or runs late costs one request; codecs see no keys and no \
         other uploads. If off, threads of the server render.",
        isolate
    ),
];

pub const BULK: &[Setting] = &[
    number!(
        "bulk_threads",
        "Threads that render in bulk.",
        1..=1_024,
        layers.renditions.bulk_threads,
        "one per processor"
    ),
    switch!(
        "bulk_idle",
        "Run bulk renders only on idle processors. If off, they compete with other renders, and so also end on a \
         machine that is never idle.",
        layers.renditions.bulk_idle
    ),
    number!(
        "bulk_memory_bytes_max",
        "Planned memory of all bulk renders, and of results being sent. `render_memory_bytes_max` comes on top.",
        1..=BYTES_MAX,
        layers.renditions.bulk_memory_bytes_max
    ),
];
