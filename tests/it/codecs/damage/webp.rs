//! Damaged WebP files.

use progimage::pipeline::{Error, Limits, Missing, Raster, Samples, Size};

use super::super::{decode, decode_frames, decode_tolerantly, pixel};
use crate::fixtures::pattern::{encode, plain};
use crate::fixtures::read;
use crate::fixtures::webp::{anmf, riff, vp8x};

#[test]
fn a_webp_cut_after_its_pixels_is_whole() {
    let bytes = read("metadata.webp");
    let whole = decode(&bytes).expect("valid");
    let image = bytes.windows(4).position(|name| name == b"VP8 " || name == b"VP8L").expect("an image");
    let length = u32::from_le_bytes(bytes[image + 4..image + 8].try_into().expect("four")) as usize;
    for cut in [image + 8 + length, image + 8 + length + 5, bytes.len() - 1] {
        let shown = decode(&bytes[..cut.min(bytes.len() - 1)]).expect("whole");
        assert!(shown.frames == whole.frames && shown.missing.is_none(), "cut at {cut}");
    }
}

#[test]
fn a_webp_cut_in_its_data_is_refused_or_shown_in_part() {
    let size = Size::new(200, 160);
    for (lossless, color, rest) in
        [(false, [200, 30, 30, 255], 128), (true, [200, 30, 30, 255], 128), (true, [9, 200, 9, 200], 0)]
    {
        let mut picture = plain(size, color);
        // Noise, so that each row has its data.
        picture = picture.map(|raster| Ok(noisy(raster))).expect("no error");
        let bytes = encode("webp", &picture, None, lossless);
        let whole = decode(&bytes).expect("valid");
        let cut = &bytes[..bytes.len() / 2];
        assert!(matches!(decode(cut), Err(Error::Corrupt { .. })));
        let shown = decode_tolerantly(cut).expect("a part");
        assert_eq!((shown.first().shape(), shown.missing), (whole.first().shape(), Some(Missing::Pixels)));
        assert_eq!(pixel(shown.first(), 3, 3), pixel(whole.first(), 3, 3));
        let last = pixel(shown.first(), 199, 159);
        assert!(last.iter().all(|sample| *sample == rest), "{last:?}");
    }
}

fn noisy(raster: Raster) -> Raster {
    let (size, channels) = (raster.size(), raster.channels());
    let Samples::U8(mut samples) = raster.into_samples() else { unreachable!("eight bits") };
    let mut state = 1u32;
    for pixel in samples.chunks_exact_mut(channels.count()) {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        pixel[1] = (state >> 24) as u8;
    }
    Raster::new(size, channels, Samples::U8(samples))
}

#[test]
fn an_animation_is_shown_up_to_its_last_whole_frame() {
    let size = Size::new(20, 12);
    let frame = |color| anmf((0, 0), size, 100, 0, &encode("webp", &plain(size, color), None, true));
    let (red, green, blue) = (frame([255, 0, 0, 255]), frame([0, 255, 0, 255]), frame([0, 0, 255, 255]));
    let head = [vp8x(2, size), (b"ANIM", vec![0; 6])];
    let bytes = riff(&[&head[..], &[red.clone(), green.clone(), blue.clone()]].concat());
    let whole = decode(&bytes).expect("valid");
    assert_eq!(whole.frames.len(), 3);
    let check = |what: &str, damaged: &[u8], frames: usize| {
        for shown in [decode(damaged), decode_tolerantly(damaged)] {
            let shown = shown.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(shown.frames == whole.frames[..frames] && shown.missing == Some(Missing::Frames), "{what}");
        }
        let first = decode_frames(damaged, &Limits::default(), 1).expect("whole");
        assert_eq!((first.frames.len(), first.missing), (1, None), "{what}");
    };
    let at = |place: usize| {
        let starts: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"ANMF")).collect();
        starts[place]
    };
    check("cut in the third", &bytes[..bytes.len() - 5], 2);
    check("cut in the second", &bytes[..at(1) + 30], 1);
    check("cut in the head of the second", &bytes[..at(1) + 10], 1);
    let mut outside = bytes.clone();
    outside[at(1) + 8] = 9;
    check("the second outside of the canvas", &outside, 1);
    let mut nonsense = bytes.clone();
    nonsense[at(2) + 8 + 16 + 8] ^= 0xff;
    check("no signature in the third", &nonsense, 2);
    assert!(decode(&bytes[..at(0) + 30]).is_err() && decode_tolerantly(&bytes[..at(0) + 30]).is_err());
}

#[test]
fn an_animation_cut_in_its_first_frame_shows_its_rows_where_that_is_wanted() {
    let (canvas, frame, at) = (Size::new(230, 200), Size::new(200, 160), (10, 20));
    for (lossless, color) in [(false, [200, 30, 30, 255]), (true, [200, 30, 30, 255]), (false, [9, 200, 9, 150])] {
        for (size, (x, y)) in [(frame, (0, 0)), (canvas, at)] {
            let picture = plain(frame, color).map(|raster| Ok(noisy(raster))).expect("no error");
            let still = encode("webp", &picture, None, lossless);
            let frames = [anmf((x, y), frame, 100, 0, &still), anmf((x, y), frame, 100, 0, &still)];
            let bytes = riff(&[&[vp8x(2, size), (b"ANIM", vec![0; 6])][..], &frames].concat());
            let whole = decode(&bytes).expect("valid");
            let cut = &bytes[..bytes.len() / 4];
            assert!(matches!(decode(cut), Err(Error::Corrupt { .. })));
            let shown = decode_tolerantly(cut).expect("a part");
            assert_eq!((shown.first().shape(), shown.missing), (whole.first().shape(), Some(Missing::Pixels)));
            assert_eq!(shown.frames.len(), 1);
            let (top, left) = (pixel(shown.first(), x + 3, y + 3), pixel(whole.first(), x + 3, y + 3));
            assert_eq!(top, left, "{lossless} {color:?} {size:?}");
            let last = pixel(shown.first(), x + 199, y + 159);
            let rest = if last.len() == 4 { 0 } else { 128 };
            assert!(last.iter().all(|sample| *sample == rest), "{last:?}");
        }
    }
}
