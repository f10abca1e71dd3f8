//! [`Container`]: the blocks of a GIF, with number and size of frames, and whether any transparency shows; [`Frames`]: its
//! frames, one after the other. Decompresses no data.
//!
//! Source: the GIF89a specification. One pass over the lengths of sub-blocks, linear in the file. As in browsers, the file
//! ends at the first block of another kind than a frame or an extension, whether that is the trailer or not.

use super::NAME;
use super::frame::Frame;
use crate::pipeline::codec::cursor::Cursor;
use crate::pipeline::{Channels, Error, Size};

/// Facts about a file from its blocks.
pub(super) struct Container<'a> {
    /// Size of the canvas: the logical screen, or the first frame where that is larger.
    pub size: Size,
    /// Number of frames that have begun; the last may be cut.
    pub frames: u32,
    /// Whether the file ends within what comes before a frame, so that it had more.
    pub lacks_frames: bool,
    /// Pixels of the largest frame, which may exceed the screen.
    pub frame_pixels_max: u64,
    /// Whether the result needs alpha: a colour is transparent, the first frame does not cover the screen, or a frame
    /// is cleared.
    pub alpha: bool,
    /// Number of times an animation plays; 0 repeats for ever.
    pub plays: u32,
    /// Blocks of an ICC profile, each after its length.
    icc: Option<&'a [u8]>,
    blocks: Frames<'a>,
}

impl<'a> Container<'a> {
    /// Walks all blocks.
    ///
    /// Errors: [`Error::Corrupt`] if the file is not well formed up to the first frame's header.
    pub fn read(bytes: &'a [u8]) -> Result<Container<'a>, Error> {
        let mut cursor = Cursor::new(NAME, bytes);
        if !matches!(cursor.take(6)?, b"GIF87a" | b"GIF89a") {
            return Err(cursor.corrupt("invalid magic number"));
        }
        let screen = Size::new(u32::from(cursor.u16_le()?), u32::from(cursor.u16_le()?));
        let palette = palette(cursor.u8()?, &mut cursor, 2)?;
        let start = Frames { cursor, palette, screen, first: true, extensions: Extensions::default() };
        let mut blocks = start.clone();
        let Some(first) = blocks.next_frame()? else { return Err(cursor.corrupt("no frame in the file")) };
        let size = blocks.screen;
        if size.pixels() == 0 {
            return Err(cursor.corrupt("zero width or height"));
        }
        let mut container = Container {
            size,
            frames: 0,
            lacks_frames: false,
            frame_pixels_max: 0,
            alpha: !first.covers(size),
            plays: 1,
            icc: None,
            blocks: start,
        };
        let mut next = Some(first);
        while let Some(frame) = next {
            container.count(&frame);
            // A later frame whose header is damaged or cut ends the file.
            next = blocks.next_frame().unwrap_or_else(|_| {
                container.lacks_frames = true;
                None
            });
        }
        container.lacks_frames |= blocks.extensions.is_cut || blocks.extensions.control.is_some();
        (container.plays, container.icc) = (blocks.extensions.plays, blocks.extensions.icc);
        Ok(container)
    }

    fn count(&mut self, frame: &Frame) {
        self.frames = self.frames.saturating_add(1);
        self.frame_pixels_max = self.frame_pixels_max.max(frame.pixels());
        self.alpha |= frame.transparent.is_some() || frame.disposal == Frame::CLEARED;
    }

    /// Channels of the decoded picture.
    pub fn channels(&self) -> Channels {
        if self.alpha { Channels::Rgba } else { Channels::Rgb }
    }

    /// The frames from the first on.
    pub fn frames(&self) -> Frames<'a> {
        self.blocks.clone()
    }

    /// Whether an ICC profile is embedded.
    pub fn has_icc(&self) -> bool {
        self.icc.is_some()
    }

    /// The ICC profile, if it is no longer than `bytes_max`.
    pub fn icc(&self, bytes_max: usize) -> Option<Vec<u8>> {
        let mut profile = Vec::new();
        for block in SubBlocks(self.icc?) {
            profile.extend_from_slice(block);
            if profile.len() > bytes_max {
                return None;
            }
        }
        (!profile.is_empty()).then_some(profile)
    }
}

/// The frames of a file, read one by one.
#[derive(Clone)]
pub(super) struct Frames<'a> {
    cursor: Cursor<'a>,
    /// Colours of frames without their own; `None`: there are none.
    palette: Option<&'a [u8]>,
    screen: Size,
    first: bool,
    extensions: Extensions<'a>,
}

/// What extensions have said so far.
#[derive(Clone)]
struct Extensions<'a> {
    /// Flags, delay and transparent index for the next frame.
    control: Option<[u8; 4]>,
    plays: u32,
    icc: Option<&'a [u8]>,
    /// Whether the file ends within one.
    is_cut: bool,
}

impl Default for Extensions<'_> {
    fn default() -> Self {
        Extensions { control: None, plays: 1, icc: None, is_cut: false }
    }
}

impl<'a> Frames<'a> {
    /// The next frame; `None` at the end of the file, or of what can be read of it.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'a>>, Error> {
        loop {
            match self.cursor.u8() {
                Ok(0x2c) => return self.frame().map(Some),
                Ok(0x21) => self.extension()?,
                // Some writers leave a zero between blocks.
                Ok(0) => {}
                Err(error) if self.first => return Err(error),
                _ => return Ok(None),
            }
        }
    }

    fn frame(&mut self) -> Result<Frame<'a>, Error> {
        let cursor = &mut self.cursor;
        let (left, top) = (cursor.u16_le()?, cursor.u16_le()?);
        let size = Size::new(u32::from(cursor.u16_le()?), u32::from(cursor.u16_le()?));
        let flags = cursor.u8()?;
        let palette = palette(flags, cursor, 0)?.or(self.palette);
        let code_bits = cursor.u8()?;
        let data = sub_blocks(cursor);
        let [control, delay_low, delay_high, transparent] = self.extensions.control.take().unwrap_or_default();
        let mut frame = Frame {
            left: u32::from(left),
            top: u32::from(top),
            size,
            interlaced: flags & 0x40 != 0,
            palette,
            delay_hundredths: u16::from_le_bytes([delay_low, delay_high]),
            disposal: control >> 2 & 7,
            transparent: (control & 1 != 0).then_some(transparent),
            code_bits,
            data,
        };
        if std::mem::take(&mut self.first) {
            self.grow(&mut frame);
        }
        Ok(frame)
    }

    /// Makes the screen as large as the first frame, which then begins at its edge.
    fn grow(&mut self, first: &mut Frame) {
        if first.size.w > self.screen.w {
            (self.screen.w, first.left) = (first.size.w, 0);
        }
        if first.size.h > self.screen.h {
            (self.screen.h, first.top) = (first.size.h, 0);
        }
    }

    fn extension(&mut self) -> Result<(), Error> {
        const GRAPHIC_CONTROL: u8 = 0xf9;
        const APPLICATION: u8 = 0xff;
        let label = self.cursor.u8()?;
        let start = self.cursor.position();
        let body = sub_blocks(&mut self.cursor);
        // Without a terminator.
        self.extensions.is_cut |= self.cursor.position() == start + body.len();
        let mut blocks = SubBlocks(body);
        match (label, blocks.next()) {
            // Of several before a frame the last holds.
            (GRAPHIC_CONTROL, Some(&[flags, low, high, transparent, ..])) => {
                self.extensions.control = Some([flags, low, high, transparent]);
            }
            (APPLICATION, Some(b"NETSCAPE2.0")) => {
                if let Some(&[1, low, high]) = blocks.next() {
                    self.extensions.plays = plays(u16::from_le_bytes([low, high]));
                }
            }
            (APPLICATION, Some(b"ICCRGBG1012")) => self.extensions.icc = self.extensions.icc.or(Some(blocks.0)),
            _ => {}
        }
        Ok(())
    }
}

/// Number of plays: the extension counts repetitions after the first; without it the animation plays once.
fn plays(repetitions: u16) -> u32 {
    if repetitions == 0 { 0 } else { u32::from(repetitions) + 1 }
}

/// Skips `between` bytes, and reads the colour table that the flags announce.
fn palette<'a>(flags: u8, cursor: &mut Cursor<'a>, between: usize) -> Result<Option<&'a [u8]>, Error> {
    cursor.skip(between)?;
    if flags & 0x80 == 0 { Ok(None) } else { cursor.take(3 << ((flags & 7) + 1)).map(Some) }
}

/// Takes sub-blocks with their lengths, up to their terminator or the end of the file.
fn sub_blocks<'a>(cursor: &mut Cursor<'a>) -> &'a [u8] {
    let start = cursor.rest();
    let mut blocks = SubBlocks(start);
    while blocks.next().is_some() {}
    let length = start.len() - blocks.0.len();
    let taken = &start[..length];
    // A terminator follows, unless the file is cut.
    let end = length + usize::from(!blocks.0.is_empty());
    cursor.skip(end).map_or(taken, |()| taken)
}

/// Iterator over the contents of sub-blocks, up to their terminator; the last is shorter than it says in a cut file.
#[derive(Clone)]
pub(super) struct SubBlocks<'a>(pub &'a [u8]);

impl<'a> Iterator for SubBlocks<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&length, rest) = self.0.split_first().filter(|(length, _)| **length > 0)?;
        let (block, rest) = rest.split_at(usize::from(length).min(rest.len()));
        self.0 = rest;
        Some(block)
    }
}
