//! The images that generated pipelines name: a few masks and overlays of every shape, as rasters and encoded, by id.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::laws::raster;
use bytes::Bytes;
use progimage::digest::Digest;
use progimage::pipeline::codec::{self, EncodeOptions};
use progimage::pipeline::{Channels, Deadline, Images, Picture, Raster, Size};

/// Sizes from one pixel to more than the rasters of the laws, channels, 16 bits.
const SHAPES: &[(u32, u32, Channels, bool)] = &[
    (1, 1, Channels::Gray, false),
    (9, 70, Channels::GrayAlpha, false),
    (40, 40, Channels::Rgb, false),
    (16, 3, Channels::Rgba, false),
    (120, 90, Channels::Gray, true),
    (1, 33, Channels::GrayAlpha, true),
    (5, 5, Channels::Rgb, true),
    (75, 2, Channels::Rgba, true),
];

fn id(place: usize) -> Digest {
    Digest::of(&[place as u8])
}

/// Every id that a generator may name.
pub fn ids() -> Vec<Digest> {
    (0..SHAPES.len()).map(id).collect()
}

/// As an operation is given them.
pub fn rasters() -> &'static HashMap<Digest, Raster> {
    static RASTERS: LazyLock<HashMap<Digest, Raster>> = LazyLock::new(|| {
        let one = |(place, (w, h, channels, wide)): (usize, &(u32, u32, Channels, bool))| {
            (id(place), raster(Size::new(*w, *h), *channels, *wide, false, place as u32))
        };
        SHAPES.iter().enumerate().map(one).collect()
    });
    &RASTERS
}

/// As a pipeline is given them: PNG files.
pub fn encoded() -> &'static Images {
    static ENCODED: LazyLock<Images> = LazyLock::new(|| {
        let encode = |(id, raster): (&Digest, &Raster)| {
            let encoder = codec::by_extension("png").and_then(|png| png.encoder.as_ref()).expect("PNG is written");
            let deadline = Deadline::default();
            let options = EncodeOptions { lossless: true, ..EncodeOptions::new(&deadline) };
            let bytes = (encoder.encode)(&Picture::still(raster.clone()), &options).expect("small");
            (*id, Bytes::from(bytes))
        };
        rasters().iter().map(encode).collect()
    });
    &ENCODED
}
