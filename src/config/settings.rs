//! [`SETTINGS`]: one row per setting. What settings mean together is in [`super::Config`].

use super::setting::{Setting, bounded, in_words, joined, listed, number, read, switch};
use super::{Config, LogFormat};
use crate::http::sign::signing_keys;
use crate::http::{Presets, auth};
use crate::store::Level;

/// Past this a time is a mistake of units.
const MS_MAX: u64 = 24 * 3_600_000;
const BYTES_MAX: u64 = 1 << 50;

/// The durability of uploads, by name.
const LEVELS: [(&str, Level); 3] = [("strict", Level::Strict), ("relaxed", Level::Relaxed), ("none", Level::None)];

/// Every setting.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "listen",
        doc: "Address and port to listen on; port 0 takes any free one.",
        get: |config| config.listen.to_string(),
        set: |config, text| {
            read(text, "an address and a port, such as 127.0.0.1:8080").map(|value| config.listen = value)
        },
        default_text: None,
    },
    Setting {
        key: "data",
        doc: "Folder of the stored images, or `memory:`.",
        get: |config| config.data.clone(),
        set: |config, text| match text {
            "" => Err("empty; allowed: a folder, or memory:".to_owned()),
            text => {
                config.data = text.to_owned();
                Ok(())
            }
        },
        default_text: None,
    },
    number!(
        "cache_bytes_max",
        "Bytes of cached renditions; 0: no cache.",
        0..=BYTES_MAX,
        layers.renditions.cache_bytes_max
    ),
    Setting {
        key: "keys",
        doc: "Keys, each `name:scope+scope:secret`, separated by commas; scopes are `read`, `write`, `process`, `admin`.",
        get: |_| String::new(),
        set: |config, text| add_keys(config, text),
        default_text: None,
    },
    Setting {
        key: "keys_file",
        doc: "File of further keys, one a line; `#` begins a comment.",
        get: |_| String::new(),
        set: |config, path| {
            let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))?;
            add_keys(config, &text)
        },
        default_text: None,
    },
    Setting {
        key: "anonymous",
        doc: "Scopes that need no key once there are keys: `read`, several joined by `+`, or `none`.",
        get: |config| config.layers.access.anonymous.to_string(),
        set: |config, text| text.parse().map(|value| config.layers.access.anonymous = value),
        default_text: None,
    },
    Setting {
        key: "signing_keys",
        doc: "Keys that sign URLs, each `id:secret`, separated by commas; any of them is good, the first one signs.",
        get: |_| String::new(),
        set: |config, text| signing_keys(text).map(|keys| config.layers.access.signing_keys = keys),
        default_text: None,
    },
    switch!(
        "renditions_need_signature",
        "Renditions need a signed URL, or a key with the scope of their route.",
        layers.access.renditions_need_signature
    ),
    Setting {
        key: "presets",
        doc: "Named chains, each `name:query`, separated by blanks: `preset=name` in a URL stands for the query.",
        get: |config| config.layers.http.presets.to_string(),
        set: |config, text| Presets::named(text).map(|named| config.layers.http.presets.set(named)),
        default_text: None,
    },
    switch!("presets_only", "Only presets are rendered: free parameters are refused.", layers.http.presets.only),
    switch!(
        "originals_need_key",
        "Originals, and renditions with `metadata=all`, need a key with `read`; other renditions do not.",
        layers.access.originals_need_key
    ),
    switch!(
        "convert_renders",
        "Conversions never pass an original through: metadata is dropped unless `metadata` asks for it.",
        layers.http.convert_renders
    ),
    switch!(
        "allow_public_without_keys",
        "Listen on any address although there are no keys: everybody who reaches the server may do everything.",
        public_without_keys
    ),
    Setting {
        key: "bytes_max",
        doc: "Bytes of one image.",
        get: |config| config.layers.limits.bytes_max.to_string(),
        set: |config, text| {
            let bytes = bounded(text, 1..=1 << 40)?;
            config.layers.limits.bytes_max = bytes;
            config.layers.store.blob_bytes_max = bytes;
            Ok(())
        },
        default_text: None,
    },
    number!("pixels_max", "Width x height of one frame of sources and results.", 1..=1 << 40, layers.limits.pixels_max),
    number!("side_px_max", "Width or height of sources and results.", 1..=u32::MAX, layers.limits.side_px_max),
    number!("frames_max", "Frames of an animation.", 1..=u32::MAX, layers.limits.frames_max),
    number!(
        "frames_pixels_max",
        "Frames x width x height of an animation.",
        1..=1 << 40,
        layers.limits.frames_pixels_max
    ),
    number!(
        "memory_bytes_max",
        "Memory that one render may be planned to hold.",
        1..=BYTES_MAX,
        layers.limits.memory_bytes_max
    ),
    number!("operations_max", "Operations of one request.", 1..=1_000, layers.limits.operations_max),
    number!(
        "uploads_bytes_max",
        "Bytes of all uploads that are not yet durable.",
        1..=BYTES_MAX,
        layers.store.uploads_bytes_max
    ),
    number!(
        "memory_upload_bytes_max",
        "Uploads up to this stay in memory until they are committed.",
        0..=1 << 30,
        layers.store.memory_bytes_max
    ),
    Setting {
        key: "store_level",
        doc: "What an acknowledged upload survives: a power cut (`strict`); a power cut, unless it came within seconds \
              (`relaxed`: the bytes are synced, the name is not); the end of the process (`none`: for tests).",
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
        "A stored image that was proven longer ago is hashed again when it is next read.",
        0..=10 * 365 * 86_400,
        layers.store.verify_after_s
    ),
    number!("batch_max", "Uploads that one commit makes durable together.", 1..=10_000, layers.store.batch_max),
    number!(
        "batch_bytes_max",
        "Bytes of one commit, to which one more upload may come.",
        1..=BYTES_MAX,
        layers.store.batch_bytes_max
    ),
    number!(
        "read_back_max",
        "Larger uploads that may be read back into memory at once to be inspected.",
        1..=1_024,
        layers.store.read_back_max
    ),
    number!(
        "syncfs_batch_min",
        "Commits of so many uploads or more sync the whole file system twice, instead of every file and folder, where it is ext4, XFS or \
         Btrfs and at most 64 MiB wait to be written on the machine; a write of others that failed there counts as a failed sync, too; \
         0: none.",
        0..=1_000_000,
        layers.store.syncfs_batch_min
    ),
    number!("sync_threads", "Threads that write and sync.", 1..=1_024, layers.store.sync_threads),
    number!("read_threads", "Threads that read what is not cached.", 1..=1_024, layers.store.read_threads),
    number!(
        "full_retry_ms",
        "How long uploads are refused beforehand once the device was full.",
        0..=MS_MAX,
        layers.store.full_retry_ms
    ),
    number!(
        "memory_store_bytes_max",
        "Bytes that a `memory:` store may hold.",
        1..=BYTES_MAX,
        layers.store.memory_store_bytes_max
    ),
    number!(
        "rendition_tier_bytes_max",
        "Bytes of the device that renditions may take in the data folder, where they outlive a restart; 0: none are kept there.",
        0..=BYTES_MAX,
        layers.renditions.tier_bytes_max
    ),
    number!("render_threads", "Threads that render.", 1..=1_024, layers.renditions.render_threads, "one per processor"),
    number!(
        "render_memory_bytes_max",
        "Memory that renders together may be planned to hold, and results that are being sent; beside `cache_bytes_max`.",
        1..=BYTES_MAX,
        layers.renditions.render_memory_bytes_max
    ),
    number!("queue_max", "Renders that may wait for admission.", 0..=1_000_000, layers.renditions.queue_max),
    number!(
        "queue_timeout_ms",
        "How long a render may wait for admission.",
        0..=MS_MAX,
        layers.renditions.queue_timeout_ms
    ),
    number!(
        "render_timeout_ms",
        "How long a render may run; of bulk renders, how much of a processor's time one may use.",
        1..=MS_MAX,
        layers.renditions.render_timeout_ms
    ),
    number!(
        "bulk_threads",
        "Threads that render in bulk.",
        1..=1_024,
        layers.renditions.bulk_threads,
        "one per processor"
    ),
    switch!(
        "bulk_idle",
        "Bulk renders run only while nothing else on the machine wants a processor; off: beside other renders, so that a machine \
         which is never idle ends them too.",
        layers.renditions.bulk_idle
    ),
    number!(
        "bulk_memory_bytes_max",
        "Memory that bulk renders together may be planned to hold, and results that are being sent; beside \
         `render_memory_bytes_max`.",
        1..=BYTES_MAX,
        layers.renditions.bulk_memory_bytes_max
    ),
    Setting {
        key: "remote_allow",
        doc: "Hosts that `/remote`, bulk items and uploads by URL may fetch from, separated by commas: `example.com`, `*.example.com`, or \
              `*` for any; none: remote sources are off.",
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
        doc: "Networks that may be fetched from although they are not public, such as `10.1.0.0/16`: for intranets.",
        get: |config| joined(&config.layers.fetch.private_allow),
        set: |config, text| listed(text).map(|value| config.layers.fetch.private_allow = value),
        default_text: None,
    },
    number!("remote_timeout_ms", "How long one fetch may take.", 1..=MS_MAX, layers.fetch.timeout_ms),
    number!("remote_stall_ms", "How long a fetch may wait for the next step.", 1..=MS_MAX, layers.fetch.stall_ms),
    number!(
        "remote_bytes_max",
        "Bytes of a fetched image; `bytes_max` holds too.",
        1..=1 << 40,
        layers.fetch.bytes_max
    ),
    number!("remote_fetches_max", "Fetches at once.", 1..=10_000, layers.fetch.fetches_max),
    number!(
        "remote_max_age_s",
        "How long a fetched image may be used without asking its origin again, whatever that says.",
        0..=31_536_000,
        layers.fetch.max_age_s
    ),
    number!(
        "remote_cache_bytes_max",
        "Bytes of fetched images that are kept; 0: none are.",
        0..=BYTES_MAX,
        layers.fetch.cache_bytes_max
    ),
    number!("connections_max", "Connections at once.", 1..=1_000_000, layers.http.connections_max),
    number!("keep_alive_ms", "How long a connection may be idle.", 1..=MS_MAX, layers.http.keep_alive_ms),
    number!("head_timeout_ms", "How long a request's head may take.", 1..=MS_MAX, layers.http.head_timeout_ms),
    number!("head_bytes_max", "Bytes of a request's header fields.", 256..=60 << 10, layers.http.head_bytes_max),
    number!("headers_max", "Header fields of a request.", 8..=100, layers.http.headers_max),
    number!("url_bytes_max", "Bytes of a request's target.", 256..=60 << 10, layers.http.url_bytes_max),
    number!("body_stall_ms", "How long a body may pause.", 1..=MS_MAX, layers.http.body_stall_ms),
    number!("body_rate_min", "Bytes a second that a body must keep.", 0..=1 << 40, layers.http.body_rate_min),
    number!("body_grace_ms", "How long a body may be slower.", 0..=MS_MAX, layers.http.body_grace_ms),
    number!("body_timeout_ms", "How long the body of one image may take.", 1..=MS_MAX, layers.http.body_timeout_ms),
    number!("ids_max", "Ids of one list.", 1..=10_000_000, layers.http.ids_max),
    number!("list_bytes_max", "Bytes of one list of ids, or array of items.", 65..=1 << 30, layers.http.list_bytes_max),
    number!(
        "lists_bytes_max",
        "Bytes of all lists of ids that are read or answered at once; arrays and forms of items may have as many again.",
        65..=1 << 31,
        layers.http.lists_bytes_max
    ),
    number!(
        "job_items_at_once",
        "Items of jobs that run at once.",
        1..=10_000,
        layers.jobs.items_at_once,
        "two per processor"
    ),
    number!(
        "job_attempts_max",
        "How often an item of a job is tried that fails for a reason that may pass.",
        1..=100,
        layers.jobs.attempts_max
    ),
    number!(
        "job_retry_ms",
        "How long it waits before the second attempt; twice as long before each further one.",
        0..=MS_MAX,
        layers.jobs.retry_ms
    ),
    number!("job_items_max", "Lines of one job.", 1..=1_000_000_000, layers.jobs.items_max),
    number!(
        "jobs_unfinished_max",
        "Jobs that have not ended; those of uploads with `prerender` are counted apart, up to as many again.",
        1..=10_000,
        layers.jobs.unfinished_max
    ),
    number!(
        "jobs_receiving_max",
        "Jobs that are being received at once; those of uploads with `prerender` are counted apart, up to as many again.",
        1..=1_000,
        layers.jobs.receiving_max
    ),
    number!(
        "jobs_ended_max",
        "Ended jobs that are remembered; those of uploads with `prerender`, and those whose webhook is still to be called, are counted apart, up to as many again of each.",
        0..=100_000,
        layers.jobs.ended_max
    ),
    number!("jobs_keep_s", "How long an ended job is remembered.", 0..=10 * 365 * 86_400, layers.jobs.keep_s),
    number!(
        "jobs_bytes_max",
        "Bytes of the queue, to which the results of accepted jobs may come; from three quarters of it on ended jobs are forgotten.",
        1..=BYTES_MAX,
        layers.jobs.bytes_max
    ),
    Setting {
        key: "webhook_allow",
        doc: "Hosts that may be told when a job ends, separated by commas, as for `remote_allow`, whose ports and networks hold; none: \
              webhooks are off.",
        get: |config| joined(&config.layers.jobs.webhook_allow),
        set: |config, text| listed(text).map(|value| config.layers.jobs.webhook_allow = value),
        default_text: None,
    },
    Setting {
        key: "webhook_secret",
        doc: "What webhooks are signed with: at least 16 characters.",
        get: |_| String::new(),
        set: |config, text| text.parse().map(|secret| config.layers.jobs.webhook_secret = Some(secret)),
        default_text: None,
    },
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
        "Bytes of results of one bulk request that wait in memory for the client; more wait in temporary files.",
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
        "Bytes of an answer made line by line that wait in a temporary file for a client which sends before it reads; past so many \
         bytes of results a bulk request is read no further.",
        0..=BYTES_MAX,
        layers.http.spool_bytes_max
    ),
    number!(
        "spools_bytes_max",
        "Bytes of all such files together, in the folder that `TMPDIR` names (else `/tmp`, which may be memory); results of bulk \
         requests that find no room in them are refused, in their lines. Half of it is shared out to bulk requests evenly, each of \
         which takes more than its share, and than `spool_bytes_max`, only while the other half is free.",
        0..=BYTES_MAX,
        layers.http.spools_bytes_max
    ),
    number!(
        "write_stall_ms",
        "How long a client may take no byte of an answer.",
        1..=MS_MAX,
        layers.http.write_stall_ms
    ),
    number!(
        "write_rate_min",
        "Bytes a second that a client must take of an answer.",
        0..=1 << 40,
        layers.http.write_rate_min
    ),
    number!("write_grace_ms", "How long a client may be slower.", 0..=MS_MAX, layers.http.write_grace_ms),
    number!(
        "linger_ms",
        "How long unread input is drained before a connection is closed.",
        0..=MS_MAX,
        layers.http.linger_ms
    ),
    number!("linger_bytes_max", "Bytes of it that are drained.", 0..=BYTES_MAX, layers.http.linger_bytes_max),
    number!("shutdown_ms", "How long requests under way may take after SIGTERM.", 0..=MS_MAX, layers.http.shutdown_ms),
    Setting {
        key: "log_format",
        doc: "`text` or `json`.",
        get: |config| match config.log_format {
            LogFormat::Text => "text".to_owned(),
            LogFormat::Json => "json".to_owned(),
        },
        set: |config, text| {
            config.log_format = match text {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => return Err(format!("{text:?}; allowed: text, json")),
            };
            Ok(())
        },
        default_text: None,
    },
    Setting {
        key: "log",
        doc: "What is logged: `error`, `warn`, `info`, `debug`, or a filter such as `progimage=debug`.",
        get: |config| config.log.clone(),
        set: |config, text| {
            config.log = text.to_owned();
            Ok(())
        },
        default_text: None,
    },
];

fn add_keys(config: &mut Config, text: &str) -> Result<(), String> {
    let keys = auth::keys(text).map_err(|mistakes| mistakes.join("; "))?;
    let known = &mut config.layers.access.keys;
    for key in keys {
        if known.iter().any(|other| other.name == key.name) {
            return Err(format!("key {:?} is given twice", key.name));
        }
        known.push(key);
    }
    Ok(())
}
