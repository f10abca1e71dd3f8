//! Pixels of a TIFF page: unpacks one chunk at a time and places its samples. Reads no field.

use std::io::Read;

use flate2::bufread::ZlibDecoder;
use weezl::BitOrder;

use super::super::{DecodeOptions, image_crate};
use super::directory::{Alpha, Colour, Packing, Page};
use crate::pipeline::limits::within;
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Channels, Error, Raster, Samples};

/// Decodes the page into its own channels, with 8 or 16 bits.
pub(super) fn decode(page: &Page, options: &DecodeOptions) -> Result<Raster, Error> {
    let sample_bytes = if page.bits == 16 { 2 } else { 1 };
    let count = image_crate::samples_count(page.size, page.channels(), sample_bytes, options.limits)?;
    let samples = if page.bits == 16 {
        let mut samples = try_zeroed::<u16>(count)?;
        fill(page, options, &mut samples, |value| value)?;
        Samples::U16(samples)
    } else {
        let mut samples = try_zeroed::<u8>(count)?;
        // Factors of 255, 85 or 17 map 1, 2 or 4 bits to the full range exactly.
        let scale = if matches!(page.colour, Colour::Palette(_)) { 1 } else { 255 / max(page) };
        fill(page, options, &mut samples, |value| (value * scale) as u8)?;
        Samples::U8(samples)
    };
    Ok(Raster::new(page.size, page.channels(), straighten(page, samples)))
}

/// Largest sample value in the file.
fn max(page: &Page) -> u16 {
    u16::MAX >> (16 - page.bits)
}

/// Unpacks each chunk and places its rows.
fn fill<T: Copy>(page: &Page, options: &DecodeOptions, out: &mut [T], convert: impl Fn(u16) -> T) -> Result<(), Error> {
    let memory_max = options.limits.memory_bytes_max;
    let chunk_bytes = within("memory_bytes_max", page.chunk_bytes(), memory_max)? as usize;
    let row_samples = within("memory_bytes_max", page.row_samples().saturating_mul(2), memory_max)? as usize / 2;
    let mut unpacked = try_zeroed::<u8>(if page.packing == Packing::Plain { 0 } else { chunk_bytes })?;
    let mut row = try_zeroed::<u16>(row_samples)?;
    let (row_bytes, across) = (page.row_bytes() as usize, page.across());
    let per_plane = across * page.size.h.div_ceil(page.chunk.h);
    let palette = palette(page);
    for (index, packed) in page.chunks.iter().enumerate() {
        options.deadline.check()?;
        let (plane, index) = (index as u32 / per_plane, index as u32 % per_plane);
        let (left, top) = (index % across * page.chunk.w, index / across * page.chunk.h);
        let stored = page.rows(index) as usize * row_bytes;
        let rows = if page.packing == Packing::Plain {
            &packed[..stored]
        } else {
            unpack(page.packing, packed, &mut unpacked[..stored])?;
            &unpacked[..stored]
        };
        for (y, bytes) in (top..page.size.h).zip(rows.chunks_exact(row_bytes)) {
            read_row(page, bytes, &mut row);
            let place = RowPosition { left, y, plane };
            match &palette {
                Some(palette) => place_colours(page, &place, &row, palette, out, &convert),
                None => place_samples(page, &place, &row, out, &convert),
            }
        }
    }
    Ok(())
}

/// Destination of a row of a chunk.
struct RowPosition {
    left: u32,
    y: u32,
    plane: u32,
}

impl RowPosition {
    /// Samples of the picture from here to the end of its row, with `channels` per pixel.
    fn target<'a, T>(&self, page: &Page, channels: usize, out: &'a mut [T]) -> &'a mut [T] {
        let w = page.size.w as usize;
        let (y, left) = (self.y as usize, self.left as usize);
        &mut out[(y * w + left) * channels..(y + 1) * w * channels]
    }
}

/// Fills `out` from the packed bytes. Errs if they are too short or the checksum is wrong.
fn unpack(packing: Packing, packed: &[u8], out: &mut [u8]) -> Result<(), Error> {
    match packing {
        Packing::Plain => out.copy_from_slice(&packed[..out.len()]),
        Packing::Deflate => inflate(packed, out)?,
        Packing::Lzw => unpack_lzw(packed, out)?,
        Packing::PackBits => unpack_bits(packed, out)?,
    }
    Ok(())
}

fn short() -> Error {
    Error::corrupt("tiff", "truncated chunk")
}

fn inflate(packed: &[u8], out: &mut [u8]) -> Result<(), Error> {
    let mut decoder = ZlibDecoder::new(packed);
    decoder.read_exact(out).map_err(|_| short())?;
    // One more read verifies the checksum.
    decoder.read(&mut [0]).map(|_| ()).map_err(|error| Error::corrupt("tiff", error))
}

fn unpack_lzw(mut packed: &[u8], mut out: &mut [u8]) -> Result<(), Error> {
    let configuration = weezl::decode::Configuration::with_tiff_size_switch(BitOrder::Msb, 8);
    let mut decoder = configuration.with_yield_on_full_buffer(true).build();
    while !out.is_empty() {
        let step = decoder.decode_bytes(packed, out);
        step.status.map_err(|error| Error::corrupt("tiff", error))?;
        if step.consumed_in == 0 && step.consumed_out == 0 {
            return Err(short());
        }
        packed = &packed[step.consumed_in..];
        out = &mut out[step.consumed_out..];
    }
    Ok(())
}

/// Unpacks PackBits: a signed count, then that many literal bytes or one byte to repeat.
fn unpack_bits(mut packed: &[u8], mut out: &mut [u8]) -> Result<(), Error> {
    while !out.is_empty() {
        let (&code, rest) = packed.split_first().ok_or_else(short)?;
        packed = rest;
        let count = match code {
            0..=127 => usize::from(code) + 1,
            128 => continue,
            129.. => 257 - usize::from(code),
        };
        let literal = code < 128;
        let (now, later) =
            out.split_at_mut_checked(count).ok_or_else(|| Error::corrupt("tiff", "run beyond the chunk"))?;
        let taken = packed.get(..if literal { count } else { 1 }).ok_or_else(short)?;
        if literal {
            now.copy_from_slice(taken);
        } else {
            now.fill(taken[0]);
        }
        packed = &packed[taken.len()..];
        out = later;
    }
    Ok(())
}

/// Reads a row's samples as numbers and reverses the predictor.
fn read_row(page: &Page, bytes: &[u8], row: &mut [u16]) {
    match page.bits {
        16 => {
            let read = if page.big_endian { u16::from_be_bytes } else { u16::from_le_bytes };
            row.iter_mut().zip(bytes.as_chunks::<2>().0).for_each(|(sample, &pair)| *sample = read(pair));
        }
        8 => row.iter_mut().zip(bytes).for_each(|(sample, &byte)| *sample = u16::from(byte)),
        bits => {
            let in_a_byte = (8 / bits) as usize;
            for (index, sample) in row.iter_mut().enumerate() {
                let shift = 8 - bits * ((index % in_a_byte) as u32 + 1);
                *sample = u16::from(bytes[index / in_a_byte] >> shift) & max(page);
            }
        }
    }
    if page.predicted {
        let step = if page.planar { 1 } else { page.samples as usize };
        for index in step..row.len() {
            row[index] = row[index].wrapping_add(row[index - step]) & max(page);
        }
    }
    if matches!(page.colour, Colour::WhiteIsZero) {
        let (max, step) = (max(page), if page.planar { 1 } else { page.samples as usize });
        row.iter_mut().step_by(step).for_each(|sample| *sample = max - *sample);
    }
}

/// Copies the samples that the picture has; extra samples are left out.
fn place_samples<T: Copy>(page: &Page, place: &RowPosition, row: &[u16], out: &mut [T], convert: &impl Fn(u16) -> T) {
    let channels = page.channels().count();
    let target = place.target(page, channels, out);
    if page.planar {
        if (place.plane as usize) < channels {
            let one = target.iter_mut().skip(place.plane as usize).step_by(channels);
            one.zip(row).for_each(|(sample, &value)| *sample = convert(value));
        }
        return;
    }
    for (pixel, stored) in target.chunks_exact_mut(channels).zip(row.chunks_exact(page.samples as usize)) {
        pixel.iter_mut().zip(stored).for_each(|(sample, &value)| *sample = convert(value));
    }
}

/// Colours of the palette with 8 bits.
fn palette(page: &Page) -> Option<Vec<[u16; 3]>> {
    let Colour::Palette(map) = page.colour else { return None };
    let read = if page.big_endian { u16::from_be_bytes } else { u16::from_le_bytes };
    let values: Vec<u16> = map.as_chunks::<2>().0.iter().map(|&pair| read(pair)).collect();
    // Old writers stored 8-bit values in the 16-bit fields.
    let shift = if values.iter().all(|&value| value < 256) { 0 } else { 8 };
    let entries = values.len() / 3;
    Some((0..entries).map(|index| [0, 1, 2].map(|colour| values[colour * entries + index] >> shift)).collect())
}

fn place_colours<T: Copy>(
    page: &Page,
    place: &RowPosition,
    row: &[u16],
    palette: &[[u16; 3]],
    out: &mut [T],
    convert: &impl Fn(u16) -> T,
) {
    // Indices are the first samples; others (alpha in addition to a palette) are left out.
    if place.plane != 0 {
        return;
    }
    let step = if page.planar { 1 } else { page.samples as usize };
    let target = place.target(page, 3, out);
    for (pixel, &index) in target.as_chunks_mut::<3>().0.iter_mut().zip(row.iter().step_by(step)) {
        // A palette has an entry for every index of its bit depth.
        *pixel = palette[usize::from(index)].map(convert);
    }
}

/// Divides premultiplied colours by alpha.
fn straighten(page: &Page, mut samples: Samples) -> Samples {
    let channels = page.channels();
    if page.alpha != Alpha::Premultiplied || channels == Channels::Cmyk || !channels.alpha() {
        return samples;
    }
    match &mut samples {
        Samples::U8(samples) => samples.chunks_exact_mut(channels.count()).for_each(|pixel| divide(pixel, 255)),
        Samples::U16(samples) => samples.chunks_exact_mut(channels.count()).for_each(|pixel| divide(pixel, 65_535)),
    }
    samples
}

fn divide<T: Copy + Into<u32> + TryFrom<u32>>(pixel: &mut [T], max: u32) {
    let Some((alpha, colours)) = pixel.split_last_mut() else { return };
    let alpha: u32 = (*alpha).into();
    for colour in colours {
        let product: u32 = (*colour).into() * max;
        let straight = (product + alpha / 2).checked_div(alpha).unwrap_or(0).min(max);
        *colour = T::try_from(straight).unwrap_or(*colour);
    }
}
