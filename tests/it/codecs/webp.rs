//! What WebP reads and writes.

use progimage::pipeline::codec::{DecodeOptions, sniff};
use progimage::pipeline::{Channels, Error, Limits, Orientation, Size};

use super::{assert_corrupt, check_close, decode, decode_frames, in_ms, inspect, noise, pixel};
use crate::fixtures::pattern::{SIZE, encode, pattern};
use crate::fixtures::profiles::display_p3;
use crate::fixtures::read;
use crate::fixtures::webp::{anmf, image_chunks, riff, vp8x};

#[test]
fn fixtures_show_the_pattern_they_were_made_of() {
    // Hard edges between saturated colours differ as much as 4:2:0 makes them. Matrices and ranges are what is checked
    // here.
    check_close("lossless.webp", &pattern(Channels::Rgb), f64::INFINITY);
    check_close("lossy.webp", &pattern(Channels::Rgb), 25.0);
    check_close("alpha.webp", &pattern(Channels::Rgba), 25.0);
    check_close("orientation_6.webp", &pattern(Channels::Rgb), 25.0);
    check_close("icc_display_p3.webp", &pattern(Channels::Rgb), 25.0);
}

#[test]
fn orientation_comes_from_exif() {
    assert_eq!(inspect(&read("orientation_6.webp")).unwrap().orientation, Orientation::Rotate90);
}

#[test]
fn a_profile_is_read_up_to_its_bound() {
    assert_eq!(decode(&read("icc_display_p3.webp")).unwrap().icc, Some(display_p3()));
    let limits = Limits { icc_bytes_max: 10, ..Limits::default() };
    assert_eq!(decode_frames(&read("icc_display_p3.webp"), &limits, 1).unwrap().icc, None);
}

#[test]
fn webp_frames_are_disposed_of_and_blended() {
    let picture = decode(&read("animated_dispose_and_blend.webp")).unwrap();
    assert_eq!(picture.plays, 3);
    assert_eq!(picture.frames.iter().map(|frame| frame.delay.ms()).collect::<Vec<_>>(), [100, 50, 70]);
    let at = |frame: usize, x, y| pixel(&picture.frames[frame].raster, x, y);
    assert_eq!(at(0, 4, 4), [255, 0, 0, 255]);
    assert_eq!(at(1, 4, 4), [0, 255, 0, 255]);
    assert_eq!(at(2, 4, 4)[3], 0, "cleared");
    assert_eq!(at(2, 19, 11), [255, 0, 0, 255], "kept");
    let blended = at(2, 15, 5);
    assert!(blended[0].abs_diff(127) < 3 && blended[2].abs_diff(128) < 3 && blended[3] == 255, "{blended:?}");
}

#[test]
fn codestreams_that_differ_from_their_headers_are_refused() {
    let small = encode("webp", &pattern(Channels::Rgb), None, false);
    let image = (b"VP8 ", image_chunks(&small)[8..].to_vec());
    assert_corrupt("VP8X of another size", &riff(&[vp8x(0, Size::new(90, 62)), image]));
    assert_corrupt(
        "ANMF of another size",
        &riff(&[vp8x(2, SIZE), (b"ANIM", vec![0; 6]), anmf((0, 0), Size::new(44, 31), 1, 0, &small)]),
    );
    assert_corrupt(
        "a frame outside the canvas",
        &riff(&[vp8x(2, SIZE), (b"ANIM", vec![0; 6]), anmf((2, 0), SIZE, 1, 0, &small)]),
    );
}

#[test]
fn webp_stops_inside_a_frame_that_it_reads() {
    for lossless in [false, true] {
        let bytes = encode("webp", &noise(1000), None, lossless);
        let limits = Limits::default();
        let deadline = in_ms(1);
        let options = DecodeOptions::new(&limits, &deadline);
        assert_eq!(
            (sniff(&bytes).expect("a WebP file").decode)(&bytes, &options),
            Err(Error::Timeout),
            "lossless: {lossless}"
        );
    }
}
