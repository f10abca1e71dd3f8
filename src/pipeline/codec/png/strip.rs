//! Removes metadata from a PNG without inflating it: only chunks for pixels and frames are kept, and no data after
//! the end. Chunks with a wrong checksum, which readers ignore, are removed, too.

use super::FORMAT;
use super::calibration::{self, Calibration};
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
    let none = Calibration { gamma: None, chromaticities: None };
    match name {
        b"iCCP" | b"cICP" => true,
        b"gAMA" => !Calibration { gamma: calibration::gamma(payload), ..none }.is_srgb(),
        b"cHRM" => !Calibration { chromaticities: calibration::chromaticities(payload), ..none }.is_srgb(),
        _ => false,
    }
}
