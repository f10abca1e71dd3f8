//! What farbfeld reads.

use progimage::pipeline::Channels;

use super::expected::{check, wide};
use crate::fixtures::mosaic;

#[test]
fn sixteen_bits_decode_to_the_scene() {
    check("rgba_16bit.ff", wide(Channels::Rgba, mosaic::rgba));
}
