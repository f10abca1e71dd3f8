//! Remote sources: images of other servers, fetched by a guarded client. Knows no image formats, stores nothing.
//!
//! A URL comes from whoever can reach this server, so fetching it must not reach what they cannot. Hosts must be allowed by name
//! and every address that a name resolves to must be public; the connection goes to an address that was checked, never to one that
//! is looked up again. Each redirect is checked anew.
//!
//! ```text
//! Sources::get -> cache -> flight (shared by URL) -> client: target -> addresses -> connection -> answer -> cache
//! ```

pub mod address;
mod client;
mod freshness;
mod hooks;
mod sources;
mod target;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use ipnet::IpNet;

pub use hooks::Hooks;
pub use sources::{Source, Sources};
pub use target::HostPattern;

/// Settings of remote sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Hosts that may be fetched from; none: remote sources are off.
    pub allow: Vec<HostPattern>,
    /// Ports that may be connected to.
    pub ports: Vec<u16>,
    /// Networks that may be connected to although they are not public.
    pub private_allow: Vec<IpNet>,
    /// How long one fetch may take, redirects included.
    pub timeout_ms: u64,
    /// How long a fetch may wait for the next step: a connection, a head, more bytes; and for its own place.
    pub stall_ms: u64,
    /// Bytes of one source.
    pub bytes_max: u64,
    /// Fetches at once.
    pub fetches_max: usize,
    /// How long a source may be used without asking its origin again, whatever that says.
    pub max_age_s: u64,
    /// Bytes of sources that are kept; 0: none are.
    pub cache_bytes_max: u64,
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
        }
    }
}

/// Why there is no source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No host is allowed.
    #[error("remote sources are off")]
    Off,
    /// Not a URL that could be fetched anywhere.
    #[error("the URL must be {allowed}")]
    Url {
        /// What would be one.
        allowed: &'static str,
    },
    /// The host, port or address is not allowed, or cannot be reached: one error, so that nobody can tell by it what stands in
    /// networks that they cannot see.
    #[error("refused, or not to be reached")]
    Refused,
    /// No connection came about, to an address that was allowed. For who waits to try again; whoever asked is told what
    /// [`Error::Refused`] tells.
    #[error("refused, or not to be reached")]
    Unreached,
    /// The origin answered, but with no image.
    #[error("the origin {}", answered(*status))]
    Failed {
        /// What it answered, if that was understood.
        status: Option<u16>,
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

fn answered(status: Option<u16>) -> String {
    status.map_or_else(|| "gave no answer that can be read".to_owned(), |status| format!("answered {status}"))
}

/// Finds the addresses of a name.
pub type Resolver = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;
