//! [`Options`]: the name and the default of every bound of the server. Access is set in [`crate::http::auth`].

use std::time::Duration;

use crate::pipeline::Presets;

/// Settings of connections and requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Concurrent connections. For a further one, the one goes that has been idle longest; while all are at work, it may
    /// ask for health alone.
    pub connections_max: usize,
    /// Concurrent connections of one address, or of one /64 network of IPv6. 0: half of `connections_max`.
    pub connections_per_address_max: usize,
    /// How long a connection may be idle between requests. The longest common load balancer keeps 600 s.
    pub keep_alive_ms: u64,
    /// How long the head of a request may take: the first one of a connection from its start, others from their first
    /// byte.
    pub head_timeout_ms: u64,
    /// Bytes of names and values of the header fields of a request.
    pub head_bytes_max: usize,
    /// Header fields of a request.
    pub headers_max: usize,
    /// Bytes of the target of a request.
    pub url_bytes_max: usize,
    /// How long a body may pause between two chunks.
    pub body_stall_ms: u64,
    /// Least average rate of a body in bytes a second, after `body_grace_ms`.
    pub body_rate_min: u64,
    /// Grace period before `body_rate_min` applies.
    pub body_grace_ms: u64,
    /// How long the body of one image may take.
    pub body_timeout_ms: u64,
    /// Bytes of a list of ids, of an array of items, or of the items of a form.
    pub list_bytes_max: usize,
    /// Bytes of all lists of ids that are being read or answered. Arrays and forms of items may take as many again, and
    /// keep them until the last item has begun.
    pub lists_bytes_max: usize,
    /// Ids of one list, in a request or a response.
    pub ids_max: usize,
    /// Concurrent bulk requests.
    pub bulk_requests_max: usize,
    /// Concurrent items of one bulk request.
    pub bulk_items_max: usize,
    /// Bytes of results of one bulk request that wait in memory for the client; more wait in temporary files.
    pub bulk_results_bytes_max: usize,
    /// Bytes of one line of a body that is read line by line.
    pub line_bytes_max: usize,
    /// Bytes of one streamed response that wait in a temporary file for the client. While more bytes of results of a
    /// bulk request wait in files, none of its further items begins.
    pub spool_bytes_max: u64,
    /// Bytes of all these files together. Results of bulk requests that find no room are refused. Half is split evenly
    /// between bulk requests; a request takes more only while the other half is free.
    pub spools_bytes_max: u64,
    /// How long a large result waits in memory for its client. After that, what is left moves to a temporary file.
    pub result_wait_ms: u64,
    /// How long a client may read no byte of a response before the connection is closed.
    pub write_stall_ms: u64,
    /// Least average rate in bytes a second at which a client must read a waiting response, after `write_grace_ms`.
    pub write_rate_min: u64,
    /// Grace period before `write_rate_min` applies.
    pub write_grace_ms: u64,
    /// How long a connection with unread input is drained at its end, so that the response reaches a client that still
    /// sends.
    pub linger_ms: u64,
    /// Bytes that are drained at most.
    pub linger_bytes_max: u64,
    /// How long running requests may take after the server is told to stop.
    pub shutdown_ms: u64,
    /// Whether conversions become renders, for servers that must never serve an original's metadata under another
    /// extension.
    pub convert_renders: bool,
    /// Whether what there is of damaged sources is shown, unless the query says otherwise.
    pub tolerant: bool,
    /// The most effort that a single request without a key or a signature may choose, 0..=9; a format's own default is
    /// always allowed.
    pub effort_max: u8,
    /// Presets by name.
    pub presets: Presets,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            connections_max: 10_000,
            connections_per_address_max: 0,
            keep_alive_ms: 620_000,
            head_timeout_ms: 10_000,
            head_bytes_max: 32 << 10,
            headers_max: 64,
            url_bytes_max: 8 << 10,
            body_stall_ms: 20_000,
            body_rate_min: 1 << 10,
            body_grace_ms: 10_000,
            body_timeout_ms: 300_000,
            list_bytes_max: 8 << 20,
            lists_bytes_max: 64 << 20,
            ids_max: 100_000,
            bulk_requests_max: 16,
            bulk_items_max: 4 * std::thread::available_parallelism().map_or(1, usize::from),
            bulk_results_bytes_max: 4 << 20,
            line_bytes_max: 68 << 20,
            spool_bytes_max: 64 << 20,
            spools_bytes_max: 4 << 30,
            result_wait_ms: 2_000,
            write_stall_ms: 30_000,
            write_rate_min: 8 << 10,
            write_grace_ms: 30_000,
            linger_ms: 10_000,
            linger_bytes_max: 256 << 20,
            shutdown_ms: 30_000,
            convert_renders: false,
            tolerant: false,
            effort_max: 3,
            presets: Presets::default(),
        }
    }
}

/// The duration of a setting in milliseconds.
pub(in crate::http) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
