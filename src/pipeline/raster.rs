//! [`Raster`]: decoded pixels and their shape; [`Picture`]: the frames of an image. No other type owns pixels.

pub use image::metadata::Orientation;
use serde::{Deserialize, Serialize};

use super::Error;

/// Width and height in pixels.
///
/// ```
/// use progimage::pipeline::{Orientation, Size};
/// let size = Size::new(640, 480);
/// assert_eq!(size.pixels(), 307_200);
/// assert_eq!(size.oriented(Orientation::Rotate90), Size::new(480, 640));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Size {
    /// Width.
    pub w: u32,
    /// Height.
    pub h: u32,
}

impl Size {
    /// A size from width and height.
    pub const fn new(w: u32, h: u32) -> Size {
        Size { w, h }
    }

    /// Product of width and height; cannot overflow.
    pub const fn pixels(self) -> u64 {
        self.w as u64 * self.h as u64
    }

    /// The smaller width and the smaller height of two sizes.
    pub fn min(self, other: Size) -> Size {
        Size::new(self.w.min(other.w), self.h.min(other.h))
    }

    /// Size after `orientation` is applied.
    pub fn oriented(self, orientation: Orientation) -> Size {
        use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
        match orientation {
            Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH => Size::new(self.h, self.w),
            _ => self,
        }
    }
}

/// Meaning of a pixel's interleaved samples. Alpha is straight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Channels {
    /// Luminance.
    Gray,
    /// Luminance and alpha.
    GrayAlpha,
    /// Red, green, blue.
    Rgb,
    /// Red, green, blue, alpha.
    Rgba,
    /// Cyan, magenta, yellow, black; 0 is no ink. Exists only between a decoder and `color`.
    Cmyk,
    /// CMYK and alpha, also for `color` alone.
    Cmyka,
}

impl Channels {
    /// Gray or RGB channels, with or without alpha.
    pub const fn of(gray: bool, alpha: bool) -> Channels {
        match (gray, alpha) {
            (true, false) => Channels::Gray,
            (true, true) => Channels::GrayAlpha,
            (false, false) => Channels::Rgb,
            (false, true) => Channels::Rgba,
        }
    }

    /// Number of samples per pixel.
    pub const fn count(self) -> usize {
        match self {
            Channels::Gray => 1,
            Channels::GrayAlpha => 2,
            Channels::Rgb => 3,
            Channels::Rgba | Channels::Cmyk => 4,
            Channels::Cmyka => 5,
        }
    }

    /// Whether the last sample is alpha.
    pub const fn alpha(self) -> bool {
        matches!(self, Channels::GrayAlpha | Channels::Rgba | Channels::Cmyka)
    }

    /// Whether colours are inks.
    pub const fn inks(self) -> bool {
        matches!(self, Channels::Cmyk | Channels::Cmyka)
    }

    /// Whether colour is luminance only.
    pub const fn gray(self) -> bool {
        matches!(self, Channels::Gray | Channels::GrayAlpha)
    }
}

/// Size and format of a raster without its samples, for planning before pixels exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Width and height.
    pub size: Size,
    /// Meaning of a pixel's samples.
    pub channels: Channels,
    /// Bits per sample: 8 or 16.
    pub bits: u8,
}

impl Shape {
    /// Bytes of a raster of this shape; cannot overflow for sides within [`Limits`](super::Limits).
    pub const fn bytes(self) -> u64 {
        self.size.pixels().saturating_mul(self.channels.count() as u64 * (self.bits / 8) as u64)
    }
}

/// Samples of 8 or 16 bits; 16-bit samples use native byte order and the full range 0..=65535.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Samples {
    /// 8 bits per sample.
    U8(Vec<u8>),
    /// 16 bits per sample.
    U16(Vec<u16>),
}

/// Decoded pixels: rows from the top without padding, interleaved. Encoded in sRGB after `color` has converted them.
///
/// ```
/// use progimage::pipeline::{Channels, Raster, Samples, Size};
/// // One row: a red pixel, then a green one.
/// let samples = Samples::U8(vec![255, 0, 0, 0, 255, 0]);
/// let raster = Raster::new(Size::new(2, 1), Channels::Rgb, samples);
/// assert_eq!(raster.shape().bits, 8);
/// assert_eq!(raster.bytes(), 6);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raster {
    size: Size,
    channels: Channels,
    samples: Samples,
}

impl Raster {
    /// Wraps samples.
    ///
    /// # Panics
    /// If their number is not `w * h * channels`: a bug of the caller, never of the input.
    pub fn new(size: Size, channels: Channels, samples: Samples) -> Raster {
        let count = match &samples {
            Samples::U8(samples) => samples.len(),
            Samples::U16(samples) => samples.len(),
        };
        assert_eq!(
            count as u64,
            size.pixels() * channels.count() as u64,
            "samples do not fill {size:?} of {channels:?}"
        );
        Raster { size, channels, samples }
    }

    /// Width and height.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Meaning of a pixel's samples.
    pub fn channels(&self) -> Channels {
        self.channels
    }

    /// Samples of all pixels.
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// Samples, without the raster around them.
    pub fn into_samples(self) -> Samples {
        self.samples
    }

    /// Shape of the raster.
    pub fn shape(&self) -> Shape {
        let bits = if matches!(self.samples, Samples::U16(_)) { 16 } else { 8 };
        Shape { size: self.size, channels: self.channels, bits }
    }

    /// Bytes of all samples.
    pub fn bytes(&self) -> u64 {
        self.shape().bytes()
    }
}

/// A zeroed buffer, or [`Error::Limit`] instead of an abort if memory is short.
pub fn try_zeroed<T: Clone + Default>(count: usize) -> Result<Vec<T>, Error> {
    let mut buffer = Vec::new();
    let bytes = (count as u64).saturating_mul(size_of::<T>() as u64);
    buffer.try_reserve_exact(count).map_err(|_| Error::Limit { name: "memory_bytes_max", value: bytes, max: 0 })?;
    buffer.resize(count, T::default());
    Ok(buffer)
}

/// Duration of a frame, as a fraction of a second.
///
/// ```
/// use progimage::pipeline::Delay;
/// let third = Delay { numerator: 1, denominator: 3 };
/// assert_eq!(third.ms(), 333);
/// assert_eq!(Delay::from_ms(40).ms(), 40);
/// assert_eq!(third.plus(Delay::from_ms(500)), Delay { numerator: 5, denominator: 6 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// Numerator, in seconds.
    pub numerator: u32,
    /// Denominator; never 0.
    pub denominator: u32,
}

impl Delay {
    /// A delay in milliseconds.
    pub const fn from_ms(ms: u32) -> Delay {
        Delay { numerator: ms, denominator: 1000 }
    }

    /// Duration in milliseconds, rounded.
    pub fn ms(self) -> u32 {
        let denominator = u64::from(self.denominator);
        let ms = (u64::from(self.numerator) * 1000 + denominator / 2) / denominator;
        u32::try_from(ms).unwrap_or(u32::MAX)
    }

    /// The sum of two delays: exact if a fraction of 32 bits can hold it, else rounded to milliseconds.
    pub fn plus(self, other: Delay) -> Delay {
        if self.denominator == other.denominator
            && let Some(numerator) = self.numerator.checked_add(other.numerator)
        {
            return Delay { numerator, ..self };
        }
        let wide = |delay: Delay| (u64::from(delay.numerator), u64::from(delay.denominator));
        let ((a, b), (c, d)) = (wide(self), wide(other));
        let (numerator, denominator) = ((u128::from(a * d) + u128::from(c * b)), u128::from(b * d));
        let shared = greatest_common_divisor(numerator, denominator);
        match (u32::try_from(numerator / shared), u32::try_from(denominator / shared)) {
            (Ok(numerator), Ok(denominator)) => Delay { numerator, denominator },
            _ => Delay::from_ms(self.ms().saturating_add(other.ms())),
        }
    }
}

fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

/// One frame of the canvas, already composed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Pixels; all frames of a picture have the same size and channels.
    pub raster: Raster,
    /// Duration; zero for a still image.
    pub delay: Delay,
}

/// A decoded image: at least one frame, and the data that accompanies the pixels.
///
/// ```
/// use progimage::pipeline::{Channels, Picture, Raster, Samples, Size};
/// let size = Size::new(2, 1);
/// let picture = Picture::still(Raster::new(size, Channels::Gray, Samples::U8(vec![0, 200])));
/// let negative = picture.map(|raster| {
///     let Samples::U8(samples) = raster.into_samples() else { unreachable!("8 bits were given") };
///     let samples = samples.into_iter().map(|sample| 255 - sample).collect();
///     Ok(Raster::new(size, Channels::Gray, Samples::U8(samples)))
/// })?;
/// assert_eq!(negative.first().samples(), &Samples::U8(vec![255, 55]));
/// # Ok::<(), progimage::pipeline::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Frames; one for a still image.
    pub frames: Vec<Frame>,
    /// Number of times an animation plays; 0 repeats for ever.
    pub plays: u32,
    /// Embedded ICC profile, decompressed; `color` removes it when it converts to sRGB.
    pub icc: Option<Vec<u8>>,
    /// What a damaged file lacks. `None`: nothing.
    pub missing: Option<Missing>,
}

/// What a picture lacks because its file ends early or is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// Frames of an animation; those that are there are whole.
    Frames,
    /// Pixels, which are gray, transparent or inexact instead.
    Pixels,
}

impl Missing {
    /// The name in responses.
    pub fn name(self) -> &'static str {
        match self {
            Missing::Frames => "frames",
            Missing::Pixels => "pixels",
        }
    }

    /// What has this name in responses.
    pub fn by_name(name: &str) -> Option<Missing> {
        [Missing::Frames, Missing::Pixels].into_iter().find(|missing| missing.name() == name)
    }
}

impl Picture {
    /// A picture of one frame.
    pub fn still(raster: Raster) -> Picture {
        Picture::animation(vec![Frame { raster, delay: Delay::from_ms(0) }], 0)
    }

    /// A whole picture of these frames, which plays this number of times.
    pub fn animation(frames: Vec<Frame>, plays: u32) -> Picture {
        Picture { frames, plays, icc: None, missing: None }
    }

    /// Changes the pixels of every frame in turn, so that only one frame is held twice.
    pub fn map(mut self, mut change: impl FnMut(Raster) -> Result<Raster, Error>) -> Result<Picture, Error> {
        let changed = self.frames.into_iter().map(|frame| Ok(Frame { raster: change(frame.raster)?, ..frame }));
        self.frames = changed.collect::<Result<_, Error>>()?;
        Ok(self)
    }

    /// Pixels of the first frame.
    pub fn first(&self) -> &Raster {
        &self.frames[0].raster
    }
    /// Pixels of the first frame, without the picture around them.
    pub fn into_first(mut self) -> Raster {
        self.frames.swap_remove(0).raster
    }
}
