//! `quality=auto`: about the same score for every picture.

use bytes::Bytes;

use super::{decoded, photo, rendered, samples};
use crate::fixtures;
use progimage::pipeline::Picture;

/// SSIMULACRA2 of two pictures of RGB.
fn score(one: &Picture, other: &Picture) -> f64 {
    let size = one.first().size();
    let slice = |picture| {
        let pixels = samples(Picture::first(picture));
        fast_ssim2::PixelSlice::new(pixels, size.w, size.h, 3 * size.w as usize, fast_ssim2::PixelDescriptor::RGB8_SRGB)
            .expect("whole rows")
    };
    fast_ssim2::compute_ssimulacra2(&slice(one), &slice(other)).expect("large enough")
}

fn check(source: &Bytes, tolerance: f64) {
    for (extension, wanted) in [("jpg", 78.0), ("webp", 71.0), ("avif", 72.0)] {
        let bytes = rendered(extension, "q=auto", source);
        let score = score(&decoded(&bytes), &decoded(source));
        assert!(score >= wanted - tolerance && score <= wanted + tolerance, "{extension}: {score}");
        assert_eq!(bytes, rendered(extension, "q=auto", source));
    }
}

#[test]
fn a_small_photograph_has_the_score() {
    for name in ["street.jpg", "toy.jpg"] {
        check(&photo(name, 400), 2.5);
    }
}

/// A picture that is large enough to be judged by tiles.
#[test]
fn a_large_photograph_has_about_the_score() {
    check(&photo("street.jpg", 960), 4.0);
}

#[test]
fn what_is_harder_to_compress_gets_more_quality() {
    let difference = |name: &'static str| {
        let source = photo(name, 400);
        rendered("jpg", "q=auto", &source).len() as f64 / rendered("jpg", "", &source).len() as f64
    };
    assert!(difference("street.jpg") > 1.05);
    assert!(difference("toy.jpg") < 0.95);
}

#[test]
fn every_shape_is_judged() {
    for name in ["rgba_8bit.png", "gray_alpha.png", "rgba_16bit.png", "animated.png", "1x1.gif", "gray.jpg"] {
        let source = Bytes::from(fixtures::read(name));
        for extension in ["jpg", "webp", "avif"] {
            decoded(&rendered(extension, "q=auto", &source));
        }
    }
}
