//! Composes the frames of an APNG to whole canvases, by the rules of the specification (PNG third edition, 11.3.2 and
//! 12.7).

use png::{BlendOp, DisposeOp, FrameControl};

use super::frame::{self, Reading, Rows};
use super::{FORMAT, Reader, corrupt};
use crate::pipeline::codec::Header;
use crate::pipeline::codec::animation::FrameCollector;
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Delay, Error, Missing, Raster, Samples, Size};

/// Reads and composes frames until there are enough, or up to the last whole one. Returns what is missing.
pub(super) fn read(
    reader: &mut Reader,
    reading: &Reading,
    frames: &mut FrameCollector,
) -> Result<Option<Missing>, Error> {
    let composed = if reading.header.bits == 16 {
        compose(reader, reading, frames, Rows::into_u16, Samples::U16)
    } else {
        compose(reader, reading, frames, Rows::into_u8, Samples::U8)
    };
    match composed {
        Err(Error::Corrupt { .. }) if frames.seen() > 0 => Ok(Some(Missing::Frames)),
        composed => composed,
    }
}

fn compose<T: BlendSample>(
    reader: &mut Reader,
    reading: &Reading,
    frames: &mut FrameCollector,
    samples: fn(Rows) -> Vec<T>,
    wrap: fn(Vec<T>) -> Samples,
) -> Result<Option<Missing>, Error> {
    let header = reading.header;
    let mut canvas = Canvas::<T>::new(header)?;
    while !frames.is_full() {
        // The first frame control is already available, unless the default image is not a frame.
        let control = match reader.info().frame_control {
            Some(control) if frames.seen() == 0 => control,
            _ => *reader.next_frame_info().map_err(corrupt)?,
        };
        let region = FrameArea::new(&control, header.size)?;
        let (part, is_whole) = frame::read(reader, region.size, reading)?;
        let part = samples(part);
        let before = matches!(control.dispose_op, DisposeOp::Previous).then(|| canvas.copy()).transpose()?;
        canvas.draw(&part, &region, control.blend_op);
        let shown = || canvas.copy().map(|samples| Raster::new(header.size, header.channels, wrap(samples)));
        let raster = frames.keeps_next().then(shown).transpose()?;
        frames.add(raster, delay(&control));
        match control.dispose_op {
            DisposeOp::None => {}
            DisposeOp::Background => canvas.clear(&region),
            DisposeOp::Previous => canvas.samples = before.unwrap_or_default(),
        }
        if !is_whole {
            return Ok(Some(Missing::Pixels));
        }
    }
    Ok(None)
}

/// Delay of a frame; a denominator of 0 means hundredths.
fn delay(control: &FrameControl) -> Delay {
    let denominator = if control.delay_den == 0 { 100 } else { u32::from(control.delay_den) };
    Delay { numerator: u32::from(control.delay_num), denominator }
}

/// Position of a frame on the canvas.
struct FrameArea {
    x: usize,
    y: usize,
    size: Size,
}

impl FrameArea {
    fn new(control: &FrameControl, canvas: Size) -> Result<FrameArea, Error> {
        let inside =
            |offset: u32, side: u32, whole: u32| side > 0 && u64::from(offset) + u64::from(side) <= u64::from(whole);
        if inside(control.x_offset, control.width, canvas.w) && inside(control.y_offset, control.height, canvas.h) {
            let size = Size::new(control.width, control.height);
            Ok(FrameArea { x: control.x_offset as usize, y: control.y_offset as usize, size })
        } else {
            Err(Error::corrupt(FORMAT, "frame outside the canvas"))
        }
    }
}

/// The composed image so far; initially transparent black.
struct Canvas<T> {
    samples: Vec<T>,
    /// Samples per row and per pixel; the last sample of a pixel is alpha.
    stride: usize,
    pixel: usize,
}

impl<T: BlendSample> Canvas<T> {
    fn new(header: &Header) -> Result<Canvas<T>, Error> {
        let pixel = header.channels.count();
        let stride = header.size.w as usize * pixel;
        Ok(Canvas { samples: try_zeroed(stride * header.size.h as usize)?, stride, pixel })
    }

    fn copy(&self) -> Result<Vec<T>, Error> {
        let mut copy = try_zeroed(self.samples.len())?;
        copy.clone_from_slice(&self.samples);
        Ok(copy)
    }

    fn rows(&mut self, region: &FrameArea) -> impl Iterator<Item = &mut [T]> {
        let across = region.x * self.pixel..(region.x + region.size.w as usize) * self.pixel;
        let rows = self.samples.chunks_exact_mut(self.stride).skip(region.y).take(region.size.h as usize);
        rows.map(move |row| &mut row[across.clone()])
    }

    fn clear(&mut self, region: &FrameArea) {
        self.rows(region).for_each(|row| row.fill(T::default()));
    }

    fn draw(&mut self, part: &[T], region: &FrameArea, blend: BlendOp) {
        let pixel = self.pixel;
        let parts = part.chunks_exact(region.size.w as usize * pixel);
        for (row, part) in self.rows(region).zip(parts) {
            match blend {
                BlendOp::Source => row.clone_from_slice(part),
                BlendOp::Over => row.chunks_exact_mut(pixel).zip(part.chunks_exact(pixel)).for_each(over),
            }
        }
    }
}

/// A sample that can be blended.
trait BlendSample: Copy + Default {
    const MAX: u64;
    fn widen(self) -> u64;
    fn narrow(wide: u64) -> Self;
}

impl BlendSample for u8 {
    const MAX: u64 = 0xff;
    fn widen(self) -> u64 {
        u64::from(self)
    }
    fn narrow(wide: u64) -> u8 {
        wide as u8
    }
}

impl BlendSample for u16 {
    const MAX: u64 = 0xffff;
    fn widen(self) -> u64 {
        u64::from(self)
    }
    fn narrow(wide: u64) -> u16 {
        wide as u16
    }
}

/// Blends straight alpha over straight alpha, rounded once. Opaque and fully transparent pixels are exact.
fn over<T: BlendSample>((below, above): (&mut [T], &[T])) {
    let last = below.len() - 1;
    let (front, back) = (above[last].widen(), below[last].widen());
    if front == T::MAX || back == 0 {
        return below.copy_from_slice(above);
    }
    if front == 0 {
        return;
    }
    // In units of MAX squared: coverage of the front, and the part of the back that it leaves.
    let (covered, left) = (front * T::MAX, (T::MAX - front) * back);
    let alpha = covered + left;
    for (below, above) in below[..last].iter_mut().zip(above) {
        *below = T::narrow((above.widen() * covered + below.widen() * left + alpha / 2) / alpha);
    }
    below[last] = T::narrow((alpha + T::MAX / 2) / T::MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: BlendSample + PartialEq + std::fmt::Debug, const N: usize>(
        below: [T; N],
        above: [T; N],
        expected: [T; N],
    ) {
        let mut result = below;
        over((&mut result, &above));
        assert_eq!(result, expected, "{above:?} over {below:?}");
    }

    #[test]
    fn over_is_exact_where_a_pixel_is_opaque_or_clear() {
        check([1u8, 2, 3, 255], [9, 8, 7, 255], [9, 8, 7, 255]);
        check([1u8, 2, 3, 77], [9, 8, 7, 0], [1, 2, 3, 77]);
        check([1u8, 2, 3, 0], [9, 8, 7, 60], [9, 8, 7, 60]);
        check([0x1234u16, 0xffff], [0x4321, 0xffff], [0x4321, 0xffff]);
    }

    #[test]
    fn over_mixes_straight_alpha() {
        check([0u8, 0, 0, 255], [255, 100, 0, 51], [51, 20, 0, 255]); // a fifth
        check([0u16, 0xffff], [0xffff, 0x3333], [0x3333, 0xffff]);
        check([0u8, 128], [255, 128], [170, 192]); // 128 + 127/255 x 128 = 191.75; 128 of it in front
    }
}
