//! [`Container`]: the markers of a JPEG file, read through to the end without decoding. Entropy-coded data is only
//! skipped to find the next marker.

use image::metadata::Orientation;

use super::{FORMAT, metadata};
use crate::pipeline::codec::cursor::Cursor;
use crate::pipeline::metadata::Density;
use crate::pipeline::{Channels, Error, Size};

/// Largest number of marker segments; real files have dozens, a hostile one of 50 MiB could have ten million.
const SEGMENTS_MAX: usize = 65_536;

/// Facts about a file from its markers.
pub(super) struct Container<'a> {
    /// Frame header (SOF).
    pub frame: FrameHeader,
    /// Number of scans, as far as the markers can be followed.
    pub scans: u32,
    /// Orientation from EXIF.
    pub orientation: Orientation,
    /// Density from JFIF.
    pub density: Option<Density>,
    /// First EXIF segment, from its TIFF header on.
    pub exif: Option<&'a [u8]>,
    /// First XMP segment.
    pub xmp: Option<&'a [u8]>,
    icc_parts: Vec<IccPart<'a>>,
    /// Components with at least the DC coefficients in some scan, one bit each.
    scanned: u8,
    /// Whether the first scan holds fewer components than the frame.
    split: bool,
    missing: [Missing; 4],
    /// Length of the file up to the first segment that is cut or malformed.
    pub end: usize,
}

/// Contents of the frame header.
pub(super) struct FrameHeader {
    /// Width and height.
    pub size: Size,
    /// Channels of the decoded picture.
    pub channels: Channels,
    progressive: bool,
    arithmetic: bool,
    components: Vec<Component>,
}

struct Component {
    id: u8,
    across: u8,
    down: u8,
}

/// Bits of a component's coefficients that are still missing, in zigzag order; none is known before its first scan.
type Missing = [u8; 64];

struct IccPart<'a> {
    number: u8,
    count: u8,
    bytes: &'a [u8],
}

impl<'a> Container<'a> {
    /// Walks the markers. Errs if they are not well formed up to the frame header; later errors only end the walk.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Container<'a>, Error> {
        let mut cursor = Cursor::new(FORMAT, bytes);
        if cursor.take(2)? != [0xff, 0xd8] {
            return Err(cursor.corrupt("missing start of image"));
        }
        let mut walk = Walk::new();
        let mut end = bytes.len();
        for _ in 0..SEGMENTS_MAX {
            let start = cursor.position();
            match walk.segment(&mut cursor) {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) if walk.frame.is_some() => {
                    end = start;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        let frame = walk.frame.ok_or_else(|| cursor.corrupt("missing frame header"))?;
        Ok(Container {
            frame,
            scans: walk.scans,
            orientation: walk.orientation.unwrap_or(Orientation::NoTransforms),
            density: walk.density,
            exif: walk.exif,
            xmp: walk.xmp,
            icc_parts: walk.icc_parts,
            scanned: walk.scanned,
            split: walk.split,
            missing: walk.missing,
            end,
        })
    }

    /// Errs if a component is in no scan, since libjpeg would silently fill it with a flat colour.
    pub(super) fn check_complete(&self) -> Result<(), Error> {
        let all = (1u8 << self.frame.components.len()) - 1;
        if self.scanned == all { Ok(()) } else { Err(Error::corrupt(FORMAT, "component with no scan")) }
    }

    /// Whether a file whose scans hold all data that they should is a whole picture without its end marker. Every bit of
    /// every coefficient must be in a scan. The end of arithmetic codes is not seen without a marker after them.
    pub(super) fn may_lack_end(&self) -> bool {
        let whole = || self.missing[..self.frame.components.len()].as_flattened().iter().all(|bits| *bits == 0);
        !self.frame.arithmetic && (!self.frame.progressive || whole())
    }

    /// Whether any part of an ICC profile is present.
    pub(super) fn has_icc(&self) -> bool {
        !self.icc_parts.is_empty()
    }

    /// ICC profile, if all parts are present and it is no longer than `bytes_max`.
    pub(super) fn icc(&self, bytes_max: usize) -> Option<Vec<u8>> {
        let mut parts: Vec<&IccPart> = self.icc_parts.iter().collect();
        parts.sort_by_key(|part| part.number);
        let count = parts.first()?.count;
        let numbered = (1..=count).eq(parts.iter().map(|part| part.number));
        let agreed = parts.iter().all(|part| part.count == count);
        let bytes: usize = parts.iter().map(|part| part.bytes.len()).sum();
        let whole = numbered && agreed && bytes > 0 && bytes <= bytes_max;
        whole.then(|| parts.iter().flat_map(|part| part.bytes).copied().collect())
    }

    /// Memory of libjpeg in addition to the result: coefficients of all blocks if one scan does not give whole
    /// pixels, some rows of samples, and tables.
    pub(super) fn working_bytes(&self) -> u64 {
        let frame = &self.frame;
        let across = frame.components.iter().map(|component| u64::from(component.across)).max().unwrap_or(1);
        let down = frame.components.iter().map(|component| u64::from(component.down)).max().unwrap_or(1);
        let mcus = u64::from(frame.size.w).div_ceil(8 * across) * u64::from(frame.size.h).div_ceil(8 * down);
        let blocks: u64 = frame.components.iter().map(|c| u64::from(c.across) * u64::from(c.down)).sum();
        let coefficients = if frame.progressive || self.split { mcus * blocks * 64 * 2 } else { 0 };
        // The main and upsampling controllers hold up to 48 rows per component at the largest sampling factors.
        let rows = (u64::from(frame.size.w) + 32) * 48 * frame.components.len() as u64;
        coefficients + rows + (256 << 10)
    }
}

/// State of the walk.
struct Walk<'a> {
    frame: Option<FrameHeader>,
    scans: u32,
    orientation: Option<Orientation>,
    density: Option<Density>,
    exif: Option<&'a [u8]>,
    xmp: Option<&'a [u8]>,
    icc_parts: Vec<IccPart<'a>>,
    scanned: u8,
    split: bool,
    missing: [Missing; 4],
}

impl<'a> Walk<'a> {
    fn new() -> Walk<'a> {
        Walk {
            frame: None,
            scans: 0,
            orientation: None,
            density: None,
            exif: None,
            xmp: None,
            icc_parts: Vec::new(),
            scanned: 0,
            split: false,
            missing: [[u8::MAX; 64]; 4],
        }
    }

    /// Walks one segment; returns `false` at the end of the image.
    fn segment(&mut self, cursor: &mut Cursor<'a>) -> Result<bool, Error> {
        let marker = next_marker(cursor)?;
        match marker {
            0xd9 => return Ok(false),
            0xd8 => return Err(cursor.corrupt("repeated start of image")),
            0x01 | 0xd0..=0xd7 => return Ok(true), // TEM, RSTn: without a length
            _ => {}
        }
        let length = usize::from(cursor.u16_be()?);
        let body = cursor.take(length.checked_sub(2).ok_or_else(|| cursor.corrupt("invalid segment length"))?)?;
        match marker {
            0xc0..=0xcf | 0xf7 if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => self.frame_header(marker, body)?,
            0xda => {
                self.scan_header(body)?;
                cursor.skip(entropy_coded(cursor.rest()))?;
            }
            0xe0 => self.density = self.density.or_else(|| metadata::density(body)),
            0xe1 => self.app1(body),
            0xe2 => self.icc(body),
            _ => {}
        }
        Ok(true)
    }

    fn frame_header(&mut self, marker: u8, body: &[u8]) -> Result<(), Error> {
        if self.frame.is_some() {
            return Err(Error::corrupt(FORMAT, "repeated frame header"));
        }
        self.frame = Some(FrameHeader::read(marker, body)?);
        Ok(())
    }

    fn scan_header(&mut self, body: &[u8]) -> Result<(), Error> {
        let frame = self.frame.as_ref().ok_or_else(|| Error::corrupt(FORMAT, "scan before the frame header"))?;
        let mut cursor = Cursor::new(FORMAT, body);
        let count = usize::from(cursor.u8()?);
        let mut scanned = 0;
        for _ in 0..count {
            let (id, _tables) = (cursor.u8()?, cursor.u8()?);
            let index = frame.components.iter().position(|component| component.id == id);
            scanned |= 1u8 << index.ok_or_else(|| cursor.corrupt("scan of an unknown component"))?;
        }
        let (first, last, approximation) = (cursor.u8()?, cursor.u8()?, cursor.u8()?);
        let band = usize::from(first)..usize::from(last.min(63)) + 1;
        for (_, missing) in self.missing.iter_mut().enumerate().filter(|(index, _)| scanned >> index & 1 == 1) {
            missing.get_mut(band.clone()).unwrap_or_default().fill(approximation & 15);
        }
        if !frame.progressive || (first == 0 && approximation >> 4 == 0) {
            self.scanned |= scanned;
        }
        self.split |= self.scans == 0 && count < frame.components.len();
        self.scans += 1;
        Ok(())
    }

    fn app1(&mut self, body: &'a [u8]) {
        let exif = body.strip_prefix(metadata::EXIF);
        if let (None, Some(exif)) = (self.orientation, exif) {
            self.orientation = Orientation::from_exif_chunk(exif);
        }
        self.exif = self.exif.or(exif);
        self.xmp = self.xmp.or(body.strip_prefix(metadata::XMP));
    }

    fn icc(&mut self, body: &'a [u8]) {
        if let Some([number, count, bytes @ ..]) = body.strip_prefix(b"ICC_PROFILE\0") {
            // A profile has at most 255 parts; further ones are never used.
            if self.icc_parts.len() <= usize::from(u8::MAX) {
                self.icc_parts.push(IccPart { number: *number, count: *count, bytes });
            }
        }
    }
}

impl FrameHeader {
    fn read(marker: u8, body: &[u8]) -> Result<FrameHeader, Error> {
        let unsupported = |feature| Err(Error::Unsupported { format: FORMAT, feature });
        match marker {
            0xc0..=0xc2 | 0xc9 | 0xca => {}
            0xc3 | 0xcb => return unsupported("lossless coding"),
            0xf7 => return unsupported("JPEG-LS"),
            _ => return unsupported("hierarchical coding"),
        }
        let mut cursor = Cursor::new(FORMAT, body);
        let bits = cursor.u8()?;
        let (h, w) = (u32::from(cursor.u16_be()?), u32::from(cursor.u16_be()?));
        let channels = match (bits, cursor.u8()?) {
            (8, 1) => Channels::Gray,
            (8, 3) => Channels::Rgb,
            (8, 4) => Channels::Cmyk,
            (8, 0) => return Err(cursor.corrupt("frame without components")),
            (8, _) => return unsupported("this number of components"),
            _ => return unsupported("samples of other than 8 bits"),
        };
        if w == 0 {
            return Err(cursor.corrupt("zero width"));
        }
        if h == 0 {
            return unsupported("a height given after the first scan");
        }
        let components = (0..channels.count()).map(|_| Component::read(&mut cursor)).collect::<Result<_, _>>()?;
        let (progressive, arithmetic) = (matches!(marker, 0xc2 | 0xca), matches!(marker, 0xc9 | 0xca));
        Ok(FrameHeader { size: Size::new(w, h), channels, progressive, arithmetic, components })
    }
}

impl Component {
    fn read(cursor: &mut Cursor) -> Result<Component, Error> {
        let (id, sampling, _table) = (cursor.u8()?, cursor.u8()?, cursor.u8()?);
        let (across, down) = (sampling >> 4, sampling & 15);
        if !(1..=4).contains(&across) || !(1..=4).contains(&down) {
            return Err(cursor.corrupt("sampling factor outside 1..=4"));
        }
        Ok(Component { id, across, down })
    }
}

/// Finds the next marker: 0xff followed by a byte other than 0 and 0xff. Bytes before it are skipped, as in libjpeg.
pub(super) fn next_marker(cursor: &mut Cursor) -> Result<u8, Error> {
    loop {
        let at = memchr::memchr(0xff, cursor.rest()).ok_or_else(|| cursor.corrupt("truncated file"))?;
        cursor.skip(at)?;
        let fill = cursor.rest().iter().take_while(|&&byte| byte == 0xff).count();
        cursor.skip(fill)?;
        match cursor.u8()? {
            0 => {}
            code => return Ok(code),
        }
    }
}

/// Number of entropy-coded bytes before the next marker other than a restart.
fn entropy_coded(bytes: &[u8]) -> usize {
    let marks = |&at: &usize| !matches!(bytes.get(at + 1), Some(0 | 0xd0..=0xd7 | 0xff));
    memchr::memchr_iter(0xff, bytes).find(marks).unwrap_or(bytes.len())
}
