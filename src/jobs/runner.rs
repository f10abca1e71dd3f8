//! Runs one chunk, or takes the next images of a selection: here items meet [`super::JobExecutor`].
//! [`super::scheduler`] decides what is run.
//!
//! **Items that end the process.** Each start of a chunk is counted, and any result sets the count back to 0. So a
//! chunk that was started [`STARTS_TRUSTED`] times in vain is suspected: one of its items may end the process each
//! time. Then it runs alone, one item at a time, in order. After [`STARTS_ALONE`] further starts in vain its first item
//! is the one, and is given up.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use rusqlite::Transaction;
use tokio::task::JoinSet;

use super::chunk::{Chunk, Item};
use super::database::now_ms;
use super::queue::{self, Ended, Rest};
use super::selection::{Prefix, Selecting, Selection};
use super::shared::{ERROR_WAIT, Shared, Told};
use super::{Error, Outcome, Place, Verdict, WaitReason, backoff_ms};
use crate::digest::Digest;
use crate::store::Listing;

/// The numbers of images that each folder has which a selection left out.
const FOLDER_PARTS: u64 = 1 << 32;
/// How long results wait to be written together. A process that dies loses at most this much work.
const RECORD_EVERY: Duration = Duration::from_millis(500);
/// Starts in vain after which a chunk is suspected to end the process.
const STARTS_TRUSTED: u32 = 3;
/// Further starts in vain, alone, after which the first item is given up.
const STARTS_ALONE: u32 = 2;

/// Whether an item of this chunk may be what ended the process. Such a chunk must run alone.
pub fn is_suspected(chunk: &Chunk) -> bool {
    chunk.starts > STARTS_TRUSTED
}

/// Runs a chunk to its end, or until its job has ended. `left` counts its items that have not ended.
pub async fn run(shared: &Arc<Shared>, chunk: Chunk, left: &AtomicU64) {
    let is_suspected = is_suspected(&chunk);
    let run = ChunkRun { shared, left, ended: Vec::new(), rest: Rest::default(), waits_for: None, chunk };
    let ended = if is_suspected { run.one_by_one().await } else { run.together().await };
    if let Err(error) = ended {
        // Results that were not written are made again, unless the job has ended.
        tracing::debug!(%error, "a chunk was left");
    }
}

struct ChunkRun<'a> {
    shared: &'a Arc<Shared>,
    left: &'a AtomicU64,
    chunk: Chunk,
    /// Results that are not written yet.
    ended: Vec<Ended>,
    rest: Rest,
    /// Why some items wait. Then no further item begins.
    waits_for: Option<WaitReason>,
}

impl ChunkRun<'_> {
    /// Runs the items, several at once, and writes results every now and then.
    async fn together(mut self) -> Result<(), Error> {
        let mut items = self.take_items();
        let mut running = JoinSet::new();
        let mut record = tokio::time::interval(RECORD_EVERY);
        loop {
            while running.len() < self.shared.options.items_at_once
                && self.waits_for.is_none()
                && let Some(item) = items.pop_front()
            {
                running.spawn(run_item(self.shared.clone(), self.chunk.rights, item));
            }
            tokio::select! {
                joined = running.join_next() => match joined {
                    Some(Ok((item, outcomes))) => self.end(item, outcomes),
                    // Only when the runtime shuts down: panics are caught inside.
                    Some(Err(_)) => return Err(Error::Ended),
                    None => return self.finish().await,
                },
                _ = record.tick(), if !self.ended.is_empty() => self.record().await?,
            }
        }
    }

    /// Runs the items that may have ended the process, one at a time, and writes each result before the next item
    /// begins.
    async fn one_by_one(mut self) -> Result<(), Error> {
        let mut items = self.take_items();
        // Only so many ran when the process ended. The others wait for another start, since nothing else runs
        // meanwhile.
        let suspects_max = self.shared.options.items_at_once;
        let is_partial = items.len() > suspects_max;
        items.truncate(suspects_max);
        if self.chunk.starts > STARTS_TRUSTED + STARTS_ALONE
            && let Some(item) = items.pop_front()
        {
            self.give_up(item);
            self.record().await?;
        }
        for item in items {
            let (item, outcomes) = run_item(self.shared.clone(), self.chunk.rights, item).await;
            self.end(item, outcomes);
            self.record().await?;
            self.put_off().await?;
            if self.waits_for.is_some() {
                return self.finish().await;
            }
        }
        if is_partial { self.leave_rest().await } else { self.finish().await }
    }

    /// Takes the items of the chunk; lines that name a part of the store become selections.
    fn take_items(&mut self) -> VecDeque<Item> {
        let may_select = self.shared.executor.may_select(self.chunk.rights);
        let mut items = VecDeque::with_capacity(self.chunk.items.len());
        for item in std::mem::take(&mut self.chunk.items) {
            // An image of a selection is an item like any other, whatever its line says. What it left out is a selection again.
            let is_whole = item.place.part == 0 || item.place.part >= FOLDER_PARTS;
            match Selection::of(&item.line).filter(|_| may_select && is_whole) {
                Some(selection) => self.rest.selections.push((item, selection)),
                None => items.push_back(item),
            }
        }
        items
    }

    fn give_up(&mut self, item: Item) {
        tracing::error!(job = self.chunk.job, item = item.place.item, "an item ended the process: it is given up");
        let outcomes = vec![self.shared.executor.lost(item.place)];
        self.end(item, outcomes);
    }

    fn end(&mut self, item: Item, outcomes: Vec<Outcome>) {
        let waits_for = outcomes.iter().find_map(|outcome| match outcome.verdict {
            Verdict::Wait(reason) => Some(reason),
            _ => None,
        });
        if waits_for.is_some() {
            // It stays in the chunk.
            self.waits_for = waits_for;
            return;
        }
        let is_temporary = outcomes.iter().any(|outcome| outcome.verdict == Verdict::Retry);
        if is_temporary && self.chunk.attempts + 1 < self.shared.options.attempts_max {
            self.rest.again.push(item);
        } else {
            self.left.fetch_sub(1, Ordering::Relaxed);
            let mut ended = Ended { place: item.place, outcomes, failed: None };
            ended.failed = (!ended.is_well()).then_some(item.line);
            self.ended.push(ended);
        }
    }

    /// Writes the results so far.
    async fn record(&mut self) -> Result<(), Error> {
        let (chunk, job, ended) = (self.chunk.number, self.chunk.job, Arc::new(std::mem::take(&mut self.ended)));
        let written = ended.clone();
        persist(self.shared, move |database| queue::record(database, chunk, job, &written)).await?;
        self.shared.counters.ended(&ended);
        Ok(())
    }

    /// Moves items that are tried again out of the chunk at once.
    async fn put_off(&mut self) -> Result<(), Error> {
        if self.rest.again.is_empty() {
            return Ok(());
        }
        let again = std::mem::take(&mut self.rest.again);
        let (moved, run_at_ms) = (again.len(), self.again_ms());
        let rest = Arc::new(Rest { again, run_at_ms, selections: Vec::new() });
        let (number, job, attempts) = (self.chunk.number, self.chunk.job, self.chunk.attempts);
        persist(self.shared, move |database| queue::put_off(database, number, job, attempts, &rest)).await?;
        self.shared.counters.retried(moved);
        self.left.fetch_sub(moved as u64, Ordering::Relaxed);
        Ok(())
    }

    /// The time of the next attempt, in milliseconds since 1970.
    fn again_ms(&self) -> i64 {
        now_ms() + backoff_ms(self.shared.options.retry_ms, self.chunk.attempts, self.chunk.number)
    }

    /// Leaves the items that did not run for another start, without suspicion.
    async fn leave_rest(self) -> Result<(), Error> {
        let chunk = self.chunk.number;
        persist(self.shared, move |database| queue::trust(database, chunk)).await
    }

    /// Ends the chunk: writes the last results and what is left to do. If items wait for the store, they stay in the
    /// chunk, and their job waits.
    async fn finish(mut self) -> Result<(), Error> {
        self.rest.run_at_ms = self.again_ms();
        if let Some(reason) = self.waits_for {
            return self.hold(reason).await;
        }
        self.shared.waits.end(self.chunk.job);
        let (chunk, ended, rest) = (Arc::new(self.chunk), Arc::new(self.ended), Arc::new(self.rest));
        let (written, left) = (ended.clone(), rest.clone());
        let finish = move |database: &Transaction| queue::finish(database, &chunk, &written, &left);
        let over = persist(self.shared, finish).await?;
        self.shared.counters.ended(&ended);
        self.shared.counters.retried(rest.again.len());
        over.into_iter().for_each(|job| self.shared.ended(job));
        Ok(())
    }

    async fn hold(self, reason: WaitReason) -> Result<(), Error> {
        let job = self.chunk.job;
        let (chunk, ended, rest) = (Arc::new(self.chunk), Arc::new(self.ended), Arc::new(self.rest));
        let (written, left) = (ended.clone(), rest.clone());
        let hold = move |database: &Transaction| queue::hold(database, &chunk, &written, &left);
        persist(self.shared, hold).await?;
        self.shared.counters.ended(&ended);
        self.shared.counters.retried(rest.again.len());
        tracing::warn!(job, reason = reason.name(), "a job waits for the store");
        // Before this run is over, so that the scheduler does not take the chunk again at once.
        self.shared.waits.begin(job, reason);
        Ok(())
    }
}

/// Writes durably, and tries again until it succeeds: a full device may have room later, and the results are known only
/// here.
///
/// A result that a client has seen must stay. After a power cut took it back, its number would go to another result,
/// and a client that continues after that number would miss it.
async fn persist<T: Send + 'static>(
    shared: &Shared,
    write: impl Fn(&Transaction) -> Result<T, Error> + Clone + Send + 'static,
) -> Result<T, Error> {
    let mut told = Told::default();
    loop {
        match shared.database.write_durably(write.clone()).await {
            Err(error @ (Error::Database(_) | Error::Unsynced(_) | Error::Away(_))) => {
                if told.is_new(&error) {
                    tracing::error!(%error, "cannot write results to the jobs database; trying again");
                }
                tokio::time::sleep(ERROR_WAIT).await;
            }
            answer => {
                shared.changed();
                return answer;
            }
        }
    }
}

async fn run_item(shared: Arc<Shared>, rights: u32, item: Item) -> (Item, Vec<Outcome>) {
    let _permit = shared.item_permits.acquire().await;
    let run = AssertUnwindSafe(shared.executor.run(rights, item.place, item.line.clone())).catch_unwind();
    let mut outcomes = run.await.unwrap_or_else(|_| {
        tracing::error!(item = item.place.item, "an item panicked: this is our bug");
        vec![shared.executor.lost(item.place)]
    });
    let unavailable = Verdict::Wait(WaitReason::Unavailable);
    if outcomes.iter().any(|outcome| outcome.verdict == unavailable) && shared.store.list(None, 1).await.is_ok() {
        // The store is there: one folder or file of it is not, and may never be.
        outcomes.iter_mut().filter(|outcome| outcome.verdict == unavailable).for_each(|outcome| {
            outcome.verdict = Verdict::Retry;
        });
    }
    (item, outcomes)
}

/// Makes the next images of a selection of `job` into a chunk.
pub async fn select(shared: &Shared, number: i64, job: i64) {
    match select_page(shared, number).await {
        Ok(over) => {
            shared.waits.end(job);
            shared.changed();
            over.into_iter().for_each(|job| shared.ended(job));
        }
        // The job has ended meanwhile.
        Err(Error::NotFound | Error::Ended) => {}
        Err(Error::Store(error)) => {
            tracing::warn!(%error, job, "a selection waits for the store");
            shared.waits.begin(job, WaitReason::Unavailable);
        }
        Err(error) => {
            tracing::warn!(%error, "a selection waits");
            tokio::time::sleep(ERROR_WAIT).await;
        }
    }
}

/// Writes the next chunk of a selection. Returns the job if that ended it.
async fn select_page(shared: &Shared, number: i64) -> Result<Option<i64>, Error> {
    let selecting = shared.database.read(move |database| queue::selecting(database, number)).await?;
    let (page, prefix) = (selecting.page(), Selection::prefix(&selecting.line));
    let is_of = |id: &Digest| prefix.as_ref().is_none_or(|prefix| prefix.is_of(id));
    let after = [selecting.after, prefix.as_ref().and_then(Prefix::before)].into_iter().flatten().max();
    let listed = if page == 0 { Listing::default() } else { shared.store.list(after, page).await? };
    let images: Vec<_> = listed.blobs.into_iter().map(|(id, _)| id).take_while(is_of).collect();
    let left_out = left_out(shared, &selecting, listed.unreadable, prefix.as_ref());
    let last = images.len() < page || selecting.left == Some(images.len() as u64);
    let (items, upto) = (selecting.items(&images), images.last().copied());
    let options = shared.options.clone();
    let write =
        move |database: &Transaction| queue::select(database, number, &items, &left_out, (upto, last), &options);
    let written = match last {
        true => shared.database.write_durably(write).await,
        false => shared.database.write(write).await,
    };
    match written {
        Err(error @ (Error::TooManyItems { .. } | Error::Full { .. })) => {
            refuse(shared, number, selecting.item, error).await
        }
        answer => answer,
    }
}

/// The results that name folders of the store which could not be read: their images are not selected. Each may be run once
/// more, and has room for the numbers of its images.
fn left_out(shared: &Shared, selecting: &Selecting, folders: Vec<String>, prefix: Option<&Prefix>) -> Vec<Ended> {
    let left_out = |folder: String| {
        let digits = folder.rsplit('/').next().unwrap_or_default().to_owned();
        let begins = Prefix::try_from(digits.clone()).ok()?;
        if prefix.is_some_and(|prefix| !prefix.overlaps(&begins)) {
            return None;
        }
        let first = (u64::from_str_radix(&digits, 16).ok()? + 1) * FOLDER_PARTS;
        // This may be another run of a folder that was left out before: its images so far have numbers.
        let is_again = (first..first + FOLDER_PARTS).contains(&selecting.parts);
        let place = Place { item: selecting.item, part: if is_again { selecting.parts + 1 } else { first } };
        let outcomes = vec![shared.executor.refused(place, Error::Unreadable { folder })];
        Some(Ended { place, outcomes, failed: selecting.left_of(&digits) })
    };
    folders.into_iter().filter_map(left_out).collect()
}

/// Ends a selection that names too many images. Returns the job if that ended it.
async fn refuse(shared: &Shared, number: i64, item: u64, error: Error) -> Result<Option<i64>, Error> {
    let place = Place { item, part: 0 };
    let ended = Ended { place, outcomes: vec![shared.executor.refused(place, error)], failed: None };
    let written = ended.clone();
    let over = shared.database.write_durably(move |database| queue::refuse(database, number, &written)).await?;
    shared.counters.ended(&[ended]);
    Ok(over)
}
