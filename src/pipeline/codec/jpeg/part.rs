//! [`decode_part`]: a strip or tile of another format that is a JPEG stream, with tables apart (TIFF Technical Note 2).

use super::container::Container;
use super::libjpeg::{Decoder, Settings, Stored};
use super::{BAND_ROWS, FORMAT};
use crate::pipeline::codec::DecodeOptions;
use crate::pipeline::limits::within;
use crate::pipeline::{Channels, Error};

/// What the other format says about a stream.
pub(in crate::pipeline::codec) struct Part<'a> {
    /// Stream of tables alone, which may be empty.
    pub tables: &'a [u8],
    /// Whether samples are luma and colour differences, which become RGB; others stay as they are.
    pub ycc: bool,
    /// Width in pixels.
    pub w: u32,
    /// Rows that are needed.
    pub rows: u32,
    /// Rows that the stream may have: writers give the last strip the height of the others.
    pub rows_max: u32,
    /// Samples of a pixel.
    pub samples: usize,
}

/// Decodes the first rows of a stream into `out`, which has room for exactly these. Errs if the stream has another shape, or
/// is damaged before their end.
pub(in crate::pipeline::codec) fn decode_part(
    stream: &[u8],
    part: &Part,
    out: &mut [u8],
    options: &DecodeOptions,
) -> Result<(), Error> {
    let whole = joined(part.tables, stream);
    let container = Container::read(&whole)?;
    let (size, channels) = (container.frame.size, container.frame.channels);
    if size.w != part.w || !(part.rows..=part.rows_max).contains(&size.h) || channels.count() != part.samples {
        return Err(Error::corrupt(FORMAT, "another size than its strip or tile"));
    }
    let limits = options.limits;
    within("scans_max", u64::from(container.scans), u64::from(limits.scans_max))?;
    container.check_complete()?;
    let settings = Settings {
        channels,
        eighths: 8,
        scans_max: limits.scans_max,
        memory_bytes_max: limits.memory_bytes_max,
        tolerant: false,
        stored: if part.ycc && channels == Channels::Rgb { Stored::YCbCr } else { Stored::Plain },
    };
    let mut decoder = Decoder::start(&whole, &settings, options.deadline)?;
    let stride = part.w as usize * part.samples;
    for band in out.chunks_mut(stride * BAND_ROWS) {
        options.deadline.check()?;
        decoder.read_rows(band)?;
    }
    // Rows below are not needed, and so neither is the end.
    if size.h == part.rows { decoder.finish(container.may_lack_end()).map(drop) } else { Ok(()) }
}

/// The stream with the tables in front, as one: without the end of the tables and the start of the stream.
fn joined(tables: &[u8], stream: &[u8]) -> Vec<u8> {
    let tables = tables.strip_suffix(&[0xff, 0xd9]).unwrap_or(tables);
    match stream.strip_prefix(&[0xff, 0xd8]) {
        Some(rest) if tables.starts_with(&[0xff, 0xd8]) => [tables, rest].concat(),
        _ => stream.to_vec(),
    }
}
