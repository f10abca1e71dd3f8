//! [`Frame`]: one frame as in the file, and its palette indices. Where it is drawn is up to `canvas`.

use weezl::decode::Decoder as Lzw;
use weezl::{BitOrder, LzwStatus};

use super::NAME;
use super::container::SubBlocks;
use crate::pipeline::{Deadline, Delay, Error, Size};

/// Sub-blocks between two checks of the deadline.
const BLOCKS_PER_CHECK: usize = 64;

/// Frame header and compressed data.
#[derive(Clone)]
pub(super) struct Frame<'a> {
    pub left: u32,
    pub top: u32,
    pub size: Size,
    pub interlaced: bool,
    /// Red, green and blue of each index; `None`: indices are levels of gray.
    pub palette: Option<&'a [u8]>,
    pub delay_hundredths: u16,
    pub disposal: u8,
    pub transparent: Option<u8>,
    /// Bits of the smallest code.
    pub code_bits: u8,
    /// Sub-blocks, each after its length.
    pub data: &'a [u8],
}

impl Frame<'_> {
    /// Disposal after which the frame's area is transparent.
    pub const CLEARED: u8 = 2;
    /// Disposal after which the canvas is as before the frame.
    pub const RESTORED: u8 = 3;

    /// Number of pixels.
    pub fn pixels(&self) -> u64 {
        self.size.pixels()
    }

    /// Duration.
    pub fn delay(&self) -> Delay {
        Delay { numerator: u32::from(self.delay_hundredths), denominator: 100 }
    }

    /// Whether the frame leaves no pixel of the canvas as it was.
    pub fn covers(&self, canvas: Size) -> bool {
        self.left == 0 && self.top == 0 && self.size.w >= canvas.w && self.size.h >= canvas.h
    }

    /// Decompresses indices in the order of the file until `indices` is full or the data ends. Returns how many there are.
    pub fn indices(&self, indices: &mut [u8], deadline: &Deadline) -> Result<usize, Error> {
        if !(1..=11).contains(&self.code_bits) {
            return Ok(0);
        }
        let mut lzw = Lzw::new(BitOrder::Lsb, self.code_bits);
        let mut filled = 0;
        for (place, block) in SubBlocks(self.data).enumerate() {
            if place.is_multiple_of(BLOCKS_PER_CHECK) {
                deadline.check()?;
            }
            if filled == indices.len() || decompress(&mut lzw, block, indices, &mut filled).is_err() {
                break;
            }
        }
        Ok(filled)
    }

    /// The indices of row `y` among `indices`, which are in the order of the file. Shorter than the row where they end
    /// early; a row of an interlaced frame is then the nearest above it of an earlier pass.
    pub fn row<'a>(&self, indices: &'a [u8], y: usize) -> &'a [u8] {
        let w = self.size.w as usize;
        let at = |y: usize| {
            let start = (self.place(y) * w).min(indices.len());
            &indices[start..(start + w).min(indices.len())]
        };
        let passes: &[usize] = if self.interlaced { &[1, 2, 4, 8] } else { &[1] };
        let rows = passes.iter().map(|step| at(y - y % step));
        rows.clone().find(|row| row.len() == w).unwrap_or_else(|| at(y))
    }

    /// Place of row `y` in the file: interlaced rows come in four passes (GIF89a, appendix E).
    fn place(&self, y: usize) -> usize {
        if !self.interlaced {
            return y;
        }
        let rows = |first: usize, step: usize| (self.size.h as usize).saturating_sub(first).div_ceil(step);
        let (eighths, fourths, halves) = (rows(0, 8), rows(4, 8), rows(2, 4));
        match y % 8 {
            0 => y / 8,
            4 => eighths + y / 8,
            2 | 6 => eighths + fourths + y / 4,
            _ => eighths + fourths + halves + y / 2,
        }
    }

    /// Error for a frame whose data ends early or is damaged.
    pub fn cut() -> Error {
        Error::corrupt(NAME, "truncated or damaged frame")
    }
}

/// The end of a frame's data, or damage in it.
struct Ended;

/// Decompresses a block, and what the decoder holds back of it. Adds to the number of indices. Each turn takes a code of the
/// block, so the loop ends with it.
fn decompress(lzw: &mut Lzw, mut block: &[u8], indices: &mut [u8], filled: &mut usize) -> Result<(), Ended> {
    loop {
        let step = lzw.decode_bytes(block, &mut indices[*filled..]);
        *filled += step.consumed_out;
        block = &block[step.consumed_in..];
        match step.status {
            Ok(LzwStatus::Done) | Err(_) => return Err(Ended),
            Ok(LzwStatus::NoProgress) => return Ok(()),
            Ok(LzwStatus::Ok) if *filled == indices.len() => return Ok(()),
            Ok(LzwStatus::Ok) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interlaced_rows_come_in_four_passes() {
        for h in 1..40 {
            let size = Size::new(1, h);
            let frame = Frame {
                left: 0,
                top: 0,
                size,
                interlaced: true,
                palette: None,
                delay_hundredths: 0,
                disposal: 0,
                transparent: None,
                code_bits: 2,
                data: &[],
            };
            let h = h as usize;
            let order = [(0, 8), (4, 8), (2, 4), (1, 2)].into_iter().flat_map(|(first, step)| (first..h).step_by(step));
            let expected: Vec<usize> = order.collect();
            for (place, y) in expected.iter().enumerate() {
                assert_eq!(frame.place(*y), place, "row {y} of {h}");
            }
        }
    }
}
