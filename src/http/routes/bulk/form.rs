//! [`FormItems`]: the items of `multipart/form-data`. The first part, `items`, has one JSON object a line. The other
//! parts are the sources, which items name as `{"part": "<name>"}`. One part is held at a time, for as long as its
//! items run.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use multer::{Field, Multipart};
use tokio::sync::OwnedSemaphorePermit;

use super::item_reader::{ItemLabel, ItemReader, RequestItem};
use crate::http::app::App;
use crate::http::error::Error;
use crate::http::message::body::RequestBody;
use crate::http::message::form::{Chunks, FORM_BYTES_MAX, beginning, boundary, of_form};
use crate::http::message::options::ms;
use crate::http::message::text_budget::Text;
use crate::items::{Item, ReservedBytes, Source};
use crate::pipeline::invalid::{invalid, short};
use crate::store;

const FIRST: Error = Error::Malformed { what: "the first part of the form must be items, with one JSON object a line" };

/// The items and parts of a form.
pub(super) struct FormItems {
    parser: Multipart<'static>,
    chunks: Chunks<()>,
    /// Lines of items that were not read yet.
    lines: Bytes,
    /// Items that wait for their part, by its name: their index in the request, and their line.
    waiting: HashMap<String, Vec<(u64, Bytes)>>,
    /// Items whose part has come, has failed, or is missing.
    ready: VecDeque<(u64, Bytes)>,
    part: Result<ReservedBytes, Error>,
    _held: OwnedSemaphorePermit,
}

impl FormItems {
    /// Reads the first part.
    pub(super) async fn begin(app: &App, content_type: &str, body: RequestBody) -> Result<FormItems, Error> {
        let chunks = Chunks::new(body.stream(&app.options), ());
        let mut parser = Multipart::new(chunks.clone(), boundary(content_type)?);
        let mut first = loop {
            let mut part = parser.next_field().await.map_err(of_form)?.ok_or(FIRST)?;
            if part.name() == Some("items") {
                break part;
            }
            if beginning(&mut part).await?.is_some() {
                return Err(FIRST);
            }
        };
        chunks.allow_more(u64::MAX);
        let mut text = Text::new(&app.batch_budget, &app.options)?;
        while let Some(chunk) = first.chunk().await.map_err(of_form)? {
            text.take(&chunk)?;
        }
        drop(first);
        let (text, _held) = text.end();
        Ok(FormItems {
            parser,
            chunks,
            lines: text.into(),
            waiting: HashMap::new(),
            ready: VecDeque::new(),
            part: Ok(Bytes::new().into()),
            _held,
        })
    }

    /// The next item. Items that need no part come first.
    pub(super) async fn next(&mut self, reader: &mut ItemReader) -> Result<Option<RequestItem>, Error> {
        loop {
            if let Some(line) = self.line() {
                let entry = reader.entry(line.clone()).await;
                match &entry.item {
                    Ok(Item { source: Source::Part(name), .. }) => {
                        self.waiting.entry(name.clone()).or_default().push((entry.label.index, line));
                    }
                    _ => return Ok(Some(entry)),
                }
            } else if let Some((index, line)) = self.ready.pop_front() {
                let mut entry = reader.read(index, line).await;
                entry.item = entry.item.and_then(|item| Ok(Item { source: Source::Bytes(self.part.clone()?), ..item }));
                return Ok(Some(entry));
            } else {
                self.part = Ok(Bytes::new().into());
                if let Some(entry) = self.next_part(&reader.app).await? {
                    return Ok(Some(entry));
                }
                if self.ready.is_empty() {
                    return Ok(None);
                }
            }
        }
    }

    /// The next line of the first part that is not blank.
    fn line(&mut self) -> Option<Bytes> {
        while !self.lines.is_empty() {
            let end = memchr::memchr(b'\n', &self.lines);
            let line = self.lines.split_to(end.unwrap_or(self.lines.len()));
            self.lines.advance(usize::from(end.is_some()));
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Some(line);
            }
        }
        None
    }

    /// Makes the items of the next part ready; after the last part, the items of a missing part. `Some` is the failure
    /// of a part that no item names.
    async fn next_part(&mut self, app: &Arc<App>) -> Result<Option<RequestItem>, Error> {
        let (mut part, beginning) = loop {
            // This bounds the heads of parts, which the parser holds in memory, and parts that are no entries.
            self.chunks.allow_more(FORM_BYTES_MAX);
            let Some(mut part) = self.parser.next_field().await.map_err(of_form)? else {
                self.miss();
                return Ok(None);
            };
            // A part that an item names may be anything: it is the item that fails.
            let is_named = part.file_name() != Some("") && self.waiting.contains_key(part.name().unwrap_or_default());
            let beginning = if is_named { Some(Bytes::new()) } else { beginning(&mut part).await? };
            if let Some(beginning) = beginning {
                break (part, beginning);
            }
        };
        // The content of parts is bounded as it is read.
        self.chunks.allow_more(u64::MAX);
        let name = part.name().unwrap_or_default().to_owned();
        let Some(waiting) = self.waiting.remove(&name) else {
            while part.chunk().await.map_err(of_form)?.is_some() {}
            let error = invalid("part", &name, "the name of a part that an item uses").into();
            let label = ItemLabel { index: 0, key: None, part: Some(short(&name)) };
            return Ok(Some(RequestItem { label, item: Err(error) }));
        };
        self.ready = waiting.into();
        self.part = take(app, &beginning, &mut part).await?;
        Ok(None)
    }

    /// Makes the items of one missing part ready, if there are any.
    fn miss(&mut self) {
        let Some(name) = self.waiting.keys().next().cloned() else { return };
        self.part = Err(invalid("source.part", &name, "the name of a part of this form").into());
        self.ready = self.waiting.remove(&name).unwrap_or_default().into();
    }
}

/// Reads the bytes of a part, within the budget of uploads. The part is read to its end, since a fault in it concerns
/// only its items.
async fn take(app: &App, beginning: &Bytes, part: &mut Field<'static>) -> Result<Result<ReservedBytes, Error>, Error> {
    let max = app.limits.bytes_max;
    let mut reserved = app.uploads.patient(ms(app.options.body_stall_ms)).acquire_none();
    let mut bytes = Ok(Vec::new());
    let mut next = Some(beginning.clone());
    while let Some(chunk) = next {
        next = part.chunk().await.map_err(of_form)?;
        let Ok(taken) = &mut bytes else { continue };
        let len = (taken.len() + chunk.len()) as u64;
        if len > max {
            bytes = Err(Error::BodyTooLarge { max });
        } else if reserved.acquire(len).await.is_err() {
            bytes = Err(store::Error::Busy.into());
        } else {
            taken.extend_from_slice(&chunk);
        }
    }
    Ok(bytes.map(|bytes| ReservedBytes::from(Bytes::from(bytes)).within(reserved)))
}
