//! ProgImage: an image storage and processing engine for other programs.
//!
//! # The map
//! Modules in reading order; each may use only those above it in this list (checked by `tests/it/tidy.rs`).
//!
//! | Module | Holds |
//! |---|---|
//! | [`digest`] | the name of a blob: its BLAKE3-256 hash; in `secret`, the keyed hash of keys and webhooks |
//! | [`pipeline`] | bytes in, bytes out: decode, operations, encode; codecs and operations are tables. Pure |
//! | `offload` | long work, on other threads than the runtime's; knows nothing else |
//! | `singleflight` | many callers of one key share one run; knows nothing else |
//! | [`store`] | blobs by digest, durable when acknowledged; knows no images |
//! | `hold` | bytes that carry the right to be in memory; knows nothing else |
//! | [`fetch`] | remote sources: the guarded HTTP client, and what it keeps |
//! | [`renditions`] | the rendition cache and its tier on disk, single flight, admission, the render pools |
//! | [`items`] | bulk items: one source, many outputs, each with its place |
//! | [`jobs`] | many items in the background, exactly once in the results; the queue and its database |
//! | [`http`] | the edge in four rooms: `server`, `routes`, `protocol` (conditional requests, errors as `problem+json`, keys), `message` |
//! | [`config`], [`cli`] | the only readers of environment, arguments and files of settings |
//!
//! # A request, top to bottom: `GET /images/<digest>.webp?w=200`
//! ```text
//! http::server             bytes -> request; route by method and path
//! http::routes::images     digest + format + query -> Pipeline; its key is the ETag and the name in the cache
//! renditions               cache hit -> bytes; else join the shared run, open the source, look in the tier
//! renditions::engine       inspect, plan, wait for the memory of the plan, read the source, verified against its name
//! renditions::render       decode -> operations -> encode, by a thread of the render pool or, with `isolate`, in its
//!                          worker process (renditions::isolate)
//! http::protocol           304 where the tag matches: on a hit at once, on a miss once the source is known to exist, without
//!                          a render; else the response
//! ```
//!
//! # An item of a job
//! ```text
//! jobs::scheduler          takes a chunk from the database
//! jobs::runner             runs its items, writes each result once
//! http::routes::jobs::executor   the line -> Item, with the rights of its sender; the lines of the results
//! items::execute           the source once, then `renditions` (bulk lane), then each output to its place
//! ```
//!
//! # Invariants
//! 1. `pipeline` knows no tokio, hyper, file system or network: bytes in, bytes out.
//! 2. `store` does not know images: it holds blobs.
//! 3. Only `http` names server HTTP types, only `fetch` (to strangers) and `cli::client` (to its user's server) speak as clients;
//!    only `http::protocol::problem` chooses an error status.
//! 4. Only `renditions` runs a pipeline on behalf of a request: one place for cache, single flight, admission, threads.
//! 5. Only `config` and `cli` read environment, arguments or configuration files.
//! 6. Every queue, body, list, retry and dimension has a bound, and a test that reaches it and one past it. Bounds that an operator
//!    may want to change are fields of a `Limits` or `Options` type; the others are constants next to what they bound.
//! 7. Every module has a `//!` that says what it is and what it is not.
//! 8. Locks are `parking_lot`'s: a panic does not poison them, so one failed request stops no other. In return, code under
//!    a lock must leave its data whole at each point that can panic: single steps on maps and counters. Where wrong data
//!    would show bytes that are not durable, it must fail closed (`pending` in `store::disk::core`).

pub mod digest;

pub mod pipeline;

mod offload;

mod singleflight;

pub mod store;

mod hold;

pub mod fetch;

pub mod renditions;

pub mod items;

pub mod jobs;

pub mod http;

pub mod config;

pub mod cli;
