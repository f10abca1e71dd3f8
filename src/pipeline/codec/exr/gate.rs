//! The gate of OpenEXR: attributes, windows, and the place and length of every chunk of the largest level.

use super::super::cursor::Cursor;
use super::super::{Header, image_crate};
use crate::pipeline::{Channels, Error, Size};

/// First bytes of every file.
pub(super) const MAGIC: [u8; 4] = [0x76, 0x2F, 0x31, 0x01];

const TILED: u32 = 0x200;
const DEEP: u32 = 0x800;
const MULTIPART: u32 = 0x1000;
const VERSION: u32 = 2;

/// Header and memory layout of a file.
pub(super) struct Layout {
    pub(super) header: Header,
    /// Size of the data window.
    pub(super) data: Size,
    /// Size of a chunk.
    pub(super) block: Size,
}

/// First line and size of a window.
#[derive(Clone, Copy)]
struct ImageWindow {
    y: i32,
    size: Size,
}

#[derive(Default)]
struct Attributes {
    channels: Option<(Channels, u64)>,
    compression: Option<u8>,
    data: Option<ImageWindow>,
    display: Option<ImageWindow>,
    tile: Option<Size>,
}

pub(super) fn walk(bytes: &[u8]) -> Result<Layout, Error> {
    let mut at = Cursor::new("exr", bytes);
    if at.take(4)? != MAGIC {
        return Err(at.corrupt("invalid magic number"));
    }
    let flags = at.u32_le()?;
    if flags & 0xFF != VERSION || flags & (DEEP | MULTIPART) != 0 {
        return Err(unsupported("deep data, several parts or an unknown version"));
    }
    let attributes = attributes(&mut at)?;
    let missing = |name: &str| Error::corrupt("exr", format!("missing attribute {name}"));
    let (channels, pixel_bytes) = attributes.channels.ok_or_else(|| missing("channels"))?;
    let data = attributes.data.ok_or_else(|| missing("dataWindow"))?;
    let display = attributes.display.ok_or_else(|| missing("displayWindow"))?;
    let lines = lines_per_chunk(attributes.compression.ok_or_else(|| missing("compression"))?)?;
    let block = if flags & TILED != 0 {
        attributes.tile.ok_or_else(|| missing("tiles"))?
    } else {
        Size::new(data.size.w, lines.min(data.size.h))
    };
    check_chunks(at, data, block, flags & TILED != 0)?;
    // Float buffers of the crate and of this module; a block packed, unpacked and as lines.
    let floats = display.size.pixels().saturating_mul(channels.count() as u64 * 4);
    let working_bytes = floats.saturating_mul(2).saturating_add(block.pixels().saturating_mul(pixel_bytes * 3));
    let header = Header { working_bytes, ..image_crate::still(display.size, channels, 16) };
    Ok(Layout { header, data: data.size, block })
}

fn unsupported(feature: &'static str) -> Error {
    Error::Unsupported { format: "exr", feature }
}

/// Reads the attributes up to the empty name that ends them.
fn attributes(at: &mut Cursor) -> Result<Attributes, Error> {
    let mut attributes = Attributes::default();
    loop {
        let name = text(at)?;
        if name.is_empty() {
            return Ok(attributes);
        }
        text(at)?;
        let value_bytes = at.u32_le()? as usize;
        let mut value = Cursor::new("exr", at.take(value_bytes)?);
        match name {
            b"channels" => attributes.channels = Some(channels(&mut value)?),
            b"compression" => attributes.compression = Some(value.u8()?),
            b"dataWindow" => attributes.data = Some(window(&mut value)?),
            b"displayWindow" => attributes.display = Some(window(&mut value)?),
            b"tiles" => attributes.tile = Some(image_crate::size("exr", value.u32_le()?, value.u32_le()?)?),
            _ => {}
        }
    }
}

/// Reads a zero-terminated name of at most 255 bytes, the format's limit.
fn text<'a>(at: &mut Cursor<'a>) -> Result<&'a [u8], Error> {
    let end = at.rest().iter().take(256).position(|&byte| byte == 0).ok_or_else(|| at.corrupt("unterminated name"))?;
    let text = at.take(end)?;
    at.skip(1)?;
    Ok(text)
}

/// Channels of a pixel, and its bytes in the file.
fn channels(value: &mut Cursor) -> Result<(Channels, u64), Error> {
    let (mut colours, mut alpha, mut pixel_bytes) = (0, false, 0);
    loop {
        match text(value)? {
            b"" => break,
            b"R" | b"G" | b"B" => colours += 1,
            b"A" => alpha = true,
            _ => {}
        }
        pixel_bytes += if value.u32_le()? == 1 { 2 } else { 4 };
        value.skip(4)?;
        if value.u32_le()? != 1 || value.u32_le()? != 1 {
            return Err(unsupported("subsampled channels"));
        }
    }
    if colours != 3 {
        return Err(unsupported("channels other than RGB and RGBA"));
    }
    Ok((if alpha { Channels::Rgba } else { Channels::Rgb }, pixel_bytes))
}

fn window(value: &mut Cursor) -> Result<ImageWindow, Error> {
    let [x, y, right, bottom] = [value.u32_le()?, value.u32_le()?, value.u32_le()?, value.u32_le()?].map(|n| n as i32);
    let side = |first: i32, last: i32| u32::try_from(i64::from(last) - i64::from(first) + 1).unwrap_or(0);
    // The crate uses 32-bit signed numbers for windows; half their range exceeds any image.
    if [x, y, right, bottom].iter().any(|n| n.unsigned_abs() > 1 << 30) {
        return Err(value.corrupt("window out of range"));
    }
    Ok(ImageWindow { y, size: image_crate::size("exr", side(x, right), side(y, bottom))? })
}

/// Scanlines per chunk of a compression: none, RLE, ZIPS, ZIP, PIZ, PXR24, B44, B44A.
fn lines_per_chunk(compression: u8) -> Result<u32, Error> {
    match compression {
        0..=2 => Ok(1),
        3 | 5 => Ok(16),
        4 | 6 | 7 => Ok(32),
        8 | 9 => Err(unsupported("DWA compression")),
        _ => Err(Error::corrupt("exr", "invalid compression")),
    }
}

/// Checks the place of every chunk of the largest level against the table, since the decoder would leave a missing
/// one black.
fn check_chunks(mut table: Cursor, data: ImageWindow, block: Size, tiled: bool) -> Result<(), Error> {
    let (across, down) = (u64::from(data.size.w.div_ceil(block.w)), u64::from(data.size.h.div_ceil(block.h)));
    image_crate::body_holds("exr", table.rest().len(), across.saturating_mul(down).saturating_mul(8))?;
    let mut chunk = table;
    for index in 0..across * down {
        let offset = u64::from(table.u32_le()?) | u64::from(table.u32_le()?) << 32;
        chunk.seek(usize::try_from(offset).map_err(|_| table.corrupt("chunk outside the file"))?)?;
        let (column, row) = ((index % across) as u32, (index / across) as u32);
        let in_place = if tiled {
            [chunk.u32_le()?, chunk.u32_le()?, chunk.u32_le()?, chunk.u32_le()?] == [column, row, 0, 0]
        } else {
            i64::from(chunk.u32_le()? as i32) == i64::from(data.y) + i64::from(row) * i64::from(block.h)
        };
        if !in_place {
            return Err(chunk.corrupt("chunk does not match its table entry"));
        }
        let chunk_bytes = chunk.u32_le()? as usize;
        chunk.skip(chunk_bytes)?;
    }
    Ok(())
}
