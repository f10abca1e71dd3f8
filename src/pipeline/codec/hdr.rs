//! Radiance HDR (RGBE), read only: linear light clipped to 0..=1 and encoded in 16-bit sRGB. EXPOSURE is not applied.
//!
//! Scanlines are decoded here, straight into 16 bits: the crate's decoder overflows on chains of run markers and
//! holds twelve bytes per pixel.

use super::cursor::Cursor;
use super::image_crate::{self, srgb16};
use super::{Codec, DecodeOptions, Header};
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Channels, Error, Orientation, Picture, Raster, Samples};

pub(super) static CODEC: Codec = Codec {
    name: "hdr",
    extensions: &["hdr"],
    media_type: "image/vnd.radiance",
    doc: "Radiance HDR: linear light, clipped at 1 and encoded in 16-bit sRGB; read only.",
    revision: 1,
    shrinks: None,
    metadata: None,
    sniff: |bytes| bytes.starts_with(b"#?RADIANCE") || bytes.starts_with(b"#?RGBE"),
    inspect,
    decode,
    encoder: None,
};

/// Longest accepted header.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Widths for which components may be run-length encoded separately.
const COMPONENT_WIDTHS: std::ops::Range<usize> = 8..0x8000;
/// Most consecutive run markers: each multiplies by 256, so a fifth would exceed any width.
const MARKERS_MAX: u32 = 4;

type Rgbe = [u8; 4];

fn inspect(bytes: &[u8]) -> Result<Header, Error> {
    layout(bytes).map(|(header, _)| header)
}

/// Parses the header; returns it and the offset of the scanlines.
fn layout(bytes: &[u8]) -> Result<(Header, usize), Error> {
    let mut at = 0;
    loop {
        let line = line(bytes, &mut at)?;
        if let Some(format) = line.strip_prefix(b"FORMAT=")
            && format.trim_ascii() != b"32-bit_rle_rgbe"
        {
            return Err(Error::Unsupported { format: "hdr", feature: "a colour format other than RGBE" });
        }
        if line.trim_ascii().is_empty() {
            break;
        }
    }
    let header = resolution(line(bytes, &mut at)?)?;
    // Each scanline has at least four bytes in both encodings.
    image_crate::body_holds("hdr", bytes.len() - at, u64::from(header.size.h) * 4)?;
    Ok((Header { working_bytes: u64::from(header.size.w) * 4, ..header }, at))
}

/// Reads the next line, without its line feed.
fn line<'a>(bytes: &'a [u8], at: &mut usize) -> Result<&'a [u8], Error> {
    let rest = &bytes[*at..bytes.len().min(HEADER_BYTES_MAX).max(*at)];
    let end = rest.iter().position(|&byte| byte == b'\n').ok_or_else(|| Error::corrupt("hdr", "header without end"))?;
    *at += end + 1;
    Ok(&rest[..end])
}

/// Parses a resolution such as "-Y 10 +X 20": rows from the top, pixels from the left.
fn resolution(line: &[u8]) -> Result<Header, Error> {
    let corrupt = || Error::corrupt("hdr", "invalid resolution line");
    let text = std::str::from_utf8(line).map_err(|_| corrupt())?;
    let words: Vec<&str> = text.split_ascii_whitespace().take(5).collect();
    let &[y, h, x, w] = words.as_slice() else { return Err(corrupt()) };
    let orientation = match (y, x) {
        ("-Y", "+X") => Orientation::NoTransforms,
        ("-Y", "-X") => Orientation::FlipHorizontal,
        ("+Y", "+X") => Orientation::FlipVertical,
        ("+Y", "-X") => Orientation::Rotate180,
        ("+X" | "-X", _) => return Err(Error::Unsupported { format: "hdr", feature: "columns instead of rows" }),
        _ => return Err(corrupt()),
    };
    let side = |text: &str| text.parse().map_err(|_| corrupt());
    let size = image_crate::size("hdr", side(w)?, side(h)?)?;
    Ok(Header { orientation, ..image_crate::still(size, Channels::Rgb, 16) })
}

fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Error> {
    let (header, body) = layout(bytes)?;
    let count = image_crate::samples_count(header.size, header.channels, 2, options.limits)?;
    let w = header.size.w as usize;
    let mut samples = try_zeroed::<u16>(count)?;
    let mut scanline = try_zeroed::<Rgbe>(w)?;
    let mut at = Cursor::new("hdr", bytes);
    at.seek(body)?;
    for row in samples.chunks_exact_mut(w * 3) {
        options.deadline.check()?;
        read_scanline(&mut at, &mut scanline)?;
        for (rgb, &pixel) in row.as_chunks_mut::<3>().0.iter_mut().zip(&scanline) {
            *rgb = encode_pixel(pixel);
        }
    }
    Ok(Picture::still(Raster::new(header.size, header.channels, Samples::U16(samples))))
}

/// Converts mantissas with a shared exponent: value = mantissa x 2^(exponent - 136).
fn encode_pixel([r, g, b, exponent]: Rgbe) -> [u16; 3] {
    if exponent == 0 {
        return [0; 3];
    }
    let scale = f64::from_bits((u64::from(exponent) + 1023 - 136) << 52) as f32;
    [r, g, b].map(|mantissa| srgb16(f32::from(mantissa) * scale))
}

fn read_scanline(at: &mut Cursor, scanline: &mut [Rgbe]) -> Result<(), Error> {
    let first = rgbe(at)?;
    let by_component = COMPONENT_WIDTHS.contains(&scanline.len()) && first[0] == 2 && first[1] == 2 && first[2] < 128;
    if !by_component {
        return read_pixels(at, scanline, first);
    }
    if usize::from(u16::from_be_bytes([first[2], first[3]])) != scanline.len() {
        return Err(at.corrupt("invalid scanline width"));
    }
    (0..4).try_for_each(|component| read_component(at, scanline, component))
}

/// Reads the encoding of 1991: each component of a scanline separately, in runs and literals.
fn read_component(at: &mut Cursor, scanline: &mut [Rgbe], component: usize) -> Result<(), Error> {
    let mut rest = scanline;
    while !rest.is_empty() {
        let code = at.u8()?;
        let count = usize::from(if code > 128 { code - 128 } else { code });
        if count == 0 || count > rest.len() {
            return Err(at.corrupt("run beyond the scanline"));
        }
        let (now, later) = rest.split_at_mut(count);
        if code > 128 {
            let value = at.u8()?;
            now.iter_mut().for_each(|pixel| pixel[component] = value);
        } else {
            now.iter_mut().zip(at.take(count)?).for_each(|(pixel, &value)| pixel[component] = value);
        }
        rest = later;
    }
    Ok(())
}

/// Reads whole pixels, where (1, 1, 1, n) repeats the last pixel n times and each further marker counts in units of
/// 256.
fn read_pixels(at: &mut Cursor, scanline: &mut [Rgbe], first: Rgbe) -> Result<(), Error> {
    let (mut done, mut markers, mut next) = (0, 0, Some(first));
    while done < scanline.len() {
        let pixel = match next.take() {
            Some(pixel) => pixel,
            None => rgbe(at)?,
        };
        if pixel[..3] != [1, 1, 1] {
            scanline[done] = pixel;
            (done, markers) = (done + 1, 0);
            continue;
        }
        if done == 0 || markers == MARKERS_MAX {
            return Err(at.corrupt("run marker without a pixel"));
        }
        let end = done + (usize::from(pixel[3]) << (8 * markers));
        if end > scanline.len() {
            return Err(at.corrupt("run beyond the scanline"));
        }
        let repeated = scanline[done - 1];
        scanline[done..end].fill(repeated);
        (done, markers) = (end, markers + 1);
    }
    Ok(())
}

fn rgbe(at: &mut Cursor) -> Result<Rgbe, Error> {
    Ok(at.take(4)?.try_into().expect("take gives 4 bytes"))
}
