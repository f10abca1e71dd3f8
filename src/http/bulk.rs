//! `POST /bulk`: items in, results out, each while the other is under way. What an item is, and how it runs, is in [`crate::items`].
//!
//! ```text
//! bulk::intake: NDJSON, JSON or a form -> a window of items that run -> bulk::results: NDJSON or tar
//! ```
//!
//! There is no bound on the number of items: memory holds the window, and the request is read no further while that is full: what
//! ran has its place in it until the client has taken it. Meanwhile its results wait in a [`Backlog`], where they are in nobody's
//! way. A client that leaves ends what is under way.

mod backlog;
mod form;
mod intake;
mod results;
#[cfg(test)]
mod tests;

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::try_join;
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::delivery;
use super::error::Error;
use super::options::ms;
use super::permits::Permits;
use super::stream::{self, Gone};
use super::{App, Call, Reply};
use crate::items::{self, Done, Item, To};
use crate::pipeline::codec::Codec;
use crate::renditions;
use crate::store::Receipt;
use backlog::{Backlog, Waiting};
use intake::{Entry, Intake, Owed, Whose};
use results::{Media, Results};

/// Where an output may go; the first is meant where it says nothing.
const PLACES: &[To] = &[To::Response, To::Blob, To::Rendition];

/// `POST /bulk`
pub(super) fn bulk(call: Call) -> Reply {
    Reply::later(async move {
        delivery::no_parameters(&call.parts)?;
        let Call { app, parts, body, .. } = call;
        let max = app.options.bulk_requests_max as u64;
        let place = app.bulks.clone().try_acquire_owned().map_err(|_| Error::Bulks { max })?;
        let (media, permits) = (Media::of(&parts.headers), Permits::of(&app.access, &parts));
        let intake = Intake::of(&app, &parts.headers, body, permits).await?;
        let work = |answer| {
            let results = Results::new(app.clone(), answer, media);
            run(app.clone(), intake, results, place)
        };
        Ok(stream::spawn(&app, media.name(), work))
    })
}

/// What there is to write, and the place in the window that it takes until it is written.
struct Outcome {
    what: What,
    _place: OwnedSemaphorePermit,
}

enum What {
    Ran(Ran),
    Refused(Whose, Error),
}

/// An item that has run.
struct Ran {
    index: u64,
    key: Option<String>,
    outcomes: Vec<Result<Made, Error>>,
}

/// What an output came to.
enum Made {
    /// Bytes for the client.
    Response(&'static Codec, Waiting),
    Blob(Receipt),
    Rendition {
        url: String,
    },
}

/// Where items of a request run.
struct Window {
    app: Arc<App>,
    backlog: Arc<Backlog>,
    owed: Arc<Owed>,
    tell: Sender<Outcome>,
}

async fn run(app: Arc<App>, intake: Intake, mut results: Results, _place: OwnedSemaphorePermit) {
    let owed = intake.owed();
    // As a stream, what was begun of an entry is not lost when the client takes no more.
    let mut entries = std::pin::pin!(intake.entries());
    let (tell, outcomes) = channel(1);
    let backlog = Arc::new(Backlog::of(&app));
    let window = Window { app: app.clone(), backlog, owed: owed.clone(), tell };
    // Each goes on while the other waits for the client: what arrives is held within times of its own.
    let reading = async { Ok(read(window, entries.as_mut()).await) };
    let written = match try_join(reading, write(outcomes, &owed, &mut results)).await {
        Ok((ended, ())) => results.end(ended).await,
        Err(Gone) => Err(Gone),
    };
    if written == Err(Gone) {
        // A client that only sends must come to its end before it reads why it was not heard.
        let rest = async { while let Some(Ok(_)) = entries.next().await {} };
        _ = tokio::time::timeout(ms(app.options.linger_ms), rest).await;
    }
}

/// Lets items run as they come. Ready when all have.
async fn read(window: Window, entries: Pin<&mut impl Stream<Item = Result<Entry, Error>>>) -> Result<(), Error> {
    let mut running = JoinSet::new();
    let ended = start(&window, entries, &mut running).await;
    while running.join_next().await.is_some() {}
    ended
}

/// Starts each item once there is a place for it. They end with `running`.
async fn start(
    Window { app, backlog, owed, tell }: &Window,
    mut entries: Pin<&mut impl Stream<Item = Result<Entry, Error>>>,
    running: &mut JoinSet<()>,
) -> Result<(), Error> {
    let places = Arc::new(Semaphore::new(app.options.bulk_items_max));
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.expect("this semaphore is never closed");
            backlog.has_room().await;
            (place, entries.next().await)
        };
        let (place, entry) = tokio::select! {
            biased;
            () = app.drains() => return Err(Error::Draining),
            next = next => next,
        };
        let Some(Entry { whose, item }) = entry.transpose()? else { return Ok(()) };
        owed.began();
        let (app, backlog, tell) = (app.clone(), backlog.clone(), tell.clone());
        let outcome = |what| Outcome { what, _place: place };
        match item {
            // The writer ends only with everything.
            Ok(item) => {
                _ = running.spawn(async move { _ = tell.send(outcome(one(app, &backlog, whose, item).await)).await });
            }
            Err(error) => _ = tell.send(outcome(What::Refused(whose, error))).await,
        }
        while running.try_join_next().is_some() {}
    }
}

/// Writes what became of the items, until there are no more.
async fn write(mut outcomes: Receiver<Outcome>, owed: &Owed, results: &mut Results) -> Result<(), Gone> {
    while let Some(outcome) = outcomes.recv().await {
        match outcome.what {
            What::Ran(ran) => results.ran(ran).await?,
            What::Refused(whose, error) => results.refused(whose, &error).await?,
        }
        owed.written();
    }
    Ok(())
}

/// Runs one item, so that it has an outcome whatever happens.
async fn one(app: Arc<App>, backlog: &Backlog, whose: Whose, item: Item) -> What {
    let outputs = item.outputs.len();
    let run = async {
        let mut outcomes = Vec::with_capacity(outputs);
        for outcome in app.items.run(item).await {
            outcomes.push(made(outcome, backlog).await);
        }
        outcomes
    };
    let outcomes = AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!("a bulk item panicked: this is our bug");
        (0..outputs).map(|_| Err(renditions::Error::Panicked.into())).collect()
    });
    What::Ran(Ran { index: whose.index, key: whose.key, outcomes })
}

/// What is left of an output until it is written.
async fn made(outcome: Result<Done, items::Error>, backlog: &Backlog) -> Result<Made, Error> {
    Ok(match outcome? {
        Done::Response(rendition) => Made::Response(rendition.codec, backlog.wait(rendition.bytes).await?),
        Done::Blob(receipt) => Made::Blob(receipt),
        Done::Rendition { url } => Made::Rendition { url },
    })
}
