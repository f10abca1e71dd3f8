//! [`Intake`]: the items of a request, one after the other, from lines, an array or a form.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::Stream;
use futures_util::stream::try_unfold;
use hyper::header::HeaderMap;

use super::form::FormItems;
use super::item_reader::{Entry, Reader, too_long};
use crate::http::app::App;
use crate::http::error::Error;
use crate::http::message::body::{RequestBody, content_type};
use crate::http::message::json_array::Array;
use crate::http::message::line_reader::{Line, LineReader, is_lines};
use crate::http::protocol::rights::Rights;
use crate::store;

const MEDIA_TYPES: &str = "application/x-ndjson, application/json or multipart/form-data";

/// The items of one request.
pub(super) struct Intake {
    reader: Reader,
    given: Given,
    owed: Arc<Owed>,
}

/// What the server owes the client. While it does, a pause is not the client's: it may wait for results before it says more.
#[derive(Default)]
pub(super) struct Owed {
    /// Items that have begun, and whose results are not written.
    items: AtomicUsize,
    /// Results were written, which take a slow client a while.
    results: AtomicBool,
}

impl Owed {
    pub(super) fn began(&self) {
        self.items.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn written(&self) {
        self.results.store(true, Ordering::Relaxed);
        self.items.fetch_sub(1, Ordering::Relaxed);
    }

    fn excuses_a_pause(&self) -> bool {
        self.items.load(Ordering::Relaxed) > 0 || self.results.swap(false, Ordering::Relaxed)
    }
}

enum Given {
    /// The first line, which is read before the answer begins, and the others.
    Lines(Option<Line>, Box<LineReader>),
    Array(Array),
    Form(Box<FormItems>),
}

impl Intake {
    /// By `Content-Type`. The first line, and what is read whole (an array, the items of a form), is read before this returns.
    pub(super) async fn of(
        app: &Arc<App>,
        headers: &HeaderMap,
        body: RequestBody,
        rights: Rights,
    ) -> Result<Intake, Error> {
        let (content_type, media_type) = content_type(headers);
        let given = match media_type.as_str() {
            lines if is_lines(lines) => {
                let reader = body.stream(&app.options);
                let mut lines = Box::new(LineReader::new(reader, app.options.line_bytes_max, &app.uploads));
                // A client that waits for `100 Continue` would take the answer for a refusal.
                Given::Lines(lines.next().await?, lines)
            }
            "application/json" => Given::Array(Array::read(&app.batch_budget, body, &app.options).await?),
            "multipart/form-data" => Given::Form(Box::new(FormItems::begin(app, content_type, body).await?)),
            _ => return Err(Error::MediaType { allowed: MEDIA_TYPES }),
        };
        Ok(Intake { reader: Reader { app: app.clone(), rights, count: 0 }, given, owed: Arc::default() })
    }

    /// To be told of what is owed.
    pub(super) fn owed(&self) -> Arc<Owed> {
        self.owed.clone()
    }

    /// One entry after the other; after an error there is none.
    pub(super) fn entries(self) -> impl Stream<Item = Result<Entry, Error>> {
        try_unfold(self, |mut intake| async { Ok(intake.next().await?.map(|entry| (entry, intake))) })
    }

    async fn next(&mut self) -> Result<Option<Entry>, Error> {
        let reader = &mut self.reader;
        match &mut self.given {
            Given::Form(form) => form.next(reader).await,
            Given::Array(array) => match array.next() {
                Some(text) => Ok(Some(reader.entry(text).await)),
                None => Ok(None),
            },
            Given::Lines(first, lines) => Ok(match line(first, lines, &self.owed).await? {
                Some(Line::Text(text)) => Some(reader.entry(text).await),
                Some(Line::TooLong { bytes_max }) => Some(reader.refused(too_long(bytes_max))),
                Some(Line::NoRoom) => Some(reader.refused(store::Error::Busy.into())),
                None => None,
            }),
        }
    }
}

/// The next line, however long the client waits for what it is owed.
async fn line(first: &mut Option<Line>, lines: &mut LineReader, owed: &Owed) -> Result<Option<Line>, Error> {
    if let Some(first) = first.take() {
        return Ok(Some(first));
    }
    loop {
        match lines.next().await {
            Err(Error::BodyTimeout) if owed.excuses_a_pause() => {}
            read => return read,
        }
    }
}
