//! `POST /bulk`: items in, results out, each while the other is under way. What an item is, and how it runs, is in [`crate::items`].
//!
//! ```text
//! bulk::intake: NDJSON, JSON or a form -> a window of items that run -> bulk::results: NDJSON or tar
//! ```
//!
//! There is no bound on the number of items: memory holds the window, and the request is read no further while that is full or
//! while bytes wait for the client. A client that leaves ends what is under way.

mod form;
mod intake;
mod results;

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{FutureExt, Stream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use super::error::Error;
use super::options::ms;
use super::permits::Permits;
use super::stream::{self, Gone};
use super::{App, Call, Reply, query};
use crate::items::{self, Done, INLINE_BYTES_MAX, Item, To};
use crate::renditions;
use intake::{Entry, Intake, Owed};
use results::{Media, Results};

/// Where an output may go; the first is meant where it says nothing.
const PLACES: &[To] = &[To::Response, To::Blob, To::Rendition];

/// `POST /bulk`
pub(super) fn bulk(call: Call) -> Reply {
    Reply::later(async move {
        if let Some((parameter, _)) = query::pairs(call.parts.uri.query())?.into_iter().next() {
            let allowed = "none: what is to be done stands in the items".to_owned();
            return Err(Error::Parameter { parameter, allowed });
        }
        let Call { app, parts, body, .. } = call;
        let place = app.bulks.clone().try_acquire_owned().map_err(|_| Error::Busy { retry_after_s: 1 })?;
        let (media, permits) = (Media::of(&parts.headers), Permits::of(&app.access, &parts));
        let intake = Intake::of(&app, &parts.headers, body, permits).await?;
        let work = |answer| {
            let results = Results::new(app.clone(), answer, media);
            run(app.clone(), intake, results, place)
        };
        Ok(stream::spawn(&app, media.name(), work))
    })
}

/// An item that has run.
struct Ran {
    index: u64,
    key: Option<String>,
    outcomes: Vec<Result<Done, items::Error>>,
}

async fn run(app: Arc<App>, intake: Intake, results: Results, _place: OwnedSemaphorePermit) {
    let owed = intake.owed();
    // As a stream, what was begun of an entry is not lost when a result comes first.
    let mut entries = std::pin::pin!(intake.entries());
    if work(&app, entries.as_mut(), &owed, results).await == Err(Gone) {
        // A client that only sends must come to its end before it reads why it was not heard.
        let rest = async { while let Some(Ok(_)) = entries.next().await {} };
        _ = tokio::time::timeout(ms(app.options.linger_ms), rest).await;
    }
}

/// Lets items run as they come, and writes what became of them.
async fn work(
    app: &Arc<App>,
    mut entries: Pin<&mut impl Stream<Item = Result<Entry, Error>>>,
    owed: &Owed,
    mut results: Results,
) -> Result<(), Gone> {
    let mut running = JoinSet::new();
    let (mut open, mut ended) = (true, Ok(()));
    while open || !running.is_empty() {
        if open && app.draining() {
            (open, ended) = (false, Err(Error::Draining));
            continue;
        }
        owed.items(running.len());
        let room = open && running.len() < app.options.bulk_items_max;
        tokio::select! {
            Some(ran) = running.join_next() => {
                // It fails only with the runtime, which is on its way out.
                results.ran(ran.map_err(|_| Gone)?).await?;
                owed.results();
            }
            entry = entries.next(), if room => match entry {
                Some(Ok(Entry { whose, item: Ok(item) })) => {
                    running.spawn(one(app.clone(), whose.index, whose.key, item));
                }
                Some(Ok(Entry { whose, item: Err(error) })) => {
                    results.refused(whose, &error).await?;
                    owed.results();
                }
                Some(Err(error)) => (open, ended) = (false, Err(error)),
                None => open = false,
            },
        }
    }
    results.end(ended).await
}

/// Runs one item, so that it has an outcome whatever happens.
async fn one(app: Arc<App>, index: u64, key: Option<String>, item: Item) -> Ran {
    let outputs = item.outputs.len();
    let ran = AssertUnwindSafe(app.items.run(item)).catch_unwind().await;
    let outcomes = ran.unwrap_or_else(|_| {
        tracing::error!("a bulk item panicked: this is our bug");
        vec![Err(renditions::Error::Panicked.into()); outputs]
    });
    Ran { index, key, outcomes }
}

/// What `work` over so many bytes comes to: off the runtime's threads, where it takes a while.
async fn aside<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    if bytes <= INLINE_BYTES_MAX {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Panicked)
}
