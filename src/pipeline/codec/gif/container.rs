//! [`Container`]: the blocks of a GIF, with number and size of frames, and whether any transparency shows. Decompresses no data.
//!
//! Source: the GIF89a specification. One pass over the lengths of sub-blocks, linear in the file.

use super::NAME;
use crate::pipeline::codec::cursor::Cursor;
use crate::pipeline::{Channels, Error, Size};

/// Facts about a file from its blocks.
pub(super) struct Container {
    /// Size of the logical screen.
    pub size: Size,
    /// Number of image descriptors.
    pub frames: u32,
    /// Pixels of the largest frame, which may exceed the screen.
    pub frame_pixels_max: u64,
    /// Whether the result needs alpha: a colour is transparent, the first frame does not cover the screen, or a frame
    /// is cleared.
    pub alpha: bool,
    /// Whether an ICC profile is embedded.
    pub icc: bool,
    /// Whether the trailer was reached; otherwise frames may be missing.
    pub complete: bool,
}

impl Container {
    /// Walks all blocks.
    ///
    /// Errors: [`Error::Corrupt`] if the file is not well formed up to the first frame's header.
    pub fn read(bytes: &[u8]) -> Result<Container, Error> {
        let mut cursor = Cursor::new(NAME, bytes);
        if !matches!(cursor.take(6)?, b"GIF87a" | b"GIF89a") {
            return Err(cursor.corrupt("invalid magic number"));
        }
        let size = Size::new(u32::from(cursor.u16_le()?), u32::from(cursor.u16_le()?));
        if size.pixels() == 0 {
            return Err(cursor.corrupt("zero width or height"));
        }
        skip_palette(&mut cursor, 2)?;
        let mut container =
            Container { size, frames: 0, frame_pixels_max: 0, alpha: false, icc: false, complete: false };
        match container.walk(&mut cursor) {
            Err(error) if container.frames == 0 => Err(error),
            Ok(()) if container.frames == 0 => Err(cursor.corrupt("no frame in the file")),
            walked => {
                container.complete = walked.is_ok();
                Ok(container)
            }
        }
    }

    /// Channels of the decoded picture.
    pub fn channels(&self) -> Channels {
        if self.alpha { Channels::Rgba } else { Channels::Rgb }
    }

    fn walk(&mut self, cursor: &mut Cursor) -> Result<(), Error> {
        loop {
            match cursor.u8()? {
                0x2c => self.frame(cursor)?,
                0x21 => self.extension(cursor)?,
                0x3b => return Ok(()),
                _ => return Err(cursor.corrupt("unknown block type")),
            }
        }
    }

    fn frame(&mut self, cursor: &mut Cursor) -> Result<(), Error> {
        let (left, top) = (cursor.u16_le()?, cursor.u16_le()?);
        let size = Size::new(u32::from(cursor.u16_le()?), u32::from(cursor.u16_le()?));
        let covers = left == 0 && top == 0 && size.w >= self.size.w && size.h >= self.size.h;
        self.alpha |= self.frames == 0 && !covers;
        skip_palette(cursor, 0)?;
        self.frame_pixels_max = self.frame_pixels_max.max(size.pixels());
        self.frames = self.frames.saturating_add(1);
        let _code_size = cursor.u8()?;
        skip_sub_blocks(cursor)
    }

    fn extension(&mut self, cursor: &mut Cursor) -> Result<(), Error> {
        const GRAPHIC_CONTROL: u8 = 0xf9;
        const APPLICATION: u8 = 0xff;
        let label = cursor.u8()?;
        let start = cursor.rest();
        match label {
            GRAPHIC_CONTROL => {
                let flags = start.get(1).copied().unwrap_or_default();
                let (transparent, disposal) = (flags & 1 != 0, flags >> 2 & 7);
                self.alpha |= transparent || disposal == 2;
            }
            APPLICATION => self.icc |= start.get(1..12) == Some(b"ICCRGBG1012"),
            _ => {}
        }
        skip_sub_blocks(cursor)
    }
}

/// Skips flags, `between` bytes, and the colour table that the flags announce.
fn skip_palette(cursor: &mut Cursor, between: usize) -> Result<(), Error> {
    let flags = cursor.u8()?;
    let palette = if flags & 0x80 != 0 { 3 << ((flags & 7) + 1) } else { 0 };
    cursor.skip(between + palette)
}

fn skip_sub_blocks(cursor: &mut Cursor) -> Result<(), Error> {
    loop {
        match cursor.u8()? {
            0 => return Ok(()),
            length => cursor.skip(usize::from(length))?,
        }
    }
}
