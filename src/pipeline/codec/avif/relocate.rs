//! Changes the box `moov` of an animation that we wrote, when metadata is added to the file: the data moves, and the colours
//! get a profile.

use super::boxes::{Boxes, append};
use super::tracks::{VISUAL_BYTES, find};
use crate::pipeline::Error;

/// A new payload of `moov`, with positions that are `moved` bytes further on, and `icc` in the description of the colours.
pub(super) fn movie(payload: &[u8], moved: usize, icc: Option<&[u8]>) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    for found in Boxes::of(payload) {
        let (kind, payload) = found?;
        let changed = match &kind {
            b"trak" | b"mdia" | b"minf" | b"stbl" => movie(payload, moved, icc)?,
            b"stsd" => [&payload[..8], &movie(&payload[8..], moved, icc)?].concat(),
            b"av01" => described(payload, icc)?,
            b"stco" => positions(payload, moved),
            _ => payload.to_vec(),
        };
        append(&mut out, kind, &changed);
    }
    Ok(out)
}

/// The description of the frames of a track; alpha has no profile.
fn described(entry: &[u8], icc: Option<&[u8]>) -> Result<Vec<u8>, Error> {
    let mut out = entry.to_vec();
    if let Some(icc) = icc
        && find(Boxes::of(&entry[VISUAL_BYTES..]), b"auxi")?.is_none()
    {
        append(&mut out, *b"colr", &[b"prof", icc].concat());
    }
    Ok(out)
}

/// A box `stco`: version and flags, the number of chunks, their positions.
fn positions(payload: &[u8], moved: usize) -> Vec<u8> {
    let (head, chunks) = payload.split_at(8);
    let shifted = chunks.as_chunks::<4>().0.iter().map(|at| u32::from_be_bytes(*at) + moved as u32);
    [head, &shifted.flat_map(u32::to_be_bytes).collect::<Vec<u8>>()].concat()
}
