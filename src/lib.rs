//! ProgImage: an image storage and processing engine for other programs.
//!
//! # The map
//! Modules in reading order; each may use only those above it in this list (checked by `tests/it/tidy.rs`).
//!
//! | Module | Holds |
//! |---|---|
//! | [`digest`] | the name of a blob: its BLAKE3-256 hash |
//! | [`pipeline`] | bytes in, bytes out: decode, operations, encode; codecs and operations are tables. Pure |
//! | `secret` | secrets that sign and open: their least length, HMAC; knows nothing else |
//! | `offload` | work that takes long runs away from the threads of the runtime; knows nothing else |
//! | `singleflight` | many callers of one key share one run; knows nothing else |
//! | [`store`] | blobs by digest, durable when acknowledged; knows no images |
//! | `hold` | bytes that carry the right to be in memory; knows nothing else |
//! | [`fetch`] | remote sources: the guarded HTTP client, and what it keeps |
//! | [`renditions`] | the rendition cache and its tier on disk, single flight, admission, render threads for single and bulk work |
//! | [`items`] | bulk items: one source, many outputs, each to its place |
//! | [`jobs`] | many items in the background, exactly once in the results; the queue and its database |
//! | [`http`] | the edge in four rooms: `server`, `routes`, `protocol` (conditional requests, errors as `problem+json`, keys), `message` |
//! | [`config`], [`cli`] | the only readers of environment, arguments and files of settings |
//!
//! # A request, top to bottom: `GET /images/<digest>.webp?w=200`
//! ```text
//! http::server          bytes -> request; route by method + path
//! http::routes::images  digest + codec + Pipeline::from_query; ETag from the key
//! http::protocol        304 when the tag matches; the response
//! renditions            cache hit -> bytes; else join the shared run, open the source (store.open), look in the tier
//! engine                inspect, plan, wait for the memory of the plan, read the source, verified against its name
//! render                decode -> operations -> encode, on the render pool
//! ```
//!
//! # Invariants
//! 1. `pipeline` knows no tokio, hyper, file system or network: bytes in, bytes out.
//! 2. `store` does not know images: it holds blobs.
//! 3. Only `http` names server HTTP types, only `fetch` (to strangers) and `cli::client` (to its user's server) speak as clients;
//!    only `http::protocol::problem` chooses an error status.
//! 4. Only `renditions` runs a pipeline on behalf of a request: one place for cache, single flight, admission, threads.
//! 5. Only `config` and `cli` read environment, arguments or configuration files.
//! 6. Every queue, body, list, retry and dimension has a bound in a `Limits` or `Options` type, and a test that reaches it and one past it.
//! 7. Every module has a `//!` that says what it is and what it is not.
//! 8. Locks are `parking_lot`'s: a panic does not poison them, so one failed request stops no other. In return, code under
//!    a lock must leave its data whole at each point that can panic: single steps on maps and counters. Where wrong data
//!    would show bytes that are not durable, it must fail closed (`pending` in `store::disk::core`).

pub mod digest;

pub mod pipeline;

mod offload;
mod secret;

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
