//! Chunks of a TIFF page: from packed bytes to rows as stored. Knows the packings, and no meaning of samples.

use std::io::Read;

use flate2::bufread::ZlibDecoder;
use ruzstd::decoding::FrameDecoder;
use weezl::BitOrder;

use super::super::{DecodeOptions, jpeg};
use super::fax;
use super::page::{Packing, Page, ZSTD_WINDOW_MAX};
use crate::pipeline::Error;
use crate::pipeline::limits::within;
use crate::pipeline::raster::try_zeroed;

/// Unpacks the chunks of one page, one after the other, into the same memory.
pub(super) struct Unpacker<'a> {
    page: &'a Page<'a>,
    options: &'a DecodeOptions<'a>,
    unpacked: Vec<u8>,
    reversed: Vec<u8>,
    upsampled: Vec<u8>,
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(page: &'a Page, options: &'a DecodeOptions) -> Result<Unpacker<'a>, Error> {
        let memory_max = options.limits.memory_bytes_max;
        within("memory_bytes_max", page.working_bytes(), memory_max)?;
        let in_place = page.packing == Packing::Plain && !page.reversed;
        let whole = page.row_bytes() * u64::from(page.chunk.h);
        Ok(Unpacker {
            page,
            options,
            unpacked: try_zeroed(if in_place { 0 } else { page.stored_bytes(page.chunk.h) as usize })?,
            reversed: Vec::new(),
            upsampled: try_zeroed(if page.shared().is_some() { whole as usize } else { 0 })?,
        })
    }

    /// Whole rows of a chunk; every pixel has all its samples.
    pub(super) fn rows<'b>(&'b mut self, packed: &'b [u8], rows: u32) -> Result<&'b [u8], Error> {
        let stored = self.page.stored_bytes(rows) as usize;
        let Unpacker { page, options, unpacked, reversed, upsampled } = self;
        let packed = if page.reversed {
            reversed.clear();
            reversed.extend(packed.iter().map(|byte| byte.reverse_bits()));
            &*reversed
        } else {
            packed
        };
        let bytes = if unpacked.is_empty() {
            packed.get(..stored).ok_or_else(short)?
        } else {
            unpack(page, packed, rows, &mut unpacked[..stored], options)?;
            &unpacked[..stored]
        };
        let Some(shared) = page.shared() else { return Ok(bytes) };
        let upsampled = &mut upsampled[..page.row_bytes() as usize * rows as usize];
        upsample(bytes, shared, page.chunk.w as usize, upsampled);
        Ok(upsampled)
    }
}

/// Fills `out` from the packed bytes. Errs if they are too short or the checksum is wrong.
fn unpack(page: &Page, packed: &[u8], rows: u32, out: &mut [u8], options: &DecodeOptions) -> Result<(), Error> {
    match page.packing {
        Packing::Plain => out.copy_from_slice(packed.get(..out.len()).ok_or_else(short)?),
        Packing::Deflate => inflate(packed, out)?,
        Packing::Lzw => unpack_lzw(packed, out)?,
        Packing::PackBits => unpack_bits(packed, out)?,
        Packing::Zstd => unpack_zstd(packed, out)?,
        Packing::Fax(coding) => fax::unpack(coding, packed, page.chunk.w, out, options.deadline)?,
        Packing::Jpeg(tables, ycc) => {
            let part = jpeg::Part { tables, ycc, w: page.chunk.w, rows, rows_max: page.chunk.h, samples: page.step() };
            jpeg::decode_part(packed, &part, out, options)?;
        }
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

fn unpack_zstd(packed: &[u8], out: &mut [u8]) -> Result<(), Error> {
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size((out.len() as u64).max(ZSTD_WINDOW_MAX));
    let failed = |error: ruzstd::decoding::errors::FrameDecoderError| Error::corrupt("tiff", error);
    let mut packed = packed;
    decoder.init(&mut packed).map_err(failed)?;
    let mut filled = 0;
    while filled < out.len() {
        let (read, written) = decoder.decode_from_to(packed, &mut out[filled..]).map_err(failed)?;
        if (read, written) == (0, 0) {
            return Err(short());
        }
        packed = &packed[read..];
        filled += written;
    }
    Ok(())
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

/// Gives every pixel the colour differences of its group: the lumas of a group come first, row by row, then Cb and Cr.
fn upsample(stored: &[u8], (across, down): (u32, u32), w: usize, out: &mut [u8]) {
    let (across, down) = (across as usize, down as usize);
    let group_bytes = across * down + 2;
    let groups = stored.chunks_exact(w.div_ceil(across) * group_bytes);
    for (band, stored) in out.chunks_mut(w * 3 * down).zip(groups) {
        for (y, row) in band.chunks_exact_mut(w * 3).enumerate() {
            let pixels = row.chunks_mut(across * 3).zip(stored.chunks_exact(group_bytes));
            for (pixels, group) in pixels {
                for (x, pixel) in pixels.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                    *pixel = [group[y * across + x], group[group_bytes - 2], group[group_bytes - 1]];
                }
            }
        }
    }
}
