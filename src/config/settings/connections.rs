//! Settings: connections, requests, and slow clients.

use super::{BYTES_MAX, MS_MAX};
use crate::config::setting::{Setting, bounded, in_words, number};

pub const SENDERS: &[Setting] = &[
    number!(
        "connections_max",
        "Connections at once. For one more, the one goes that has been idle longest. While all are at work, one more may \
         ask for health alone.",
        1..=1_000_000,
        layers.http.connections_max
    ),
    number!(
        "connections_per_address_max",
        "Connections at once of one address, or of one /64 network of IPv6. A proxy is one address. 0: half of \
         `connections_max`, as far as the limit of open files allows these.",
        0..=1_000_000,
        layers.http.connections_per_address_max
    ),
    number!("keep_alive_ms", "Time that a connection may be idle.", 1..=MS_MAX, layers.http.keep_alive_ms),
    number!(
        "head_timeout_ms",
        "Time of a request's head, from its first byte. The first one of a connection counts from its start; between \
         requests a connection is idle: `keep_alive_ms`.",
        1..=MS_MAX,
        layers.http.head_timeout_ms
    ),
    number!("head_bytes_max", "Bytes of a request's header fields.", 256..=60 << 10, layers.http.head_bytes_max),
    number!("headers_max", "Header fields of a request.", 8..=100, layers.http.headers_max),
    number!("url_bytes_max", "Bytes of a request's target.", 256..=60 << 10, layers.http.url_bytes_max),
    number!(
        "body_stall_ms",
        "Time that a body may pause. An item of a bulk request or job waits as long for room.",
        1..=MS_MAX,
        layers.http.body_stall_ms
    ),
    number!("body_rate_min", "Bytes a second that a body must keep.", 0..=1 << 40, layers.http.body_rate_min),
    number!("body_grace_ms", "Grace period before `body_rate_min` applies.", 0..=MS_MAX, layers.http.body_grace_ms),
    number!("body_timeout_ms", "Time of the body of one image.", 1..=MS_MAX, layers.http.body_timeout_ms),
];

pub const LISTS: &[Setting] = &[
    number!("ids_max", "Ids of one list.", 1..=10_000_000, layers.http.ids_max),
    number!(
        "list_bytes_max",
        "Bytes of one list of ids, or of one array of items.",
        65..=1 << 30,
        layers.http.list_bytes_max
    ),
    number!(
        "lists_bytes_max",
        "Bytes of all lists of ids that are read or sent at once. Arrays and forms of items may take as many again.",
        65..=1 << 31,
        layers.http.lists_bytes_max
    ),
];

pub const READERS: &[Setting] = &[
    number!(
        "result_wait_ms",
        "Time that a result of more than 1 MiB waits in memory for a slow client. Then it moves to a temporary file.",
        0..=MS_MAX,
        layers.http.result_wait_ms
    ),
    number!(
        "write_stall_ms",
        "Time after which a client that reads nothing is disconnected.",
        1..=MS_MAX,
        layers.http.write_stall_ms
    ),
    number!(
        "write_rate_min",
        "Bytes a second that a client must read of a response.",
        0..=1 << 40,
        layers.http.write_rate_min
    ),
    number!("write_grace_ms", "Grace period before `write_rate_min` applies.", 0..=MS_MAX, layers.http.write_grace_ms),
    number!(
        "linger_ms",
        "Time that unread input is drained before a connection is closed.",
        0..=MS_MAX,
        layers.http.linger_ms
    ),
    number!("linger_bytes_max", "Bytes of unread input that are drained.", 0..=BYTES_MAX, layers.http.linger_bytes_max),
    number!("shutdown_ms", "Time that requests under way may take after SIGTERM.", 0..=MS_MAX, layers.http.shutdown_ms),
];
