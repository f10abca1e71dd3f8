//! [`Sources`]: fetched sources by URL: kept for as long as their origins allow, then asked for again with their validators.
//! Simultaneous requests for one URL share one fetch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::client::{Answer, Client, Kept};
use super::target::Target;
use super::{Error, Options, Resolver};
use crate::digest::Digest;
use crate::singleflight::Group;

/// What an entry costs beside its bytes and its URL.
const ENTRY_BYTES: usize = 640;

/// A fetched source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The bytes as they came: nobody has looked whether they are an image.
    pub bytes: Bytes,
    /// Their digest.
    pub digest: Digest,
    /// How long they may be used without asking the origin again; `None`: for this answer alone.
    pub max_age: Option<Duration>,
}

/// See the module.
pub struct Sources {
    shared: Arc<Shared>,
    flights: Group<Digest, Result<Source, Error>>,
}

struct Shared {
    client: Client,
    cache: moka::sync::Cache<Digest, Arc<Entry>>,
    places: Semaphore,
    place_wait: Duration,
}

struct Entry {
    bytes: Bytes,
    digest: Digest,
    kept: Kept,
    fetched: Instant,
}

impl Entry {
    fn source(&self) -> Source {
        let max_age = self.kept.lifetime.map(|lifetime| lifetime.saturating_sub(self.fetched.elapsed()));
        Source { bytes: self.bytes.clone(), digest: self.digest, max_age }
    }

    fn is_fresh(&self) -> bool {
        self.kept.lifetime.is_some_and(|lifetime| self.fetched.elapsed() < lifetime)
    }

    /// Without freshness or a validator it would never be used again.
    fn is_worth_keeping(&self) -> bool {
        let Kept { lifetime, validators } = &self.kept;
        lifetime.is_some_and(|lifetime| !lifetime.is_zero() || !validators.are_none())
    }
}

impl Sources {
    /// None yet; names are looked up by the system.
    pub fn new(options: &Options) -> Sources {
        Sources::with_resolver(options, None)
    }

    /// The same with another way to look names up.
    pub fn with_resolver(options: &Options, resolver: Option<Resolver>) -> Sources {
        let cache = moka::sync::Cache::builder()
            .max_capacity(options.cache_bytes_max)
            .weigher(|_, entry: &Arc<Entry>| u32::try_from(entry.bytes.len() + ENTRY_BYTES).unwrap_or(u32::MAX))
            .build();
        let shared = Shared {
            client: Client::new(options, resolver),
            cache,
            places: Semaphore::new(options.fetches_max.min(Semaphore::MAX_PERMITS)),
            place_wait: Duration::from_millis(options.stall_ms),
        };
        Sources { shared: Arc::new(shared), flights: Group::new() }
    }

    /// Whether no host is allowed.
    pub fn are_off(&self) -> bool {
        self.shared.client.rules.are_off()
    }

    /// Whether `url` might be fetched, by what can be read in it.
    pub fn check(&self, url: &str) -> Result<(), Error> {
        self.shared.client.rules.target(url).map(drop)
    }

    /// From the cache, a shared fetch, or a new one. The fetch is ended when nobody waits for it any more.
    pub async fn get(&self, url: &str) -> Result<Source, Error> {
        let target = self.shared.client.rules.target(url)?;
        let key = Digest::of(target.as_str().as_bytes());
        if let Some(entry) = self.shared.cache.get(&key).filter(|entry| entry.is_fresh()) {
            return Ok(entry.source());
        }
        let shared = self.shared.clone();
        let flight = |_| async move { shared.fetch(key, target).await };
        // Lost: the fetch panicked. That is our bug and no answer of the origin's, but to the client it comes to the same.
        self.flights.join_or_start(key, flight).await.unwrap_or(Err(Error::Failed { status: None }))
    }
}

impl Shared {
    async fn fetch(&self, key: Digest, target: Target) -> Result<Source, Error> {
        let place = tokio::time::timeout(self.place_wait, self.places.acquire()).await;
        let _place = place.map_err(|_| Error::Busy)?.map_err(|_| Error::Busy)?;
        let known = self.cache.get(&key);
        // Another flight may have landed since the caller looked.
        if let Some(entry) = known.as_ref().filter(|entry| entry.is_fresh()) {
            return Ok(entry.source());
        }
        let fetched = Instant::now();
        let validators = known.as_ref().map(|entry| &entry.kept.validators);
        let answer = self.client.get(target, validators.filter(|validators| !validators.are_none())).await;
        let entry = match (answer?, known) {
            (Answer::New(bytes, digest, kept), _) => Entry { bytes, digest, kept, fetched },
            (Answer::Same(kept), Some(known)) => {
                // RFC 9111, 4.3.4: a 304 need not repeat what it confirms.
                let validators =
                    if kept.validators.are_none() { known.kept.validators.clone() } else { kept.validators };
                let kept = Kept { lifetime: kept.lifetime, validators };
                Entry { bytes: known.bytes.clone(), digest: known.digest, kept, fetched }
            }
            (Answer::Same(_), None) => return Err(Error::Failed { status: Some(304) }),
        };
        let entry = Arc::new(entry);
        if entry.is_worth_keeping() {
            self.cache.insert(key, entry.clone());
        } else {
            self.cache.invalidate(&key);
        }
        // moka evicts in batches; a batch of large sources would be far above the bound.
        self.cache.run_pending_tasks();
        Ok(entry.source())
    }
}
