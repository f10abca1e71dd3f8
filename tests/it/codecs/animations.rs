//! Animations of GIF and WebP. Animations of PNG are in `png::animation`.

use progimage::pipeline::codec::{DecodeOptions, sniff};
use progimage::pipeline::{Channels, Delay, Error, Frame, Limits, Picture, Raster, Samples, Size};

use super::{cancelled, decode, decode_frames, inspect, limit_name, pixel};
use crate::fixtures::gif::{gif, gif_frame};
use crate::fixtures::pattern::{encode, plain};
use crate::fixtures::webp::{anmf, riff, vp8x};

fn animation(channels: Channels, frames: u8) -> Picture {
    let size = Size::new(9, 7);
    let frame = |index: u8| {
        let mut samples = Vec::new();
        for at in 0..size.pixels() as u32 {
            let moved = u32::from(index) * 5;
            samples.extend([if at < moved { 200 } else { 10 }, index, 30]);
            if channels.alpha() {
                samples.push(if (moved..moved + 9).contains(&at) { 0 } else { 255 });
            }
        }
        // Transparent pixels have no colour that could be kept.
        for pixel in samples.chunks_exact_mut(channels.count()).filter(|pixel| pixel.get(3) == Some(&0)) {
            pixel.fill(0);
        }
        let raster = Raster::new(size, channels, Samples::U8(samples));
        // One frame has a delay of 0, which players interpret differently.
        let ms = if index == 1 { 0 } else { 40 + 10 * u32::from(index) };
        Frame { raster, delay: Delay::from_ms(ms) }
    };
    Picture { frames: (0..frames).map(frame).collect(), plays: 2, icc: None }
}

#[test]
fn animations_keep_frames_delays_and_plays() {
    for (format, channels) in
        [("gif", Channels::Rgb), ("gif", Channels::Rgba), ("webp", Channels::Rgb), ("webp", Channels::Rgba)]
    {
        let picture = animation(channels, 5);
        let got = decode(&encode(format, &picture, None, true)).unwrap();
        let delays = |picture: &Picture| picture.frames.iter().map(|frame| frame.delay.ms()).collect::<Vec<_>>();
        assert_eq!((got.plays, delays(&got)), (2, delays(&picture)), "{format}");
        for (got, frame) in got.frames.iter().zip(&picture.frames) {
            let visible = |raster: &Raster| -> Vec<[u8; 4]> {
                let at = |index: u32| pixel(raster, index % 9, index / 9);
                (0..63).map(at).map(|p| [p[0], p[1], p[2], *p.get(3).unwrap_or(&255)]).collect()
            };
            assert_eq!(visible(&got.raster), visible(&frame.raster), "{format} {channels:?}");
        }
    }
}

#[test]
fn animations_of_100_000_frames_are_counted_and_refused() {
    let frame = gif_frame((0, 0), (1, 1), &[1]);
    let one = gif((1, 1), None, std::slice::from_ref(&frame));
    // Header, screen and palette of 8 colours come first, the trailer last.
    let (start, frame) = (&one[..13 + 24], &one[13 + 24..one.len() - 1]);
    let gif = [start, &frame.repeat(100_000), &[0x3b]].concat();
    let size = Size::new(1, 1);
    let frame = anmf((0, 0), size, 10, 0, &encode("webp", &plain(size, [1, 2, 3, 255]), None, true));
    let mut chunks = vec![vp8x(2, size), (b"ANIM", vec![0; 6])];
    chunks.extend(std::iter::repeat_n(frame, 100_000));
    for bytes in [gif, riff(&chunks)] {
        assert_eq!(inspect(&bytes).unwrap().frames, 100_000);
        assert_eq!(limit_name(decode(&bytes)), "frames_max");
        assert_eq!(decode_frames(&bytes, &Limits::default(), 1).unwrap().frames.len(), 1);
    }
}

#[test]
fn animations_stop_when_the_render_is_cancelled() {
    let cancelled = cancelled();
    for format in ["gif", "webp"] {
        let bytes = encode(format, &animation(Channels::Rgb, 3), None, true);
        let options = DecodeOptions { limits: &Limits::default(), at_least: None, frames_max: 9, deadline: &cancelled };
        assert_eq!((sniff(&bytes).expect("known").decode)(&bytes, &options), Err(Error::Cancelled), "{format}");
    }
}
