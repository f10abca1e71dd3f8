//! Bulk items: one source, up to [`OUTPUTS_MAX`] outputs, each with its own place. `POST /bulk` streams them, a job queues
//! them. Knows no HTTP and no queue.
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
pub use execute::{Done, Placed};
pub use reserved_bytes::ReservedBytes;

/// Most outputs of one item.
pub const OUTPUTS_MAX: usize = 16;
/// Most bytes of an item's key.
pub const KEY_BYTES_MAX: usize = 256;

/// Settings for every item, equal to those for every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Queries by name.
    pub presets: Presets,
    /// Whether conversions become renders: for servers that must never serve an original's metadata under another extension.
    pub convert_renders: bool,
    /// Whether what there is of damaged sources is shown, unless the item says otherwise.
    pub tolerant: bool,
    /// Most bytes of a source.
    pub bytes_max: u64,
    /// Most bytes of the URL of a rendition: a longer one could not be requested.
    pub url_bytes_max: usize,
    /// How long an item waits for room among the bodies in flight.
    pub busy_wait_ms: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            presets: Presets::default(),
            convert_renders: false,
            tolerant: false,
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

/// One source and its outputs.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use std::sync::Arc;
/// use progimage::fetch::{self, Sources};
/// use progimage::items::{Items, Options, Source, To};
/// use progimage::pipeline::Limits;
/// use progimage::renditions::{self, Renditions};
/// use progimage::store::{self, Uploads};
/// let store = store::open("memory:", &store::Options::default()).await.unwrap();
/// let uploads = Uploads::new(store.clone(), store::Options::default());
/// let renditions = Renditions::new(store, Limits::default(), renditions::Options::default());
/// let sources = Arc::new(Sources::new(&fetch::Options::default()));
/// let items = Items::new(&uploads, renditions, sources, Options::default());
///
/// let line = r#"{"key": "a", "source": {"url": "http://origin/a.jpg"}, "outputs": [{"format": "webp", "to": "blob"}]}"#;
/// let item = items.read(line.into(), &[To::Response, To::Blob]).await.unwrap();
/// assert_eq!(item.source, Source::Remote("http://origin/a.jpg".to_owned()));
/// assert_eq!((item.key.as_deref(), item.outputs[0].to), (Some("a"), To::Blob));
/// assert_eq!(item.outputs[0].pipeline.to_string(), "webp;metadata=strip;");
/// # })
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The client's name for the item.
    pub key: Option<String>,
    /// The source of all outputs.
    pub source: Source,
    /// 1 to [`OUTPUTS_MAX`].
    pub outputs: Vec<Output>,
}

/// The place of an item's source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A stored image: `{"id": ...}`.
    Stored(Digest),
    /// An image on another server: `{"url": ...}`.
    Remote(String),
    /// Bytes with the right to hold them: `{"data": "<base64>"}`, or a part that has arrived.
    Bytes(ReservedBytes),
    /// A part of the same form that has not arrived yet: `{"part": "<name>"}`.
    Part(String),
}

/// One requested result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The pipeline that makes it.
    pub pipeline: Pipeline,
    /// Its query in a URL: the canonical one, or its preset if the server allows presets alone.
    pub query: String,
    /// Its place.
    pub to: To,
}

/// The place of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// The response.
    Response,
    /// The store, as if it were uploaded.
    Blob,
    /// The rendition tier, under the URL of its source.
    Rendition,
}

impl To {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            To::Response => "response",
            To::Blob => "blob",
            To::Rendition => "rendition",
        }
    }
}

/// The rights that the sender of an item needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The item names stored images.
    pub read: bool,
    /// The item stores blobs.
    pub write: bool,
    /// The item makes a rendition with all metadata of a stored original.
    pub original: bool,
}

impl Item {
    /// The rights that its sender needs.
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

/// A line that is not an item.
#[derive(Clone, Debug)]
pub struct Unread {
    /// The key, if it could be read.
    pub key: Option<String>,
    /// The mistake.
    pub error: Error,
}

impl Items {
    /// Items over the layers below.
    pub fn new(uploads: &Uploads, renditions: Arc<Renditions>, sources: Arc<Sources>, options: Options) -> Arc<Items> {
        let uploads = uploads.patient(Duration::from_millis(options.busy_wait_ms));
        Arc::new(Items { uploads, renditions, sources, options: Arc::new(options) })
    }

    /// Whether conversions become renders, here and for every other request.
    pub fn convert_renders(&self) -> bool {
        self.options.convert_renders
    }

    /// The right to hold `bytes`; waits while the budget is used up.
    async fn reserve(&self, bytes: u64) -> Result<Reserved, Error> {
        let mut reserved = self.uploads.acquire_none();
        reserved.acquire(bytes).await?;
        Ok(reserved)
    }

    /// Reads one item from its line of JSON. An output may name one of `places`; without a name the first is used.
    ///
    /// Bytes that are decoded from a long line count in the budget of bodies, so this waits while there is no room. A caller
    /// that reads one line after the other never waits for itself: a running item drops its source before it needs room
    /// again.
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

    /// Stores bytes like an upload, after a codec has inspected them. Uses their own right to be held, if they have one: with
    /// a second one, callers would wait for each other.
    async fn store(&self, held: ReservedBytes) -> Result<Receipt, Error> {
        let (bytes, reserved) = held.into_parts();
        inspect(&bytes).await?;
        let len = bytes.len() as u64;
        let reserved = reserved.unwrap_or_else(|| self.uploads.acquire_none());
        let mut upload = self.uploads.begin_within(reserved, len).await?;
        upload.write(bytes).await?;
        Ok(upload.seal(None).await?.commit().await?)
    }

    /// Checks whether anything can be stored now. An error says why not.
    pub fn admits(&self) -> Result<(), Error> {
        Ok(self.uploads.admits()?)
    }

    /// Stores the source of an item that outlives its request. A source in the store is not looked up.
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

/// The error for a part that did not arrive: only forms have parts.
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
