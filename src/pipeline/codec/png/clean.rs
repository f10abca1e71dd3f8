//! A copy of a file without what the crate `png` would stumble over: only chunks for pixels and frames, and none that are to
//! be ignored.

use std::borrow::Cow;

use png::{BitDepth, ColorType};

use super::chunks::{Chunk, Chunks, written};
use super::container::SIGNATURE;

/// What is kept of a file.
pub(super) struct Kept {
    pub color: ColorType,
    pub depth: BitDepth,
    /// Whether the animation is played.
    pub animated: bool,
}

impl Kept {
    /// The file with the chunks that are kept, up to its end.
    pub fn of(&self, file: &[u8]) -> Vec<u8> {
        let mut clean = SIGNATURE.to_vec();
        for chunk in Chunks::of(file) {
            if let Some(bytes) = self.chunk(&chunk) {
                clean.extend_from_slice(&bytes);
            }
        }
        clean
    }

    fn chunk<'a>(&self, chunk: &Chunk<'a>) -> Option<Cow<'a, [u8]>> {
        match &chunk.name {
            b"tRNS" if !chunk.is_intact() => None,
            b"tRNS" => Some(masked(chunk.body, self.color, self.depth).map_or(chunk.bytes.into(), Cow::from)),
            b"acTL" | b"fcTL" if !chunk.is_intact() => None,
            b"acTL" | b"fcTL" | b"fdAT" if !self.animated => None,
            b"acTL" | b"fcTL" | b"fdAT" => Some(chunk.bytes.into()),
            _ if chunk.is_critical() => Some(chunk.bytes.into()),
            _ => None,
        }
    }
}

/// A transparent level of gray without the bits above the depth, which do not count (PNG third edition, 11.3.1.1). `None`: it
/// has none.
pub(super) fn masked(body: &[u8], color: ColorType, depth: BitDepth) -> Option<Vec<u8>> {
    let mask = match depth {
        BitDepth::One | BitDepth::Two | BitDepth::Four => (1u16 << depth as u8) - 1,
        BitDepth::Eight | BitDepth::Sixteen => return None,
    };
    let level = u16::from_be_bytes(*body.first_chunk().filter(|_| color == ColorType::Grayscale)?);
    (level & !mask != 0).then(|| written(b"tRNS", &(level & mask).to_be_bytes()))
}
