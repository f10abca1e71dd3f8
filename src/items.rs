//! Bulk items: one source, up to [`OUTPUTS_MAX`] outputs, each with its own place. What `POST /bulk` streams and a job queues. Knows no
//! HTTP and no queue.
//!
//! ```json
//! {"key": "a", "source": {"id": "<digest>"}, "outputs": [{"format": "webp", "quality": 80,
//!     "ops": [{"op": "resize", "width": 300}]}, {"format": "avif", "preset": "thumb", "to": "blob"}]}
//! ```
//!
//! ```text
//! read (JSON to Item) -> execute: source once -> Renditions::batch -> each output to its place
//! ```

mod error;
mod execute;
mod members;
mod read;
mod reserved_bytes;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::digest::Digest;
use crate::fetch::Sources;
use crate::offload::{self, INLINE_BYTES_MAX};
use crate::pipeline::invalid::invalid;
use crate::pipeline::{Pipeline, Presets};
use crate::renditions::{self, Renditions, inspect};
use crate::store::{Receipt, Reserved, Uploads};
pub use error::Error;
pub use execute::Done;
pub use reserved_bytes::ReservedBytes;

/// Outputs of one item.
pub const OUTPUTS_MAX: usize = 16;
/// Bytes of an item's key.
pub const KEY_BYTES_MAX: usize = 256;

/// What binds every item, as it binds every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Chains by name.
    pub presets: Presets,
    /// Conversions become renders: for servers that must never serve an original's metadata under another extension.
    pub convert_renders: bool,
    /// Bytes of a source.
    pub bytes_max: u64,
    /// Bytes of the URL of a rendition: it could not be asked for if it were longer.
    pub url_bytes_max: usize,
    /// How long an item waits for room among the bodies in flight.
    pub busy_wait_ms: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            presets: Presets::default(),
            convert_renders: false,
            bytes_max: 50 << 20,
            url_bytes_max: 8 << 10,
            busy_wait_ms: 20_000,
        }
    }
}

/// Reads and runs items; one per process, shared by requests and jobs.
pub struct Items {
    uploads: Uploads,
    renditions: Arc<Renditions>,
    sources: Arc<Sources>,
    options: Arc<Options>,
}

/// One source and what is to be made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The client's own name for it.
    pub key: Option<String>,
    /// What it is made of.
    pub source: Source,
    /// 1 to [`OUTPUTS_MAX`].
    pub outputs: Vec<Output>,
}

/// Where the source of an item is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In the store: `{"id": ...}`.
    Stored(Digest),
    /// On another server: `{"url": ...}`.
    Remote(String),
    /// Here: `{"data": "<base64>"}`, or a part that has come. The right to hold it goes with it.
    Bytes(ReservedBytes),
    /// In a part of the same form that has not come yet: `{"part": "<name>"}`.
    Part(String),
}

/// One result that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// What is to be made.
    pub pipeline: Pipeline,
    /// How a URL asks for it: in the canonical form, or by its preset where nothing else may be asked for.
    pub query: String,
    /// Where it is put.
    pub to: To,
}

/// Where a result is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Into the answer.
    Response,
    /// Into the store, as if it were uploaded.
    Blob,
    /// Into the rendition tier, under the URL of its source.
    Rendition,
}

impl To {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            To::Response => "response",
            To::Blob => "blob",
            To::Rendition => "rendition",
        }
    }
}

/// Rights that the sender of an item must have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// It names stored images.
    pub read: bool,
    /// It stores blobs.
    pub write: bool,
    /// It makes a rendition that has all of a stored original's metadata.
    pub original: bool,
}

impl Item {
    /// What the right to send it must hold.
    pub fn needs(&self) -> Needs {
        let stored = matches!(self.source, Source::Stored(_));
        let all = |output: &Output| output.pipeline.encode_args().word("metadata") == Some("all");
        Needs {
            read: stored || self.outputs.iter().any(|output| !output.pipeline.images().is_empty()),
            write: self.outputs.iter().any(|output| output.to == To::Blob),
            original: stored && self.outputs.iter().any(all),
        }
    }
}

/// A line that is no item.
#[derive(Clone, Debug)]
pub struct Unread {
    /// Its key, if that could be read.
    pub key: Option<String>,
    /// Why.
    pub error: Error,
}

impl Items {
    /// Over the layers below.
    pub fn new(uploads: &Uploads, renditions: Arc<Renditions>, sources: Arc<Sources>, options: Options) -> Arc<Items> {
        let uploads = uploads.patient(Duration::from_millis(options.busy_wait_ms));
        Arc::new(Items { uploads, renditions, sources, options: Arc::new(options) })
    }

    /// Whether conversions become renders, here and for every other request.
    pub fn convert_renders(&self) -> bool {
        self.options.convert_renders
    }

    /// The right to hold `bytes`; waits while too many are in flight.
    async fn reserve(&self, bytes: u64) -> Result<Reserved, Error> {
        let mut reserved = self.uploads.acquire_none();
        reserved.acquire(bytes).await?;
        Ok(reserved)
    }

    /// Reads one item from its line of JSON. `places` are those that an output may name; the first is meant where it names none.
    ///
    /// Bytes that are decoded from a long line count in the budget of bodies: this waits while there is no room. Callers that read
    /// one line after the other never wait for themselves: an item that runs gives its source back before it needs room again.
    pub async fn read(&self, text: Bytes, places: &'static [To]) -> Result<Item, Unread> {
        let is_long = text.len() > INLINE_BYTES_MAX;
        let decoded = if is_long { self.options.bytes_max.min(text.len() as u64 / 4 * 3) } else { 0 };
        let reserved = self.reserve(decoded).await.map_err(|error| Unread { key: None, error })?;
        let options = Arc::clone(&self.options);
        let read = offload::run(text.len(), move || read::item(&text, &options, places)).await;
        let failed = || Err(Unread { key: None, error: renditions::Error::Panicked.into() });
        let mut item = read.unwrap_or_else(failed)?;
        if let Source::Bytes(held) = item.source {
            item.source = Source::Bytes(held.within(reserved));
        }
        Ok(item)
    }

    /// Stores bytes as an upload would be: through the gate of the codecs. Within the right to hold them, where they have one: to
    /// wait for a second one would be to wait for all others that do the same.
    async fn store(&self, held: ReservedBytes) -> Result<Receipt, Error> {
        let (bytes, reserved) = held.into_parts();
        inspect(&bytes).await?;
        let len = bytes.len() as u64;
        let mut upload = match reserved {
            Some(reserved) => self.uploads.begin_within(reserved, Some(len)).await?,
            None => self.uploads.begin(Some(len)).await?,
        };
        upload.write(bytes).await?;
        Ok(upload.seal(None).await?.commit().await?)
    }

    /// The source of an item that outlives its request, stored. One that is stored already is not looked for.
    pub async fn stored(&self, source: Source) -> Result<Source, Error> {
        let held = match source {
            Source::Stored(id) => return Ok(Source::Stored(id)),
            Source::Bytes(held) => held,
            Source::Remote(url) => self.sources.get(&url).await?.bytes.into(),
            Source::Part(name) => return Err(partless(&name)),
        };
        Ok(Source::Stored(self.store(held).await?.digest))
    }
}

/// No part was put in its place: there are none where the item came from.
fn partless(name: &str) -> Error {
    invalid("source.part", name, "id, url or data here; part in a multipart/form-data of /bulk").into()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::pipeline::Limits;
    use crate::{fetch, renditions, store};

    #[tokio::test]
    async fn a_long_source_is_stored_within_the_room_that_it_holds_already() {
        let mut image = b"P6\n600 400\n255\n".to_vec();
        image.resize(image.len() + 600 * 400 * 3, 7);
        let data = STANDARD.encode(&image);
        let line = format!("{{\"source\": {{\"data\": \"{data}\"}}, \"outputs\": [{{\"format\": \"png\"}}]}}");
        // Room for it once, and never for more.
        let options = store::Options { uploads_bytes_max: 800 << 10, ..store::Options::default() };
        let opened = store::open("memory:", &options).await.expect("memory");
        let uploads = Uploads::new(opened.clone(), options);
        let renditions = Renditions::new(opened, Limits::default(), renditions::Options::default());
        let sources = Arc::new(Sources::new(&fetch::Options::default()));
        let options = Options { busy_wait_ms: 0, ..Options::default() };
        let items = Items::new(&uploads, renditions, sources, options);
        for _ in 0..2 {
            let item = items.read(line.clone().into(), &[To::Blob]).await.expect("an item");
            let stored = items.stored(item.source).await.expect("room");
            assert_eq!(stored, Source::Stored(Digest::of(&image)));
        }
    }
}
