//! [`inspect`], and [`Remembered`]: facts about stored images that need not be read again. A few hundred bytes each;
//! bounded by number.

use std::sync::Arc;

use bytes::Bytes;

use super::Error;
use super::generation::Generation;
use super::pool::guarded;
use crate::digest::Digest;
use crate::offload;
use crate::pipeline::codec::{self, Codec, Header};
use crate::pipeline::metadata::{self, Camera};
use crate::pipeline::{self, Limits};

/// Headers that are remembered: about 8 MB.
pub const HEADERS_MAX: u64 = 16_384;

/// Images whose camera data is remembered: some 300 bytes each, 7 KiB at most.
pub const CAMERAS_MAX: u64 = 4_096;

/// Format and header of an image.
pub type Found = (&'static Codec, Header);

/// Facts by source, each read in a generation of it.
pub struct Remembered<T>(moka::sync::Cache<Digest, (T, Arc<Generation>)>);

impl<T: Clone + Send + Sync + 'static> Remembered<T> {
    /// Room for the facts of `images_max` images of weight 1.
    pub fn new(images_max: u64, weight: fn(&T) -> u32) -> Remembered<T> {
        let weigher = move |_: &Digest, (facts, _): &(T, Arc<Generation>)| weight(facts);
        Remembered(moka::sync::Cache::builder().weigher(weigher).max_capacity(images_max).build())
    }

    /// The facts of `source`, if they are remembered.
    pub fn get(&self, source: &Digest) -> Option<T> {
        let (facts, generation) = self.0.get(source)?;
        (!generation.is_over()).then_some(facts)
    }

    /// Remembers facts that were read in `generation`, unless that is over.
    pub fn insert(&self, generation: &Arc<Generation>, facts: T) {
        if !generation.is_over() {
            self.0.insert(*generation.source(), (facts, generation.clone()));
        }
    }

    /// Forgets `source`.
    pub fn forget(&self, source: &Digest) {
        self.0.invalidate(source);
    }
}

/// Weight of a header: each four pages weigh as much as an image.
pub fn weight((_, header): &Found) -> u32 {
    header.page_count().div_ceil(4)
}

/// Format and header of an image, from its bytes. A long image is read on tokio's blocking threads and not on the render
/// pool, so that an upload or a question for metadata does not wait for renders.
///
/// Errors: [`Error::Pipeline`]; [`Error::Panicked`] if the codec panicked, which ends neither connection nor shared run.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let (codec, header) = progimage::renditions::inspect(&"P5 2 1 255\n..".into()).await?;
/// assert_eq!((codec.name, header.size.w, header.size.h), ("pgm", 2, 1));
/// # Ok::<(), progimage::renditions::Error>(()) }).unwrap();
/// ```
pub async fn inspect(bytes: &Bytes) -> Result<Found, Error> {
    look(bytes, header_of).await
}

/// Runs `read` on an image, on another thread if it is long: a walk over a container may read all of it (a JPEG is
/// searched for markers from end to end). A panic stays with this image.
pub(super) async fn look<T: Send + 'static>(
    bytes: &Bytes,
    read: impl FnOnce(&[u8]) -> Result<T, pipeline::Error> + Send + 'static,
) -> Result<T, Error> {
    let image = bytes.clone();
    let found = offload::run(bytes.len(), move || guarded(|| read(&image))).await;
    Ok(found.and_then(Result::ok).ok_or(Error::Panicked)??)
}

/// Format and header of an image.
pub(super) fn header_of(bytes: &[u8]) -> Result<Found, pipeline::Error> {
    let codec = codec::sniff(bytes)?;
    Ok((codec, (codec.inspect)(bytes)?))
}

/// The camera data in an image.
pub(super) fn camera_of(bytes: &[u8], limits: &Limits) -> Result<Option<Camera>, pipeline::Error> {
    Ok(metadata::camera(codec::sniff(bytes)?, bytes, limits))
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
