//! [`Canvas`]: composes frames of palette indices as browsers do, on transparent ground, each disposed of before the
//! next.

use super::frame::Frame;
use super::{Area, try_zeroed};
use crate::pipeline::{Channels, Error, Raster, Samples, Size};

/// Level of gray of pixels that a cut first frame leaves out.
const GRAY: u8 = 128;

/// Treatment of a frame's area before the next frame.
enum Disposal {
    Keep,
    Clear(Area),
    Restore(Vec<u8>),
}

/// The screen between two frames.
pub(super) struct Canvas {
    size: Size,
    channels: Channels,
    samples: Vec<u8>,
    disposal: Disposal,
}

impl Canvas {
    /// A screen that is transparent, or black if it has no alpha.
    pub fn new(size: Size, channels: Channels) -> Result<Canvas, Error> {
        let samples = try_zeroed(size.pixels() as usize * channels.count())?;
        Ok(Canvas { size, channels, samples, disposal: Disposal::Keep })
    }

    /// Makes a screen without alpha gray, where the first frame leaves pixels out.
    pub fn expect_holes(&mut self) {
        if !self.channels.alpha() {
            self.samples.fill(GRAY);
        }
    }

    /// Disposes of the last frame, and draws this one.
    pub fn show(&mut self, frame: &Frame, indices: &[u8]) -> Result<(), Error> {
        match std::mem::replace(&mut self.disposal, Disposal::Keep) {
            Disposal::Keep => {}
            Disposal::Clear(area) => self.clear(area),
            Disposal::Restore(samples) => self.samples = samples,
        }
        let area = self.clip(frame);
        self.disposal = match frame.disposal {
            Frame::CLEARED => Disposal::Clear(area),
            Frame::RESTORED => Disposal::Restore(self.copy()?),
            _ => Disposal::Keep,
        };
        self.draw(area, frame, indices);
        Ok(())
    }

    /// A copy of the screen as a raster.
    pub fn raster(&self) -> Result<Raster, Error> {
        Ok(Raster::new(self.size, self.channels, Samples::U8(self.copy()?)))
    }

    fn copy(&self) -> Result<Vec<u8>, Error> {
        let mut copy = try_zeroed(self.samples.len())?;
        copy.copy_from_slice(&self.samples);
        Ok(copy)
    }

    fn clip(&self, frame: &Frame) -> Area {
        let (x, y) = (frame.left.min(self.size.w), frame.top.min(self.size.h));
        let (w, h) = (frame.size.w.min(self.size.w - x), frame.size.h.min(self.size.h - y));
        Area { x: x as usize, y: y as usize, w: w as usize, h: h as usize }
    }

    fn rows(&mut self, area: Area) -> impl Iterator<Item = &mut [u8]> {
        let count = self.channels.count();
        let row = self.size.w as usize * count;
        let within = area.x * count..(area.x + area.w) * count;
        self.samples.chunks_exact_mut(row).skip(area.y).take(area.h).map(move |samples| &mut samples[within.clone()])
    }

    fn clear(&mut self, area: Area) {
        for row in self.rows(area) {
            row.fill(0);
        }
    }

    /// Draws a frame. Indices without a colour, like the transparent one, leave the pixel unchanged.
    fn draw(&mut self, area: Area, frame: &Frame, indices: &[u8]) {
        let count = self.channels.count();
        let colors = frame.palette.map(|palette| palette.as_chunks::<3>().0);
        for (y, row) in self.rows(area).enumerate() {
            for (pixel, &index) in row.chunks_exact_mut(count).zip(frame.row(indices, y)) {
                let color = colors.map_or(Some([index; 3]), |colors| colors.get(usize::from(index)).copied());
                let Some(color) = color.filter(|_| frame.transparent != Some(index)) else { continue };
                pixel[..3].copy_from_slice(&color);
                if let Some(alpha) = pixel.get_mut(3) {
                    *alpha = 255;
                }
            }
        }
    }
}
