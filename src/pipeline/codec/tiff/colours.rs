//! Colours of a TIFF page: from samples as stored, in place or by a table, to gray, RGB and inks with straight alpha.

use super::super::image_crate::srgb16;
use super::page::{Alpha, Colour, Format, Lab, Page, YCbCr};
use crate::pipeline::color::{Sample, each_pixel, straighten};
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Channels, Error, Samples};

/// Replaces the indices of a palette by its colours; other samples are returned as they are.
pub(super) fn looked_up(page: &Page, samples: Vec<u8>) -> Result<Vec<u8>, Error> {
    let Colour::Palette(map) = page.colour else { return Ok(samples) };
    let palette = palette(map, page.big_endian);
    // A palette has an entry for every index of its bit depth.
    let colour = |index: u8| palette[usize::from(index)];
    if page.alpha == Alpha::None {
        return each_pixel(&samples, |[index]: &[u8; 1]| colour(*index));
    }
    each_pixel(&samples, |[index, alpha]: &[u8; 2]| {
        let [r, g, b] = colour(*index);
        [r, g, b, *alpha]
    })
}

/// Colours of a palette with 8 bits.
fn palette(map: &[u8], big_endian: bool) -> Vec<[u8; 3]> {
    let read = if big_endian { u16::from_be_bytes } else { u16::from_le_bytes };
    let values: Vec<u16> = map.as_chunks::<2>().0.iter().map(|&pair| read(pair)).collect();
    // Old writers stored 8-bit values in the 16-bit fields.
    let shift = if values.iter().all(|&value| value < 256) { 0 } else { 8 };
    let entries = values.len() / 3;
    (0..entries).map(|index| [0, 1, 2].map(|colour| (values[colour * entries + index] >> shift) as u8)).collect()
}

/// Converts samples of 8 or 16 bits in place: white that is zero, luma, L*a*b* and premultiplied alpha.
pub(super) fn finished(page: &Page, mut samples: Samples) -> Samples {
    match &mut samples {
        Samples::U8(samples) => finish(page, samples),
        Samples::U16(samples) => finish(page, samples),
    }
    samples
}

fn finish<S: Sample>(page: &Page, samples: &mut [S]) {
    let channels = page.channels();
    match page.colour {
        Colour::WhiteIsZero => invert(samples, channels.count()),
        Colour::YCbCr(ycc) => {
            let tables = Tables::new(&ycc);
            convert(samples, channels, |pixel| tables.rgb(pixel));
        }
        Colour::Lab(encoding) => {
            let wide = size_of::<S>() == 2;
            convert(samples, channels, |pixel| lab_to_srgb(lab(encoding, wide, pixel)));
        }
        _ => {}
    }
    // Measured samples were divided as floats.
    if page.alpha == Alpha::Premultiplied && page.format == Format::Unsigned {
        samples.chunks_exact_mut(channels.count()).for_each(straighten);
    }
}

fn invert<S: Sample>(samples: &mut [S], channels: usize) {
    let max: u32 = S::MAX.into();
    for sample in samples.iter_mut().step_by(channels) {
        *sample = S::try_from(max - (*sample).into()).unwrap_or(*sample);
    }
}

/// Converts the first three samples of every pixel; results are 16-bit.
fn convert<S: Sample>(samples: &mut [S], channels: Channels, rgb: impl Fn([u32; 3]) -> [u16; 3]) {
    for pixel in samples.chunks_exact_mut(channels.count()) {
        let colours = rgb([pixel[0].into(), pixel[1].into(), pixel[2].into()]);
        for (sample, colour) in pixel.iter_mut().zip(colours) {
            *sample = S::scaled(colour.into(), 65_535);
        }
    }
}

/// Luma and colour differences of every 8-bit sample (TIFF 6.0, section 21).
struct Tables {
    luma: [f32; 3],
    y: [f32; 256],
    cb: [f32; 256],
    cr: [f32; 256],
}

impl Tables {
    fn new(ycc: &YCbCr) -> Tables {
        let table = |place: usize, full: f32| {
            let (black, white) = ycc.range[place];
            std::array::from_fn(|code| (code as f32 - black) * full / (white - black))
        };
        Tables { luma: ycc.luma, y: table(0, 255.0), cb: table(1, 127.0), cr: table(2, 127.0) }
    }

    fn rgb(&self, pixel: [u32; 3]) -> [u16; 3] {
        let [y, cb, cr] = pixel.map(|code| (code & 0xff) as usize);
        let (y, cb, cr) = (self.y[y], self.cb[cb], self.cr[cr]);
        let [red, green, blue] = self.luma;
        let r = y + cr * (2.0 - 2.0 * red);
        let b = y + cb * (2.0 - 2.0 * blue);
        let g = (y - red * r - blue * b) / green;
        [r, g, b].map(|value| (value.round().clamp(0.0, 255.0) as u16) * 257)
    }
}

/// L* in 0..=100, a* and b*, of 8- or 16-bit samples (TIFF 6.0, section 23; Adobe Photoshop TIFF Technical Notes, 2002).
fn lab(encoding: Lab, wide: bool, [l, a, b]: [u32; 3]) -> [f32; 3] {
    let chroma = |code: u32| match (encoding, wide) {
        (Lab::Signed, false) => f32::from(code as u8 as i8),
        (Lab::Signed, true) => f32::from(code as u16 as i16) / 256.0,
        (Lab::Offset, false) => code as f32 - 128.0,
        (Lab::Offset, true) => (code as f32 - 32_768.0) / 256.0,
    };
    let white = match (encoding, wide) {
        (_, false) => 255.0,
        (Lab::Signed, true) => 65_535.0,
        (Lab::Offset, true) => 65_280.0,
    };
    [l as f32 * 100.0 / white, chroma(a), chroma(b)]
}

/// X, Y and Z of D50, the white of the profile connection space (ICC.1:2022, 7.2.16).
const D50: [f32; 3] = [0.9642, 1.0, 0.8249];
/// Matrix from X, Y and Z relative to D50 to linear sRGB: IEC 61966-2-1 after Bradford's adaptation (B. Lindbloom).
const RGB_OF_XYZ: [[f32; 3]; 3] = [
    [3.133_856, -1.616_866_7, -0.490_614_6],
    [-0.978_768_4, 1.916_141_5, 0.033_454],
    [0.071_945_3, -0.228_991_4, 1.405_242_7],
];

/// Converts CIE 1976 L*a*b* relative to D50 to 16-bit sRGB; colours outside are clipped.
fn lab_to_srgb([l, a, b]: [f32; 3]) -> [u16; 3] {
    let y = (l + 16.0) / 116.0;
    let light = |f: f32| if f > 6.0 / 29.0 { f * f * f } else { (f - 4.0 / 29.0) * 108.0 / 841.0 };
    let [x, y, z] = [light(y + a / 500.0) * D50[0], light(y) * D50[1], light(y - b / 200.0) * D50[2]];
    RGB_OF_XYZ.map(|[of_x, of_y, of_z]| srgb16(of_x * x + of_y * y + of_z * z))
}

/// Converts signed numbers and floats to 16 bits, with straight alpha.
///
/// RGB floats are linear light, as in EXR, or values of their profile. Gray floats are taken as they are, 0 black and 1
/// white; where some are beyond, and for signed numbers, the lowest of all is black and the highest is white, since such
/// files hold measurements.
pub(super) fn measured(page: &Page, mut values: Vec<f32>) -> Result<Vec<u16>, Error> {
    let channels = page.channels();
    if page.alpha == Alpha::Premultiplied {
        values.chunks_exact_mut(channels.count()).for_each(divide_light);
    }
    let linear = !channels.gray() && page.format == Format::Float && page.icc.is_none();
    let (black, white) = if linear { (0.0, 1.0) } else { range(page, &values) };
    let opaque = match page.format {
        Format::Signed => (1_u64 << (page.bits - 1)) as f32 - 1.0,
        _ => 1.0,
    };
    let mut samples = try_zeroed(values.len())?;
    let pixels = samples.chunks_exact_mut(channels.count()).zip(values.chunks_exact(channels.count()));
    for (samples, values) in pixels {
        for (place, (sample, value)) in samples.iter_mut().zip(values).enumerate() {
            let is_alpha = channels.alpha() && place + 1 == channels.count();
            *sample = match (is_alpha, linear) {
                (true, _) => fraction(value / opaque),
                (_, true) => srgb16(*value),
                _ => fraction((value - black) / (white - black)),
            };
        }
    }
    Ok(samples)
}

fn fraction(value: f32) -> u16 {
    // A conversion saturates, and makes NaN zero.
    (value * 65_535.0 + 0.5) as u16
}

fn divide_light(pixel: &mut [f32]) {
    let Some((alpha, colours)) = pixel.split_last_mut() else { return };
    let alpha = if *alpha > 0.0 { *alpha } else { 1.0 };
    colours.iter_mut().for_each(|colour| *colour /= alpha);
}

/// Values of black and white.
fn range(page: &Page, values: &[f32]) -> (f32, f32) {
    let channels = page.channels();
    let colours = channels.count() - usize::from(channels.alpha());
    let finite = values.chunks_exact(channels.count()).flat_map(|pixel| &pixel[..colours]).filter(|v| v.is_finite());
    let (low, high) = finite.fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
    let as_it_is = page.format == Format::Float && low >= 0.0 && high <= 1.0;
    if as_it_is || low >= high { (0.0, 1.0) } else { (low, high) }
}
