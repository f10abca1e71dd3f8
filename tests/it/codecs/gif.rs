//! What GIF reads and writes.

use progimage::pipeline::{Channels, Size};

use super::{decode, inspect, limit_name, pixel, psnr};
use crate::fixtures::pattern::{encode, pattern};
use crate::fixtures::read;

#[test]
fn gif_frames_are_disposed_of_in_each_way() {
    const CLEAR: [u8; 4] = [0; 4];
    let check = |name: &str, left_behind: &[u8]| {
        let picture = decode(&read(name)).unwrap();
        assert_eq!(picture.plays, 5, "{name}: repetitions after the first");
        assert_eq!(picture.frames.iter().map(|frame| frame.delay.ms()).collect::<Vec<_>>(), [70, 0, 200], "{name}");
        let at = |frame: usize, x, y| pixel(&picture.frames[frame].raster, x, y);
        let count = left_behind.len();
        assert_eq!(at(0, 3, 4), [255, 0, 0, 255][..count], "{name}");
        assert_eq!(at(1, 3, 4), [0, 255, 0, 255][..count], "{name}");
        assert_eq!(at(2, 3, 4), left_behind, "{name}");
        assert_eq!(at(2, 7, 4), [0, 0, 255, 255][..count], "{name}");
        assert_eq!(at(2, 13, 10), [255, 0, 0, 255][..count], "{name}");
    };
    check("disposal_keep.gif", &[0, 255, 0]);
    check("disposal_background.gif", &CLEAR);
    check("disposal_previous.gif", &[255, 0, 0]);
}

#[test]
fn gif_palettes_interlacing_and_transparency() {
    assert_eq!(decode(&read("interlaced.gif")).unwrap(), decode(&read("still.gif")).unwrap());
    assert_eq!(pixel(decode(&read("local_palette.gif")).unwrap().first(), 3, 0), [60, 50, 40]);
    let transparent = decode(&read("transparent.gif")).unwrap();
    assert_eq!(
        (pixel(transparent.first(), 0, 0), pixel(transparent.first(), 3, 0)),
        (vec![255, 0, 0, 255], vec![0; 4])
    );
    assert_eq!(pixel(decode(&read("1x1.gif")).unwrap().first(), 0, 0), [255, 255, 0]);
}

#[test]
fn gif_of_many_colours_is_close() {
    let picture = pattern(Channels::Rgb);
    let got = decode(&encode("gif", &picture, None, false)).unwrap();
    let psnr = psnr(got.first(), picture.first());
    assert!(psnr > 30.0, "{psnr:.1} dB");
}

#[test]
fn a_gif_of_35_bytes_that_asks_for_gigabytes_is_described_and_refused() {
    let huge = [0xff; 4];
    let bomb = |screen: [u8; 4]| {
        [
            &b"GIF89a"[..],
            &screen,
            &[0x80, 0, 0, 0, 0, 0, 255, 255, 255],
            &[0x2c, 0, 0, 0, 0],
            &huge,
            &[0, 2, 2, 0x44, 1, 0, 0x3b],
        ]
        .concat()
    };
    assert_eq!(bomb(huge).len(), 35);
    assert_eq!(inspect(&bomb(huge)).unwrap().size, Size::new(65_535, 65_535));
    assert_eq!(limit_name(decode(&bomb(huge))), "pixels_max");
    // The first frame makes the screen as large.
    assert_eq!(limit_name(decode(&bomb([1, 0, 1, 0]))), "pixels_max");
}
