//! Removes metadata from a PNG without inflating it: only chunks for pixels and frames are kept, and no data after
//! the end. Chunks with a wrong checksum, which readers ignore, are removed, too.

use super::FORMAT;
use super::chunks::{Chunks, written};
use super::container::SIGNATURE;
use crate::pipeline::Error;

const KEPT: &[&[u8; 4]] = &[b"IHDR", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"IDAT", b"fdAT"];

pub(super) fn strip(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = SIGNATURE.to_vec();
    for chunk in Chunks::of(bytes) {
        match &chunk.name {
            _ if chunk.is_cut => break,
            name if chunk.is_intact() && is_other_colour(name.as_slice(), chunk.body) => {
                return Err(Error::corrupt(FORMAT, "colours that the pixels alone do not have"));
            }
            b"IEND" => return Ok([out, written(b"IEND", &[])].concat()),
            name if KEPT.contains(&name) && chunk.is_intact() => out.extend(chunk.bytes),
            name if KEPT.contains(&name) && chunk.is_critical() => break,
            _ => {}
        }
    }
    Err(Error::corrupt(FORMAT, "truncated or damaged file"))
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
