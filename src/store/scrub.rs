//! [`Scrub`]: reads every blob once in `scrub_days`, in the background, so that damage is found while another copy of the
//! image may still be had. It stands above every backend: it lists blobs, opens them and reads them. A blob that is bad
//! goes out of service as it does after any other read.
//!
//! A pass goes through the digests in order. These are spread evenly, so the part of all digests below a blob's own is
//! also the part of `scrub_days` after which the blob is due. No more than `scrub_rate_max` bytes a second are read.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::pace::Pace;
use super::{Error, Options, Store};
use crate::digest::Digest;

/// Blobs that are listed at a time.
const PAGE: usize = 256;
/// The least time between two notes of the place. After a restart as much is read again.
const NOTE_AFTER: Duration = Duration::from_secs(60);
/// The pause after a list, or a read of a blob, that failed.
const PAUSE: Duration = Duration::from_secs(60);
/// Attempts at a blob that cannot be read: there may be no descriptor or memory for the moment.
const ATTEMPTS_MAX: usize = 2;
/// The longest wait for a blob that was listed. Before a longer one blobs are listed again, since others may have come.
const SOON: Duration = Duration::from_secs(60);
/// Parts of a pass that [`Counters::place`] counts.
const PARTS: u64 = 4_096;

/// Reads blobs in the background until it is dropped.
pub struct Scrub {
    figures: Arc<Figures>,
    task: Option<AbortHandle>,
}

/// Counts of the scrub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes that were read since the start of the process.
    pub bytes: u64,
    /// Blobs that were bad or could not be read, since the start of the process.
    pub bad: u64,
    /// The place in the present pass, in 4,096ths.
    pub place: u64,
    /// The start of the last whole pass, in Unix seconds; 0: there was none. Every blob of that time was read since then.
    pub whole_pass_s: u64,
}

#[derive(Default)]
struct Figures {
    bytes: AtomicU64,
    bad: AtomicU64,
    place: AtomicU64,
    whole_pass_s: AtomicU64,
}

impl Scrub {
    /// Begins, or goes on where an earlier process ended. Must be called on a tokio runtime.
    pub fn start(store: Arc<dyn Store>, options: &Options) -> Scrub {
        let figures = Arc::<Figures>::default();
        let period = Duration::from_secs(options.scrub_days * 86_400);
        let runner = Runner::new(store, figures.clone(), period, Some(options.scrub_rate_max));
        let task = (!period.is_zero()).then(|| tokio::spawn(runner.run()).abort_handle());
        Scrub { figures, task }
    }

    /// The counts at this moment.
    pub fn counters(&self) -> Counters {
        let Figures { bytes, bad, place, whole_pass_s } = &*self.figures;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters { bytes: count(bytes), bad: count(bad), place: count(place), whole_pass_s: count(whole_pass_s) }
    }
}

impl Drop for Scrub {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// A pass, and how far it is. Its text survives a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pass {
    /// The start, in Unix seconds.
    started_s: u64,
    /// The start of the last whole pass; 0: there was none.
    whole_s: u64,
    /// The last blob that was read.
    after: Option<Digest>,
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pass { started_s, whole_s, after } = self;
        write!(f, "{started_s} {whole_s} ")?;
        match after {
            Some(after) => write!(f, "{after}"),
            None => f.write_str("-"),
        }
    }
}

impl FromStr for Pass {
    type Err = ();

    fn from_str(text: &str) -> Result<Pass, ()> {
        let mut words = text.split(' ');
        let mut number = || words.next()?.parse().ok();
        let (started_s, whole_s) = (number().ok_or(())?, number().ok_or(())?);
        let after = match words.next() {
            Some("-") => None,
            word => Some(word.and_then(|word| word.parse().ok()).ok_or(())?),
        };
        Ok(Pass { started_s, whole_s, after })
    }
}

/// The part of all digests that are below this one.
fn part_below(digest: &Digest) -> f64 {
    let [first, second, third, fourth, ..] = *digest.as_bytes();
    f64::from(u32::from_be_bytes([first, second, third, fourth])) / f64::from(u32::MAX)
}

/// The seconds from `now_s` until a `part` of a pass is due.
fn wait_s(started_s: u64, part: f64, period: Duration, now_s: u64) -> f64 {
    (started_s as f64 + part * period.as_secs_f64() - now_s as f64).max(0.0)
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The work of a [`Scrub`].
struct Runner {
    store: Arc<dyn Store>,
    figures: Arc<Figures>,
    period: Duration,
    pace: Pace,
    pass: Pass,
    noted: Instant,
}

impl Runner {
    fn new(store: Arc<dyn Store>, figures: Arc<Figures>, period: Duration, rate: Option<u64>) -> Runner {
        let pass = Pass { started_s: now_s(), whole_s: 0, after: None };
        Runner { store, figures, period, pace: Pace::new(rate), pass, noted: Instant::now() }
    }

    async fn run(mut self) {
        self.resume().await;
        loop {
            self.pass().await;
            self.due(1.0).await;
            self.pass = Pass { started_s: now_s(), after: None, ..self.pass };
            self.note().await;
        }
    }

    /// Takes up the pass of an earlier process.
    async fn resume(&mut self) {
        let note = self.store.scrub_note().await;
        if let Some(pass) = note.ok().flatten().and_then(|note| note.parse().ok()) {
            self.pass = pass;
        }
        self.show();
    }

    /// Reads all blobs that this pass has not read yet, each when it is due. Those that come meanwhile are read, too.
    async fn pass(&mut self) {
        let mut is_whole = true;
        loop {
            self.keep_to_clock();
            match self.store.list(self.pass.after, PAGE).await {
                Ok(page) => {
                    is_whole &= page.unreadable.is_empty();
                    let next = page.blobs.first().map_or(1.0, |(digest, _)| part_below(digest));
                    if !self.is_soon(next) {
                        // There may be others by the time when this one is due.
                        sleep(SOON).await;
                    } else if page.blobs.is_empty() {
                        break;
                    } else {
                        self.page(page.blobs.iter().map(|(digest, _)| *digest)).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the scrub cannot list blobs; it waits");
                    sleep(PAUSE).await;
                }
            }
        }
        if is_whole {
            self.pass.whole_s = self.pass.started_s;
        }
        tracing::info!(is_whole, bad = self.figures.bad.load(Ordering::Relaxed), "the scrub has read every image");
        self.note().await;
    }

    async fn page(&mut self, digests: impl Iterator<Item = Digest>) {
        for digest in digests {
            if !self.is_soon(part_below(&digest)) {
                return;
            }
            self.due(part_below(&digest)).await;
            self.read(&digest).await;
            self.pass.after = Some(digest);
            self.show();
            if self.noted.elapsed() >= NOTE_AFTER {
                self.note().await;
            }
        }
    }

    /// Whether a `part` of this pass is due before others would be listed again.
    fn is_soon(&self, part: f64) -> bool {
        wait_s(self.pass.started_s, part, self.period, now_s()) <= SOON.as_secs_f64()
    }

    /// A clock that was set back must not put everything off.
    fn keep_to_clock(&mut self) {
        self.pass.started_s = self.pass.started_s.min(now_s());
    }

    /// Waits until a `part` of this pass is due.
    async fn due(&mut self, part: f64) {
        loop {
            self.keep_to_clock();
            let wait = wait_s(self.pass.started_s, part, self.period, now_s());
            if wait == 0.0 {
                return;
            }
            sleep(Duration::from_secs_f64(wait).min(SOON)).await;
        }
    }

    /// Reads a blob and proves it.
    async fn read(&self, digest: &Digest) {
        for attempt in 1..=ATTEMPTS_MAX {
            match self.prove(digest).await {
                // It may have been deleted since it was listed.
                Ok(()) | Err(Error::NotFound) => return,
                // The store has logged it.
                Err(Error::Corrupt(_)) => break,
                Err(error) if attempt == ATTEMPTS_MAX => tracing::error!(%digest, %error, "a blob cannot be read"),
                Err(_) => sleep(PAUSE).await,
            }
        }
        self.figures.bad.fetch_add(1, Ordering::Relaxed);
    }

    async fn prove(&self, digest: &Digest) -> Result<(), Error> {
        let blob = self.store.open_to_scrub(digest).await?;
        let count = |frame: &[u8]| {
            self.figures.bytes.fetch_add(frame.len() as u64, Ordering::Relaxed);
        };
        blob.prove_again(&self.pace, count).await
    }

    fn show(&self) {
        let place = self.pass.after.map_or(0.0, |after| part_below(&after) * PARTS as f64);
        self.figures.place.store(place as u64, Ordering::Relaxed);
        self.figures.whole_pass_s.store(self.pass.whole_s, Ordering::Relaxed);
    }

    /// Keeps the place. Without it some blobs are read again after a restart, and nothing else happens.
    async fn note(&mut self) {
        self.show();
        if let Err(error) = self.store.set_scrub_note(self.pass.to_string()).await {
            tracing::warn!(%error, "the place of the scrub cannot be kept");
        }
        self.noted = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::super::double::{Call, Double};
    use super::super::{Commit, open};
    use super::*;

    fn runner(store: &Arc<dyn Store>) -> Runner {
        // All is due at once.
        Runner::new(store.clone(), Arc::default(), Duration::ZERO, None)
    }

    async fn store_with(folder: &Path, blobs: u8) -> (Arc<dyn Store>, Vec<Digest>) {
        let store = open(folder.to_str().expect("UTF-8"), &Options::default()).await.expect("opened");
        for blob in 0..blobs {
            let mut stage = store.stage(None).await.expect("writable");
            stage.write(vec![blob; 1_000].into()).await.expect("room");
            assert_eq!(stage.commit(Digest::of(&[blob; 1_000])).await, Ok(Commit::New));
        }
        let digests =
            store.list(None, 100).await.expect("listed").blobs.into_iter().map(|(digest, _)| digest).collect();
        (store, digests)
    }

    fn file_of(folder: &Path, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        folder.join("blobs").join(&name[..3]).join(name)
    }

    #[tokio::test]
    async fn a_pass_reads_every_blob_and_takes_bad_ones_out_of_service() {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, digests) = store_with(folder.path(), 5).await;
        // However lately it was read.
        store.open(&digests[3]).await.expect("there").prove().await.expect("good");
        std::fs::write(file_of(folder.path(), &digests[3]), [7; 1_000]).expect("damaged");
        let mut runner = runner(&store);
        runner.pass().await;
        let scrub = Scrub { figures: runner.figures.clone(), task: None };
        let Counters { bytes, bad, place, whole_pass_s } = scrub.counters();
        assert_eq!((bytes, bad, whole_pass_s), (5_000, 1, runner.pass.started_s));
        assert!(place < PARTS);
        assert_eq!(store.counters().quarantined, 1);
        assert_eq!(store.list(None, 10).await.expect("listed").blobs.len(), 4);
    }

    #[tokio::test]
    async fn a_pass_goes_on_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, digests) = store_with(folder.path(), 5).await;
        let mut first = runner(&store);
        first.page(digests[..3].iter().copied()).await;
        first.note().await;
        first.note().await;
        let pass = first.pass;
        drop((first, store));
        let (store, _) = store_with(folder.path(), 0).await;
        let mut second = runner(&store);
        second.resume().await;
        assert_eq!(second.pass, pass);
        second.pass().await;
        assert_eq!(second.figures.bytes.load(Ordering::Relaxed), 2_000, "the other two");
        std::fs::write(folder.path().join("state/scrub"), "damaged").expect("written");
        let mut third = runner(&store);
        third.resume().await;
        assert_eq!(third.pass.after, None, "it begins anew");
    }

    #[tokio::test]
    async fn what_is_not_due_is_listed_again_before_it_is_read() {
        let store = open("memory:", &Options::default()).await.expect("opened");
        let mut runner = Runner::new(store, Arc::default(), Duration::from_secs(86_400), None);
        let [soon, late] = ["00", "80"].map(|first| format!("{first}{}", "00".repeat(31)).parse().expect("a digest"));
        runner.page([soon, late].into_iter()).await;
        assert_eq!(runner.pass.after, Some(soon));
    }

    #[tokio::test(start_paused = true)]
    async fn a_blob_that_cannot_be_read_for_a_moment_is_read_again_and_then_counted() {
        let (store, failures) =
            (open("memory:", &Options::default()).await.expect("opened"), Arc::new(AtomicU64::new(0)));
        let mut stage = store.stage(None).await.expect("writable");
        stage.write("x".into()).await.expect("room");
        stage.commit(Digest::of(b"x")).await.expect("stored");
        let left = failures.clone();
        let refusal = move |call| {
            let fails = call == Call::Open
                && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
            fails.then(|| Error::Unavailable("no descriptor".into()))
        };
        let store: Arc<dyn Store> = Double::refusing(store, refusal);
        for (failing, bad) in [(1, 0), (2, 1)] {
            failures.store(failing, Ordering::Relaxed);
            let mut runner = runner(&store);
            runner.pass().await;
            assert_eq!(runner.figures.bad.load(Ordering::Relaxed), bad);
        }
    }

    #[test]
    fn a_blob_is_due_by_its_place_among_all_digests() {
        let period = Duration::from_secs(1_000);
        for (first, second) in [(0x00, 0.0), (0x80, 502.0), (0xff, 1_000.0)] {
            let digest = format!("{first:02x}{}", "ff".repeat(31)).parse().expect("a digest");
            let wait = wait_s(5_000, part_below(&digest), period, 5_000);
            assert!((wait - second).abs() < 5.0, "{wait}");
        }
        assert_eq!(wait_s(5_000, 0.5, period, 5_600), 0.0, "late");
        assert_eq!(wait_s(5_000, 0.5, period, 5_400), 100.0);
    }

    #[test]
    fn a_pass_is_what_its_text_says() {
        for after in [None, Some(Digest::of(b"x"))] {
            let pass = Pass { started_s: 7, whole_s: 3, after };
            assert_eq!(pass.to_string().parse(), Ok(pass));
        }
        for bad in ["", "1", "1 2", "1 2 x", "a 2 -", "the file is damaged"] {
            assert_eq!(bad.parse::<Pass>(), Err(()), "{bad}");
        }
    }
}
