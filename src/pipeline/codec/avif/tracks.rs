//! [`Movie`]: the tracks of an image sequence, from its box `moov`. Decodes nothing.
//!
//! Sources: ISO/IEC 14496-12 (boxes), the AVIF specification 1.1, section 7, and libavif for what writers left open. Every
//! nesting has a fixed depth, so the work is linear in the file.

mod samples;

use super::NAME;
use super::boxes::{Boxes, Kind, Property, push, split, version};
use crate::pipeline::codec::cursor::Cursor;
use crate::pipeline::{Error, Size};
use samples::Samples;

/// Bytes of a visual sample entry before its boxes.
pub(super) const VISUAL_BYTES: usize = 78;

/// Largest number of tracks; real files have one or two.
const TRACKS_MAX: usize = 16;

/// Names of auxiliary data that is alpha.
pub(super) const ALPHA_NAMES: [&[u8]; 2] =
    [b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0"];

/// The colours of an animation, and its alpha.
pub(super) struct Movie<'a> {
    /// Track of the colours.
    pub color: Track<'a>,
    /// Track of the alpha, with a frame for each of the colours.
    pub alpha: Option<Track<'a>>,
    /// Whether colours are premultiplied by alpha.
    pub premultiplied: bool,
}

impl<'a> Movie<'a> {
    /// Reads the tracks; `None`: the file has none of AV1.
    pub fn read(file: &'a [u8]) -> Result<Option<Movie<'a>>, Error> {
        let Some(moov) = find(Boxes::of(file), b"moov")? else { return Ok(None) };
        let mut tracks = Vec::new();
        for found in Boxes::of(moov) {
            if let (b"trak", payload) = split(&found?) {
                tracks.extend(Track::read(file, payload)?);
            }
            if tracks.len() > TRACKS_MAX {
                return Err(Error::Unsupported { format: NAME, feature: "more than 16 tracks" });
            }
        }
        let Some(color) = tracks.iter().position(|track| track.referred(b"auxl").is_empty()) else { return Ok(None) };
        let color = tracks.swap_remove(color);
        let alpha = tracks.into_iter().find(|track| track.is_alpha_of(color.id));
        if alpha
            .as_ref()
            .is_some_and(|alpha| alpha.size != color.size || alpha.samples.count() != color.samples.count())
        {
            return Err(Error::Unsupported {
                format: NAME,
                feature: "alpha of another size or length than the animation",
            });
        }
        let premultiplied = alpha.as_ref().is_some_and(|alpha| color.referred(b"prem").contains(&alpha.id));
        Ok(Some(Movie { color, alpha, premultiplied }))
    }
}

/// One track of AV1.
pub(super) struct Track<'a> {
    /// Number by which other tracks name it.
    id: u32,
    /// Size of the frames.
    pub size: Size,
    /// Units of time in a second; never 0.
    pub timescale: u32,
    /// Number of times the animation plays; 0 repeats for ever.
    pub plays: u32,
    /// Boxes of the sample entry, which describe the frames as properties describe an item.
    pub properties: Vec<Property<'a>>,
    /// Frames, in the order of display.
    pub samples: Samples<'a>,
    references: Vec<(Kind, &'a [u8])>,
}

impl<'a> Track<'a> {
    /// Reads a track; `None`: it is not AV1.
    fn read(file: &'a [u8], trak: &'a [u8]) -> Result<Option<Track<'a>>, Error> {
        let media = child(trak, b"mdia")?;
        let table = child(child(media, b"minf")?, b"stbl")?;
        let Some(entry) = find(Boxes::of(child(table, b"stsd")?.get(8..).unwrap_or_default()), b"av01")? else {
            return Ok(None);
        };
        let timescale = timescale(child(media, b"mdhd")?)?;
        let (id, duration) = header(child(trak, b"tkhd")?)?;
        let references = match find(Boxes::of(trak), b"tref")? {
            Some(tref) => Boxes::of(tref).take(TRACKS_MAX).collect::<Result<_, _>>()?,
            None => Vec::new(),
        };
        Ok(Some(Track {
            id,
            size: size(entry)?,
            timescale,
            plays: plays(trak, duration)?,
            properties: properties(entry)?,
            samples: Samples::read(file, table)?,
            references,
        }))
    }

    /// Tracks to which this one has a reference of a type.
    fn referred(&self, kind: &Kind) -> Vec<u32> {
        let found = self.references.iter().filter(|(of, _)| of == kind);
        found.flat_map(|(_, ids)| ids.as_chunks::<4>().0).map(|id| u32::from_be_bytes(*id)).collect()
    }

    fn is_alpha_of(&self, color: u32) -> bool {
        let name = self.properties.iter().find(|property| &property.kind == b"auxi");
        let is_alpha = name.is_none_or(|auxi| {
            auxi.payload.get(4..).is_some_and(|name| ALPHA_NAMES.iter().any(|known| name.starts_with(known)))
        });
        is_alpha && self.referred(b"auxl").contains(&color)
    }
}

/// The first box of a type.
pub(super) fn find<'a>(boxes: Boxes<'a>, kind: &Kind) -> Result<Option<&'a [u8]>, Error> {
    for found in boxes {
        let found = found?;
        if &found.0 == kind {
            return Ok(Some(found.1));
        }
    }
    Ok(None)
}

/// The first box of a type, which a track must have.
pub(super) fn child<'a>(payload: &'a [u8], kind: &Kind) -> Result<&'a [u8], Error> {
    find(Boxes::of(payload), kind)?.ok_or_else(|| Error::corrupt(NAME, "incomplete track"))
}

/// Reads the number of a track and its duration, in which all ones mean that it is not known; `tkhd`.
fn header(tkhd: &[u8]) -> Result<(u32, Option<u64>), Error> {
    let mut cursor = Cursor::new(NAME, tkhd);
    let wide = version(&mut cursor)? > 0;
    cursor.skip(if wide { 16 } else { 8 })?;
    let id = cursor.u32_be()?;
    cursor.skip(4)?;
    Ok((id, time(&mut cursor, wide)?))
}

/// Reads a time of 4 or 8 bytes; `None`: all ones.
fn time(cursor: &mut Cursor, wide: bool) -> Result<Option<u64>, Error> {
    let (high, low) = (if wide { cursor.u32_be()? } else { 0 }, cursor.u32_be()?);
    let unknown = low == u32::MAX && (!wide || high == u32::MAX);
    Ok((!unknown).then_some(u64::from(high) << 32 | u64::from(low)))
}

fn timescale(mdhd: &[u8]) -> Result<u32, Error> {
    let mut cursor = Cursor::new(NAME, mdhd);
    let wide = version(&mut cursor)? > 0;
    cursor.skip(if wide { 16 } else { 8 })?;
    let timescale = cursor.u32_be()?;
    if timescale == 0 { Err(cursor.corrupt("track without units of time")) } else { Ok(timescale) }
}

fn size(entry: &[u8]) -> Result<Size, Error> {
    let mut cursor = Cursor::new(NAME, entry);
    cursor.skip(24)?;
    let size = Size::new(u32::from(cursor.u16_be()?), u32::from(cursor.u16_be()?));
    if size.pixels() == 0 { Err(cursor.corrupt("zero width or height")) } else { Ok(size) }
}

fn properties(entry: &[u8]) -> Result<Vec<Property<'_>>, Error> {
    let mut properties = Vec::new();
    for found in Boxes::of(entry.get(VISUAL_BYTES..).unwrap_or_default()) {
        let (kind, payload) = found?;
        push(&mut properties, Property { kind, payload, essential: false })?;
    }
    Ok(properties)
}

/// Number of plays, from the edit list: one that repeats fills the duration of the track. Without a list an animation
/// repeats for ever, as in browsers.
fn plays(trak: &[u8], duration: Option<u64>) -> Result<u32, Error> {
    let Some(edts) = find(Boxes::of(trak), b"edts")? else { return Ok(0) };
    let Some(elst) = find(Boxes::of(edts), b"elst")? else { return Ok(0) };
    let mut cursor = Cursor::new(NAME, elst);
    let head = cursor.u32_be()?;
    cursor.skip(4)?;
    let segment = time(&mut cursor, head >> 24 > 0)?;
    if head & 1 == 0 {
        return Ok(1);
    }
    let times = duration.zip(segment.filter(|segment| *segment > 0)).map(|(whole, segment)| whole.div_ceil(segment));
    Ok(times.map_or(0, |times| u32::try_from(times.max(1)).unwrap_or(0)))
}
