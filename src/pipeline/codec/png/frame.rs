//! Reads the rows of one frame, interlaced or not, and checks the deadline in between. Composition is in `animation`.

use super::{FORMAT, Reader, corrupt};
use crate::pipeline::codec::Header;
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Deadline, Error, Raster, Samples, Size};

/// Rows between two checks of the deadline.
const BAND_ROWS: usize = 64;

/// Samples of a frame as in the file, 16-bit ones big-endian.
pub(super) struct Rows(Vec<u8>);

/// Reads the next frame, which has this size.
pub(super) fn read(reader: &mut Reader, size: Size, header: &Header, deadline: &Deadline) -> Result<Rows, Error> {
    let pixel_bytes = header.channels.count() * usize::from(header.bits / 8);
    let stride = size.w as usize * pixel_bytes;
    let mut bytes = try_zeroed(stride * size.h as usize)?;
    if reader.info().interlaced {
        deinterlace(reader, &mut bytes, stride, pixel_bytes, deadline)?;
    } else {
        for (y, row) in bytes.chunks_exact_mut(stride).enumerate() {
            poll(y, deadline)?;
            if reader.read_row(row).map_err(corrupt)?.is_none() {
                return Err(Error::corrupt(FORMAT, "truncated file"));
            }
        }
        // The rest of the data is checked after the last row.
        reader.read_row(&mut []).map_err(corrupt)?;
    }
    Ok(Rows(bytes))
}

fn deinterlace(
    reader: &mut Reader,
    bytes: &mut [u8],
    stride: usize,
    pixel_bytes: usize,
    deadline: &Deadline,
) -> Result<(), Error> {
    let mut row = try_zeroed(stride)?;
    let mut rows = 0;
    while let Some(interlace) = reader.read_row(&mut row).map_err(corrupt)? {
        if let png::InterlaceInfo::Adam7(pass) = interlace {
            png::expand_interlaced_row(bytes, stride, &row, &pass, pixel_bytes as u8 * 8);
        }
        poll(rows, deadline)?;
        rows += 1;
    }
    Ok(())
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
