//! Right-angle turns and mirrors, which move pixels and compute none. Used for the orientation of sources and by
//! operations.

use super::raster::try_zeroed;
use super::{Error, Orientation, Raster, Samples, Size};

/// Orientation equal to a clockwise turn by a multiple of 90 degrees.
pub(super) fn orientation_of_turn(degrees: i64) -> Orientation {
    match degrees.rem_euclid(360) {
        90 => Orientation::Rotate90,
        180 => Orientation::Rotate180,
        270 => Orientation::Rotate270,
        _ => Orientation::NoTransforms,
    }
}

/// Applies `orientation`. Mirrors and half turns work in place; quarter turns hold a second buffer.
pub(super) fn oriented(raster: Raster, orientation: Orientation) -> Result<Raster, Error> {
    let (size, channels) = (raster.size(), raster.channels());
    let samples = match raster.into_samples() {
        Samples::U8(samples) => Samples::U8(oriented_samples(samples, size, channels.count(), orientation)?),
        Samples::U16(samples) => Samples::U16(oriented_samples(samples, size, channels.count(), orientation)?),
    };
    Ok(Raster::new(size.oriented(orientation), channels, samples))
}

fn oriented_samples<T: Copy + Default>(
    samples: Vec<T>,
    size: Size,
    count: usize,
    orientation: Orientation,
) -> Result<Vec<T>, Error> {
    match count {
        1 => oriented_pixels::<T, 1>(samples, size, orientation),
        2 => oriented_pixels::<T, 2>(samples, size, orientation),
        3 => oriented_pixels::<T, 3>(samples, size, orientation),
        _ => oriented_pixels::<T, 4>(samples, size, orientation),
    }
}

/// Applies an orientation as an optional transposition, then mirrors in place.
fn oriented_pixels<T: Copy + Default, const N: usize>(
    mut samples: Vec<T>,
    size: Size,
    orientation: Orientation,
) -> Result<Vec<T>, Error> {
    use Orientation::*;
    if matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH) {
        let mut target = try_zeroed(samples.len())?;
        transpose(samples.as_chunks::<N>().0, target.as_chunks_mut::<N>().0, size);
        samples = target;
    }
    let w = size.oriented(orientation).w as usize;
    let pixels = samples.as_chunks_mut::<N>().0;
    match orientation {
        NoTransforms | Rotate90FlipH => {}
        FlipHorizontal | Rotate90 => pixels.chunks_exact_mut(w).for_each(<[_]>::reverse),
        FlipVertical | Rotate270 => reverse_rows(pixels, w),
        Rotate180 | Rotate270FlipH => pixels.reverse(),
    }
    Ok(samples)
}

/// Side of the squares transposed at a time: 32 rows of both buffers stay in the first-level cache.
const TILE: usize = 32;

fn transpose<P: Copy>(source: &[P], target: &mut [P], size: Size) {
    let (w, h) = (size.w as usize, size.h as usize);
    for top in (0..h).step_by(TILE) {
        for left in (0..w).step_by(TILE) {
            for x in left..w.min(left + TILE) {
                for y in top..h.min(top + TILE) {
                    target[x * h + y] = source[y * w + x];
                }
            }
        }
    }
}

fn reverse_rows<P: Copy>(pixels: &mut [P], w: usize) {
    let rows = pixels.len() / w;
    let (upper, lower) = pixels.split_at_mut(rows / 2 * w);
    for (above, below) in upper.chunks_exact_mut(w).zip(lower.chunks_exact_mut(w).rev()) {
        above.swap_with_slice(below);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Channels;

    /// ```text
    /// 1 2 3
    /// 4 5 6
    /// ```
    fn check(exif: u8, expected_w: u32, expected: [u8; 6]) {
        let raster = Raster::new(Size::new(3, 2), Channels::Gray, Samples::U8(vec![1, 2, 3, 4, 5, 6]));
        let orientation = Orientation::from_exif(exif).expect("1..=8");
        let turned = oriented(raster, orientation).expect("small");
        assert_eq!(turned.size(), Size::new(expected_w, 6 / expected_w), "EXIF {exif}");
        assert_eq!(turned.samples(), &Samples::U8(expected.to_vec()), "EXIF {exif}");
    }

    /// The eight cases of the Orientation tag in TIFF 6.0, section 8: where stored rows and columns are displayed.
    #[test]
    fn every_exif_orientation_shows_the_image_upright() {
        check(1, 3, [1, 2, 3, 4, 5, 6]);
        check(2, 3, [3, 2, 1, 6, 5, 4]);
        check(3, 3, [6, 5, 4, 3, 2, 1]);
        check(4, 3, [4, 5, 6, 1, 2, 3]);
        check(5, 2, [1, 4, 2, 5, 3, 6]);
        check(6, 2, [4, 1, 5, 2, 6, 3]);
        check(7, 2, [6, 3, 5, 2, 4, 1]);
        check(8, 2, [3, 6, 2, 5, 1, 4]);
    }
}
