//! [`Limits`]: every bound on an image, by name.

use serde::{Deserialize, Serialize};

use super::{Error, Size};

/// Bounds of one render, all inclusive.
///
/// ```
/// use progimage::pipeline::{Error, Limits, Size};
/// let limits = Limits { pixels_max: 1_000_000, ..Limits::default() };
/// assert_eq!(limits.check(Size::new(1000, 1000), 1), Ok(()));
/// let exceeded = Error::Limit { name: "pixels_max", value: 1_001_000, max: 1_000_000 };
/// assert_eq!(limits.check(Size::new(1001, 1000), 1), Err(exceeded));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of an encoded image.
    pub bytes_max: u64,
    /// Width x height of one frame, in sources and results.
    pub pixels_max: u64,
    /// Width or height of a result, in pixels. Sources may have longer sides.
    pub side_px_max: u32,
    /// Frames of an animation.
    pub frames_max: u32,
    /// Frames x width x height of an animation.
    pub frames_pixels_max: u64,
    /// Whether an animation beyond both bounds keeps as many frames as they allow, at even distances, instead of being
    /// refused.
    pub frames_sampled: bool,
    /// Planned memory of one render.
    pub memory_bytes_max: u64,
    /// Bytes of a metadata block (EXIF, XMP); longer ones are skipped.
    pub metadata_bytes_max: usize,
    /// Bytes of an ICC profile; longer ones are ignored.
    pub icc_bytes_max: usize,
    /// Scans of a progressive JPEG.
    pub scans_max: u32,
    /// Operations of one pipeline.
    pub operations_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            bytes_max: 50 << 20,
            pixels_max: 100_000_000,
            side_px_max: 16_384,
            frames_max: 1_000,
            frames_pixels_max: 400_000_000,
            frames_sampled: false,
            memory_bytes_max: 2 << 30,
            metadata_bytes_max: 1 << 20,
            icc_bytes_max: 4 << 20,
            scans_max: 100,
            operations_max: 32,
        }
    }
}

impl Limits {
    /// Checks the shape of a source.
    ///
    /// Errors: [`Error::Limit`] with the name of the exceeded bound.
    pub fn check(&self, size: Size, frames: u32) -> Result<(), Error> {
        let frames = u64::from(frames);
        within("pixels_max", size.pixels(), self.pixels_max)?;
        within("frames_max", frames, u64::from(self.frames_max))?;
        if frames > 1 {
            within("frames_pixels_max", size.pixels().saturating_mul(frames), self.frames_pixels_max)?;
        }
        Ok(())
    }

    /// Largest number of frames of this size, at least one.
    ///
    /// ```
    /// use progimage::pipeline::{Limits, Size};
    /// let limits = Limits { frames_max: 100, frames_pixels_max: 5_000, ..Limits::default() };
    /// assert_eq!(limits.frames_held(Size::new(10, 10)), 50);
    /// assert_eq!(limits.frames_held(Size::new(2, 2)), 100);
    /// ```
    pub fn frames_held(&self, size: Size) -> u32 {
        let by_pixels = self.frames_pixels_max / size.pixels().max(1);
        u32::try_from(by_pixels).unwrap_or(u32::MAX).min(self.frames_max).max(1)
    }

    /// Checks the shape of a result, whose sides may be as long as `side_px_max` or, between two operations, as those of the
    /// source.
    ///
    /// Errors: [`Error::Limit`] with the name of the exceeded bound.
    pub fn check_result(&self, size: Size, frames: u32, side_px_max: u32) -> Result<(), Error> {
        within("side_px_max", u64::from(size.w.max(size.h)), u64::from(side_px_max))?;
        self.check(size, frames)
    }
}

/// Returns `value`, or an error if it exceeds the bound `name`.
pub fn within(name: &'static str, value: u64, max: u64) -> Result<u64, Error> {
    if value > max { Err(Error::Limit { name, value, max }) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_of_an_animation_beyond_64_bits_are_refused() {
        let limits = Limits { side_px_max: u32::MAX, pixels_max: u64::MAX, frames_max: u32::MAX, ..Limits::default() };
        let checked = limits.check(Size::new(u32::MAX, u32::MAX), u32::MAX);
        assert!(matches!(checked, Err(Error::Limit { name: "frames_pixels_max", .. })), "{checked:?}");
    }
}
