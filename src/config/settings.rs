//! [`SETTINGS`]: one row for each setting. Rules between settings are in [`super::Config`].

use super::setting::{Setting, bounded, in_words, joined, listed, number, read, switch};
use super::{Config, LogFormat};
use crate::http::sign::signing_keys;
use crate::http::{Presets, auth};
use crate::store::Level;

/// The longest time. More would be a mistake of units.
const MS_MAX: u64 = 24 * 3_600_000;
const BYTES_MAX: u64 = 1 << 50;

/// Levels of durability by name.
const LEVELS: [(&str, Level); 3] = [("strict", Level::Strict), ("relaxed", Level::Relaxed), ("none", Level::None)];

/// All settings.
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
        "Bytes of renditions cached in memory; 0: no cache.",
        0..=BYTES_MAX,
        layers.renditions.cache_bytes_max
    ),
    Setting {
        key: "keys",
        doc: "API keys `name:scope+scope:secret`, separated by commas. Scopes are `read`, `write`, `process` and `admin`.",
        get: |_| String::new(),
        set: |config, text| add_keys(config, text),
        default_text: None,
    },
    Setting {
        key: "keys_file",
        doc: "File of further keys, one per line; `#` begins a comment.",
        get: |_| String::new(),
        set: |config, path| {
            let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))?;
            add_keys(config, &text)
        },
        default_text: None,
    },
    Setting {
        key: "anonymous",
        doc: "Scopes that need no key: `read`, several joined by `+`, or `none`. Applies once there are keys.",
        get: |config| config.layers.access.anonymous.to_string(),
        set: |config, text| text.parse().map(|value| config.layers.access.anonymous = value),
        default_text: None,
    },
    Setting {
        key: "signing_keys",
        doc: "Keys for signed URLs, `id:secret`, separated by commas. All of them verify; the first one signs.",
        get: |_| String::new(),
        set: |config, text| signing_keys(text).map(|keys| config.layers.access.signing_keys = keys),
        default_text: None,
    },
    switch!(
        "renditions_need_signature",
        "Require a signed URL, or a key with the route's scope, for renditions.",
        layers.access.renditions_need_signature
    ),
    Setting {
        key: "presets",
        doc: "Named queries `name:query`, separated by blanks. `preset=name` in a URL stands for the query.",
        get: |config| config.layers.http.presets.to_string(),
        set: |config, text| Presets::named(text).map(|named| config.layers.http.presets.set(named)),
        default_text: None,
    },
    switch!("presets_only", "Allow nothing but presets, in queries, forms and items.", layers.http.presets.only),
    switch!(
        "originals_need_key",
        "Require a key with `read` for originals. Also for renditions with `metadata=all`; other renditions need none.",
        layers.access.originals_need_key
    ),
    switch!(
        "convert_renders",
        "Render every conversion, never pass an original through. Metadata is dropped unless `metadata` asks for it.",
        layers.http.convert_renders
    ),
    switch!(
        "allow_public_without_keys",
        "Listen on any address without keys. Anyone who reaches the server may then do everything.",
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
    number!(
        "pixels_max",
        "Width x height of one frame, of sources and results.",
        1..=1 << 40,
        layers.limits.pixels_max
    ),
    number!("side_px_max", "Width or height, of sources and results.", 1..=u32::MAX, layers.limits.side_px_max),
    number!("frames_max", "Frames of an animation.", 1..=u32::MAX, layers.limits.frames_max),
    number!(
        "frames_pixels_max",
        "Frames x width x height of an animation.",
        1..=1 << 40,
        layers.limits.frames_pixels_max
    ),
    number!("memory_bytes_max", "Planned memory of one render.", 1..=BYTES_MAX, layers.limits.memory_bytes_max),
    number!("operations_max", "Operations of one request.", 1..=1_000, layers.limits.operations_max),
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
    number!(
        "memory_store_bytes_max",
        "Bytes of a `memory:` store.",
        1..=BYTES_MAX,
        layers.store.memory_store_bytes_max
    ),
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
    number!("connections_max", "Connections at once.", 1..=1_000_000, layers.http.connections_max),
    number!("keep_alive_ms", "Time that a connection may be idle.", 1..=MS_MAX, layers.http.keep_alive_ms),
    number!(
        "head_timeout_ms",
        "Time of a request's head, from its first byte. A connection without one is idle: `keep_alive_ms`.",
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
    number!(
        "job_items_at_once",
        "Items of jobs that run at once.",
        1..=10_000,
        layers.jobs.items_at_once,
        "two per processor"
    ),
    number!(
        "job_attempts_max",
        "Attempts per job item when the failure is temporary.",
        1..=100,
        layers.jobs.attempts_max
    ),
    number!(
        "job_retry_ms",
        "Wait before the second attempt of a job item. It is doubled before each further one.",
        0..=MS_MAX,
        layers.jobs.retry_ms
    ),
    number!("job_items_max", "Lines of one job.", 1..=1_000_000_000, layers.jobs.items_max),
    number!(
        "jobs_unfinished_max",
        "Unfinished jobs. Jobs of `prerender` are counted apart, up to as many again.",
        1..=10_000,
        layers.jobs.unfinished_max
    ),
    number!(
        "jobs_receiving_max",
        "Jobs being received at once. Jobs of `prerender` are counted apart, up to as many again.",
        1..=1_000,
        layers.jobs.receiving_max
    ),
    number!(
        "jobs_ended_max",
        "Ended jobs that are remembered. Jobs of `prerender`, and jobs whose webhook is still to be called, are \
         counted apart, up to as many again of each.",
        0..=100_000,
        layers.jobs.ended_max
    ),
    number!("jobs_keep_s", "Time for which an ended job is remembered.", 0..=10 * 365 * 86_400, layers.jobs.keep_s),
    number!(
        "jobs_bytes_max",
        "Bytes of the jobs database at which no line is accepted. Results of accepted jobs are still written. From \
         three quarters on, ended jobs are forgotten.",
        1..=BYTES_MAX,
        layers.jobs.bytes_max
    ),
    Setting {
        key: "webhook_allow",
        doc: "Hosts that webhooks may call, separated by commas; none: off. Patterns are those of `remote_allow`; \
              ports and networks are those of `remote_ports` and `remote_private_allow`.",
        get: |config| joined(&config.layers.jobs.webhook_allow),
        set: |config, text| listed(text).map(|value| config.layers.jobs.webhook_allow = value),
        default_text: None,
    },
    Setting {
        key: "webhook_secret",
        doc: "Secret that signs webhooks, at least 16 characters.",
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
    Setting {
        key: "log_format",
        doc: "Format of the log: `text` or `json`.",
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
        doc: "Level of the log: `error`, `warn`, `info` or `debug`. Or a filter such as `progimage=debug`.",
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
