//! [`Waits`]: the jobs that wait for the store. A job that met a store which takes nothing is left alone for a while, and
//! then tries a few items again. Known to this process alone: after a start each job tries at once.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::jobs::WaitReason;

/// The longest time between two tries. A store that has recovered may be idle for this time.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The jobs that wait, by their numbers.
pub struct Waits {
    jobs: Mutex<HashMap<i64, Waiting>>,
    first_pause: Duration,
}

struct Waiting {
    reason: WaitReason,
    /// Tries in vain, without the first.
    tries: u32,
    until: Instant,
}

impl Waits {
    /// No job waits. `first_pause` is doubled for each further try, up to [`PAUSE_MAX`].
    pub fn new(first_pause: Duration) -> Waits {
        Waits { jobs: Mutex::default(), first_pause }
    }

    /// Notes that a job met a store that takes nothing.
    pub fn begin(&self, job: i64, reason: WaitReason) {
        let now = Instant::now();
        let mut jobs = self.jobs.lock();
        let waiting = jobs.entry(job).or_insert(Waiting { reason, tries: 0, until: now });
        waiting.reason = reason;
        // Other chunks of the job may have met the same state in the same try.
        if waiting.until <= now {
            waiting.until = now + (self.first_pause * (1 << waiting.tries.min(16))).min(PAUSE_MAX);
            waiting.tries += 1;
        }
    }

    /// Notes that the store took what a job had.
    pub fn end(&self, job: i64) {
        self.jobs.lock().remove(&job);
    }

    /// Forgets all jobs but these.
    pub fn retain(&self, unfinished: &HashSet<i64>) {
        self.jobs.lock().retain(|job, _| unfinished.contains(job));
    }

    /// The reason for which a job waits.
    pub fn reason(&self, job: i64) -> Option<WaitReason> {
        self.jobs.lock().get(&job).map(|waiting| waiting.reason)
    }

    /// The jobs that are to be left alone now, and the time when the first of them may try again.
    pub fn now(&self) -> (HashSet<i64>, Option<Instant>) {
        let (jobs, now) = (self.jobs.lock(), Instant::now());
        let waiting = || jobs.iter().filter(|(_, waiting)| waiting.until > now);
        (waiting().map(|(job, _)| *job).collect(), waiting().map(|(_, waiting)| waiting.until).min())
    }

    /// The number of jobs that wait for this reason.
    pub fn count(&self, reason: WaitReason) -> u64 {
        self.jobs.lock().values().filter(|waiting| waiting.reason == reason).count() as u64
    }
}
