//! Runs one chunk, or takes the next images of a selection: where items meet [`super::Work`]. What is to be run is decided in
//! [`super::scheduler`].

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use rusqlite::Transaction;
use tokio::task::JoinSet;

use super::ledger::now_ms;
use super::queue::{self, Chunk, Ended, Item, Rest};
use super::scheduler::{ERROR_WAIT, STARTS_TRUSTED, Shared};
use super::selection::Selection;
use super::{Error, Outcome, Place, Verdict, backoff_ms};

/// How long results wait to be written together; what a process that dies has to do again.
const RECORD_EVERY: Duration = Duration::from_millis(500);
/// How often an item may end the process, running alone, before it is given up.
const STARTS_ALONE: u32 = 2;

/// Runs a chunk to its end, or until its job has ended. `left` is how many items of it have not.
pub async fn run(shared: &Arc<Shared>, chunk: Chunk, left: &AtomicU64, alone: bool) {
    let run = Run { shared, left, ended: Vec::new(), rest: Rest::default(), partial: false, chunk };
    if let Err(error) = run.all(alone).await {
        // What was not written down is run again; an ended job wants nothing more.
        tracing::debug!(%error, "a chunk was left");
    }
}

struct Run<'a> {
    shared: &'a Arc<Shared>,
    left: &'a AtomicU64,
    chunk: Chunk,
    /// Not yet written down.
    ended: Vec<Ended>,
    rest: Rest,
    /// Only some of the chunk is run: the others are left for another time.
    partial: bool,
}

impl Run<'_> {
    async fn all(mut self, alone: bool) -> Result<(), Error> {
        let mut items = self.items(alone);
        let at_once = if alone { 1 } else { self.shared.options.items_at_once };
        let mut running = JoinSet::new();
        let mut record = tokio::time::interval(RECORD_EVERY);
        loop {
            while running.len() < at_once
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
            if alone {
                self.record().await?;
                self.put_off().await?;
            }
        }
    }

    /// What is to be run: no selections, and not an item that ends the process each time.
    fn items(&mut self, alone: bool) -> VecDeque<Item> {
        let mut items = VecDeque::with_capacity(self.chunk.items.len());
        let may_select = self.shared.work.may_select(self.chunk.rights);
        for item in std::mem::take(&mut self.chunk.items) {
            // The image that a selection names is an item like any other, whatever its line says.
            match Selection::of(&item.line).filter(|_| may_select && item.place.part == 0) {
                Some(selection) => self.rest.selections.push((item, selection)),
                None => items.push_back(item),
            }
        }
        if !alone {
            return items;
        }
        // Those that may have run when the process ended; nothing else runs meanwhile, so the others wait for a better time.
        self.partial = items.len() > self.shared.options.items_at_once;
        items.truncate(self.shared.options.items_at_once);
        // Alone and one by one, the first that is left is the one that ran.
        if self.chunk.starts > STARTS_TRUSTED + STARTS_ALONE
            && let Some(item) = items.pop_front()
        {
            tracing::error!(job = self.chunk.job, item = item.place.item, "an item ended the process: it is given up");
            self.end(item.clone(), vec![self.shared.work.lost(item.place)]);
        }
        items
    }

    fn end(&mut self, item: Item, outcomes: Vec<Outcome>) {
        let may_pass = outcomes.iter().any(|outcome| outcome.verdict == Verdict::Retry);
        if may_pass {
            self.shared.suspects_store.store(true, Ordering::Relaxed);
        }
        if may_pass && self.chunk.attempts + 1 < self.shared.options.attempts_max {
            self.rest.again.push(item);
        } else {
            self.left.fetch_sub(1, Ordering::Relaxed);
            self.ended.push(Ended { place: item.place, outcomes });
        }
    }

    async fn record(&mut self) -> Result<(), Error> {
        let (chunk, job, ended) = (self.chunk.number, self.chunk.job, Arc::new(std::mem::take(&mut self.ended)));
        let written = ended.clone();
        persist(self.shared, move |ledger| queue::record(ledger, chunk, job, &written)).await?;
        self.shared.figures.ended(&ended);
        Ok(())
    }

    /// Has what is tried again leave the chunk at once.
    async fn put_off(&mut self) -> Result<(), Error> {
        if self.rest.again.is_empty() {
            return Ok(());
        }
        let again = std::mem::take(&mut self.rest.again);
        let (moved, run_at_ms) = (again.len(), self.again_ms());
        let rest = Arc::new(Rest { again, run_at_ms, selections: Vec::new() });
        let (number, job, attempts) = (self.chunk.number, self.chunk.job, self.chunk.attempts);
        persist(self.shared, move |ledger| queue::put_off(ledger, number, job, attempts, &rest)).await?;
        self.shared.figures.retried(moved);
        self.left.fetch_sub(moved as u64, Ordering::Relaxed);
        Ok(())
    }

    /// When what is tried again is run.
    fn again_ms(&self) -> i64 {
        now_ms() + backoff_ms(self.shared.options.retry_ms, self.chunk.attempts, self.chunk.number)
    }

    async fn finish(mut self) -> Result<(), Error> {
        if self.partial {
            self.record().await?;
            let chunk = self.chunk.number;
            return persist(self.shared, move |ledger| queue::trust(ledger, chunk)).await;
        }
        self.rest.run_at_ms = self.again_ms();
        let (chunk, ended, rest) = (Arc::new(self.chunk), Arc::new(self.ended), Arc::new(self.rest));
        let (written, left) = (ended.clone(), rest.clone());
        let finish = move |ledger: &Transaction| queue::finish(ledger, &chunk, &written, &left);
        let over = persist(self.shared, finish).await?;
        self.shared.figures.ended(&ended);
        self.shared.figures.retried(rest.again.len());
        over.into_iter().for_each(|job| self.shared.ended(job));
        Ok(())
    }
}

/// Writes to the ledger, again and again while it cannot: a full device may have room later, and the results are known only here.
/// Durably, since what is told must be true for ever: numbers that a power cut took back would be given to other results, and whoever
/// goes on behind those that were told would miss them.
async fn persist<T: Send + 'static>(
    shared: &Shared,
    write: impl Fn(&Transaction) -> Result<T, Error> + Clone + Send + 'static,
) -> Result<T, Error> {
    loop {
        match shared.ledger.write_durably(write.clone()).await {
            Err(Error::Ledger(error)) => {
                tracing::error!(error, "the ledger of jobs takes no results");
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
    let _place = shared.places.acquire().await;
    let run = AssertUnwindSafe(shared.work.run(rights, item.place, item.line.clone())).catch_unwind();
    let outcomes = run.await.unwrap_or_else(|_| {
        tracing::error!(item = item.place.item, "an item panicked: this is our bug");
        vec![shared.work.lost(item.place)]
    });
    (item, outcomes)
}

/// Makes the next images of a selection into a chunk.
pub async fn select(shared: &Shared, number: i64) {
    match select_page(shared, number).await {
        Ok(over) => {
            shared.changed();
            over.into_iter().for_each(|job| shared.ended(job));
        }
        // Ended meanwhile.
        Err(Error::NotFound | Error::Ended) => {}
        Err(error) => {
            tracing::warn!(%error, "a selection waits");
            tokio::time::sleep(ERROR_WAIT).await;
        }
    }
}

/// The job, if that ended it.
async fn select_page(shared: &Shared, number: i64) -> Result<Option<i64>, Error> {
    let selecting = shared.ledger.read(move |ledger| queue::selecting(ledger, number)).await?;
    let page = selecting.page();
    let listed = if page == 0 { Vec::new() } else { shared.store.list(selecting.after, page).await? };
    let images: Vec<_> = listed.into_iter().map(|(id, _)| id).collect();
    let last = images.len() < page || selecting.left == Some(images.len() as u64);
    let (items, upto) = (selecting.items(&images), images.last().copied());
    let options = shared.options.clone();
    let write = move |ledger: &Transaction| queue::select(ledger, number, &items, upto, last, &options);
    let written = match last {
        true => shared.ledger.write_durably(write).await,
        false => shared.ledger.write(write).await,
    };
    match written {
        Err(error @ (Error::TooManyItems { .. } | Error::Full { .. })) => {
            let place = Place { item: selecting.item, part: 0 };
            let ended = Ended { place, outcomes: vec![shared.work.refused(place, error)] };
            let written = ended.clone();
            let over = shared.ledger.write_durably(move |ledger| queue::refuse(ledger, number, &written)).await?;
            shared.figures.ended(&[ended]);
            Ok(over)
        }
        answer => answer,
    }
}
