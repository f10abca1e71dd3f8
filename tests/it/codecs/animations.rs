//! Animations of GIF and WebP. Animations of PNG are in `png::animation`.

use progimage::pipeline::codec::{DecodeOptions, sniff};
use progimage::pipeline::{Channels, Deadline, Delay, Error, Frame, Limits, Picture, Raster, Samples, Size};

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
    Picture::animation((0..frames).map(frame).collect(), 2)
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
        let limits = Limits::default();
        let options = DecodeOptions { frames_max: 9, ..DecodeOptions::new(&limits, &cancelled) };
        assert_eq!((sniff(&bytes).expect("known").decode)(&bytes, &options), Err(Error::Cancelled), "{format}");
    }
}

/// The delays of an animation of these delays after it was written in a format.
fn written(format: &str, delays_ms: &[u32]) -> Vec<u32> {
    let frame = |(place, ms): (usize, &u32)| {
        let samples = [place as u8, 0, 0].repeat(4);
        let raster = Raster::new(Size::new(2, 2), Channels::Rgb, Samples::U8(samples));
        Frame { raster, delay: Delay::from_ms(*ms) }
    };
    let picture = Picture::animation(delays_ms.iter().enumerate().map(frame).collect(), 0);
    let read = decode(&encode(format, &picture, None, true)).expect("valid");
    read.frames.iter().map(|frame| frame.delay.ms()).collect()
}

#[test]
fn an_animation_takes_as_long_in_every_format() {
    for (ms, count) in [(75, 20), (33, 30), (66, 15), (110, 9), (45, 22), (25, 40), (99, 10), (1230, 3)] {
        for format in ["gif", "webp", "png"] {
            let delays = written(format, &vec![ms; count as usize]);
            assert_eq!((delays.len() as u32, delays.iter().sum::<u32>()), (count, ms * count), "{format}: {delays:?}");
            assert!(delays.iter().all(|delay| delay.abs_diff(ms) < 10), "{format}: {delays:?}");
        }
    }
}

#[test]
fn no_delay_of_a_gif_is_one_that_players_lengthen() {
    for ms in [1, 5, 10, 14, 15, 19] {
        assert_eq!(written("gif", &[ms; 7]), [20; 7], "{ms} ms");
        assert_eq!(written("gif", &[ms, ms, 500]), [20, 20, 500], "{ms} ms: what is longer stays as it is");
    }
    assert_eq!(written("gif", &[0, 70, 0, 75, 75]), [0, 70, 0, 80, 70]);
}

#[test]
fn a_frame_that_is_cleared_has_a_transparent_colour() {
    for colors in [256, 300] {
        // The first frame is opaque and has more colours than a palette; the second has a hole.
        let frame = |hole: u8| {
            let pixel = |at: u32| {
                [(at % 256) as u8, (at * 7 % 251) as u8, (at / 256 * 90) as u8, if at == 5 { hole } else { 255 }]
            };
            let samples = (0..20 * 20).map(|at: u32| pixel(at % colors)).collect::<Vec<_>>().concat();
            let raster = Raster::new(Size::new(20, 20), Channels::Rgba, Samples::U8(samples));
            Frame { raster, delay: Delay::from_ms(50) }
        };
        let bytes = encode("gif", &Picture::animation(vec![frame(255), frame(0)], 0), None, true);
        let mut decoder = gif::DecodeOptions::new().read_info(&bytes[..]).expect("a GIF");
        while let Some(frame) = decoder.read_next_frame().expect("valid") {
            assert!(frame.transparent.is_some() && frame.dispose == gif::DisposalMethod::Background);
            let palette = frame.palette.as_ref().expect("its own").len() / 3;
            assert!(usize::from(frame.transparent.expect("checked")) < palette);
        }
        let read = decode(&bytes).expect("valid");
        assert_eq!([0, 1].map(|place| pixel(&read.frames[place].raster, 5, 0)[3]), [255, 0]);
        let clear =
            |place: usize| (0..400).filter(|at| pixel(&read.frames[place].raster, at % 20, at / 20)[3] == 0).count();
        assert_eq!((clear(0), clear(1)), (0, 400_usize.div_ceil(colors as usize)));
    }
}

#[test]
fn a_long_animation_keeps_the_frames_that_are_asked_for() {
    let picture = |count: u8| {
        let frame = |index: u8| Frame {
            raster: Raster::new(Size::new(2, 1), Channels::Rgba, Samples::U8(vec![index, 0, 9, 255, 9, 9, 9, 255])),
            delay: Delay::from_ms(30),
        };
        Picture::animation((0..count).map(frame).collect(), 0)
    };
    let (limits, deadline) = (Limits { frames_max: 5, ..Limits::default() }, Deadline::default());
    for format in ["gif", "webp", "png"] {
        let bytes = encode(format, &picture(12), None, true);
        assert_eq!(limit_name(decode_frames(&bytes, &limits, u32::MAX)), "frames_max");
        let options = DecodeOptions { frames_max: u32::MAX, frames_kept: 5, ..DecodeOptions::new(&limits, &deadline) };
        let sampled = (sniff(&bytes).expect("known").decode)(&bytes, &options).expect("few enough");
        let seen = |frame: &Frame| (pixel(&frame.raster, 0, 0)[0], frame.delay.ms());
        let seen: Vec<_> = sampled.frames.iter().map(seen).collect();
        assert_eq!(seen, [(0, 90), (3, 60), (5, 90), (8, 60), (10, 60)], "{format}");
        assert_eq!(sampled.missing, None);
    }
}
