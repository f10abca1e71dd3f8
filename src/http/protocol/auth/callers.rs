//! Limits of each caller: requests a second, and renders and uploads at once. A caller is a key; all clients without a
//! key are one caller.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use hyper::header::{AUTHORIZATION, HeaderMap};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Access, Key};
use crate::http::error::Error;

/// What a caller may ask for; nothing is bounded by default.
///
/// ```
/// use progimage::http::auth::CallerLimits;
/// let limits: CallerLimits = "requests_per_s=50;renders_max=4".parse()?;
/// assert_eq!(limits.to_string(), "requests_per_s=50;renders_max=4");
/// assert!("renders_max=0".parse::<CallerLimits>().is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallerLimits {
    /// Requests a second. As many may come at once.
    pub requests_per_s: Option<NonZeroU32>,
    /// Renders at once that no cache answers. A request of many counts as one, and so does the submission of a job.
    pub renders_max: Option<NonZeroU32>,
    /// Uploads at once. A request of many images counts as one.
    pub uploads_max: Option<NonZeroU32>,
}

impl CallerLimits {
    fn named(&self) -> [(&'static str, Option<NonZeroU32>); 3] {
        let CallerLimits { requests_per_s, renders_max, uploads_max } = *self;
        [("requests_per_s", requests_per_s), ("renders_max", renders_max), ("uploads_max", uploads_max)]
    }

    fn read(&mut self, part: &str) -> Result<(), String> {
        let (name, number) = part.split_once('=').unwrap_or((part, ""));
        let limit = match name {
            "requests_per_s" => &mut self.requests_per_s,
            "renders_max" => &mut self.renders_max,
            "uploads_max" => &mut self.uploads_max,
            _ => return Err(format!("unknown limit {name:?}; limits are requests_per_s, renders_max, uploads_max")),
        };
        *limit = Some(number.parse().map_err(|_| format!("{name} must be a whole number from 1, not {number:?}"))?);
        Ok(())
    }
}

impl FromStr for CallerLimits {
    type Err = String;

    /// Reads `limit=number;limit=number`; the message has all mistakes.
    fn from_str(text: &str) -> Result<CallerLimits, String> {
        let mut limits = CallerLimits::default();
        let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
        let mistakes: Vec<String> = parts.filter_map(|part| limits.read(part).err()).collect();
        if mistakes.is_empty() { Ok(limits) } else { Err(mistakes.join("; ")) }
    }
}

impl fmt::Display for CallerLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = self.named().into_iter().filter_map(|(name, limit)| Some(format!("{name}={}", limit?)));
        f.write_str(&set.collect::<Vec<_>>().join(";"))
    }
}

/// The work for which callers have limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Work {
    Render,
    Upload,
}

/// What every caller has under way.
pub(in crate::http) struct Callers {
    /// In the order of the keys.
    keys: Vec<Arc<Caller>>,
    anonymous: Arc<Caller>,
    is_limited: bool,
}

/// What one caller has under way.
pub(in crate::http) struct Caller {
    requests: Option<DefaultDirectRateLimiter>,
    renders: Places,
    uploads: Places,
    limits: CallerLimits,
}

type Places = Option<Arc<Semaphore>>;

impl Callers {
    pub(in crate::http) fn new(access: &Access) -> Callers {
        let keys: Vec<_> = access.keys.iter().map(|key| Arc::new(Caller::new(key.limits))).collect();
        let anonymous = Arc::new(Caller::new(access.anonymous_limits));
        let is_limited = keys.iter().chain([&anonymous]).any(|caller| caller.limits != CallerLimits::default());
        Callers { keys, anonymous, is_limited }
    }

    /// Counts a request, whose key may be known already. Returns its caller, if any caller has a limit.
    pub(in crate::http) fn count(
        &self,
        access: &Access,
        key: Option<&Key>,
        headers: &HeaderMap,
    ) -> Result<Option<Arc<Caller>>, Error> {
        if !self.is_limited {
            return Ok(None);
        }
        let key = key.or_else(|| access.key_of(headers.get_all(AUTHORIZATION)));
        let index = key.and_then(|key| access.keys.iter().position(|other| other.name == key.name));
        let caller = index.and_then(|index| self.keys.get(index)).unwrap_or(&self.anonymous);
        caller.count()?;
        Ok(Some(caller.clone()))
    }
}

impl Caller {
    fn new(limits: CallerLimits) -> Caller {
        let places = |max: Option<NonZeroU32>| max.map(|max| Arc::new(Semaphore::new(max.get() as usize)));
        Caller {
            requests: limits.requests_per_s.map(|rate| RateLimiter::direct(Quota::per_second(rate))),
            renders: places(limits.renders_max),
            uploads: places(limits.uploads_max),
            limits,
        }
    }

    fn count(&self) -> Result<(), Error> {
        let Some(requests) = &self.requests else { return Ok(()) };
        let Err(early) = requests.check() else { return Ok(()) };
        let wait = early.wait_time_from(DefaultClock::default().now());
        Err(self.refused("requests_per_s", wait.as_secs().saturating_add(1)))
    }

    /// Takes a place for the work of a request, if the caller has a limit for it.
    pub(in crate::http) fn begin(&self, work: Work) -> Result<Option<OwnedSemaphorePermit>, Error> {
        let (places, limit) = match work {
            Work::Render => (&self.renders, "renders_max"),
            Work::Upload => (&self.uploads, "uploads_max"),
        };
        let Some(places) = places else { return Ok(None) };
        places.clone().try_acquire_owned().map(Some).map_err(|_| self.refused(limit, 1))
    }

    fn refused(&self, limit: &'static str, retry_after_s: u64) -> Error {
        let max = self.limits.named().into_iter().find(|(name, _)| *name == limit).and_then(|(_, max)| max);
        Error::CallerBusy { name: limit, max: max.map_or(0, |max| max.get().into()), retry_after_s }
    }
}
