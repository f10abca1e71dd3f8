//! The RIFF container of WebP: chunks, and what they state about the image. Decodes nothing.
//!
//! Source: RFC 9649. One pass over the chunk headers: at most one step per 8 bytes.

use std::borrow::Cow;

use super::NAME;
use crate::pipeline::codec::cursor::Cursor;
use crate::pipeline::{Channels, Error, Size};

/// Facts about a file from its chunks.
pub(super) struct Container<'a> {
    /// The file without data after the RIFF chunk.
    pub riff: &'a [u8],
    /// Size of the canvas.
    pub size: Size,
    /// Number of frames: 1, or the ANMF chunks of an animation.
    pub frames: u32,
    /// Whether frames must be composed, even a single one.
    pub animated: bool,
    /// Number of times an animation plays; 0 repeats for ever.
    pub plays: u32,
    /// Whether the result needs an alpha channel.
    pub alpha: bool,
    /// Whether the first frame is VP8L.
    pub lossless: bool,
    /// ICCP chunk.
    pub icc: Option<&'a [u8]>,
    /// EXIF chunk.
    pub exif: Option<&'a [u8]>,
    /// XMP chunk.
    pub xmp: Option<&'a [u8]>,
    /// The first frame of an animation.
    pub first: Option<FirstFrame<'a>>,
    /// Length of the file up to the end of its last whole frame.
    whole_bytes: usize,
    /// Whether the last frame is cut or malformed, or the file ends early.
    truncated: bool,
}

/// The first frame of an animation, for a picture of what there is of it: libwebp reads no part of an animation.
pub(super) struct FirstFrame<'a> {
    /// Place on the canvas.
    pub at: (u32, u32),
    /// Width and height.
    pub size: Size,
    alpha: bool,
    /// Its chunks, and the number of bytes that they should have.
    chunks: &'a [u8],
    stated_bytes: usize,
}

impl FirstFrame<'_> {
    /// The frame as a file of its own, cut where the animation is.
    pub fn still(&self) -> Vec<u8> {
        const ALPHA: u32 = 0x10;
        let flags = if self.alpha { ALPHA } else { 0 };
        let riff_bytes = u32::try_from(self.stated_bytes).unwrap_or(u32::MAX).saturating_add(22);
        let mut file = [&b"RIFF"[..], &riff_bytes.to_le_bytes(), b"WEBPVP8X\x0a\0\0\0", &flags.to_le_bytes()].concat();
        for side in [self.size.w, self.size.h] {
            file.extend_from_slice(&(side - 1).to_le_bytes()[..3]);
        }
        file.extend_from_slice(self.chunks);
        file
    }
}

/// One chunk; `payload` is shorter than `size` in a truncated file.
struct Chunk<'a> {
    id: [u8; 4],
    payload: &'a [u8],
    size: usize,
    truncated: bool,
}

/// Frame header of a VP8 or VP8L chunk.
struct Bitstream {
    size: Size,
    alpha: bool,
    lossless: bool,
}

impl<'a> Container<'a> {
    /// Walks all chunks.
    ///
    /// Errors: [`Error::Corrupt`] if the file is not well formed up to its first frame header.
    pub fn read(bytes: &'a [u8]) -> Result<Container<'a>, Error> {
        let mut cursor = Cursor::new(NAME, bytes);
        if cursor.take(4)? != b"RIFF" {
            return Err(cursor.corrupt("missing RIFF header"));
        }
        // RIFF's size counts the bytes after it; a truncated file is shorter.
        let end = (cursor.u32_le()? as usize).saturating_add(8);
        if end < 12 || cursor.take(4)? != b"WEBP" {
            return Err(cursor.corrupt("missing WEBP header"));
        }
        let riff = &bytes[..end.min(bytes.len())];
        let mut container = Container { truncated: end > bytes.len(), ..Container::empty(riff) };
        let mut chunks = Chunks(&riff[12..]);
        let first = chunks.next().ok_or_else(|| cursor.corrupt("no chunk in the file"))?;
        match &first.id {
            b"VP8X" => container.read_extended(first, chunks)?,
            b"VP8 " | b"VP8L" => container.take_image(&first)?,
            _ => return Err(cursor.corrupt("missing image chunk")),
        }
        Ok(container)
    }

    /// Channels of the decoded picture.
    pub fn channels(&self) -> Channels {
        if self.alpha { Channels::Rgba } else { Channels::Rgb }
    }

    /// Whether the file is copied to be decoded.
    fn is_copied(&self) -> bool {
        self.animated && self.truncated
    }

    /// The file up to the end of its last whole frame, as libwebp, which reads no part of an animation, takes it.
    pub fn whole_frames(&self) -> Result<Cow<'a, [u8]>, Error> {
        if !self.is_copied() {
            return Ok(self.riff.into());
        }
        let mut copy = self.riff[..self.whole_bytes].to_vec();
        let bytes = self.whole_bytes.checked_sub(8).ok_or_else(|| Error::corrupt(NAME, "truncated file"))?;
        copy[4..8].copy_from_slice(&(bytes as u32).to_le_bytes());
        Ok(copy.into())
    }

    fn empty(riff: &'a [u8]) -> Container<'a> {
        Container {
            riff,
            size: Size::new(0, 0),
            frames: 0,
            animated: false,
            plays: 1,
            alpha: false,
            lossless: false,
            icc: None,
            exif: None,
            xmp: None,
            first: None,
            whole_bytes: 0,
            truncated: false,
        }
    }

    fn read_extended(&mut self, header: Chunk<'a>, mut chunks: Chunks<'a>) -> Result<(), Error> {
        const ANIMATION: u8 = 2;
        let mut cursor = Cursor::new(NAME, header.payload);
        self.animated = cursor.u32_le()? as u8 & ANIMATION != 0;
        self.size = Size::new(u24_le(&mut cursor)? + 1, u24_le(&mut cursor)? + 1);
        while let Some(chunk) = chunks.next() {
            self.truncated |= chunk.truncated;
            match &chunk.id {
                b"ICCP" if self.icc.is_none() => self.icc = Some(chunk.payload),
                b"EXIF" if self.exif.is_none() => self.exif = Some(chunk.payload),
                b"XMP " if self.xmp.is_none() => self.xmp = Some(chunk.payload),
                b"ANIM" if self.animated => self.plays = plays(chunk.payload)?,
                b"ANMF" if self.animated => match self.take_frame(&chunk) {
                    Ok(()) => self.whole_bytes = self.riff.len() - chunks.0.len(),
                    Err(error) if self.frames == 0 => return Err(error),
                    // It counts, so that those who want it learn that it is missing.
                    Err(_) => {
                        self.frames = self.frames.saturating_add(1);
                        self.truncated = true;
                        break;
                    }
                },
                b"ALPH" if !self.animated => self.alpha = true,
                b"VP8 " | b"VP8L" if !self.animated && self.frames == 0 => self.take_image(&chunk)?,
                _ => {}
            }
        }
        if self.frames == 0 {
            return Err(Error::corrupt(NAME, "no frame in the file"));
        }
        Ok(())
    }

    /// Records the only image of a still.
    fn take_image(&mut self, chunk: &Chunk) -> Result<(), Error> {
        let image = Bitstream::read(chunk)?;
        if self.size.pixels() > 0 && self.size != image.size {
            return Err(Error::corrupt(NAME, "frame size differs from the canvas"));
        }
        self.size = image.size;
        self.frames = 1;
        self.alpha |= image.alpha;
        self.lossless = image.lossless;
        self.truncated |= chunk.truncated;
        Ok(())
    }

    /// Records a frame of an animation. The canvas shows where a frame does not cover it, is transparent or was
    /// disposed of.
    fn take_frame(&mut self, chunk: &Chunk<'a>) -> Result<(), Error> {
        const DISPOSE_TO_BACKGROUND: u8 = 1;
        if self.frames > 0 && chunk.truncated {
            return Err(Error::corrupt(NAME, "truncated file"));
        }
        let mut cursor = Cursor::new(NAME, chunk.payload);
        let (x, y) = (2 * u24_le(&mut cursor)?, 2 * u24_le(&mut cursor)?);
        let size = Size::new(u24_le(&mut cursor)? + 1, u24_le(&mut cursor)? + 1);
        let _duration = u24_le(&mut cursor)?;
        let disposed = cursor.u8()? & DISPOSE_TO_BACKGROUND != 0;
        if x + size.w > self.size.w || y + size.h > self.size.h {
            return Err(cursor.corrupt("frame outside the canvas"));
        }
        let mut alpha = false;
        let mut image = None;
        let chunks = cursor.rest();
        for part in Chunks(chunks) {
            match &part.id {
                b"ALPH" => alpha = true,
                b"VP8 " | b"VP8L" if image.is_none() => image = Some(Bitstream::read(&part)?),
                _ => {}
            }
            if self.frames > 0 && part.truncated {
                return Err(Error::corrupt(NAME, "truncated frame"));
            }
        }
        let image = image.ok_or_else(|| cursor.corrupt("frame without image"))?;
        if image.size != size {
            return Err(cursor.corrupt("image size differs from its frame"));
        }
        self.alpha |= alpha || image.alpha || disposed || (self.frames == 0 && size != self.size);
        if self.frames == 0 {
            let stated_bytes = chunk.size - cursor.position();
            self.first = Some(FirstFrame { at: (x, y), size, alpha: alpha || image.alpha, chunks, stated_bytes });
        }
        self.frames = self.frames.saturating_add(1);
        Ok(())
    }
}

fn plays(anim: &[u8]) -> Result<u32, Error> {
    let mut cursor = Cursor::new(NAME, anim);
    cursor.skip(4)?;
    Ok(u32::from(cursor.u16_le()?))
}

impl Bitstream {
    fn read(chunk: &Chunk) -> Result<Bitstream, Error> {
        let mut cursor = Cursor::new(NAME, chunk.payload);
        let image = if &chunk.id == b"VP8L" { Bitstream::vp8l(&mut cursor)? } else { Bitstream::vp8(&mut cursor)? };
        if image.size.pixels() == 0 {
            return Err(cursor.corrupt("zero width or height"));
        }
        Ok(image)
    }

    /// Reads the header of RFC 6386, section 9.1: a key frame's tag, start code, and sides of 14 bits with 2 of
    /// scaling.
    fn vp8(cursor: &mut Cursor) -> Result<Bitstream, Error> {
        let tag = cursor.take(3)?;
        if tag[0] & 1 != 0 || cursor.take(3)? != [0x9d, 0x01, 0x2a] {
            return Err(cursor.corrupt("invalid VP8 key frame"));
        }
        let side = |value: u16| u32::from(value & 0x3fff);
        let size = Size::new(side(cursor.u16_le()?), side(cursor.u16_le()?));
        Ok(Bitstream { size, alpha: false, lossless: false })
    }

    /// Reads the header of RFC 9649, section 3.4: a signature, two sides less 1 of 14 bits, whether alpha is used, 3
    /// bits of version.
    fn vp8l(cursor: &mut Cursor) -> Result<Bitstream, Error> {
        if cursor.u8()? != 0x2f {
            return Err(cursor.corrupt("invalid VP8L signature"));
        }
        let fields = cursor.u32_le()?;
        let size = Size::new((fields & 0x3fff) + 1, (fields >> 14 & 0x3fff) + 1);
        Ok(Bitstream { size, alpha: fields >> 28 & 1 != 0, lossless: true })
    }
}

fn u24_le(cursor: &mut Cursor) -> Result<u32, Error> {
    let bytes = cursor.take(3)?;
    Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]))
}

/// Iterator over chunks; ends after the first that is truncated.
struct Chunks<'a>(&'a [u8]);

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        let (head, rest) = self.0.split_at_checked(8)?;
        let id = [head[0], head[1], head[2], head[3]];
        let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let payload = &rest[..size.min(rest.len())];
        // Payloads are padded to an even length.
        self.0 = rest.get(size.saturating_add(size & 1)..).unwrap_or_default();
        Some(Chunk { id, payload, size, truncated: payload.len() < size })
    }
}
