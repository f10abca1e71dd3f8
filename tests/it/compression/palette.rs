//! Few colours: PNG and GIF.

use std::collections::HashSet;

use bytes::Bytes;

use super::{decoded, photo, render, rendered, samples};
use crate::fixtures;
use progimage::pipeline::{Channels, Error, Picture};

fn colors(picture: &Picture) -> usize {
    let pixels = |raster| samples(raster).chunks_exact(raster.channels().count());
    let all = picture.frames.iter().flat_map(|frame| pixels(&frame.raster));
    all.collect::<HashSet<_>>().len()
}

#[test]
fn a_palette_has_at_most_as_many_colours_as_asked() {
    let source = photo("toy.jpg", 140);
    for extension in ["png", "gif"] {
        let mut larger = usize::MAX / 102;
        for most in [256, 255, 64, 17, 16, 5, 4, 3, 2] {
            let bytes = rendered(extension, &format!("colors={most}"), &source);
            let found = colors(&decoded(&bytes));
            assert!(found <= most && found > most / 2, "{extension}: {found} of {most}");
            // One colour fewer may be dithered in another way.
            assert!(bytes.len() * 100 <= larger * 102, "{extension}: {most} colours take more than one more");
            larger = bytes.len();
        }
    }
}

#[test]
fn few_colours_are_kept_exactly() {
    let source = rendered("png", "colors=9", &photo("toy.jpg", 100));
    for extension in ["png", "gif"] {
        let again = decoded(&rendered(extension, "colors=16", &source));
        assert_eq!(samples(again.first()), samples(decoded(&source).first()), "{extension}");
    }
}

#[test]
fn dithering_spreads_errors() {
    // A ramp of gray in two colours is one edge without diffusion, and a mixture for every shade with it.
    let ramp: Vec<u8> = (0..64 * 64).flat_map(|place| [(place % 64 * 4) as u8; 3]).collect();
    let source = Bytes::from([b"P6 64 64 255\n".as_slice(), &ramp].concat());
    let edges = |dither: &str| {
        let picture = decoded(&rendered("png", &format!("colors=2&dither={dither}"), &source));
        samples(picture.first())[64 * 3 * 20..][..64 * 3]
            .chunks(3)
            .collect::<Vec<_>>()
            .windows(2)
            .filter(|pair| pair[0] != pair[1])
            .count()
    };
    assert_eq!(edges("0"), 1);
    assert!(edges("1") > 8);
    let photo = photo("street.jpg", 200);
    let size = |dither: &str| rendered("png", &format!("colors=32&dither={dither}"), &photo).len();
    assert!(size("0") < size("0.5") && size("0.5") < size("1"));
}

#[test]
fn transparency_is_kept() {
    let source = Bytes::from(fixtures::read("rgba_8bit.png"));
    let original = decoded(&source);
    let palette = decoded(&rendered("png", "colors=64", &source));
    assert_eq!(palette.first().channels(), Channels::Rgba);
    for (kept, given) in samples(palette.first()).chunks_exact(4).zip(samples(original.first()).chunks_exact(4)) {
        assert!(kept[3].abs_diff(given[3]) < 64, "{} of {}", kept[3], given[3]);
        assert!(given[3] < 255 || kept[3] == 255, "opaque stays opaque");
        assert!(given[3] > 0 || kept[3] == 0, "transparent stays transparent");
    }
}

#[test]
fn animations_and_sixteen_bits_become_few_colours() {
    let animated = decoded(&rendered("png", "colors=4", &Bytes::from(fixtures::read("animated.png"))));
    assert!(animated.frames.len() > 1 && colors(&animated) <= 4);
    let deep = decoded(&rendered("png", "colors=8", &Bytes::from(fixtures::read("rgba_16bit.png"))));
    assert!(deep.first().shape().bits == 8 && colors(&deep) <= 8);
    let gray = decoded(&rendered("png", "colors=8", &Bytes::from(fixtures::read("gray_16bit.png"))));
    assert!(colors(&gray) <= 8);
}

#[test]
fn colours_where_there_is_no_palette_are_refused() {
    for (extension, query) in [("jpg", "colors=16"), ("webp", "colors=16&lossless"), ("png", "colors=16&lossless")] {
        let refused = render(extension, query, &photo("toy.jpg", 10));
        let Err(Error::Invalid { parameter, .. }) = refused else { panic!("{extension} {query}: {refused:?}") };
        assert_eq!(parameter, "colors");
    }
}
