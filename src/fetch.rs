//! Remote sources: images of other servers, fetched by a guarded client. Knows no image formats, stores nothing.
//!
//! Clients choose the URLs, so a fetch must not reach what those clients cannot reach themselves. Hosts must be allowed
//! by name, and every address of a name must be public. The connection goes to an address that was checked, never to
//! one that is looked up again. Each redirect is checked anew.
//!
//! ```text
//! Sources::get -> cache -> single flight by URL -> client: target -> addresses -> connection -> answer -> cache
//! ```

pub mod address;
mod client;
mod freshness;
mod sources;
mod target;
mod webhook_client;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use ipnet::IpNet;

pub use sources::{RemoteSource, Sources};
pub use target::HostPattern;
pub use webhook_client::WebhookClient;

/// Settings of remote sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Hosts that may be fetched from; none: remote sources are off.
    pub allow: Vec<HostPattern>,
    /// Ports that fetches may connect to.
    pub ports: Vec<u16>,
    /// Networks that fetches may connect to although they are not public.
    pub private_allow: Vec<IpNet>,
    /// The longest time of one fetch, redirects included.
    pub timeout_ms: u64,
    /// The longest wait of a fetch for its next step: a permit, a connection, a head, or more bytes.
    pub stall_ms: u64,
    /// The most bytes of one source.
    pub bytes_max: u64,
    /// The most fetches at once.
    pub fetches_max: usize,
    /// The longest time for which a source is used without asking its origin again, whatever the origin allows.
    pub max_age_s: u64,
    /// Bytes of sources that are cached; 0: none.
    pub cache_bytes_max: u64,
    /// Time for which a client or a cache may keep the failure of an origin.
    pub failures_max_age_s: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            allow: Vec::new(),
            ports: vec![80, 443],
            private_allow: Vec::new(),
            timeout_ms: 30_000,
            stall_ms: 10_000,
            bytes_max: 50 << 20,
            fetches_max: 16,
            max_age_s: 300,
            cache_bytes_max: 64 << 20,
            failures_max_age_s: 5,
        }
    }
}

/// Why there is no source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No host is allowed.
    #[error("remote sources are off")]
    Off,
    /// The URL could not be fetched by any configuration.
    #[error("the URL must be {allowed}")]
    Url {
        /// The allowed URLs.
        allowed: &'static str,
    },
    /// The host, port or address is not allowed, or cannot be reached. One error for both, so that it does not reveal
    /// which internal addresses exist.
    #[error("refused, or not to be reached")]
    Refused,
    /// An allowed address could not be connected to. The server may try again; the client sees the same as for
    /// [`Error::Refused`].
    #[error("refused, or not to be reached")]
    Unreached,
    /// The origin answered, but not with an image.
    #[error("the origin {}", answered(*status))]
    Failed {
        /// The status of the answer, if it could be read.
        status: Option<u16>,
        /// Seconds after which the origin wants to be asked again, if it says so.
        retry_after_s: Option<u32>,
    },
    /// The origin took too long.
    #[error("the origin took too long")]
    TooSlow,
    /// More bytes than allowed.
    #[error("more than {max} bytes")]
    TooLarge {
        /// The bound.
        max: u64,
    },
    /// Too many fetches are under way.
    #[error("too many fetches")]
    Busy,
}

impl Error {
    /// An answer of this status, which is no image.
    pub const fn failed(status: Option<u16>) -> Error {
        Error::Failed { status, retry_after_s: None }
    }
}

fn answered(status: Option<u16>) -> String {
    status.map_or_else(|| "gave no readable answer".to_owned(), |status| format!("answered {status}"))
}

/// Looks up the addresses of a name.
pub type Resolver = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;
