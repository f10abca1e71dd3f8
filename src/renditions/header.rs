//! [`inspect`], and [`Headers`]: what is known of stored images without reading them again. A few hundred bytes each; bounded by
//! number.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;

use super::Error;
use super::generation::Generation;
use crate::digest::Digest;
use crate::offload;
use crate::pipeline;
use crate::pipeline::Limits;
use crate::pipeline::codec::{self, Codec, Header};
use crate::pipeline::metadata::{self, Camera};

/// Headers that are remembered: about 8 MB.
const HEADERS_MAX: u64 = 16_384;

/// What cameras say that is remembered: some 300 bytes each, 7 KiB at most.
const CAMERAS_MAX: u64 = 4_096;

/// Headers by source.
pub struct Headers {
    entries: moka::sync::Cache<Digest, Remembered>,
    cameras: moka::sync::Cache<Digest, (Option<Arc<Camera>>, Arc<Generation>)>,
}

#[derive(Clone)]
struct Remembered {
    codec: &'static Codec,
    header: Header,
    generation: Arc<Generation>,
}

impl Headers {
    /// None yet.
    pub fn new() -> Headers {
        Headers { entries: moka::sync::Cache::new(HEADERS_MAX), cameras: moka::sync::Cache::new(CAMERAS_MAX) }
    }

    /// The header of `source`, if it is remembered.
    pub fn get(&self, source: &Digest) -> Option<(&'static Codec, Header)> {
        let entry = self.entries.get(source)?;
        (!entry.generation.is_over()).then_some((entry.codec, entry.header))
    }

    /// Remembers a header that was read in `generation`, if that is not over.
    pub fn insert(&self, generation: &Arc<Generation>, codec: &'static Codec, header: Header) {
        if !generation.is_over() {
            self.entries.insert(*generation.source(), Remembered { codec, header, generation: generation.clone() });
        }
    }

    /// What the camera says in `source`, if it is remembered.
    pub fn camera(&self, source: &Digest) -> Option<Option<Arc<Camera>>> {
        let (camera, generation) = self.cameras.get(source)?;
        (!generation.is_over()).then_some(camera)
    }

    /// Remembers what the camera says, as [`Headers::insert`] does a header.
    pub fn insert_camera(&self, generation: &Arc<Generation>, camera: Option<Arc<Camera>>) {
        if !generation.is_over() {
            self.cameras.insert(*generation.source(), (camera, generation.clone()));
        }
    }

    /// Forgets `source`.
    pub fn forget(&self, source: &Digest) {
        self.cameras.invalidate(source);
        self.entries.invalidate(source);
    }
}

/// Format and header of an image by its bytes. A long one is read on tokio's blocking threads and not on the render
/// pool: an upload or a question for metadata does not wait behind renders.
///
/// Errors: [`Error::Pipeline`]; [`Error::Panicked`] when the codec did, which ends neither connection nor flight.
pub async fn inspect(bytes: &Bytes) -> Result<(&'static Codec, Header), Error> {
    Ok(look(bytes, gate).await??)
}

/// What the camera says in an image. Runs where [`inspect`] does; errors are the same.
pub async fn camera(bytes: &Bytes, limits: &Limits) -> Result<Option<Arc<Camera>>, Error> {
    let limits = limits.clone();
    let read = move |bytes: &[u8]| {
        let codec = codec::sniff(bytes)?;
        Ok::<_, pipeline::Error>(metadata::camera(codec, bytes, &limits).map(Arc::new))
    };
    Ok(look(bytes, read).await??)
}

/// A walk over a container may read all of it (a JPEG is searched for markers from end to end), so its time grows with the bytes.
async fn look<T: Send + 'static>(bytes: &Bytes, read: impl FnOnce(&[u8]) -> T + Send + 'static) -> Result<T, Error> {
    let image = bytes.clone();
    let read = move || catch_unwind(AssertUnwindSafe(|| read(&image))).ok();
    offload::run(bytes.len(), read).await.flatten().ok_or_else(|| {
        tracing::error!("a codec panicked at the gate: this is our bug");
        Error::Panicked
    })
}

fn gate(bytes: &[u8]) -> Result<(&'static Codec, Header), pipeline::Error> {
    let codec = codec::sniff(bytes)?;
    Ok((codec, (codec.inspect)(bytes)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offload::INLINE_BYTES_MAX;

    #[tokio::test]
    async fn short_and_long_images_are_inspected_alike() {
        for len in [INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1] {
            let mut bytes = b"P6 1 1 255\n\x01\x02\x03".to_vec();
            bytes.resize(len, 0);
            let (codec, header) = inspect(&bytes.into()).await.expect("well formed");
            assert_eq!((codec.name, header.size.w, header.size.h), ("ppm", 1, 1));
            let error = inspect(&vec![b'?'; len].into()).await.expect_err("no image");
            assert!(matches!(error, Error::Pipeline(pipeline::Error::UnknownFormat)), "{error:?}");
        }
    }
}
