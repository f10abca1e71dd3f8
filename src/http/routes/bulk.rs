//! `POST /bulk`: items in, results out, both at once. What an item is, and how it runs, is in [`crate::items`].
//!
//! ```text
//! bulk::request_items: NDJSON, JSON or a form -> a window of items that run -> bulk::results: NDJSON or tar
//! ```
//!
//! There is no bound on the number of items. Memory holds a window of items, and the request is not read further while
//! the window is full. An item leaves the window when the client has taken its results. Until then its results wait in
//! a [`ResultBuffer`], where they delay no other request. When the client leaves, running items end.

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
use item_reader::{ItemLabel, RequestItem};
use request_items::{Pending, RequestItems};
use result_buffer::{Buffered, ResultBuffer};
use results::{Media, Results};

/// Where an output may go; the first is the default.
const PLACES: &[To] = &[To::Response, To::Blob, To::Rendition];

/// `POST /bulk`
pub(in crate::http) fn bulk(call: Call) -> Reply {
    Reply::later(async move {
        response_options::no_parameters(&call.parts)?;
        let Call { app, parts, body, .. } = call;
        let max = app.options.bulk_requests_max as u64;
        let place = app.bulks.clone().try_acquire_owned().map_err(|_| Error::BulksBusy { max })?;
        let (media, rights) = (Media::of(&parts.headers), Rights::of(&app.access, &parts));
        let items = RequestItems::of(&app, &parts.headers, body, rights).await?;
        let work = |answer| {
            let results = Results::new(app.clone(), answer, media);
            run(app.clone(), items, results, place)
        };
        Ok(app.stream(media.name(), work))
    })
}

/// The results of an item, and its permit in the window until they are written.
struct Ran {
    label: ItemLabel,
    /// One result for each output, or the reason why there is no item.
    results: Result<Vec<Result<Done<Buffered>, Error>>, Error>,
    _place: OwnedSemaphorePermit,
}

/// Runs the items of a request.
struct ItemRunner {
    app: Arc<App>,
    buffer: Arc<ResultBuffer>,
    pending: Arc<Pending>,
    sender: Sender<Ran>,
}

async fn run(app: Arc<App>, items: RequestItems, mut results: Results, _place: OwnedSemaphorePermit) {
    let pending = items.pending();
    // A stream keeps an item that was begun when the client takes no more.
    let mut entries = std::pin::pin!(items.stream());
    let (sender, ran) = channel(1);
    let buffer = Arc::new(ResultBuffer::of(&app));
    let runner = ItemRunner { app: app.clone(), buffer, pending: pending.clone(), sender };
    // Reading and writing both go on while the other waits for the client. What arrives has time limits of its own.
    let reading = async { Ok(read(runner, entries.as_mut()).await) };
    let written = match try_join(reading, write(ran, &pending, &mut results)).await {
        Ok((ended, ())) => results.end(ended).await,
        Err(Gone) => Err(Gone),
    };
    if written == Err(Gone) {
        // A client that only sends must reach the end of its body before it reads the error.
        let rest = async { while let Some(Ok(_)) = entries.next().await {} };
        _ = tokio::time::timeout(ms(app.options.linger_ms), rest).await;
    }
}

/// Runs items as they come, until all have ended.
async fn read(
    runner: ItemRunner,
    entries: Pin<&mut impl Stream<Item = Result<RequestItem, Error>>>,
) -> Result<(), Error> {
    let mut running = JoinSet::new();
    let ended = start(&runner, entries, &mut running).await;
    while running.join_next().await.is_some() {}
    ended
}

/// Starts each item once the window has room. The items end when `running` is dropped.
async fn start(
    ItemRunner { app, buffer, pending, sender }: &ItemRunner,
    mut entries: Pin<&mut impl Stream<Item = Result<RequestItem, Error>>>,
    running: &mut JoinSet<()>,
) -> Result<(), Error> {
    let places = Arc::new(Semaphore::new(app.options.bulk_items_max));
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.expect("this semaphore is never closed");
            buffer.has_room().await;
            (place, entries.next().await)
        };
        let (place, entry) = tokio::select! {
            biased;
            () = app.drains() => return Err(Error::Draining),
            next = next => next,
        };
        let Some(RequestItem { label, item }) = entry.transpose()? else { return Ok(()) };
        pending.began();
        let (app, buffer, sender) = (app.clone(), buffer.clone(), sender.clone());
        let ran = |results| Ran { label, results, _place: place };
        // The writer ends only after the last item.
        match item {
            Ok(item) => {
                _ = running.spawn(async move {
                    let wait = |rendition: Rendition| buffer.put(rendition.bytes).boxed();
                    _ = sender.send(ran(Ok(app.items.run(item, &wait).await))).await;
                });
            }
            Err(error) => _ = sender.send(ran(Err(error))).await,
        }
        while running.try_join_next().is_some() {}
    }
}

/// Writes the results of the items, until there are no more.
async fn write(mut items: Receiver<Ran>, pending: &Pending, results: &mut Results) -> Result<(), Gone> {
    while let Some(ran) = items.recv().await {
        results.ran(&ran.label, ran.results).await?;
        pending.written();
    }
    Ok(())
}

#[cfg(test)]
mod tests;
