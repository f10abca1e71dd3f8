//! [`Layout`]: the fewest channels and bits that hold every sample of a picture. Palettes are in `indexed`.

use std::borrow::Cow;
use std::ops::Range;

use crate::pipeline::color::{Sample, opaque};
use crate::pipeline::raster::Shape;
use crate::pipeline::{Channels, Picture, Raster, Samples};

/// Form of the samples in the file, which all frames share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Channels, without alpha if all pixels are opaque, and gray if red, green and blue are equal in all of them.
    pub channels: Channels,
    /// Bits per sample: 8 also where both bytes of all 16-bit samples are equal, since 8 bits stand for those.
    pub bits: u8,
}

impl Layout {
    /// The smallest layout that holds the picture. With a profile, colour stays colour, as the profile is.
    ///
    /// Photographs cost next to nothing: each scan ends at the first pixel that needs what is looked for.
    pub(super) fn of(picture: &Picture, profile: bool) -> Layout {
        let Shape { channels, bits, .. } = picture.first().shape();
        let every = |holds: fn(&Raster) -> bool| picture.frames.iter().all(|frame| holds(&frame.raster));
        let alpha = channels.alpha() && !every(opaque);
        let gray = channels.gray() || !profile && every(is_gray);
        let bits = if bits == 16 && every(has_equal_bytes) { 8 } else { bits };
        Layout { channels: Channels::of(gray, alpha), bits }
    }

    /// Samples of these pixels as the file has them: 16-bit ones big-endian.
    pub(super) fn bytes<'a>(self, raster: &'a Raster, pixels: Range<usize>) -> Cow<'a, [u8]> {
        let count = raster.channels().count();
        let kept = kept(raster.channels(), self.channels);
        let samples = pixels.start * count..pixels.end * count;
        match raster.samples() {
            Samples::U8(all) if kept.len() == count => all[samples].into(),
            Samples::U8(all) => picked(&all[samples], count, kept).collect::<Vec<u8>>().into(),
            Samples::U16(all) => {
                let picked = picked(&all[samples], count, kept);
                if self.bits == 8 {
                    picked.map(|sample| sample as u8).collect::<Vec<u8>>().into()
                } else {
                    picked.flat_map(u16::to_be_bytes).collect::<Vec<u8>>().into()
                }
            }
        }
    }
}

/// Places of the samples of a pixel that remain.
fn kept(from: Channels, to: Channels) -> &'static [usize] {
    match (from.count(), to.count()) {
        (_, 1) => &[0],
        (4, 2) => &[0, 3],
        (_, 2) => &[0, 1],
        (_, 3) => &[0, 1, 2],
        _ => &[0, 1, 2, 3],
    }
}

fn picked<'a, S: Sample>(samples: &'a [S], count: usize, kept: &'a [usize]) -> impl Iterator<Item = S> + 'a {
    samples.chunks_exact(count).flat_map(move |pixel| kept.iter().map(move |&place| pixel[place]))
}

fn is_gray(raster: &Raster) -> bool {
    fn gray<S: Sample>(samples: &[S], count: usize) -> bool {
        samples.chunks_exact(count).all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2])
    }
    let count = raster.channels().count();
    match raster.samples() {
        Samples::U8(samples) => gray(samples, count),
        Samples::U16(samples) => gray(samples, count),
    }
}

fn has_equal_bytes(raster: &Raster) -> bool {
    match raster.samples() {
        Samples::U8(_) => true,
        Samples::U16(samples) => samples.iter().all(|sample| sample >> 8 == sample & 0xff),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Size;

    fn layout(channels: Channels, samples: Samples, profile: bool) -> (Channels, u8) {
        let layout = Layout::of(&Picture::still(Raster::new(Size::new(2, 1), channels, samples)), profile);
        (layout.channels, layout.bits)
    }

    #[test]
    fn channels_and_bits_that_say_nothing_are_left_out() {
        use Channels::{Gray, GrayAlpha, Rgb, Rgba};
        let check = |channels, samples: &[u8], expected| {
            assert_eq!(layout(channels, Samples::U8(samples.to_vec()), false), (expected, 8), "{samples:?}");
            let wide: Vec<u16> = samples.iter().map(|&sample| u16::from(sample) * 257).collect();
            assert_eq!(layout(channels, Samples::U16(wide.clone()), false), (expected, 8), "{samples:?}");
            let deep = wide.iter().map(|&sample| if sample == u16::MAX { sample } else { sample + 1 });
            assert_eq!(layout(channels, Samples::U16(deep.collect()), false), (expected, 16), "{samples:?}");
        };
        check(Gray, &[3, 4], Gray);
        check(GrayAlpha, &[3, 255, 4, 255], Gray);
        check(GrayAlpha, &[3, 255, 4, 254], GrayAlpha);
        check(Rgb, &[3, 3, 3, 4, 4, 4], Gray);
        check(Rgb, &[3, 3, 3, 4, 4, 5], Rgb);
        check(Rgba, &[3, 3, 3, 255, 4, 4, 4, 255], Gray);
        check(Rgba, &[3, 3, 3, 255, 4, 4, 4, 0], GrayAlpha);
        check(Rgba, &[3, 3, 3, 255, 4, 4, 5, 255], Rgb);
        check(Rgba, &[3, 3, 3, 0, 4, 4, 5, 255], Rgba);
    }

    #[test]
    fn a_profile_of_colour_stays_with_colour() {
        let samples = Samples::U8(vec![3, 3, 3, 255, 4, 4, 4, 255]);
        assert_eq!(layout(Channels::Rgba, samples, true), (Channels::Rgb, 8));
    }
}
