//! Removes metadata from a PNG without inflating it: only chunks for pixels and frames are kept, and no data after
//! the end.

use super::FORMAT;
use super::container::SIGNATURE;
use crate::pipeline::Error;
use crate::pipeline::codec::cursor::Cursor;

const KEPT: &[&[u8; 4]] = &[b"IHDR", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"IDAT", b"fdAT", b"IEND"];

pub(super) fn strip(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    /// Bytes of a chunk around its payload: length, name, checksum.
    const FRAME: usize = 12;
    let mut cursor = Cursor::new(FORMAT, bytes);
    let mut out = cursor.take(SIGNATURE.len())?.to_vec();
    // Each turn consumes bytes, so the loop ends with the file.
    loop {
        let chunk = cursor.rest();
        let length = cursor.u32_be()? as usize;
        let name = cursor.take(4)?;
        let payload = cursor.take(length)?;
        cursor.skip(4)?;
        if is_other_colour(name, payload) {
            return Err(cursor.corrupt("colours that the pixels alone do not have"));
        }
        if KEPT.iter().any(|kept| *kept == name) {
            out.extend(&chunk[..length + FRAME]);
        }
        if name == b"IEND" {
            return Ok(out);
        }
    }
}

/// Whether a chunk says that samples are not sRGB: without it the picture would look different.
fn is_other_colour(name: &[u8], payload: &[u8]) -> bool {
    /// White, red, green and blue of sRGB in CIE xy, times 100,000.
    const SRGB: [u32; 8] = [31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000];
    let numbers = || payload.as_chunks::<4>().0.iter().map(|bytes| u32::from_be_bytes(*bytes));
    match name {
        b"iCCP" | b"cICP" => true,
        // The exponent of sRGB, 1 / 2.2, as programs round it.
        b"gAMA" => !numbers().all(|gamma| (45_000..=46_000).contains(&gamma)),
        b"cHRM" => !numbers().eq(SRGB),
        _ => false,
    }
}
