//! Colour: ICC profiles, CMYK and HDR to sRGB, linear light, premultiplied alpha, and conversions between channels and
//! depths for encoders. Artistic colour operations are in `operation`.

mod black;
mod channels;
mod hdr;
mod icc;
mod linear;

pub use channels::{each_pixel, flattened, luminance, straighten, to_channels, to_eight_bits};
pub use hdr::CodePoints;
pub use icc::{cicp_profile, hdr_code_points, in_words, profile_bytes, to_srgb, to_srgb_unless_fit};
pub use linear::{Sample, decoded, encode_row, encoded, encoded_finely, linear_row, linear_table_f32, straight_row};

use super::{Raster, Samples};

/// Whether no pixel is even partly transparent; true for rasters without alpha.
pub fn opaque(raster: &Raster) -> bool {
    fn opaque<S: Sample>(samples: &[S], count: usize) -> bool {
        samples.iter().skip(count - 1).step_by(count).all(|alpha| *alpha == S::MAX)
    }
    let count = raster.channels().count();
    !raster.channels().alpha()
        || match raster.samples() {
            Samples::U8(samples) => opaque(samples, count),
            Samples::U16(samples) => opaque(samples, count),
        }
}
