//! What the OpenEXR codec reads, and what it refuses.

use progimage::pipeline::Channels;

use super::expected::check_light;
use super::hostile::{patched, refused};
use crate::fixtures::mosaic;
use crate::fixtures::read;

#[test]
fn linear_light_is_clipped_and_srgb_encoded() {
    let opaque = |x, y| {
        let [r, g, b, _] = mosaic::linear(x, y);
        [r, g, b]
    };
    check_light("rgb_float.exr", Channels::Rgb, opaque);
    check_light("rgb_float_tiles.exr", Channels::Rgb, opaque);
    check_light("rgba_float.exr", Channels::Rgba, mosaic::linear);
    check_light("rgba_float_packed.exr", Channels::Rgba, mosaic::linear);
    let inside = |x: usize, y: usize| (2..17).contains(&x) && (3..11).contains(&y);
    let windowed = |x, y| if inside(x, y) { opaque(x, y) } else { [0.0; 3] };
    check_light("rgb_float_data_window.exr", Channels::Rgb, windowed);
}

fn position(bytes: &[u8], needle: &[u8]) -> usize {
    bytes.windows(needle.len()).position(|window| window == needle).expect("the fixture has it")
}

#[test]
fn exr_windows_and_tables_that_lie_are_refused() {
    let exr = read("rgb_float.exr");
    let data = position(&exr, b"dataWindow\0box2i\0") + 21;
    let display = position(&exr, b"displayWindow\0box2i\0") + 24;
    let far = 60_000_u32.to_le_bytes();
    refused("a giant of data", "exr", &patched(&exr, &[(data + 8, &far), (data + 12, &far)]), true);
    refused("a giant to show", "exr", &patched(&exr, &[(display + 8, &far), (display + 12, &far)]), false);
    refused("a window inside out", "exr", &patched(&exr, &[(data + 8, &[0xFF; 8]), (data, &far)]), true);
    let table = exr.len() - 18 * (8 + 8 + 21 * 12);
    let second: [u8; 8] = exr[table + 8..table + 16].try_into().expect("8 bytes");
    refused("one chunk twice", "exr", &patched(&exr, &[(table, &second)]), true);
    refused("a chunk outside", "exr", &patched(&exr, &[(table, &[0xFF; 8])]), true);
    refused("a chunk inside the header", "exr", &patched(&exr, &[(table, &[0; 8])]), true);
}
