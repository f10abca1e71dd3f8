//! What the QOI codec reads, and what it refuses.

use progimage::pipeline::Channels;

use super::expected::{check, narrow, rgb, rgba};
use super::hostile::refused;

#[test]
fn pixels_and_runs_decode_to_the_scene() {
    check("rgb.qoi", rgb());
    check("rgba.qoi", rgba());
    check("runs.qoi", narrow(Channels::Rgb, |_, _| [10, 200, 90]));
}

/// A file that the crate alone would decode to a wrong picture: it reads the four bytes of such a colour as four
/// pixels, and clips the run that follows.
#[test]
fn qoi_alpha_in_a_file_without_alpha_is_refused() {
    let colour_and_run = [0xFF, 1, 2, 3, 4, 0xC0 | 18];
    let head = [b"qoif".as_slice(), &[0, 0, 0, 20], &[0, 0, 0, 1], &[3, 0]].concat();
    refused("alpha", "qoi", &[&head[..], &colour_and_run, &[0, 0, 0, 0, 0, 0, 0, 1]].concat(), false);
}
