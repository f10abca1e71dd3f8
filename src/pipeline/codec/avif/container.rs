//! Facts about an AVIF file from its boxes: tiles or tracks, alpha, crop, orientation, colour. Decodes nothing.
//!
//! Sources: the AVIF specification 1.1, MIAF (ISO/IEC 23000-22), HEIF (ISO/IEC 23008-12).

use std::borrow::Cow;

use super::NAME;
use super::boxes::{Meta, Property, version};
use super::crop::{Crop, crop};
use super::tracks::{ALPHA_NAMES, Movie};
use crate::pipeline::codec::cursor::Cursor;
use crate::pipeline::{Error, Orientation, Size};

/// Colour description with the codes of ITU-T H.273.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cicp {
    /// Colour primaries.
    pub primaries: u8,
    /// Transfer characteristics.
    pub transfer: u8,
    /// Matrix coefficients.
    pub matrix: u8,
    /// Whether samples use all codes, not the reduced range of video.
    pub full_range: bool,
}

/// One image: a single AV1 frame, or a grid of frames.
pub(super) struct Image<'a> {
    /// Size of the image; tiles of a grid may reach beyond it.
    pub size: Size,
    /// Size of each tile.
    pub tile: Size,
    /// Number of tiles in a row.
    pub columns: u32,
    /// AV1 data of the tiles, row by row.
    pub tiles: Vec<Cow<'a, [u8]>>,
}

impl Image<'_> {
    /// Bytes of tiles that had to be copied because they are stored in several parts.
    pub fn copied_bytes(&self) -> usize {
        self.tiles.iter().filter(|tile| matches!(tile, Cow::Owned(_))).map(|tile| tile.len()).sum()
    }
}

/// What a file shows.
pub(super) enum Content<'a> {
    /// The primary item, and its alpha.
    Still { color: Image<'a>, alpha: Option<Image<'a>> },
    /// An image sequence.
    Movie(Box<Movie<'a>>),
}

/// Facts about a file, and its data.
pub(super) struct Container<'a> {
    /// The image, or the animation.
    pub content: Content<'a>,
    /// Size of the frames, of which only `crop` is shown.
    pub size: Size,
    /// The part that is shown, from `clap`; `None`: all of it.
    pub crop: Option<Crop>,
    /// Whether colours are premultiplied by alpha.
    pub premultiplied: bool,
    /// Orientation from `irot` and `imir`, which applies after `crop`.
    pub orientation: Orientation,
    /// Colour from `colr` of type nclx; otherwise the sequence header states it.
    pub cicp: Option<Cicp>,
    /// ICC profile from `colr` of type prof or rICC.
    pub icc: Option<&'a [u8]>,
}

impl<'a> Container<'a> {
    /// Reads all boxes that describe what is shown: the tracks where the first brand is that of image sequences, or where
    /// there is nothing else, as in libavif; otherwise the primary item.
    pub fn read(file: &'a [u8]) -> Result<Container<'a>, Error> {
        if file.get(8..12) == Some(b"avis")
            && let Some(movie) = Movie::read(file)?
        {
            return Container::of_movie(movie);
        }
        match Meta::read(file)? {
            Some(meta) => Container::of_item(&meta),
            None => {
                Container::of_movie(Movie::read(file)?.ok_or_else(|| Error::corrupt(NAME, "no image in the file"))?)
            }
        }
    }

    fn of_movie(movie: Movie<'a>) -> Result<Container<'a>, Error> {
        let (size, premultiplied, properties) = (movie.color.size, movie.premultiplied, movie.color.properties.clone());
        Container::new(Content::Movie(Box::new(movie)), size, premultiplied, &properties)
    }

    fn of_item(meta: &Meta<'a>) -> Result<Container<'a>, Error> {
        let primary = meta.primary;
        let color = image(meta, primary)?;
        let alpha_item = alpha_of(meta, primary);
        let alpha = alpha_item.map(|item| image(meta, item)).transpose()?;
        if alpha.as_ref().is_some_and(|alpha| alpha.size != color.size) {
            return Err(Error::Unsupported { format: NAME, feature: "alpha of another size than the image" });
        }
        let premultiplied = alpha_item.is_some_and(|item| meta.referred(b"prem", primary).contains(&item));
        let (size, properties) = (color.size, meta.properties(primary).collect::<Vec<_>>());
        Container::new(Content::Still { color, alpha }, size, premultiplied, &properties)
    }

    fn new(
        content: Content<'a>,
        size: Size,
        premultiplied: bool,
        properties: &[Property<'a>],
    ) -> Result<Container<'a>, Error> {
        let (cicp, icc) = color_information(properties)?;
        let (crop, orientation) = (crop(properties, size)?, orientation(properties)?);
        Ok(Container { content, size, crop, premultiplied, orientation, cicp, icc })
    }

    /// Size of what is shown.
    pub fn shown(&self) -> Size {
        self.crop.map_or(self.size, |crop| crop.size)
    }

    /// Whether there is alpha.
    pub fn alpha(&self) -> bool {
        match &self.content {
            Content::Still { alpha, .. } => alpha.is_some(),
            Content::Movie(movie) => movie.alpha.is_some(),
        }
    }

    /// Number of frames.
    pub fn frames(&self) -> u32 {
        match &self.content {
            Content::Still { .. } => 1,
            Content::Movie(movie) => movie.color.samples.count(),
        }
    }

    /// AV1 data of the first frame, or of its first tile.
    pub fn first(&self) -> Result<&[u8], Error> {
        match &self.content {
            Content::Still { color, .. } => {
                color.tiles.first().map(AsRef::as_ref).ok_or_else(|| Error::corrupt(NAME, "no frame in the file"))
            }
            Content::Movie(movie) => movie.color.samples.first(),
        }
    }
}

/// Properties that are supported, or that change no pixel.
const KNOWN: &[&[u8; 4]] = &[
    b"ispe", b"av1C", b"pixi", b"colr", b"auxC", b"irot", b"imir", b"clap", b"pasp", b"a1lx", b"clli", b"mdcv", b"cclv",
];

fn image<'a>(meta: &Meta<'a>, item: u32) -> Result<Image<'a>, Error> {
    if meta.properties(item).any(|property| property.essential && !KNOWN.contains(&&property.kind)) {
        return Err(Error::Unsupported { format: NAME, feature: "an unknown essential property" });
    }
    match meta.kind(item).as_ref() {
        Some(b"av01") => {
            let size = extents(meta, item)?;
            Ok(Image { size, tile: size, columns: 1, tiles: vec![meta.data(item)?] })
        }
        Some(b"grid") => grid(meta, item),
        _ => Err(Error::Unsupported { format: NAME, feature: "an image that is neither AV1 nor a grid of it" }),
    }
}

/// Size of an item, from its property `ispe`.
fn extents(meta: &Meta, item: u32) -> Result<Size, Error> {
    let ispe = meta.property(item, b"ispe").ok_or_else(|| Error::corrupt(NAME, "image without size"))?;
    let mut cursor = Cursor::new(NAME, ispe);
    version(&mut cursor)?;
    let size = Size::new(cursor.u32_be()?, cursor.u32_be()?);
    if size.w == 0 || size.h == 0 { Err(cursor.corrupt("zero width or height")) } else { Ok(size) }
}

/// Reads a grid by HEIF, section 6.6.2.3: tiles of equal size that together just cover the image.
fn grid<'a>(meta: &Meta<'a>, item: u32) -> Result<Image<'a>, Error> {
    let data = meta.data(item)?;
    let mut cursor = Cursor::new(NAME, &data);
    let wide = cursor.u16_be()? & 1 != 0;
    let (rows, columns) = (u32::from(cursor.u8()?) + 1, u32::from(cursor.u8()?) + 1);
    let mut side = || if wide { cursor.u32_be() } else { cursor.u16_be().map(u32::from) };
    let size = Size::new(side()?, side()?);
    let items = meta.referred(b"dimg", item);
    if items.len() as u32 != rows * columns || size.w == 0 || size.h == 0 {
        return Err(Error::corrupt(NAME, "grid without tiles or size"));
    }
    let tile = extents(meta, items[0])?;
    let covered = |side: u32, tile: u32, count: u32| {
        let (side, tile, count) = (u64::from(side), u64::from(tile), u64::from(count));
        tile * (count - 1) < side && side <= tile * count
    };
    if !covered(size.w, tile.w, columns) || !covered(size.h, tile.h, rows) {
        return Err(Error::corrupt(NAME, "tiles do not cover the grid"));
    }
    Ok(Image { size, tile, columns, tiles: tiles(meta, items, tile)? })
}

/// Data of the tiles, in order. A tile in several extents is copied, and a grid may use it several times, so the
/// copies together must not exceed the length of the file. Tiles that share no bytes never do.
fn tiles<'a>(meta: &Meta<'a>, items: &[u32], tile: Size) -> Result<Vec<Cow<'a, [u8]>>, Error> {
    let (mut tiles, mut copied) = (Vec::new(), 0);
    for &item in items {
        if meta.kind(item).as_ref() != Some(b"av01") || extents(meta, item)? != tile {
            return Err(Error::corrupt(NAME, "tiles of different sizes"));
        }
        let data = meta.data(item)?;
        copied += if matches!(data, Cow::Owned(_)) { data.len() } else { 0 };
        if copied > meta.file_bytes() {
            return Err(Error::corrupt(NAME, "tiles longer than the file"));
        }
        tiles.push(data);
    }
    Ok(tiles)
}

fn alpha_of(meta: &Meta, primary: u32) -> Option<u32> {
    let auxiliary = |kind: &[u8; 4], to: &[u32]| kind == b"auxl" && to.contains(&primary);
    let mut items = meta.references.iter().filter(|one| auxiliary(&one.kind, &one.to)).map(|one| one.from);
    items.find(|&item| {
        let name = meta.property(item, b"auxC").and_then(|payload| payload.get(4..));
        name.is_some_and(|name| ALPHA_NAMES.iter().any(|known| name.starts_with(known)))
    })
}

/// Combines turns and mirrors, in their order, into "turn clockwise, then mirror left and right".
fn orientation(properties: &[Property]) -> Result<Orientation, Error> {
    let (mut quarters, mut mirrored) = (0, false);
    for property in properties {
        let value = || property.payload.first().copied().ok_or_else(|| Error::corrupt(NAME, "turn without angle"));
        match &property.kind {
            // Angles are anti-clockwise. A turn after a mirror equals the opposite turn before it.
            b"irot" => {
                let turn = i32::from(value()? & 3);
                quarters += if mirrored { turn } else { -turn };
            }
            // 0 swaps top and bottom, which is half a turn and a mirror.
            b"imir" => {
                mirrored = !mirrored;
                quarters += if value()? & 1 == 0 { 2 } else { 0 };
            }
            _ => {}
        }
    }
    Ok(match (quarters.rem_euclid(4), mirrored) {
        (0, false) => Orientation::NoTransforms,
        (1, false) => Orientation::Rotate90,
        (2, false) => Orientation::Rotate180,
        (_, false) => Orientation::Rotate270,
        (0, true) => Orientation::FlipHorizontal,
        (1, true) => Orientation::Rotate90FlipH,
        (2, true) => Orientation::FlipVertical,
        (_, true) => Orientation::Rotate270FlipH,
    })
}

fn color_information<'a>(properties: &[Property<'a>]) -> Result<(Option<Cicp>, Option<&'a [u8]>), Error> {
    let (mut cicp, mut icc) = (None, None);
    for property in properties.iter().filter(|property| &property.kind == b"colr") {
        let mut cursor = Cursor::new(NAME, property.payload);
        match cursor.take(4)? {
            b"nclx" if cicp.is_none() => {
                let mut code = || cursor.u16_be().map(|code| u8::try_from(code).unwrap_or(2));
                let (primaries, transfer, matrix) = (code()?, code()?, code()?);
                cicp = Some(Cicp { primaries, transfer, matrix, full_range: cursor.u8()? & 0x80 != 0 });
            }
            b"prof" | b"rICC" if icc.is_none() => icc = Some(cursor.rest()),
            _ => {}
        }
    }
    Ok((cicp, icc))
}

/// Largest number of frames in one AV1 image, including hidden ones and layers. Real images have one; without a
/// bound, a small file could take hours.
const FRAMES_MAX: u32 = 32;

/// Result of a walk over the OBUs of AV1 data.
pub(super) struct Obus<'a> {
    /// Sequence header OBU, including its own header; frames after the first of an animation have none.
    pub sequence_header: Option<&'a [u8]>,
    /// Number of frames, including hidden ones; at most [`FRAMES_MAX`].
    pub frames: u32,
}

/// Walks all OBUs. Source: AV1 specification, section 5.3.
pub(super) fn obus(data: &[u8]) -> Result<Obus<'_>, Error> {
    const SEQUENCE_HEADER: u8 = 1;
    const FRAME_HEADER: u8 = 3;
    const FRAME: u8 = 6;
    let mut cursor = Cursor::new(NAME, data);
    let (mut found, mut frames) = (None, 0);
    while !cursor.rest().is_empty() {
        let start = cursor.position();
        let header = cursor.u8()?;
        cursor.skip(usize::from(header >> 2 & 1))?;
        let size = if header & 2 != 0 { leb128(&mut cursor)? } else { cursor.rest().len() };
        cursor.skip(size)?;
        match header >> 3 & 15 {
            SEQUENCE_HEADER if found.is_none() => found = Some(&data[start..cursor.position()]),
            FRAME_HEADER | FRAME => frames += 1,
            _ => {}
        }
        if frames > FRAMES_MAX {
            return Err(Error::Unsupported { format: NAME, feature: "an image of more than 32 frames" });
        }
    }
    Ok(Obus { sequence_header: found, frames })
}

/// Sequence header OBU of AV1 data.
pub(super) fn sequence_header(data: &[u8]) -> Result<&[u8], Error> {
    obus(data)?.sequence_header.ok_or_else(|| Error::corrupt(NAME, "missing sequence header"))
}

fn leb128(cursor: &mut Cursor) -> Result<usize, Error> {
    let mut value = 0;
    for shift in (0..32).step_by(7) {
        let byte = cursor.u8()?;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(cursor.corrupt("overlong length in AV1 data"))
}
