//! Many images in one request. Entries are hashed as they arrive and committed while the next ones arrive, so that they
//! share group commits. Each gets a line of the response when it is durable. An entry that is refused stops no other.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::try_join;
use serde_json::{Map, Value};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Known;
use crate::http::app::App;
use crate::http::error::Error;
use crate::http::message::line_reader::NDJSON;
use crate::http::message::options::ms;
use crate::http::message::response_body::Response;
use crate::http::protocol::result_line::{self, Counts};
use crate::http::protocol::stream_writer::{Gone, StreamWriter};
use crate::http::routes::prerender::{Prerender, PrerenderJob};
use crate::store::{Receipt, Sealed, Uploads};

/// Bytes of the name of an entry in the response.
const NAME_BYTES_MAX: usize = 1_024;

/// A source of entries, one after the other.
pub(super) trait Entries: Send {
    /// Reads the head of the next entry, and skips the rest of the last one; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<UploadEntry>, Error>> + Send;
    /// Reads the next bytes of the entry; `None` at its end.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, Error>> + Send;
    /// Reads on and discards the bytes.
    fn drain(self, bytes_max: u64) -> impl Future<Output = ()> + Send;
}

/// The head of an entry.
pub(super) struct UploadEntry {
    name: String,
    /// The length of the entry, if it is declared.
    pub(super) bytes: Option<u64>,
    /// Why the entry is refused, whatever its bytes are.
    pub(super) refused: Option<Error>,
}

impl UploadEntry {
    /// Makes an entry of this name, cut to what a response shows.
    pub(super) fn new(name: &[u8]) -> UploadEntry {
        let mut name = String::from_utf8_lossy(&name[..name.len().min(NAME_BYTES_MAX)]).into_owned();
        name.truncate(name.floor_char_boundary(NAME_BYTES_MAX));
        UploadEntry { name, bytes: None, refused: None }
    }

    /// The name in the response.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// An entry that was read and is ready for its commit, or its error.
pub(super) type Taken = Result<Sealed, Error>;

/// Reads an entry to its end. An error of the entry alone is inside the result; an error of the request is outside.
pub(super) async fn take(uploads: &Uploads, entries: &mut impl Entries, entry: &UploadEntry) -> Result<Taken, Error> {
    let mut upload = match &entry.refused {
        Some(refused) => Err(refused.clone()),
        None => uploads.begin(entry.bytes).await.map_err(Error::from),
    };
    while let Some(chunk) = entries.chunk().await? {
        if let Ok(open) = &mut upload
            && let Err(error) = open.write(chunk).await
        {
            upload = Err(error.into());
        }
    }
    Ok(match upload {
        Ok(upload) => upload.seal(None).await.map_err(Error::from),
        Err(error) => Err(error),
    })
}

/// Stores `entries`, after a `first` that was read already, and answers with a line for each.
pub(super) fn answer(
    app: &Arc<App>,
    entries: impl Entries + 'static,
    first: Option<(UploadEntry, Taken)>,
    prerender: &Prerender,
) -> Response {
    let (shared, prerender) = (app.clone(), prerender.clone());
    app.stream(NDJSON, |answer| run(shared, entries, first, prerender, answer))
}

async fn run(
    app: Arc<App>,
    mut entries: impl Entries,
    first: Option<(UploadEntry, Taken)>,
    prerender: Prerender,
    mut answer: StreamWriter,
) {
    let (sender, outcomes) = channel(1);
    let mut job = prerender.job();
    let reading = async { Ok(read(&app, &mut entries, first, sender).await) };
    match try_join(reading, write(&app, outcomes, &mut job, &mut answer)).await {
        Ok((ended, counts)) => {
            let mut last = counts.last(ended);
            if let Some(path) = job.submit().await {
                last["job"] = path.into();
            }
            _ = answer.end(last.to_string().into()).await;
        }
        // A client that only sends must reach the end of its body before it reads the error.
        Err(Gone) => {
            let linger = entries.drain(app.options.linger_bytes_max);
            _ = tokio::time::timeout(ms(app.options.linger_ms), linger).await;
        }
    }
}

/// The result of an entry.
struct Outcome {
    index: u64,
    name: String,
    result: Result<(Receipt, Known), Error>,
}

async fn read(
    app: &Arc<App>,
    entries: &mut impl Entries,
    first: Option<(UploadEntry, Taken)>,
    sender: Sender<Outcome>,
) -> Result<(), Error> {
    let uploads = app.uploads.patient(ms(app.options.body_stall_ms));
    let window = CommitWindow::new(uploads.batch());
    let mut next = match first {
        Some(first) => Some(first),
        None => follow(&uploads, entries).await?,
    };
    let mut index = 0;
    while let Some((entry, taken)) = next {
        let outcome = |result| Outcome { index, name: entry.name, result };
        match taken {
            Ok(sealed) => {
                let place = window.place(sealed.len).await;
                tokio::spawn(commit(app.clone(), sealed, place, sender.clone(), outcome(Err(Error::Internal))));
            }
            // The writer ends only after the last entry.
            Err(error) => _ = sender.send(outcome(Err(error))).await,
        }
        index += 1;
        next = follow(&uploads, entries).await?;
    }
    Ok(())
}

async fn follow(uploads: &Uploads, entries: &mut impl Entries) -> Result<Option<(UploadEntry, Taken)>, Error> {
    let Some(entry) = entries.next().await? else { return Ok(None) };
    let taken = take(uploads, entries, &entry).await?;
    Ok(Some((entry, taken)))
}

/// Commits an entry on a task of its own, since the entries of a batch wait for each other. The task ends although the
/// client has left.
async fn commit(
    app: Arc<App>,
    sealed: Sealed,
    place: OwnedSemaphorePermit,
    sender: Sender<Outcome>,
    mut outcome: Outcome,
) {
    if let Ok(result) = AssertUnwindSafe(super::commit(&app, sealed)).catch_unwind().await {
        outcome.result = result;
    }
    // After the client has left there is no receiver.
    _ = sender.send(outcome).await;
    drop(place);
}

/// The bound on what one request commits at once: as many entries as two group commits take, so that one fills while
/// the other becomes durable, and as many bytes as one group commit takes.
struct CommitWindow {
    places: Arc<Semaphore>,
    places_max: usize,
    place_bytes: u64,
}

impl CommitWindow {
    fn new((uploads_max, bytes_max): (usize, u64)) -> CommitWindow {
        let places_max = 2 * uploads_max;
        let places = Arc::new(Semaphore::new(places_max));
        CommitWindow { places, places_max, place_bytes: (bytes_max / places_max as u64).max(1) }
    }

    async fn place(&self, bytes: u64) -> OwnedSemaphorePermit {
        let share = bytes.div_ceil(self.place_bytes).clamp(1, self.places_max as u64) as u32;
        Arc::clone(&self.places).acquire_many_owned(share).await.expect("this semaphore is never closed")
    }
}

async fn write(
    app: &App,
    mut outcomes: Receiver<Outcome>,
    job: &mut PrerenderJob<'_>,
    answer: &mut StreamWriter,
) -> Result<Counts, Gone> {
    let mut counts = Counts::default();
    while let Some(outcome) = outcomes.recv().await {
        counts.add(outcome.result.is_ok());
        match &outcome.result {
            Ok((receipt, (codec, _))) => job.add(&receipt.digest, Some(codec)).await,
            Err(_) => app.metrics.refused(),
        }
        answer.line(outcome.line().to_string().into()).await?;
    }
    Ok(counts)
}

impl Outcome {
    fn line(self) -> Value {
        let mut line = match self.result {
            Ok((receipt, known)) => {
                let mut line = super::describe(&receipt, Some(known));
                line["status"] = super::status(&receipt).as_u16().into();
                line
            }
            Err(error) => result_line::failed(Map::new(), &error).into(),
        };
        line["index"] = self.index.into();
        line["name"] = self.name.into();
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_answered_up_to_their_bound() {
        let check = |name: &[u8], expected: &str| assert_eq!(UploadEntry::new(name).name, expected);
        check(b"", "");
        check(b"../a", "../a");
        check(b"\xff", "\u{fffd}");
        check(&[b'x'; NAME_BYTES_MAX], &"x".repeat(NAME_BYTES_MAX));
        check(&[b'x'; NAME_BYTES_MAX + 1], &"x".repeat(NAME_BYTES_MAX));
        assert!(UploadEntry::new(&[0xff; 9_999]).name.len() <= NAME_BYTES_MAX);
    }

    #[tokio::test]
    async fn one_request_has_two_batches_under_way() {
        let window = CommitWindow::new((2, 400));
        let places = [window.place(0).await, window.place(100).await, window.place(101).await];
        assert!(window.place(1).now_or_never().is_none(), "four places are taken");
        drop(places);
        let all = window.place(10_000).await;
        assert!(window.place(1).now_or_never().is_none(), "one that is larger than all of them is alone");
        drop(all);
        assert!(window.place(1).now_or_never().is_some());
    }
}
