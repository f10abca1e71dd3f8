//! Pixels of a TIFF page: reads one chunk at a time and places its samples. Reads no field.

use super::super::{DecodeOptions, image_crate};
use super::colours;
use super::page::{Depth, Page, Predictor};
use super::samples::{Sample, unpredict};
use super::unpack::Unpacker;
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Error, Raster, Samples};

/// Decodes the page into its own channels, with 8 or 16 bits.
pub(super) fn decode(page: &Page, options: &DecodeOptions) -> Result<Raster, Error> {
    let sample_bytes = if page.depth() == Depth::Eight { 1 } else { 2 };
    image_crate::samples_count(page.size, page.channels(), sample_bytes, options.limits)?;
    let samples = match page.depth() {
        Depth::Eight => Samples::U8(colours::looked_up(page, filled::<u8>(page, options)?)?),
        Depth::Sixteen => Samples::U16(filled::<u16>(page, options)?),
        Depth::Measured => Samples::U16(colours::measured(page, filled::<f32>(page, options)?)?),
    };
    Ok(Raster::new(page.size, page.channels(), colours::finished(page, samples)))
}

/// Unpacks each chunk and places its rows.
fn filled<T: Sample>(page: &Page, options: &DecodeOptions) -> Result<Vec<T>, Error> {
    let mut unpacker = Unpacker::new(page, options)?;
    let mut out = try_zeroed::<T>(page.size.pixels() as usize * page.placed())?;
    let mut row = try_zeroed::<T>(page.row_samples() as usize)?;
    let (row_bytes, across) = (page.row_bytes() as usize, page.across());
    let predicted = page.predictor != Predictor::None;
    let mut bytes_of_row = try_zeroed::<u8>(if predicted { 2 * row_bytes } else { 0 })?;
    let per_plane = page.per_plane() as u32;
    for (index, packed) in page.chunks.iter().enumerate() {
        options.deadline.check()?;
        let (plane, index) = (index as u32 / per_plane, index as u32 % per_plane);
        let (left, top) = (index % across * page.chunk.w, index / across * page.chunk.h);
        let rows = unpacker.rows(packed, page.rows(index))?;
        for (y, bytes) in (top..page.size.h).zip(rows.chunks_exact(row_bytes)) {
            let mut bytes = bytes;
            if predicted {
                let (mine, scratch) = bytes_of_row.split_at_mut(row_bytes);
                mine.copy_from_slice(bytes);
                unpredict(page, mine, scratch);
                bytes = mine;
            }
            T::read(page, bytes, &mut row);
            place(page, &RowPosition { left, y, plane }, &row, &mut out);
        }
    }
    Ok(out)
}

/// Destination of a row of a chunk.
struct RowPosition {
    left: u32,
    y: u32,
    plane: u32,
}

/// Copies the samples that are placed; extra samples are left out, and what is right of the picture.
fn place<T: Copy>(page: &Page, RowPosition { left, y, plane }: &RowPosition, row: &[T], out: &mut [T]) {
    let (w, channels) = (page.size.w as usize, page.placed());
    let (y, left, plane) = (*y as usize, *left as usize, *plane as usize);
    let target = &mut out[(y * w + left) * channels..(y + 1) * w * channels];
    if page.planar {
        if plane < channels {
            target.iter_mut().skip(plane).step_by(channels).zip(row).for_each(|(sample, value)| *sample = *value);
        }
        return;
    }
    if page.samples as usize == channels {
        let count = target.len().min(row.len());
        target[..count].copy_from_slice(&row[..count]);
        return;
    }
    for (pixel, stored) in target.chunks_exact_mut(channels).zip(row.chunks_exact(page.samples as usize)) {
        pixel.copy_from_slice(&stored[..channels]);
    }
}
