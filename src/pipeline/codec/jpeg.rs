//! JPEG: read by libjpeg-turbo's core with shrink-on-load, written by its fast settings. Gray, YCbCr, RGB, CMYK and YCCK,
//! sequential and progressive, 8 bits a sample. Not here: arithmetic coding, lossless and 12-bit JPEG.

mod container;
mod libjpeg;

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Codec, DecodeOptions, EncodeOptions, Encoder, Header, Lossless};
use crate::pipeline::limits::within;
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Channels, Error, Picture, Raster, Samples, Size};
use container::Container;

/// The codec's name, in errors too.
const FORMAT: &str = "jpeg";

/// Rows between two polls of the watch: whole MCU rows of any sampling.
const BAND_ROWS: usize = 64;

/// libjpeg's JPEG_MAX_DIMENSION.
const SIDE_PX_MAX: u32 = 65_500;

const QUALITY: u8 = 80;

pub(super) static CODEC: Codec = Codec {
    name: FORMAT,
    extensions: &["jpg", "jpeg"],
    media_type: "image/jpeg",
    doc: "Lossy photographs: baseline and progressive, gray, colour and CMYK; written sequential, 4:2:0.",
    revision: 1,
    shrinks: Some(shrunk),
    sniff: |bytes| bytes.starts_with(&[0xff, 0xd8, 0xff]),
    inspect,
    decode,
    encoder: Some(Encoder {
        side_px_max: SIDE_PX_MAX,
        frames_max: 1,
        // Measured on 17 megapixels: libjpeg's coefficients, kept while their code is optimised.
        frames_held: 2,
        channels: &[Channels::Gray, Channels::Rgb],
        sixteen_bit: false,
        quality: Some(QUALITY),
        lossless: Lossless::Never,
        encode,
    }),
};

fn inspect(bytes: &[u8]) -> Result<Header, Error> {
    let container = Container::read(bytes)?;
    Ok(Header {
        size: container.frame.size,
        orientation: container.orientation,
        frames: 1,
        channels: container.frame.channels,
        bits: 8,
        icc: container.has_icc(),
        working_bytes: container.working_bytes(),
    })
}

fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Error> {
    let container = Container::read(bytes)?;
    let (limits, channels) = (options.limits, container.frame.channels);
    limits.check(container.frame.size, 1)?;
    within("scans_max", u64::from(container.scans), u64::from(limits.scans_max))?;
    container.check_complete()?;
    let settings = libjpeg::Settings {
        channels,
        eighths: eighths(container.frame.size, options.at_least),
        scans_max: limits.scans_max,
        memory_bytes_max: limits.memory_bytes_max,
    };
    let mut decoder = libjpeg::Decoder::start(bytes, &settings, options.watch)?;
    let size = decoder.size();
    let stride = size.w as usize * channels.count();
    let mut samples = try_zeroed(stride * size.h as usize)?;
    for band in samples.chunks_mut(stride * BAND_ROWS) {
        options.watch.check()?;
        decoder.read_rows(band)?;
    }
    decoder.finish()?;
    if channels == Channels::Cmyk && container.adobe {
        // Adobe writes ink inverted: 255 is none.
        samples.iter_mut().for_each(|sample| *sample = !*sample);
    }
    let mut picture = Picture::still(Raster::new(size, channels, Samples::U8(samples)));
    picture.icc = container.icc(limits.icc_bytes_max);
    Ok(picture)
}

/// The smallest scale, in eighths, that keeps both sides at or above `at_least`. Only powers of two: their inverse DCTs are
/// vectorised, those between cost as much as the next larger one (04 measured 3/8 at 7.9 ms, 4/8 at 7.7).
fn eighths(size: Size, at_least: Option<Size>) -> u32 {
    let Some(least) = at_least else { return 8 };
    let side = |px: u32, eighths: u32| (u64::from(px) * u64::from(eighths)).div_ceil(8);
    [1, 2, 4]
        .into_iter()
        .find(|&n| side(size.w, n) >= u64::from(least.w) && side(size.h, n) >= u64::from(least.h))
        .unwrap_or(8)
}

/// libjpeg rounds up.
fn shrunk(size: Size, at_least: Size) -> Size {
    let eighths = eighths(size, Some(at_least));
    let side = |px: u32| (u64::from(px) * u64::from(eighths)).div_ceil(8) as u32;
    Size::new(side(size.w), side(size.h))
}

fn encode(picture: &Picture, options: &EncodeOptions) -> Result<Vec<u8>, Error> {
    // libjpeg's fatal errors unwind out of the crate as a message.
    catch_unwind(AssertUnwindSafe(|| compress(picture.first(), options))).unwrap_or_else(|payload| {
        match payload.downcast::<String>() {
            Ok(reason) => Err(Error::Encode { format: FORMAT, reason: *reason }),
            Err(payload) => std::panic::resume_unwind(payload),
        }
    })
}

/// Sequential, 4:2:0, optimised Huffman tables, no trellis: 1.3 ms and 29.9 KiB at 512 px, against 0.5 ms and 30.7 KiB with the
/// standard tables and 18.9 ms and 25.3 KiB with everything (04).
fn compress(raster: &Raster, options: &EncodeOptions) -> Result<Vec<u8>, Error> {
    let failed = |reason: String| Error::Encode { format: FORMAT, reason };
    let (Samples::U8(samples), Channels::Gray | Channels::Rgb) = (raster.samples(), raster.channels()) else {
        return Err(failed(format!("{:?} is not taken", raster.channels())));
    };
    let gray = raster.channels().gray();
    let space = if gray { mozjpeg::ColorSpace::JCS_GRAYSCALE } else { mozjpeg::ColorSpace::JCS_RGB };
    let (w, h) = (raster.size().w as usize, raster.size().h as usize);
    let mut settings = mozjpeg::Compress::new(space);
    settings.set_fastest_defaults();
    settings.set_size(w, h);
    settings.set_quality(f32::from(options.quality.unwrap_or(QUALITY).clamp(1, 100)));
    settings.set_optimize_coding(true);
    let mut writer = settings.start_compress(Vec::new()).map_err(|error| failed(error.to_string()))?;
    for band in samples.chunks(w * raster.channels().count() * BAND_ROWS) {
        options.watch.check()?;
        writer.write_scanlines(band).map_err(|error| failed(error.to_string()))?;
    }
    writer.finish().map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrink_keeps_both_sides_at_or_above_what_is_asked() {
        let check = |size: (u32, u32), least: (u32, u32), expected| {
            let (size, least) = (Size::new(size.0, size.1), Size::new(least.0, least.1));
            assert_eq!(eighths(size, Some(least)), expected, "{size:?} for {least:?}");
        };
        check((800, 400), (100, 50), 1);
        check((800, 400), (101, 50), 2);
        check((800, 400), (100, 51), 2);
        check((801, 400), (101, 50), 1); // libjpeg rounds up
        check((800, 400), (201, 100), 4);
        check((800, 400), (401, 1), 8);
        check((800, 400), (9000, 9000), 8);
        assert_eq!(eighths(Size::new(800, 400), None), 8);
    }
}
