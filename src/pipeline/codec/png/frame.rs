//! Reads the rows of one frame, interlaced or not, and checks the deadline in between. Composition is in `animation`.

use super::{FORMAT, Reader, corrupt, is_checksum};
use crate::pipeline::codec::Header;
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Deadline, Error, Raster, Samples, Size};

/// Rows between two checks of the deadline.
const BAND_ROWS: usize = 64;

/// Samples of a frame as in the file, 16-bit ones big-endian.
pub(super) struct Rows(Vec<u8>);

/// How a frame is read.
pub(super) struct Reading<'a> {
    /// Header of the file.
    pub header: &'a Header,
    /// Whether a frame that is cut or damaged is read as far as possible.
    pub tolerant: bool,
    pub deadline: &'a Deadline,
}

/// Byte of gray samples of any depth, for pixels that a cut frame lacks.
const GRAY: u8 = 0x80;

/// Reads the next frame, which has this size. Returns whether it is whole; if not, the rest is gray, or transparent.
pub(super) fn read(reader: &mut Reader, size: Size, reading: &Reading) -> Result<(Rows, bool), Error> {
    let header = reading.header;
    let pixel_bytes = header.channels.count() * usize::from(header.bits / 8);
    let stride = size.w as usize * pixel_bytes;
    let mut bytes = try_zeroed(stride * size.h as usize)?;
    if reading.tolerant && !header.channels.alpha() {
        bytes.fill(GRAY);
    }
    let mut rows = 0;
    let filled = if reader.info().interlaced {
        deinterlace(reader, &mut bytes, (size, pixel_bytes), reading, &mut rows)
    } else {
        fill(reader, &mut bytes, stride, reading.deadline, &mut rows)
    };
    match filled {
        Ok(()) => Ok((Rows(bytes), true)),
        Err(Error::Corrupt { .. }) if reading.tolerant && rows > 0 => Ok((Rows(bytes), false)),
        Err(error) => Err(error),
    }
}

/// Fills the rows, and counts them.
fn fill(
    reader: &mut Reader,
    bytes: &mut [u8],
    stride: usize,
    deadline: &Deadline,
    rows: &mut usize,
) -> Result<(), Error> {
    for row in bytes.chunks_exact_mut(stride) {
        poll(*rows, deadline)?;
        if reader.read_row(row).map_err(corrupt)?.is_none() {
            return Err(Error::corrupt(FORMAT, "truncated file"));
        }
        *rows += 1;
    }
    finish(reader)
}

/// Checks the checksums up to the end of the frame's data. All rows are there, so that no other error matters.
fn finish(reader: &mut Reader) -> Result<(), Error> {
    match reader.read_row(&mut []) {
        Err(error) if is_checksum(&error) => Err(corrupt(error)),
        _ => Ok(()),
    }
}

fn deinterlace(
    reader: &mut Reader,
    bytes: &mut [u8],
    (size, pixel_bytes): (Size, usize),
    reading: &Reading,
    rows: &mut usize,
) -> Result<(), Error> {
    let stride = size.w as usize * pixel_bytes;
    let mut row = try_zeroed(stride)?;
    // Where passes may lack, each pixel stands for those around it until they come.
    let expand = if reading.tolerant { png::splat_interlaced_row } else { png::expand_interlaced_row };
    while *rows < pass_rows(size) {
        poll(*rows, reading.deadline)?;
        match reader.read_row(&mut row).map_err(corrupt)? {
            Some(png::InterlaceInfo::Adam7(pass)) => expand(bytes, stride, &row, &pass, pixel_bytes as u8 * 8),
            _ => return Err(Error::corrupt(FORMAT, "truncated file")),
        }
        *rows += 1;
    }
    finish(reader)
}

/// Number of rows in the seven passes of an interlaced frame (PNG third edition, 8.2); a pass may have none.
fn pass_rows(size: Size) -> usize {
    // The first column, the first row, and the distance of rows.
    const PASSES: [[u32; 3]; 7] = [[0, 0, 8], [4, 0, 8], [0, 4, 8], [2, 0, 4], [0, 2, 4], [1, 0, 2], [0, 1, 2]];
    let rows = |[x, y, step]: [u32; 3]| if size.w > x { size.h.saturating_sub(y).div_ceil(step) as usize } else { 0 };
    PASSES.into_iter().map(rows).sum()
}

fn poll(row: usize, deadline: &Deadline) -> Result<(), Error> {
    if row.is_multiple_of(BAND_ROWS) { deadline.check() } else { Ok(()) }
}

impl Rows {
    /// Samples of 8 bits.
    pub(super) fn into_u8(self) -> Vec<u8> {
        self.0
    }

    /// Samples of 16 bits, in native byte order.
    pub(super) fn into_u16(self) -> Vec<u16> {
        self.0.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
    }

    /// Raster of a whole frame.
    pub(super) fn into_raster(self, size: Size, header: &Header) -> Raster {
        let samples = if header.bits == 16 { Samples::U16(self.into_u16()) } else { Samples::U8(self.into_u8()) };
        Raster::new(size, header.channels, samples)
    }
}
