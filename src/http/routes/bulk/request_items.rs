//! [`RequestItems`]: the items of a request in turn, from lines, an array or a form.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::Stream;
use futures_util::stream::try_unfold;
use hyper::header::HeaderMap;

use super::form::FormItems;
use super::item_reader::{ItemReader, RequestItem, too_long};
use crate::http::app::App;
use crate::http::error::Error;
use crate::http::message::body::{RequestBody, content_type};
use crate::http::message::json_array::Array;
use crate::http::message::line_reader::{Line, LineReader, is_lines};
use crate::http::protocol::rights::Rights;
use crate::store;

const MEDIA_TYPES: &str = "application/x-ndjson, application/json or multipart/form-data";

/// The items of one request.
pub(super) struct RequestItems {
    reader: ItemReader,
    body: ItemsBody,
    pending: Arc<Pending>,
}

/// Results that the server owes the client. While there are any, a pause is not the client's fault: it may wait for
/// results before it sends more.
#[derive(Default)]
pub(super) struct Pending {
    /// Items that have begun and whose results are not written.
    items: AtomicUsize,
    /// Whether results were written, which take a slow client some time.
    results: AtomicBool,
}

impl Pending {
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

enum ItemsBody {
    /// The first line, which is read before the response begins, and the other lines.
    Lines(Option<Line>, Box<LineReader>),
    Array(Array),
    Form(Box<FormItems>),
}

impl RequestItems {
    /// Reads a body by its `Content-Type`. The first line is read before this returns, and so is an array, or the part
    /// `items` of a form.
    pub(super) async fn of(
        app: &Arc<App>,
        headers: &HeaderMap,
        body: RequestBody,
        rights: Rights,
    ) -> Result<RequestItems, Error> {
        let (content_type, media_type) = content_type(headers);
        let body = match media_type.as_str() {
            lines if is_lines(lines) => {
                let reader = body.stream(&app.options);
                let mut lines = Box::new(LineReader::new(reader, app.options.line_bytes_max, &app.uploads));
                // A client that waits for `100 Continue` would take an early response for a refusal.
                ItemsBody::Lines(lines.next().await?, lines)
            }
            "application/json" => ItemsBody::Array(Array::read(&app.batch_budget, body, &app.options).await?),
            "multipart/form-data" => ItemsBody::Form(Box::new(FormItems::begin(app, content_type, body).await?)),
            _ => return Err(Error::MediaType { allowed: MEDIA_TYPES }),
        };
        Ok(RequestItems { reader: ItemReader { app: app.clone(), rights, count: 0 }, body, pending: Arc::default() })
    }

    /// The counter of results that are owed to the client.
    pub(super) fn pending(&self) -> Arc<Pending> {
        self.pending.clone()
    }

    /// The items in turn; an error is the last element.
    pub(super) fn stream(self) -> impl Stream<Item = Result<RequestItem, Error>> {
        try_unfold(self, |mut items| async { Ok(items.next().await?.map(|entry| (entry, items))) })
    }

    async fn next(&mut self) -> Result<Option<RequestItem>, Error> {
        let reader = &mut self.reader;
        match &mut self.body {
            ItemsBody::Form(form) => form.next(reader).await,
            ItemsBody::Array(array) => match array.next() {
                Some(text) => Ok(Some(reader.entry(text).await)),
                None => Ok(None),
            },
            ItemsBody::Lines(first, lines) => Ok(match line(first, lines, &self.pending).await? {
                Some(Line::Text(text)) => Some(reader.entry(text).await),
                Some(Line::TooLong { bytes_max }) => Some(reader.refused(too_long(bytes_max))),
                Some(Line::NoRoom) => Some(reader.refused(store::Error::Busy.into())),
                None => None,
            }),
        }
    }
}

/// The next line. The client may pause while results are owed to it.
async fn line(first: &mut Option<Line>, lines: &mut LineReader, pending: &Pending) -> Result<Option<Line>, Error> {
    if let Some(first) = first.take() {
        return Ok(Some(first));
    }
    loop {
        match lines.next().await {
            Err(Error::BodyTimeout) if pending.excuses_a_pause() => {}
            read => return read,
        }
    }
}
