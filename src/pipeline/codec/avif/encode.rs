//! Encodes stills, and animations with their frames in tracks.

use avif_serialize::Aviffy;
use avif_serialize::constants::{ColorPrimaries, MatrixCoefficients, TransferCharacteristics};

use super::aom::{self, Encoded, Encoder, Format};
use super::container::Cicp;
use super::mux::Animation;
use super::planes::{Form, planes};
use super::yuv::Layout;
use super::{ALPHA_QUALITY_MIN, HLG, LOSSLESS_PIXELS_MAX, NAME, PIXELS_MAX, PQ, QUALITY, SIDE_PX_MAX};
use crate::pipeline::codec::{Chroma, EncodeOptions};
use crate::pipeline::color::CodePoints;
use crate::pipeline::limits::within;
use crate::pipeline::{Channels, Deadline, Delay, Error, Picture, Raster, Samples, Size};

/// Code of `MatrixCoefficients` in H.273 for RGB.
const MATRIX_IDENTITY: u8 = 0;
const MATRIX_BT601: u8 = 6;

pub(super) fn encode(picture: &Picture, options: &EncodeOptions) -> Result<Vec<u8>, Error> {
    let size = picture.first().size();
    within("side_px_max", u64::from(size.w.max(size.h)), u64::from(SIDE_PX_MAX))?;
    check_pixels(size, options.lossless)?;
    let layers = layers(picture, options);
    if picture.frames.len() > 1 {
        return animation(picture, &layers, options.deadline);
    }
    let encode = |layer: &Layer| {
        options.deadline.check()?;
        aom::encode(&layer.format, &layer.planes(picture.first()))
    };
    let data = layers.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
    still(&layers[0].format, &data[0], data.get(1).map(Vec::as_slice))
}

/// Colours or alpha of a picture: how libaom encodes them, and how their planes are made.
struct Layer {
    format: Format,
    form: Form,
}

impl Layer {
    fn planes(&self, raster: &Raster) -> Vec<Vec<u16>> {
        match raster.samples() {
            Samples::U8(samples) => planes(samples, raster.size(), self.form, self.format.bits),
            Samples::U16(samples) => planes(samples, raster.size(), self.form, self.format.bits),
        }
    }
}

/// The colours, and the alpha, if there is one.
fn layers(picture: &Picture, options: &EncodeOptions) -> Vec<Layer> {
    let raster = picture.first();
    let (channels, count) = (raster.channels(), raster.channels().count());
    let quality = (!options.lossless).then_some(options.quality.unwrap_or(QUALITY));
    let (form, layout, matrix) = color_form(channels, options);
    // sRGB in full range unless HDR is kept: what libavif writes and all decoders accept.
    let hdr = options.code_points;
    let CodePoints { primaries, transfer } = hdr.unwrap_or(CodePoints { primaries: 1, transfer: 13 });
    let cicp = Cicp { primaries, transfer, matrix, full_range: true };
    let format = Format {
        size: raster.size(),
        layout,
        bits: if matches!(raster.samples(), Samples::U16(_)) || hdr.is_some() { 10 } else { 8 },
        cicp,
        quality,
        effort: options.effort.unwrap_or(aom::EFFORT.default),
        animated: picture.frames.len() > 1,
        graphic: options.graphic,
    };
    let mut layers = vec![Layer { format, form }];
    if channels.alpha() {
        let quality = quality.map(|quality| quality.max(ALPHA_QUALITY_MIN));
        let cicp = Cicp { matrix: MATRIX_BT601, ..cicp };
        let format = Format { layout: Layout::Gray, cicp, quality, ..format };
        layers.push(Layer { format, form: Form::Single { channel: count - 1, count } });
    }
    layers
}

fn color_form(channels: Channels, options: &EncodeOptions) -> (Form, Layout, u8) {
    let count = channels.count();
    let layout = match options.chroma {
        Chroma::Half => Layout::Half,
        Chroma::HalfWidth => Layout::HalfWidth,
        Chroma::Full => Layout::Full,
    };
    match (channels.gray(), options.lossless) {
        (true, _) => (Form::Single { channel: 0, count }, Layout::Gray, MATRIX_BT601),
        (false, true) => (Form::Identity { count }, Layout::Full, MATRIX_IDENTITY),
        (false, false) => (Form::Chroma { count, layout }, layout, MATRIX_BT601),
    }
}

fn animation(picture: &Picture, layers: &[Layer], deadline: &Deadline) -> Result<Vec<u8>, Error> {
    let frames = |layer: &Layer| {
        let mut encoder = Encoder::new(&layer.format)?;
        let mut frame = |raster: &Raster| {
            deadline.check()?;
            encoder.frame(&layer.planes(raster)).map(without_delimiter)
        };
        picture.frames.iter().map(|one| frame(&one.raster)).collect::<Result<Vec<Encoded>, Error>>()
    };
    let encoded = layers.iter().map(frames).collect::<Result<Vec<_>, _>>()?;
    let format = &layers[0].format;
    let delays: Vec<Delay> = picture.frames.iter().map(|frame| frame.delay).collect();
    let animation = Animation {
        still: &still(format, &encoded[0][0].data, encoded.get(1).map(|alpha| &alpha[0].data[..]))?,
        size: format.size,
        cicp: format.cicp,
        profile: aom::profile(format.layout),
        layers: &encoded,
        delays: &delays,
        plays: picture.plays,
    };
    animation.write()
}

/// Removes the delimiter at the start of a temporal unit, which a sample of a track should not have.
fn without_delimiter(mut frame: Encoded) -> Encoded {
    const DELIMITER: [u8; 2] = [0x12, 0];
    if frame.data.starts_with(&DELIMITER) {
        frame.data.drain(..DELIMITER.len());
    }
    frame
}

fn check_pixels(size: Size, lossless: bool) -> Result<(), Error> {
    let (name, max) =
        if lossless { ("avif_lossless_pixels_max", LOSSLESS_PIXELS_MAX) } else { ("avif_pixels_max", PIXELS_MAX) };
    within(name, size.pixels(), max).map(|_| ())
}

fn still(format: &Format, color: &[u8], alpha: Option<&[u8]>) -> Result<Vec<u8>, Error> {
    let Format { size, layout, bits, cicp, .. } = *format;
    let (mut file, mut container) = (Vec::new(), Aviffy::new());
    if let Some(transfer) = hdr_transfer(cicp) {
        container.set_color_primaries(primaries(cicp)).set_transfer_characteristics(transfer);
    }
    let matrix = if cicp.matrix == MATRIX_IDENTITY { MatrixCoefficients::Rgb } else { MatrixCoefficients::Bt601 };
    container
        .set_width(size.w)
        .set_height(size.h)
        .set_bit_depth(bits)
        .set_seq_profile(aom::profile(layout))
        .set_chroma_subsampling((layout != Layout::Full, !matches!(layout, Layout::Full | Layout::HalfWidth)))
        .set_monochrome(layout == Layout::Gray)
        .set_matrix_coefficients(matrix)
        .write_slice(&mut file, color, alpha)
        .map_err(|error| Error::Encode { format: NAME, reason: error.to_string() })?;
    Ok(file)
}

/// Transfer function of a kept HDR picture.
fn hdr_transfer(cicp: Cicp) -> Option<TransferCharacteristics> {
    match cicp.transfer {
        PQ => Some(TransferCharacteristics::Smpte2084),
        HLG => Some(TransferCharacteristics::Hlg),
        _ => None,
    }
}

/// Primaries of a kept HDR picture.
fn primaries(cicp: Cicp) -> ColorPrimaries {
    match cicp.primaries {
        9 => ColorPrimaries::Bt2020,
        11 => ColorPrimaries::DciP3,
        12 => ColorPrimaries::DisplayP3,
        6 => ColorPrimaries::Bt601,
        _ => ColorPrimaries::Bt709,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libaom_would_take_too_long_for_is_refused() {
        let name = |size, lossless| match check_pixels(size, lossless) {
            Err(Error::Limit { name, .. }) => name,
            other => panic!("{size:?}: {other:?}"),
        };
        assert!(check_pixels(Size::new(8192, 4096), false).is_ok());
        assert_eq!(name(Size::new(8192, 4097), false), "avif_pixels_max");
        assert!(check_pixels(Size::new(4096, 2048), true).is_ok());
        assert_eq!(name(Size::new(4096, 2049), true), "avif_lossless_pixels_max");
    }
}
