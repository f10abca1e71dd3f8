//! What the Radiance HDR codec reads, and what it refuses.

use progimage::pipeline::{Channels, Orientation};

use super::expected::check_light;
use super::hostile::refused;
use super::inspect;
use crate::fixtures::mosaic;
use crate::fixtures::read;

#[test]
fn linear_light_is_clipped_and_srgb_encoded() {
    let light = |x, y| {
        let [r, g, b, exponent] = mosaic::rgbe(x, y);
        [r, g, b].map(|mantissa| f32::from(mantissa) * 2.0_f32.powi(i32::from(exponent) - 136))
    };
    check_light("rgbe_components.hdr", Channels::Rgb, light);
    check_light("rgbe_flat.hdr", Channels::Rgb, light);
    check_light("rgbe_bottom_up.hdr", Channels::Rgb, light);
    check_light("rgbe_old_runs.hdr", Channels::Rgb, |_, y| light(0, y));
}

#[test]
fn one_row_of_a_wide_hdr_is_held_against_the_limits() {
    let head = b"#?RADIANCE\n\n-Y 1 +X 4000000000\n";
    refused("hdr", "hdr", &[head.as_slice(), &[1; 50]].concat(), false);
}

/// Chains of run markers multiply by 256 each: the crate's decoder overflows on the eighth.
#[test]
fn run_markers_of_hdr_do_not_overflow() {
    let head = b"#?RADIANCE\n\n-Y 1 +X 40\n".to_vec();
    for marker in [[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 255]] {
        let body = [[9, 9, 9, 128]].into_iter().chain([marker; 40]).flatten().collect();
        refused("markers", "hdr", &[head.clone(), body].concat(), false);
    }
}

#[test]
fn rows_from_the_bottom_are_an_orientation() {
    let header = inspect(&read("rgbe_bottom_up.hdr")).expect("well formed");
    assert_eq!(header.orientation, Orientation::FlipVertical);
}
