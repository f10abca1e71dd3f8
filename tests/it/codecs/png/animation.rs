//! APNG: composition, delays and plays.

use progimage::pipeline::codec::DecodeOptions;
use progimage::pipeline::{Channels, Deadline, Delay, Error, Frame, Limits, Picture, Raster, Samples, Size};

use crate::codecs::{decode, encode, inspect, row};
use crate::fixtures::png::{Chunk, control, file, frame, header, rgba};
use crate::fixtures::read;
use crate::fixtures::scene::{H, W};

/// The pixel of a frame.
fn pixel(picture: &Picture, index: usize, x: u32, y: u32) -> [u8; 4] {
    let Samples::U8(samples) = picture.frames[index].raster.samples() else { panic!("8 bits") };
    samples[(y * W + x) as usize * 4..][..4].try_into().expect("four")
}

#[test]
fn frames_are_composed_to_whole_canvases() {
    let picture = decode(&read("animated.png")).expect("valid");
    assert_eq!((picture.frames.len(), picture.plays), (4, 3));
    let delays: Vec<(u32, u32)> = picture.frames.iter().map(|f| (f.delay.numerator, f.delay.denominator)).collect();
    assert_eq!(delays, [(1, 30), (1001, 30_000), (7, 100), (0, 1)]);
    let below = |x, y| rgba(x, y);
    // Half of blue is blended over; the F's quadrant is untouched.
    let over = |x: u32, y: u32| {
        let ([r, g, b, a], front) = (rgba(x, y).map(f64::from), 128.0 / 255.0);
        let alpha = front + a / 255.0 * (1.0 - front);
        let mix = |above: f64, below: f64| ((above * front + below * a / 255.0 * (1.0 - front)) / alpha).round() as u8;
        [mix(0.0, r), mix(0.0, g), mix(255.0, b), (alpha * 255.0).round() as u8]
    };
    for (index, x, y, expected) in [
        (0, 25, 15, below(25, 15)),
        (1, 25, 15, over(25, 15)),
        (1, 35, 21, over(35, 21)),
        (1, 36, 21, below(36, 21)),
        (1, 5, 5, [255, 255, 255, below(5, 5)[3]]),
        // Disposed to the background, which is clear; then the square of the next frame is drawn.
        (2, 25, 15, [0, 0, 0, 0]),
        (2, 30, 4, [255, 0, 0, 255]),
        (2, 37, 11, [255, 0, 0, 255]),
        (2, 38, 11, below(38, 11)),
        // Disposed to the previous picture: the square is gone, the clear hole stays.
        (3, 30, 4, below(30, 4)),
        (3, 25, 15, [0, 0, 0, 0]),
        // The source replaces, alpha too.
        (3, 42, 26, [0, 255, 0, 100]),
        (3, 47, 31, [0, 255, 0, 100]),
        (3, 41, 26, below(41, 26)),
    ] {
        assert_eq!(pixel(&picture, index, x, y), expected, "frame {index} at {x}, {y}");
    }
}

#[test]
fn a_default_image_next_to_the_animation_is_no_frame() {
    let picture = decode(&read("animated_beside_default.png")).expect("valid");
    let samples = |index: usize| match picture.frames[index].raster.samples() {
        Samples::U16(samples) => samples.clone(),
        Samples::U8(_) => panic!("16 bits"),
    };
    assert_eq!(picture.frames.len(), 2);
    assert!(samples(0).chunks(2).all(|pixel| pixel == [0x2222, 0xffff]));
    for (at, pixel) in samples(1).chunks(2).enumerate() {
        let (x, y) = (at as u32 % W, at as u32 / W);
        let inside = (3..8).contains(&x) && (4..11).contains(&y);
        assert_eq!(pixel, [if inside { 0x3333 } else { 0x2222 }, 0xffff], "{x}, {y}");
    }
}

#[test]
fn no_more_frames_are_read_than_asked_for() {
    for (name, frames) in [("animated.png", 4), ("animated_beside_default.png", 2)] {
        let (file, whole) = (read(name), decode(&read(name)).expect("valid"));
        for frames_max in 1..=frames + 1 {
            let (limits, deadline) = (Limits::default(), Deadline::default());
            let options = DecodeOptions { frames_max, ..DecodeOptions::new(&limits, &deadline) };
            let some = (row("png").decode)(&file, &options).expect("valid");
            assert_eq!(some.frames[..], whole.frames[..frames.min(frames_max) as usize], "{name}: {frames_max}");
        }
    }
}

#[test]
fn an_animation_is_written_and_read_back_exactly() {
    let frame = |seed: u32, numerator, denominator| {
        let sample = |at: u32| (at * seed % 253) as u8;
        let raster = Raster::new(Size::new(W, H), Channels::Rgba, Samples::U8((0..W * H * 4).map(sample).collect()));
        Frame { raster, delay: Delay { numerator, denominator } }
    };
    let frames = vec![frame(3, 1, 24), frame(7, 0, 1000), frame(11, 65_535, 65_535)];
    let picture = Picture::animation(frames, 5);
    assert!(decode(&encode("png", &picture, None)) == Ok(picture));
}

#[test]
fn with_a_frame_outside_the_canvas_the_default_image_is_shown() {
    for region in [[W, H + 1, 0, 0], [W, H, 1, 0], [0, 1, 0, 0], [1, 1, W, 0], [2, 2, u32::MAX, 0]] {
        let (first, data) = (read("animated.png"), b"IDAT".to_vec());
        let at = first.windows(4).position(|window| window == data).expect("data");
        let length = u32::from_be_bytes(first[at - 4..at].try_into().expect("four")) as usize;
        let chunks: Vec<Chunk> = vec![
            header(W, H, 6, 8, 0),
            (b"acTL", [2u32, 0].map(u32::to_be_bytes).concat()),
            control(0, [W, H, 0, 0], [1, 10], [0, 0]),
            (b"IDAT", first[at + 4..at + 4 + length].to_vec()),
            control(1, region, [1, 10], [0, 0]),
            frame(2, vec![]),
            (b"IEND", vec![]),
        ];
        let shown = decode(&file(&chunks)).unwrap_or_else(|error| panic!("{region:?}: {error}"));
        assert!(shown.frames.len() == 1 && shown.missing.is_none(), "{region:?}");
    }
}

#[test]
fn frames_are_counted_at_the_gate() {
    let count = |frames: u32| {
        let mut chunks = vec![header(1, 1, 0, 8, 0), (b"acTL", [frames, 0].map(u32::to_be_bytes).concat())];
        chunks.push(control(0, [1, 1, 0, 0], [1, 10], [0, 0]));
        chunks.push((b"IDAT", fdeflate::compress_to_vec(&[0, 7])));
        for index in 1..frames {
            chunks.push(control(index * 2 - 1, [1, 1, 0, 0], [1, 10], [0, 0]));
            chunks.push(frame(index * 2, fdeflate::compress_to_vec(&[0, 9])));
        }
        chunks.push((b"IEND", vec![]));
        file(&chunks)
    };
    let check = |frames: u32, expected: Result<usize, Error>| {
        let bytes = count(frames);
        assert_eq!(inspect(&bytes).expect("valid").frames, frames);
        let (limits, deadline) = (Limits::default(), Deadline::default());
        let options = DecodeOptions { frames_max: u32::MAX, ..DecodeOptions::new(&limits, &deadline) };
        assert_eq!((row("png").decode)(&bytes, &options).map(|picture| picture.frames.len()), expected);
    };
    let refused = |value| Err(Error::Limit { name: "frames_max", value, max: 1000 });
    check(1000, Ok(1000));
    check(1001, refused(1001));
    check(100_000, refused(100_000));
}
