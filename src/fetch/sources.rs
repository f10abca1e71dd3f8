//! [`Sources`]: fetched sources by URL. They are cached for as long as their origins allow, then validated.
//! Simultaneous requests for one URL share one fetch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::client::{CachePolicy, Client, Fetched};
use super::target::Target;
use super::{Error, Options, Resolver};
use crate::digest::Digest;
use crate::singleflight::Group;

/// Memory of a cached source in addition to its bytes and its URL.
const OVERHEAD_BYTES: usize = 640;

/// A fetched source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSource {
    /// The bytes as they came. They may not be an image.
    pub bytes: Bytes,
    /// The digest of the bytes.
    pub digest: Digest,
    /// The time for which they may be used without asking the origin again; `None`: for this answer alone.
    pub max_age: Option<Duration>,
}

/// A client of remote sources, with their cache.
pub struct Sources {
    shared: Arc<Shared>,
    fetches: Group<Digest, Result<RemoteSource, Error>>,
}

struct Shared {
    client: Client,
    cache: moka::sync::Cache<Digest, Arc<Cached>>,
    permits: Semaphore,
    permit_wait: Duration,
    failures_max_age: Duration,
}

struct Cached {
    bytes: Bytes,
    digest: Digest,
    policy: CachePolicy,
    fetched: Instant,
}

impl Cached {
    fn source(&self) -> RemoteSource {
        let max_age = self.policy.lifetime.map(|lifetime| lifetime.saturating_sub(self.fetched.elapsed()));
        RemoteSource { bytes: self.bytes.clone(), digest: self.digest, max_age }
    }

    fn is_fresh(&self) -> bool {
        self.policy.lifetime.is_some_and(|lifetime| self.fetched.elapsed() < lifetime)
    }

    /// Whether it could be used again: it is fresh for a while, or can be validated.
    fn is_worth_keeping(&self) -> bool {
        let CachePolicy { lifetime, validators } = &self.policy;
        lifetime.is_some_and(|lifetime| !lifetime.is_zero() || !validators.are_none())
    }
}

impl Sources {
    /// A client with an empty cache. The operating system looks up names.
    pub fn new(options: &Options) -> Sources {
        Sources::with_resolver(options, None)
    }

    /// A client with an empty cache. `resolver` looks up names, if there is one.
    pub fn with_resolver(options: &Options, resolver: Option<Resolver>) -> Sources {
        let cache = moka::sync::Cache::builder()
            .max_capacity(options.cache_bytes_max)
            .weigher(|_, cached: &Arc<Cached>| u32::try_from(cached.bytes.len() + OVERHEAD_BYTES).unwrap_or(u32::MAX))
            .build();
        let shared = Shared {
            client: Client::new(options, resolver),
            cache,
            permits: Semaphore::new(options.fetches_max.min(Semaphore::MAX_PERMITS)),
            permit_wait: Duration::from_millis(options.stall_ms),
            failures_max_age: Duration::from_secs(options.failures_max_age_s.into()),
        };
        Sources { shared: Arc::new(shared), fetches: Group::new() }
    }

    /// Whether no host is allowed.
    pub fn are_off(&self) -> bool {
        self.shared.client.rules.are_off()
    }

    /// Time for which a client or a cache may keep the failure of an origin.
    pub fn failures_max_age(&self) -> Duration {
        self.shared.failures_max_age
    }

    /// Checks whether `url` may be fetched, as far as its text shows.
    pub fn check(&self, url: &str) -> Result<(), Error> {
        self.shared.client.rules.target(url).map(drop)
    }

    /// Gets a source from the cache, from a fetch under way, or from a new fetch. A fetch is cancelled when its last
    /// caller leaves.
    pub async fn get(&self, url: &str) -> Result<RemoteSource, Error> {
        let target = self.shared.client.rules.target(url)?;
        let key = Digest::of(target.as_str().as_bytes());
        if let Some(cached) = self.shared.cache.get(&key).filter(|cached| cached.is_fresh()) {
            return Ok(cached.source());
        }
        let shared = self.shared.clone();
        let fetch = || async move { shared.fetch(key, target).await };
        // Aborted: the fetch panicked, which is our bug. The client sees a failure of the origin.
        self.fetches.join_or_start(key, fetch).await.unwrap_or(Err(Error::failed(None)))
    }
}

impl Shared {
    async fn fetch(&self, key: Digest, target: Target) -> Result<RemoteSource, Error> {
        let permit = tokio::time::timeout(self.permit_wait, self.permits.acquire()).await;
        let _permit = permit.map_err(|_| Error::Busy)?.map_err(|_| Error::Busy)?;
        let known = self.cache.get(&key);
        // Another fetch may have ended since the caller looked.
        if let Some(cached) = known.as_ref().filter(|cached| cached.is_fresh()) {
            return Ok(cached.source());
        }
        let fetched = Instant::now();
        let validators = known.as_ref().map(|cached| &cached.policy.validators);
        let answer = self.client.get(target, validators.filter(|validators| !validators.are_none())).await;
        let cached = match (answer?, known) {
            (Fetched::New(bytes, digest, policy), _) => Cached { bytes, digest, policy, fetched },
            (Fetched::NotModified(policy), Some(known)) => {
                // RFC 9111, 4.3.4: a 304 need not repeat what it confirms.
                let validators =
                    if policy.validators.are_none() { known.policy.validators.clone() } else { policy.validators };
                let policy = CachePolicy { lifetime: policy.lifetime, validators };
                Cached { bytes: known.bytes.clone(), digest: known.digest, policy, fetched }
            }
            (Fetched::NotModified(_), None) => return Err(Error::failed(Some(304))),
        };
        let cached = Arc::new(cached);
        if cached.is_worth_keeping() {
            self.cache.insert(key, cached.clone());
        } else {
            self.cache.invalidate(&key);
        }
        // moka evicts in batches. A batch of large sources would exceed the bound by far.
        self.cache.run_pending_tasks();
        Ok(cached.source())
    }
}
