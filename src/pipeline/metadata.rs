//! Metadata: EXIF, XMP and ICC, and which of it a render keeps. The codecs know where the blocks are in a file;
//! [`exif`] knows the contents.
//!
//! Not kept: thumbnails and maker notes in EXIF (they show the old picture), XMP in several parts, EXIF as text in PNG, IPTC.

mod camera;
mod density;
pub mod exif;
mod parts;

use std::borrow::Cow;

use super::codec::{Codec, Header};
use super::param::Args;
use super::{Error, Limits, Picture, color};
pub use camera::{Camera, Position};
pub use density::{Density, Dots};
use parts::without_parts;

/// Metadata blocks of a source, unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocks<'a> {
    /// EXIF block, which begins with a TIFF header. For a TIFF file, the whole file.
    pub exif: Option<Cow<'a, [u8]>>,
    /// XMP packet of RDF/XML.
    pub xmp: Option<Cow<'a, [u8]>>,
}

/// Metadata blocks for a result.
///
/// ```
/// use progimage::pipeline::codec::{EncodeOptions, by_name};
/// use progimage::pipeline::metadata::Metadata;
/// use progimage::pipeline::{Channels, Deadline, Picture, Raster, Samples, Size};
/// let png = by_name("png").unwrap();
/// let raster = Raster::new(Size::new(1, 1), Channels::Gray, Samples::U8(vec![9]));
/// let file = (png.encoder.unwrap().encode)(&Picture::still(raster), &EncodeOptions::new(&Deadline::default()))?;
///
/// let metadata = Metadata { xmp: Some(b"<x:xmpmeta/>".to_vec()), ..Metadata::default() };
/// let written = metadata.written(png, file)?;
/// let blocks = (png.metadata.unwrap().read)(&written, 1000);
/// assert_eq!(blocks.xmp.as_deref(), Some(&b"<x:xmpmeta/>"[..]));
/// # Ok::<(), progimage::pipeline::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// EXIF block, little-endian, which begins with a TIFF header.
    pub exif: Option<Vec<u8>>,
    /// XMP packet of RDF/XML.
    pub xmp: Option<Vec<u8>>,
    /// ICC profile of the pixels.
    pub icc: Option<Vec<u8>>,
    /// Pixels per inch; formats that cannot state them ignore it.
    pub density: Option<Density>,
}

impl Metadata {
    /// Whether there is no block to write.
    pub fn is_empty(&self) -> bool {
        self.exif.is_none() && self.xmp.is_none() && self.icc.is_none()
    }

    /// Inserts the blocks into `file`, which is in this format.
    pub fn written(&self, codec: &Codec, file: Vec<u8>) -> Result<Vec<u8>, Error> {
        match codec.metadata {
            Some(format) if !self.is_empty() || (format.density && self.density.is_some()) => {
                (format.write)(file, self)
            }
            _ => Ok(file),
        }
    }

    /// Upper bound on the bytes added to a file: the blocks, the overhead of deflate on incompressible data, and the
    /// format's own overhead (segments in JPEG, a rewritten directory in TIFF).
    pub fn bytes_max(&self) -> u64 {
        let blocks =
            [&self.exif, &self.xmp, &self.icc].into_iter().flatten().map(|block| block.len() as u64).sum::<u64>();
        if self.is_empty() && self.density.is_none() { 0 } else { blocks + blocks / 1024 + 1024 }
    }
}

/// Argument `metadata`: what a render keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// No metadata.
    None,
    /// Artist and copyright.
    Copyright,
    /// EXIF, XMP and ICC.
    All,
}

impl Keep {
    /// Value of `metadata` in encode arguments.
    pub fn of(args: &Args) -> Keep {
        match args.word("metadata") {
            Some("all") => Keep::All,
            Some("copyright") => Keep::Copyright,
            _ => Keep::None,
        }
    }

    /// Upper bound on memory for reading and writing the blocks. Each is held three times: as read (or inflated), as
    /// written, and in the file.
    pub fn memory_bytes(self, limits: &Limits) -> u64 {
        match self {
            Keep::None => 0,
            Keep::Copyright => 3 * limits.metadata_bytes_max as u64,
            Keep::All => 3 * (2 * limits.metadata_bytes_max as u64 + limits.icc_bytes_max as u64),
        }
    }
}

/// Metadata of `source` that a render keeps, and the profile of the finished `picture`. The orientation is set
/// upright, unless `orient=none` keeps it.
pub(super) fn kept(
    (codec, header): (&Codec, &Header),
    source: &[u8],
    args: &Args,
    picture: &mut Picture,
    limits: &Limits,
) -> Metadata {
    let (keep, size) = (Keep::of(args), picture.first().size());
    // A kept HDR picture is written with code points, and the encoder reads them from its profile.
    let hdr = color::hdr_code_points(picture).is_some();
    let icc = if hdr { None } else { picture.icc.take().map(color::in_words) };
    // The parameter's kind keeps it within 32 bits.
    let asked = args.number("dpi").map(|hundredths| Density::square(hundredths as u32));
    let density = asked.or(header.density.filter(|_| keep != Keep::None));
    let Some(format) = codec.metadata.filter(|_| keep != Keep::None) else {
        return Metadata { icc, density, ..Metadata::default() };
    };
    let orientation = if args.word("orient") == Some("none") { header.orientation.to_exif() } else { 1 };
    let blocks = (format.read)(source, limits.metadata_bytes_max);
    let exif = blocks.exif.and_then(|exif| exif::kept(&exif, keep, orientation, size, limits.metadata_bytes_max));
    let xmp = blocks.xmp.filter(|_| keep == Keep::All).map(|xmp| without_parts(xmp.into_owned()));
    let xmp = xmp.map(|xmp| with_orientation(xmp, orientation));
    let exif = match asked {
        Some(density) => exif.map(|block| exif::with_density(block, density)),
        None => exif,
    };
    Metadata { exif, xmp, icc, density }
}

/// Camera data in `source`; `None` if there is none.
pub fn camera(codec: &Codec, source: &[u8], limits: &Limits) -> Option<Camera> {
    let blocks = (codec.metadata?.read)(source, limits.metadata_bytes_max);
    Camera::read(&blocks.exif?, limits.metadata_bytes_max)
}

/// `block`, unless it is empty or longer than `bytes_max`.
pub fn fitting(block: &[u8], bytes_max: usize) -> Option<Cow<'_, [u8]>> {
    (!block.is_empty() && block.len() <= bytes_max).then_some(Cow::Borrowed(block))
}

/// Sets the orientation in XMP, which repeats it as an attribute or an element: `tiff:Orientation="6"`.
fn with_orientation(mut xmp: Vec<u8>, orientation: u8) -> Vec<u8> {
    const NAME: &[u8] = b"tiff:Orientation";
    let ends: Vec<usize> = memchr::memmem::find_iter(&xmp, NAME).map(|at| at + NAME.len()).collect();
    for end in ends {
        let value = xmp[end..].iter().position(|byte| !matches!(byte, b'=' | b'>' | b'"' | b'\'' | b' '));
        if let Some(value @ b'1'..=b'8') = value.and_then(|offset| xmp.get_mut(end + offset)) {
            *value = b'0' + orientation;
        }
    }
    xmp
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xmp_says_the_orientation_of_the_result() {
        let check = |xmp: &str, expected: &str| {
            let got = with_orientation(xmp.as_bytes().to_vec(), 1);
            assert_eq!(String::from_utf8_lossy(&got), expected);
        };
        check("<a tiff:Orientation=\"6\"/>", "<a tiff:Orientation=\"1\"/>");
        check("<a tiff:Orientation = '8'/>", "<a tiff:Orientation = '1'/>");
        check("<tiff:Orientation>3</tiff:Orientation>", "<tiff:Orientation>1</tiff:Orientation>");
        check("tiff:Orientation", "tiff:Orientation");
        check("tiff:Orientation=\"", "tiff:Orientation=\"");
        check("tiff:Orientation=\"x6\" 6", "tiff:Orientation=\"x6\" 6");
    }

    #[test]
    fn blocks_of_the_longest_length_fit_and_longer_ones_do_not() {
        assert!(fitting(&[0; 10], 10).is_some());
        assert!(fitting(&[0; 11], 10).is_none());
        assert!(fitting(&[], 10).is_none());
    }
}
