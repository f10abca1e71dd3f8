//! Stored rows as samples: words and bits of any width, signed numbers and floats, and the reversal of predictors.

use half::f16;

use super::page::{Colour, Format, Page, Predictor};

/// A type of sample that rows are read into.
pub(super) trait Sample: Copy + Default {
    /// Reads a row; its predictor is already reversed.
    fn read(page: &Page, bytes: &[u8], row: &mut [Self]);
}

/// Reads unsigned numbers of up to 8 bits; those of fewer fill the range, but for indices of a palette.
impl Sample for u8 {
    fn read(page: &Page, bytes: &[u8], row: &mut [u8]) {
        let max = (1 << page.bits) - 1;
        match page.bits {
            8 => row.copy_from_slice(&bytes[..row.len()]),
            _ if matches!(page.colour, Colour::Palette(_)) => {
                each(bytes, page.bits, row, |value| value as u8);
            }
            // A factor maps 1, 2 or 4 bits to the full range exactly.
            bits @ (1 | 2 | 4) => each(bytes, bits, row, |value| value as u8 * (255 / max) as u8),
            bits => each(bytes, bits, row, |value| ((value * 255 + max / 2) / max) as u8),
        }
    }
}

/// Reads unsigned numbers of more than 8 bits; of more than 16 the highest are kept.
impl Sample for u16 {
    fn read(page: &Page, bytes: &[u8], row: &mut [u16]) {
        match page.bits {
            16 => words::<2, _>(page, bytes, row, |word| word as u16),
            24 => words::<3, _>(page, bytes, row, |word| (word >> 8) as u16),
            32 => words::<4, _>(page, bytes, row, |word| (word >> 16) as u16),
            64 => words::<8, _>(page, bytes, row, |word| (word >> 48) as u16),
            bits => {
                let max = (1_u64 << bits) - 1;
                each(bytes, bits, row, |value| ((value * 65_535 + max / 2) / max) as u16);
            }
        }
    }
}

/// Reads signed numbers and floats.
impl Sample for f32 {
    fn read(page: &Page, bytes: &[u8], row: &mut [f32]) {
        let float = page.format == Format::Float;
        match (page.bits, float) {
            (8, _) => words::<1, _>(page, bytes, row, |word| word as i8 as f32),
            (16, false) => words::<2, _>(page, bytes, row, |word| word as i16 as f32),
            (16, true) => words::<2, _>(page, bytes, row, |word| f16::from_bits(word as u16).to_f32()),
            (24, _) => words::<3, _>(page, bytes, row, |word| float24(word as u32)),
            (32, false) => words::<4, _>(page, bytes, row, |word| word as i32 as f32),
            (32, true) => words::<4, _>(page, bytes, row, |word| f32::from_bits(word as u32)),
            (_, false) => words::<8, _>(page, bytes, row, |word| word as i64 as f32),
            (_, true) => words::<8, _>(page, bytes, row, |word| f64::from_bits(word) as f32),
        }
    }
}

/// A float of 1 bit of sign, 7 of exponent with a bias of 63, and 16 of mantissa (TIFF Technical Note 3).
fn float24(bits: u32) -> f32 {
    let sign = (bits & 0x80_0000) << 8;
    let (exponent, mantissa) = (bits >> 16 & 0x7f, bits & 0xffff);
    match exponent {
        // Numbers below the smallest whole mantissa are less than 10^-18.
        0 => f32::from_bits(sign),
        0x7f => f32::from_bits(sign | 0xff << 23 | mantissa << 7),
        _ => f32::from_bits(sign | (exponent + 127 - 63) << 23 | mantissa << 7),
    }
}

fn words<const N: usize, T>(page: &Page, bytes: &[u8], row: &mut [T], value: impl Fn(u64) -> T) {
    for (sample, word) in row.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *sample = value(word_of(*word, page.big_endian));
    }
}

fn word_of<const N: usize>(bytes: [u8; N], big_endian: bool) -> u64 {
    let join = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    if big_endian { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) }
}

fn bytes_of<const N: usize>(word: u64, big_endian: bool) -> [u8; N] {
    let shift = |place: usize| 8 * if big_endian { N - 1 - place } else { place };
    std::array::from_fn(|place| (word >> shift(place)) as u8)
}

/// Reads numbers of any bits below 64 that follow each other without regard to bytes, the highest bit first.
fn each<T>(bytes: &[u8], bits: u32, row: &mut [T], value: impl Fn(u64) -> T) {
    let mask = (1_u64 << bits) - 1;
    let (mut held, mut count, mut bytes) = (0_u128, 0, bytes.iter());
    for sample in row {
        while count < bits {
            held = held << 8 | u128::from(bytes.next().copied().unwrap_or(0));
            count += 8;
        }
        count -= bits;
        *sample = value((held >> count) as u64 & mask);
    }
}

/// Reverses the predictor of a row in place; `scratch` is as long as the row.
pub(super) fn unpredict(page: &Page, row: &mut [u8], scratch: &mut [u8]) {
    let (step, big_endian) = (page.step(), page.big_endian);
    match (page.predictor, page.bits) {
        (Predictor::None, _) => {}
        (Predictor::Horizontal, 8) => accumulate::<1>(row, step, big_endian),
        (Predictor::Horizontal, 16) => accumulate::<2>(row, step, big_endian),
        (Predictor::Horizontal, 24) => accumulate::<3>(row, step, big_endian),
        (Predictor::Horizontal, 32) => accumulate::<4>(row, step, big_endian),
        (Predictor::Horizontal, _) => accumulate::<8>(row, step, big_endian),
        (Predictor::Float, bits) => {
            accumulate::<1>(row, step, big_endian);
            scratch.copy_from_slice(row);
            regroup(scratch, (bits / 8) as usize, big_endian, row);
        }
    }
}

fn accumulate<const N: usize>(row: &mut [u8], step: usize, big_endian: bool) {
    let words = row.as_chunks_mut::<N>().0;
    for index in step..words.len() {
        let sum = word_of(words[index], big_endian).wrapping_add(word_of(words[index - step], big_endian));
        words[index] = bytes_of(sum, big_endian);
    }
}

/// Collects the bytes of each word, of which all the highest come first.
fn regroup(planes: &[u8], width: usize, big_endian: bool, row: &mut [u8]) {
    let count = row.len() / width;
    for (index, word) in row.chunks_exact_mut(width).enumerate() {
        for (place, byte) in word.iter_mut().enumerate() {
            let plane = if big_endian { place } else { width - 1 - place };
            *byte = planes[plane * count + index];
        }
    }
}
