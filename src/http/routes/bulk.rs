//! `POST /bulk`: items in, results out, each while the other is under way. What an item is, and how it runs, is in [`crate::items`].
//!
//! ```text
//! bulk::request_items: NDJSON, JSON or a form -> a window of items that run -> bulk::results: NDJSON or tar
//! ```
//!
//! There is no bound on the number of items: memory holds the window, and the request is read no further while that is full: what
//! ran has its place in it until the client has taken it. Meanwhile its results wait in a [`Backlog`], where they
//! hold up no other request. A client that leaves ends what is under way.

mod form;
mod item_reader;
mod request_items;
mod result_buffer;
mod results;

use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::try_join;
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::http::app::App;
use crate::http::call::{Call, Reply};
use crate::http::error::Error;
use crate::http::message::options::ms;
use crate::http::protocol::response_options;
use crate::http::protocol::rights::Rights;
use crate::http::protocol::stream_writer::Gone;
use crate::items::{Done, To};
use crate::renditions::Rendition;
use item_reader::{Entry, Whose};
use request_items::{Intake, Owed};
use result_buffer::{Backlog, Waiting};
use results::{Media, Results};

/// Where an output may go; the first is meant where it says nothing.
const PLACES: &[To] = &[To::Response, To::Blob, To::Rendition];

/// `POST /bulk`
pub(in crate::http) fn bulk(call: Call) -> Reply {
    Reply::later(async move {
        response_options::no_parameters(&call.parts)?;
        let Call { app, parts, body, .. } = call;
        let max = app.options.bulk_requests_max as u64;
        let place = app.bulks.clone().try_acquire_owned().map_err(|_| Error::Bulks { max })?;
        let (media, rights) = (Media::of(&parts.headers), Rights::of(&app.access, &parts));
        let intake = Intake::of(&app, &parts.headers, body, rights).await?;
        let work = |answer| {
            let results = Results::new(app.clone(), answer, media);
            run(app.clone(), intake, results, place)
        };
        Ok(app.stream(media.name(), work))
    })
}

/// What became of an item, and the place in the window that it takes until that is written.
struct Ran {
    whose: Whose,
    /// One for each output, or why it is no item.
    results: Result<Vec<Result<Done<Waiting>, Error>>, Error>,
    _place: OwnedSemaphorePermit,
}

/// Where items of a request run.
struct Window {
    app: Arc<App>,
    backlog: Arc<Backlog>,
    owed: Arc<Owed>,
    tell: Sender<Ran>,
}

async fn run(app: Arc<App>, intake: Intake, mut results: Results, _place: OwnedSemaphorePermit) {
    let owed = intake.owed();
    // As a stream, what was begun of an entry is not lost when the client takes no more.
    let mut entries = std::pin::pin!(intake.entries());
    let (tell, ran) = channel(1);
    let backlog = Arc::new(Backlog::of(&app));
    let window = Window { app: app.clone(), backlog, owed: owed.clone(), tell };
    // Each goes on while the other waits for the client: what arrives is held within times of its own.
    let reading = async { Ok(read(window, entries.as_mut()).await) };
    let written = match try_join(reading, write(ran, &owed, &mut results)).await {
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
        let ran = |results| Ran { whose, results, _place: place };
        // The writer ends only with everything.
        match item {
            Ok(item) => {
                _ = running.spawn(async move {
                    let wait = |rendition: Rendition| backlog.wait(rendition.bytes).boxed();
                    _ = tell.send(ran(Ok(app.items.run(item, &wait).await))).await;
                });
            }
            Err(error) => _ = tell.send(ran(Err(error))).await,
        }
        while running.try_join_next().is_some() {}
    }
}

/// Writes what became of the items, until there are no more.
async fn write(mut items: Receiver<Ran>, owed: &Owed, results: &mut Results) -> Result<(), Gone> {
    while let Some(ran) = items.recv().await {
        results.ran(&ran.whose, ran.results).await?;
        owed.written();
    }
    Ok(())
}

#[cfg(test)]
mod tests;
