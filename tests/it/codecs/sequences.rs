//! Image sequences of AVIF, and crops: what is read of files that other programs write, and what is written.

use progimage::pipeline::codec::{DecodeOptions, by_name};
use progimage::pipeline::{
    Channels, Deadline, Delay, Error, Frame, Limits, Missing, Orientation, Picture, Raster, Samples, Size,
};

use super::{assert_corrupt, cancelled, decode, decode_frames, inspect, limit_name, pixel, psnr};
use crate::fixtures::avif::{av01, av1, avif, bmff};
use crate::fixtures::movie::Movie;
use crate::fixtures::pattern::{SIZE, encode, pattern};
use crate::fixtures::read;

/// The pattern with a bar that moves, as this many frames.
fn moving(channels: Channels, frames: u8) -> Picture {
    let frame = |index: u8| {
        let Samples::U8(mut samples) = pattern(channels).first().samples().clone() else { unreachable!() };
        for (place, pixel) in samples.chunks_exact_mut(channels.count()).enumerate() {
            if place as u32 % SIZE.w / 9 == u32::from(index) {
                pixel.fill(200);
            }
        }
        let raster = Raster::new(SIZE, channels, Samples::U8(samples));
        Frame { raster, delay: Delay::from_ms(40 + 10 * u32::from(index)) }
    };
    Picture::animation((0..frames).map(frame).collect(), 3)
}

fn delays_ms(picture: &Picture) -> Vec<u32> {
    picture.frames.iter().map(|frame| frame.delay.ms()).collect()
}

/// AV1 data of each frame, alone.
fn stills(picture: &Picture) -> Vec<Vec<u8>> {
    picture.frames.iter().map(|frame| av1(&Picture::still(frame.raster.clone()), true)).collect()
}

#[test]
fn an_animation_is_written_and_read_again() {
    for channels in [Channels::Gray, Channels::GrayAlpha, Channels::Rgb, Channels::Rgba] {
        for (lossless, least) in [(true, f64::INFINITY), (false, 26.0)] {
            let picture = moving(channels, 5);
            let file = encode("avif", &picture, (!lossless).then_some(85), lossless);
            let header = inspect(&file).unwrap();
            assert_eq!((header.frames, header.channels, header.size), (5, channels, SIZE));
            let got = decode(&file).unwrap();
            assert_eq!((got.plays, delays_ms(&got)), (3, delays_ms(&picture)));
            for (got, expected) in got.frames.iter().zip(&picture.frames) {
                let score = psnr(&got.raster, &expected.raster);
                assert!(score >= least, "{channels:?}, lossless {lossless}: {score} dB");
            }
            // Readers that know no sequences take the still image.
            let mut still = file.clone();
            still[8..12].copy_from_slice(b"avif");
            assert_eq!(inspect(&still).unwrap().frames, 1);
            assert!(psnr(decode(&still).unwrap().first(), picture.first()) >= least);
        }
    }
}

#[test]
fn frames_that_change_little_take_few_bytes() {
    let one = encode("avif", &Picture::still(moving(Channels::Rgb, 1).frames.remove(0).raster), Some(85), false).len();
    let five = encode("avif", &moving(Channels::Rgb, 5), Some(85), false).len();
    assert!(five < 4 * one, "{five} bytes, one frame {one}");
}

#[test]
fn plays_and_delays_are_kept() {
    for plays in [0, 1, 2, 1000] {
        let mut picture = moving(Channels::Gray, 2);
        picture.plays = plays;
        picture.frames[0].delay = Delay { numerator: 1, denominator: 30 };
        picture.frames[1].delay = Delay { numerator: 7, denominator: 100 };
        let got = decode(&encode("avif", &picture, Some(50), false)).unwrap();
        let seconds: Vec<f64> = got
            .frames
            .iter()
            .map(|frame| f64::from(frame.delay.numerator) / f64::from(frame.delay.denominator))
            .collect();
        assert_eq!((got.plays, &seconds[..]), (plays, &[1.0 / 30.0, 0.07][..]));
    }
    // A frame of a track lasts some time.
    let mut picture = moving(Channels::Gray, 2);
    picture.frames[1].delay = Delay::from_ms(0);
    let got = decode(&encode("avif", &picture, Some(50), false)).unwrap();
    assert!(delays_ms(&got)[1] <= 10);
}

#[test]
fn sequences_of_other_writers_are_read() {
    let picture = moving(Channels::Rgb, 5);
    let movie = Movie { durations: vec![4, 5, 6, 7, 8], timescale: 100, ..Movie::new(SIZE, stills(&picture)) };
    let check = |what: &str, movie: &Movie, plays: u32| {
        let file = movie.file();
        assert_eq!(inspect(&file).map(|header| header.frames), Ok(5), "{what}");
        let got = decode(&file).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((got.plays, delays_ms(&got)), (plays, vec![40, 50, 60, 70, 80]), "{what}");
        assert!(got.frames.iter().zip(&picture.frames).all(|(got, frame)| got.raster == frame.raster), "{what}");
        assert!(decode_frames(&file, &Limits::default(), 2).unwrap().frames[..] == got.frames[..2], "{what}");
    };
    check("one chunk", &movie, 0);
    for chunk_samples in [1, 2, 3, 4] {
        for wide in [false, true] {
            check("chunks", &Movie { chunk_samples, wide, ..movie.clone() }, 0);
        }
    }
    for plays in [0, 1, 7] {
        check("plays", &Movie { plays: Some(plays), ..movie.clone() }, plays);
    }
    // The first brand decides: a still image with a sequence behind it is a still image.
    let still = encode("avif", &Picture::still(picture.frames[3].raster.clone()), None, true);
    let moov = movie.file()[28..].to_vec();
    let both = [still, moov].concat();
    assert_eq!(inspect(&both).map(|header| header.frames), Ok(1));
    assert!(decode(&both).unwrap().first() == &picture.frames[3].raster);
}

#[test]
fn alpha_of_a_sequence_is_in_a_track() {
    let (color, alpha) = (moving(Channels::Rgb, 3), moving(Channels::Gray, 3));
    let movie = Movie { alpha: stills(&alpha), ..Movie::new(SIZE, stills(&color)) };
    let got = decode(&movie.file()).unwrap();
    assert_eq!((got.frames.len(), got.first().channels()), (3, Channels::Rgba));
    for ((got, color), alpha) in got.frames.iter().zip(&color.frames).zip(&alpha.frames) {
        let expected = [&pixel(&color.raster, 20, 9)[..], &pixel(&alpha.raster, 20, 9)].concat();
        assert_eq!(pixel(&got.raster, 20, 9), expected);
    }
    let premultiplied = decode(&Movie { premultiplied: true, ..movie.clone() }.file()).unwrap();
    let (straight, divided) = (pixel(got.first(), 40, 15), pixel(premultiplied.first(), 40, 15));
    let expected = (f64::from(straight[0]) * 255.0 / f64::from(straight[3])).min(255.0);
    assert!((f64::from(divided[0]) - expected).abs() <= 1.0, "{straight:?} {divided:?}");
    let short = Movie { alpha: movie.alpha[..2].to_vec(), durations: vec![1; 3], ..movie };
    assert!(matches!(inspect(&short.file()), Err(Error::Unsupported { .. })));
}

#[test]
fn frames_of_a_track_are_described_like_items() {
    let described = [bmff(b"irot", &[1]), bmff(b"colr", b"nclx\0\x0c\0\x0d\0\x06\x80"), clap(20, 10, -3, 4)].concat();
    let file = Movie { described, ..Movie::new(SIZE, stills(&moving(Channels::Gray, 2))) }.file();
    let header = inspect(&file).unwrap();
    assert_eq!((header.orientation, header.size), (Orientation::Rotate270, Size::new(20, 10)));
}

#[test]
fn a_track_has_few_properties() {
    let file = |count: usize| {
        let described = bmff(b"free", &[]).repeat(count);
        Movie { described, ..Movie::new(SIZE, stills(&moving(Channels::Gray, 2))) }.file()
    };
    assert!(inspect(&file(1_000)).is_ok());
    assert!(matches!(inspect(&file(5_000)), Err(Error::Unsupported { .. })));
}

/// A clean aperture of this size, whose centre is moved by this many half pixels.
fn clap(w: u32, h: u32, x: i32, y: i32) -> Vec<u8> {
    let numbers = [w, 1, h, 1, x as u32, 2, y as u32, 2];
    bmff(b"clap", &numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>())
}

#[test]
fn a_clean_aperture_crops_before_the_image_is_turned() {
    let data = av1(&pattern(Channels::Rgb), false);
    let whole = decode(&avif(&[av01(data.clone(), SIZE, vec![])], &[])).unwrap();
    // (45 - 20) / 2 - 3 / 2 = 11 and (31 - 11) / 2 + 8 / 2 = 14.
    let properties = vec![(clap(20, 11, -3, 8), true), (bmff(b"irot", &[1]), true)];
    let file = avif(&[av01(data.clone(), SIZE, properties)], &[]);
    let (header, got) = (inspect(&file).unwrap(), decode(&file).unwrap());
    assert_eq!((header.size, header.orientation), (Size::new(20, 11), Orientation::Rotate270));
    for (x, y) in [(0, 0), (19, 0), (0, 10), (19, 10), (7, 5)] {
        assert_eq!(pixel(got.first(), x, y), pixel(whole.first(), x + 11, y + 14), "{x}, {y}");
    }
    let with = |clap| avif(&[av01(data.clone(), SIZE, vec![(clap, true)])], &[]);
    assert!(decode(&with(clap(45, 31, 0, 0))).unwrap() == whole);
    assert_eq!(inspect(&with(clap(45, 30, 0, 99))).map(|header| header.size), Err(outside()));
    assert_eq!(inspect(&with(clap(0, 30, 0, 0))).map(|header| header.size), Err(outside()));
}

fn outside() -> Error {
    Error::Corrupt { format: "avif", reason: "a clean aperture (clap) outside the image".into() }
}

#[test]
fn a_large_image_of_which_little_is_shown_is_held_to_the_limits() {
    let file = avif(&[av01(av1(&pattern(Channels::Rgb), false), SIZE, vec![(clap(2, 2, 0, 0), true)])], &[]);
    let limits = Limits { pixels_max: SIZE.pixels() - 1, ..Limits::default() };
    assert_eq!(limit_name(decode_frames(&file, &limits, 1)), "pixels_max");
    assert!(inspect(&file).unwrap().working_bytes >= SIZE.pixels() * 3);
}

#[test]
fn sequences_that_are_damaged_or_hostile_are_refused() {
    let movie = Movie::new(SIZE, stills(&moving(Channels::Gray, 3)));
    let file = movie.file();
    let at = |kind: &[u8]| file.windows(4).position(|window| window == kind).expect("a box");
    let patched = |at: usize, bytes: &[u8]| {
        let mut file = file.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    assert_corrupt("no time", &patched(at(b"mdhd") + 16, &[0; 4]));
    assert_corrupt("no width", &patched(at(b"av01") + 28, &[0; 2]));
    assert_corrupt("more sizes than there are", &patched(at(b"stsz") + 12, &[0, 0, 0, 9]));
    assert_corrupt("more chunks than there are", &patched(at(b"stco") + 8, &[0, 0, 0, 9]));
    assert_corrupt("empty chunks", &patched(at(b"stsc") + 16, &[0; 4]));
    assert_corrupt("a frame of another size", &patched(at(b"av01") + 28, &[0, 46]));
    assert!(matches!(inspect(&patched(at(b"stsz") + 12, &[0; 4])), Err(Error::Unsupported { .. })));
    assert!(matches!(inspect(&patched(at(b"stsc") + 20, &[0, 0, 0, 2])), Err(Error::Unsupported { .. })));
}

/// The greatest difference of the means of blocks of 8 x 8, over all frames.
fn block_error(got: &Picture, expected: &Picture) -> f64 {
    let mut most = 0.0f64;
    for (got, expected) in got.frames.iter().zip(&expected.frames) {
        let (w, h) = (got.raster.size().w / 8, got.raster.size().h / 8);
        for place in 0..w * h {
            let mut sums = [0.0; 3];
            for at in 0..64 {
                let (x, y) = (place % w * 8 + at % 8, place / w * 8 + at / 8);
                let (got, expected) = (pixel(&got.raster, x, y), pixel(&expected.raster, x, y));
                (0..3).for_each(|c| sums[c] += f64::from(got[c]) - f64::from(expected[c]));
            }
            most = sums.iter().fold(most, |most, sum| most.max(sum.abs() / 64.0));
        }
    }
    most
}

/// Smooth areas that move: a fast encoder may leave out what it should send.
#[test]
fn frames_that_move_smoothly_have_no_stale_blocks() {
    let size = Size::new(160, 120);
    let wave = |phase: f64| (128.0 + 120.0 * phase.sin()) as u8;
    let frame = |index: u32| {
        let samples = (0..size.pixels() as u32).flat_map(|at| {
            let (x, y, t) = (f64::from(at % size.w) / 30.0, f64::from(at / size.w) / 30.0, f64::from(index) / 1.6);
            [wave(x + t), wave(y - t), wave(x + y + 2.0 * t)]
        });
        let raster = Raster::new(size, Channels::Rgb, Samples::U8(samples.collect()));
        Frame { raster, delay: Delay::from_ms(100) }
    };
    let picture = Picture::animation((0..10).map(frame).collect(), 0);
    let error = block_error(&decode(&encode("avif", &picture, None, false)).unwrap(), &picture);
    assert!(error < 10.0, "{error}");
}

#[test]
fn a_sequence_is_shown_up_to_its_last_whole_frame() {
    let written = encode("avif", &moving(Channels::Rgba, 6), None, false);
    for file in [Movie::new(SIZE, stills(&moving(Channels::Gray, 6))).file(), written] {
        let whole = decode(&file).unwrap();
        let mut counts = Vec::new();
        for cut in (file.len() / 2..file.len()).step_by(7).chain([file.len() - 1]) {
            let Ok(shown) = decode(&file[..cut]) else { continue };
            assert_eq!(shown.missing, Some(Missing::Frames), "cut at {cut}");
            let count = shown.frames.len();
            assert!(shown.frames == whole.frames[..count], "cut at {cut}");
            assert!(decode_frames(&file[..cut], &Limits::default(), 1).unwrap().missing.is_none(), "cut at {cut}");
            counts.push(count);
        }
        assert!(counts.is_sorted() && counts.last() == Some(&5), "{counts:?}");
    }
}

/// Four billion frames in a file of some kilobytes.
#[test]
fn frames_that_take_no_bytes_of_the_file_are_counted_and_refused() {
    let file = Movie::new(SIZE, stills(&moving(Channels::Gray, 2))).file();
    let at = |kind: &[u8]| file.windows(4).position(|window| window == kind).expect("a box");
    let mut bomb = file.clone();
    // Every frame has the size of the first.
    bomb.copy_within(at(b"stsz") + 16..at(b"stsz") + 20, at(b"stsz") + 8);
    bomb[at(b"stsz") + 12..][..4].copy_from_slice(&[0xff; 4]);
    bomb[at(b"stsc") + 16..][..4].copy_from_slice(&[0xff; 4]);
    assert_eq!(inspect(&bomb).unwrap().frames, u32::MAX);
    assert_eq!(limit_name(decode(&bomb)), "frames_max");
}

#[test]
fn an_animation_stops_when_the_render_is_cancelled() {
    let (cancelled, limits, deadline) = (cancelled(), Limits::default(), Deadline::default());
    let avif = by_name("avif").unwrap();
    let file = encode("avif", &moving(Channels::Rgba, 3), None, false);
    let options = DecodeOptions { frames_max: 9, ..DecodeOptions::new(&limits, &cancelled) };
    assert_eq!((avif.decode)(&file, &options), Err(Error::Cancelled));
    assert!((avif.decode)(&file, &DecodeOptions { deadline: &deadline, ..options }).is_ok());
}

#[test]
fn animated_fixtures_move() {
    for (name, channels) in [("animated.avif", Channels::Rgb), ("animated_alpha.avif", Channels::Rgba)] {
        let picture = decode(&read(name)).unwrap();
        assert_eq!((picture.frames.len(), picture.first().channels()), (3, channels), "{name}");
        assert!(picture.frames.windows(2).all(|pair| pair[0].raster != pair[1].raster), "{name}");
    }
}
