//! Bits of CCITT fax codings (ITU-T T.4 and T.6; TIFF 6.0, sections 10 and 11): rows of alternating white and black
//! runs, plain or relative to the row above. A set bit is black. The crate `fax` has the code tables; its own decoders
//! know neither rows without end markers nor Group 3 in two dimensions.

use std::convert::Infallible;

use fax::maps::{Mode, black, mode, white};

use crate::pipeline::{Deadline, Error};

/// How rows are coded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// Runs; each row begins in a new byte.
    Huffman,
    /// Runs, with an end of line before or between rows; some rows are relative where the flag is set.
    Group3 { relative: bool },
    /// Every row is relative.
    Group4,
}

/// Rows between two checks of the deadline.
const ROWS: usize = 256;
/// Most zeros before an end of line that are taken for padding, and most end marks in a row.
const FILL_BITS_MAX: u32 = 1 << 16;

/// Unpacks rows of `w` pixels, one bit each. Errs if the codes are wrong or end early; an explicit end of a Group 4 block
/// leaves the remaining rows white.
pub(super) fn unpack(coding: Coding, packed: &[u8], w: u32, out: &mut [u8], deadline: &Deadline) -> Result<(), Error> {
    let mut rows = Rows { bits: Bits { bytes: packed, at: 0 }, w, above: Vec::new(), edges: Vec::new() };
    out.fill(0);
    for (y, row) in out.chunks_exact_mut(w.div_ceil(8) as usize).enumerate() {
        if y % ROWS == 0 {
            deadline.check()?;
        }
        if !rows.next(coding)? {
            return Ok(());
        }
        rows.paint(row);
    }
    Ok(())
}

fn wrong() -> Error {
    Error::corrupt("tiff", "invalid fax code")
}

/// State between rows: places where the colour changes, in the row above and in this one, ascending, white first.
struct Rows<'a> {
    bits: Bits<'a>,
    w: u32,
    above: Vec<u32>,
    edges: Vec<u32>,
}

impl Rows<'_> {
    /// Reads the next row; `false` at the end of the block.
    fn next(&mut self, coding: Coding) -> Result<bool, Error> {
        std::mem::swap(&mut self.above, &mut self.edges);
        self.edges.clear();
        let more = match coding {
            Coding::Huffman => {
                self.bits.skip_to_byte();
                self.runs()?;
                true
            }
            Coding::Group3 { relative } => {
                self.end_of_line()?;
                // The bit after an end of line tells how the row is coded.
                let plain = !relative || self.bits.take(1) == 1;
                if plain {
                    self.runs()?;
                } else if !self.relative()? {
                    return Err(wrong());
                }
                true
            }
            Coding::Group4 => self.relative()?,
        };
        if self.bits.beyond() { Err(Error::corrupt("tiff", "truncated chunk")) } else { Ok(more) }
    }

    /// Skips an end of line with its padding, if there is one: 11 zeros or more, then a one.
    fn end_of_line(&mut self) -> Result<(), Error> {
        if self.bits.look(11) != 0 {
            return Ok(());
        }
        for _ in 0..FILL_BITS_MAX {
            if self.bits.take(1) == 1 {
                return Ok(());
            }
        }
        Err(wrong())
    }

    /// Reads a row of runs.
    fn runs(&mut self) -> Result<(), Error> {
        let mut at = 0;
        while at < self.w {
            at = self.run(at)?;
            self.edges.push(at);
        }
        Ok(())
    }

    /// Reads one run of the present colour from `at`, and returns its end. Long runs have several codes, the last below 64.
    fn run(&mut self, at: u32) -> Result<u32, Error> {
        let is_black = self.edges.len() % 2 == 1;
        let mut end = at;
        // Runs may be empty, but not without end.
        if self.edges.len() as u64 > 2 * u64::from(self.w) + 2 {
            return Err(wrong());
        }
        loop {
            let code = if is_black { black::decode(&mut self.bits) } else { white::decode(&mut self.bits) };
            let length = u32::from(code.ok_or_else(wrong)?);
            end += length;
            if end > self.w {
                return Err(Error::corrupt("tiff", "fax run beyond the row"));
            }
            if length < 64 {
                return Ok(end);
            }
        }
    }

    /// Reads a row relative to the one above; `false` at the end of the block.
    fn relative(&mut self) -> Result<bool, Error> {
        let mut at = 0;
        let mut place = 0;
        // A change may also be in the imaginary white pixel before the row.
        let mut before = true;
        while at < self.w {
            let first = self.changing(at, before, &mut place);
            match mode::decode(&mut self.bits).ok_or_else(wrong)? {
                Mode::Pass => at = self.above.get(place + 1).copied().unwrap_or(self.w),
                Mode::Vertical(delta) => {
                    let end = first.checked_add_signed(delta.into()).filter(|end| *end <= self.w);
                    at = end.filter(|end| *end > at || before).ok_or_else(wrong)?;
                    self.edges.push(at);
                }
                Mode::Horizontal => {
                    for _ in 0..2 {
                        at = self.run(at)?;
                        self.edges.push(at);
                    }
                }
                Mode::EOF if before => return Ok(false),
                Mode::EOF => return Err(wrong()),
                Mode::Extension => {
                    return Err(Error::Unsupported { format: "tiff", feature: "uncompressed mode in fax data" });
                }
            }
            before = false;
        }
        Ok(true)
    }

    /// The first change in the row above right of `at` that is to the other colour; `place` is its index, and moves back
    /// by two at most, since rows go on to the right.
    fn changing(&self, at: u32, before: bool, place: &mut usize) -> u32 {
        let parity = self.edges.len() % 2;
        *place = place.saturating_sub(2) & !1 | parity;
        let right = |edge: u32| edge > at || (before && edge == 0);
        while self.above.get(*place).is_some_and(|edge| !right(*edge)) {
            *place += 2;
        }
        self.above.get(*place).copied().unwrap_or(self.w)
    }

    /// Sets the bits of black runs.
    fn paint(&self, row: &mut [u8]) {
        for run in self.edges.chunks(2) {
            let (start, end) = match *run {
                [start, end] => (start, end),
                [start] => (start, self.w),
                _ => return,
            };
            set(row, start as usize, end as usize);
        }
    }
}

/// Sets the bits from `start` to before `end`, the highest of a byte first.
fn set(row: &mut [u8], start: usize, end: usize) {
    let (mut at, whole) = (start, end & !7);
    while at < end && at % 8 != 0 {
        row[at / 8] |= 0x80 >> (at % 8);
        at += 1;
    }
    if at < whole {
        row[at / 8..whole / 8].fill(0xff);
        at = whole;
    }
    for at in at..end {
        row[at / 8] |= 0x80 >> (at % 8);
    }
}

/// Reads bits, the highest first. There are zeros after the last byte, which no end of a row consumes unnoticed.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn look(&self, count: u8) -> u16 {
        let byte = |offset: usize| u32::from(self.bytes.get(self.at / 8 + offset).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        (word >> (24 - self.at as u32 % 8 - u32::from(count)) & ((1 << count) - 1)) as u16
    }

    fn take(&mut self, count: u8) -> u16 {
        let bits = self.look(count);
        self.at += usize::from(count);
        bits
    }

    fn skip_to_byte(&mut self) {
        self.at = self.at.next_multiple_of(8);
    }

    /// Whether more bits were read than there are.
    fn beyond(&self) -> bool {
        self.at > self.bytes.len() * 8
    }
}

impl fax::BitReader for Bits<'_> {
    type Error = Infallible;

    fn peek(&self, bits: u8) -> Option<u16> {
        (bits <= 16).then(|| self.look(bits))
    }

    fn consume(&mut self, bits: u8) -> Result<(), Infallible> {
        self.at += usize::from(bits);
        Ok(())
    }

    fn bits_to_byte_boundary(&self) -> u8 {
        (8 - self.at % 8) as u8 % 8
    }
}
