//! [`Canvas`]: composes frames of palette indices as browsers do, on transparent ground, each disposed of before the
//! next.

use gif::DisposalMethod;

use super::{Area, try_zeroed};
use crate::pipeline::{Channels, Error, Size};

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

    /// Disposes of the last frame, draws this one, and returns a copy of the screen.
    pub fn show(&mut self, frame: &gif::Frame, indices: &[u8], palette: &[u8]) -> Result<Vec<u8>, Error> {
        match std::mem::replace(&mut self.disposal, Disposal::Keep) {
            Disposal::Keep => {}
            Disposal::Clear(area) => self.clear(area),
            Disposal::Restore(samples) => self.samples = samples,
        }
        let area = self.clip(frame);
        self.disposal = match frame.dispose {
            DisposalMethod::Any | DisposalMethod::Keep => Disposal::Keep,
            DisposalMethod::Background => Disposal::Clear(area),
            DisposalMethod::Previous => Disposal::Restore(self.copy()?),
        };
        self.draw(area, usize::from(frame.width), frame.transparent, indices, palette);
        self.copy()
    }

    fn copy(&self) -> Result<Vec<u8>, Error> {
        let mut copy = try_zeroed(self.samples.len())?;
        copy.copy_from_slice(&self.samples);
        Ok(copy)
    }

    fn clip(&self, frame: &gif::Frame) -> Area {
        let (w, h) = (self.size.w as usize, self.size.h as usize);
        let (x, y) = (usize::from(frame.left).min(w), usize::from(frame.top).min(h));
        Area { x, y, w: usize::from(frame.width).min(w - x), h: usize::from(frame.height).min(h - y) }
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
    fn draw(&mut self, area: Area, frame_w: usize, transparent: Option<u8>, indices: &[u8], palette: &[u8]) {
        let count = self.channels.count();
        let colors = palette.as_chunks::<3>().0;
        // An empty frame has no rows.
        for (row, indices) in self.rows(area).zip(indices.chunks_exact(frame_w.max(1))) {
            for (pixel, &index) in row.chunks_exact_mut(count).zip(indices) {
                let Some(color) = colors.get(usize::from(index)).filter(|_| transparent != Some(index)) else {
                    continue;
                };
                pixel[..3].copy_from_slice(color);
                if let Some(alpha) = pixel.get_mut(3) {
                    *alpha = 255;
                }
            }
        }
    }
}
