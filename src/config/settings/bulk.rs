//! Settings: bulk requests.

use super::BYTES_MAX;
use crate::config::setting::{Setting, bounded, in_words, number};

pub const ROWS: &[Setting] = &[
    number!("bulk_requests_max", "Bulk requests at once.", 1..=10_000, layers.http.bulk_requests_max),
    number!(
        "bulk_items_max",
        "Items of one bulk request that run at once.",
        1..=10_000,
        layers.http.bulk_items_max,
        "four per processor"
    ),
    number!(
        "bulk_results_bytes_max",
        "Bytes of bulk results per request that wait in memory for the client. More wait in temporary files.",
        0..=BYTES_MAX as usize,
        layers.http.bulk_results_bytes_max
    ),
    number!(
        "line_bytes_max",
        "Bytes of one line of a body that is read line by line.",
        65..=1 << 30,
        layers.http.line_bytes_max
    ),
    number!(
        "spool_bytes_max",
        "Bytes of one answer that wait in a temporary file for a slow client. At this many bytes of results, a bulk \
         request is read no further.",
        0..=BYTES_MAX,
        layers.http.spool_bytes_max
    ),
    number!(
        "spools_bytes_max",
        "Total size of temporary files for slow clients. Half is split evenly between bulk requests; the rest is \
         first come, first served. Results that find no room are refused, in their lines. The files are in `TMPDIR`, \
         or else in `/tmp`, which may be memory.",
        0..=BYTES_MAX,
        layers.http.spools_bytes_max
    ),
];
