//! [`Pace`]: keeps readers to a rate. It tells them how long to wait, and waits for nothing itself.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A rate that any number of readers keep together. What was not used is not saved up: after a pause they go on at the same
/// rate.
pub struct Pace {
    rate: Option<u64>,
    /// When the bytes that were taken so far are used up.
    until: Mutex<Instant>,
}

impl Pace {
    /// At most `rate` bytes a second; `None`: any number.
    pub fn new(rate: Option<u64>) -> Pace {
        Pace { rate, until: Mutex::new(Instant::now()) }
    }

    /// Takes `bytes`, and returns how long their reader waits before its next ones.
    pub fn take(&self, bytes: u64) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let now = Instant::now();
        let mut until = self.until.lock();
        *until = (*until).max(now) + Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        *until - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_by_all_readers_together() {
        let pace = Pace::new(Some(1_000));
        for (bytes, all) in [(100_000, 100), (50_000, 150), (0, 150)] {
            let wait = pace.take(bytes);
            assert!(wait > Duration::from_secs(all - 10) && wait <= Duration::from_secs(all), "{wait:?}");
        }
        assert_eq!(Pace::new(None).take(u64::MAX), Duration::ZERO);
    }
}
