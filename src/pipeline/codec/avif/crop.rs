//! [`Crop`]: the part of an image that is shown, from its property `clap` (clean aperture).
//!
//! Source: ISO/IEC 14496-12, section 12.1.4: width and height of the part, and the offset of its centre from that of the
//! image, as fractions. MIAF wants whole pixels; edges between pixels are moved to the nearest one.

use super::NAME;
use super::boxes::Property;
use crate::pipeline::codec::cursor::Cursor;
use crate::pipeline::{Channels, Error, Raster, Samples, Size};

/// A part of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crop {
    /// Column of its left edge.
    pub x: u32,
    /// Row of its upper edge.
    pub y: u32,
    /// Its size.
    pub size: Size,
}

/// The part of an image of `size` that `clap` names; `None`: all of it.
pub(super) fn crop(properties: &[Property], size: Size) -> Result<Option<Crop>, Error> {
    let Some(clap) = properties.iter().find(|property| &property.kind == b"clap") else { return Ok(None) };
    let mut cursor = Cursor::new(NAME, clap.payload);
    let mut fraction = || Ok::<_, Error>((cursor.u32_be()?, cursor.u32_be()?));
    let (w, h, x, y) = (fraction()?, fraction()?, fraction()?, fraction()?);
    let empty = || Error::corrupt(NAME, "a clean aperture (clap) outside the image");
    let (x, w) = part(size.w, w, x).ok_or_else(empty)?;
    let (y, h) = part(size.h, h, y).ok_or_else(empty)?;
    let crop = Crop { x, y, size: Size::new(w, h) };
    Ok((crop.size != size).then_some(crop))
}

/// Start and length of the part of a side, cut at its ends; `None`: nothing is left. The offset is signed.
fn part(side: u32, (length, length_of): (u32, u32), (offset, offset_of): (u32, u32)) -> Option<(u32, u32)> {
    let [side, n, d, of] = [side, length, length_of, offset_of].map(i128::from);
    let offset = i128::from(offset as i32);
    // Twice the common denominator: the start is offset + (side - length) / 2.
    let unit = 2 * d * of;
    if unit == 0 {
        return None;
    }
    let start = 2 * d * offset + of * (side * d - n);
    let nearest = |edge: i128| (2 * edge + unit).div_euclid(2 * unit).clamp(0, side) as u32;
    let (start, end) = (nearest(start), nearest(start + 2 * of * n));
    (start < end).then(|| (start, end - start))
}

/// Cuts the part out of interleaved samples.
pub(super) fn cropped(samples: Samples, size: Size, channels: Channels, crop: Crop) -> Raster {
    let count = channels.count();
    let samples = match samples {
        Samples::U8(samples) => Samples::U8(cut(&samples, size, count, crop)),
        Samples::U16(samples) => Samples::U16(cut(&samples, size, count, crop)),
    };
    Raster::new(crop.size, channels, samples)
}

fn cut<S: Copy>(samples: &[S], size: Size, count: usize, crop: Crop) -> Vec<S> {
    let (start, length) = (crop.x as usize * count, crop.size.w as usize * count);
    let rows = samples.chunks_exact(size.w as usize * count).skip(crop.y as usize).take(crop.size.h as usize);
    rows.flat_map(|row| &row[start..start + length]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apertures_are_the_part_around_a_shifted_centre() {
        let check = |side, length, offset: (i32, u32), expected| {
            assert_eq!(part(side, length, (offset.0 as u32, offset.1)), expected, "{length:?} of {side} at {offset:?}");
        };
        check(10, (10, 1), (0, 1), Some((0, 10)));
        check(10, (4, 1), (0, 1), Some((3, 4)));
        check(10, (4, 1), (-3, 1), Some((0, 4)));
        check(10, (4, 1), (3, 1), Some((6, 4)));
        check(10, (8, 2), (-6, 2), Some((0, 4)));
        check(10, (5, 1), (-1, 2), Some((2, 5)));
        // Beyond the edges, and between pixels.
        check(10, (4, 1), (5, 1), Some((8, 2)));
        check(10, (40, 1), (0, 1), Some((0, 10)));
        check(10, (5, 1), (0, 1), Some((3, 5)));
        // Nothing.
        check(10, (4, 1), (7, 1), None);
        check(10, (0, 1), (0, 1), None);
        check(10, (4, 0), (0, 1), None);
        check(10, (4, 1), (0, 0), None);
        check(u32::MAX, (u32::MAX, u32::MAX), (i32::MIN, 1), None);
        check(u32::MAX, (u32::MAX, 1), (i32::MIN, u32::MAX), Some((0, u32::MAX - 1)));
    }
}
