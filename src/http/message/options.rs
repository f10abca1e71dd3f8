//! [`Options`]: every bound of the edge, by name. Who may do what is in [`crate::http::auth`].

use std::time::Duration;

use crate::pipeline::Presets;

/// Settings of connections and requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Connections at once; further ones wait in the kernel's backlog.
    pub connections_max: usize,
    /// How long a connection may be idle between requests. The longest common load balancer keeps 600 s.
    pub keep_alive_ms: u64,
    /// How long a request's head may take from its first byte.
    pub head_timeout_ms: u64,
    /// Bytes of names and values of a request's header fields.
    pub head_bytes_max: usize,
    /// Header fields of a request.
    pub headers_max: usize,
    /// Bytes of a request's target.
    pub url_bytes_max: usize,
    /// How long a body may pause between two chunks.
    pub body_stall_ms: u64,
    /// Bytes a second that a body must keep on average, once `body_grace_ms` have passed.
    pub body_rate_min: u64,
    /// How long a body may be slower than `body_rate_min`.
    pub body_grace_ms: u64,
    /// How long the body of one image may take.
    pub body_timeout_ms: u64,
    /// Bytes of a list of ids, of an array of items, or of the items of a form.
    pub list_bytes_max: usize,
    /// Bytes of all lists of ids that are read or answered at once. Arrays and forms of items, which are held until the last one has
    /// begun, may have as many again.
    pub lists_bytes_max: usize,
    /// Ids of one list, asked or answered.
    pub ids_max: usize,
    /// Bulk requests at once.
    pub bulk_requests_max: usize,
    /// Items of one bulk request that run at once.
    pub bulk_items_max: usize,
    /// Bytes of results of one bulk request that wait in memory for the client to take them; more wait in temporary files.
    pub bulk_results_bytes_max: usize,
    /// Bytes of one line of a body that is read line by line.
    pub line_bytes_max: usize,
    /// Bytes of one answer that is made while its request is read, which wait in a temporary file for the client to take them. While
    /// more bytes of results of a bulk request wait in files, no further item of it is begun.
    pub spool_bytes_max: u64,
    /// Bytes of all such files together; results of bulk requests that find no room in them are refused. Half of it is shared out
    /// evenly to as many bulk requests as there may be, each of which takes more only while the other half is free.
    pub spools_bytes_max: u64,
    /// How long a client may take no byte of an answer.
    pub write_stall_ms: u64,
    /// Bytes a second that a client must take on average while an answer waits for it, once `write_grace_ms` have passed.
    pub write_rate_min: u64,
    /// How long a client may be slower than `write_rate_min`.
    pub write_grace_ms: u64,
    /// How long a connection that ends with unread input is drained, so that the answer reaches a client that still sends.
    pub linger_ms: u64,
    /// Bytes that are drained at most.
    pub linger_bytes_max: u64,
    /// How long requests under way may take once the server is told to stop.
    pub shutdown_ms: u64,
    /// Conversions become renders: for those who must never serve an original's metadata under another extension.
    pub convert_renders: bool,
    /// Chains by name.
    pub presets: Presets,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            connections_max: 10_000,
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
            write_stall_ms: 30_000,
            write_rate_min: 8 << 10,
            write_grace_ms: 30_000,
            linger_ms: 10_000,
            linger_bytes_max: 256 << 20,
            shutdown_ms: 30_000,
            convert_renders: false,
            presets: Presets::default(),
        }
    }
}

/// Milliseconds of a setting.
pub(in crate::http) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
