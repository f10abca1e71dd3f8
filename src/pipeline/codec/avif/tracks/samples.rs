//! [`Samples`]: data and duration of each frame of a track, from the tables of its box `stbl`. The tables stay in the file
//! and are walked once.
//!
//! Source: ISO/IEC 14496-12, sections 8.6 and 8.7.

use super::super::NAME;
use super::super::boxes::{Boxes, version};
use super::{child, find};
use crate::pipeline::Error;
use crate::pipeline::codec::cursor::Cursor;

/// The frames of a track.
#[derive(Clone)]
pub(in super::super) struct Samples<'a> {
    file: &'a [u8],
    count: u32,
    /// Bytes of every sample; 0: `sizes` has them one by one.
    size: u32,
    sizes: &'a [[u8; 4]],
    chunks: Chunks<'a>,
    /// Runs of chunks that have equally many samples: first chunk from 1, samples in each, description.
    runs: &'a [[u8; 12]],
    /// Runs of samples that last equally long: their number, duration of each.
    times: &'a [[u8; 8]],
}

/// Positions of the chunks in the file.
#[derive(Clone, Copy)]
enum Chunks<'a> {
    Narrow(&'a [[u8; 4]]),
    Wide(&'a [[u8; 8]]),
}

/// One frame.
pub(in super::super) struct Sample<'a> {
    /// AV1 data of one temporal unit.
    pub data: &'a [u8],
    /// Duration in units of the track.
    pub duration: u32,
}

impl<'a> Samples<'a> {
    /// Reads the tables.
    pub fn read(file: &'a [u8], table: &'a [u8]) -> Result<Samples<'a>, Error> {
        let mut cursor = Cursor::new(NAME, child(table, b"stsz")?);
        version(&mut cursor)?;
        let (size, count) = (cursor.u32_be()?, cursor.u32_be()?);
        let sizes = cursor.rest().as_chunks().0;
        let chunks = match find(Boxes::of(table), b"stco")? {
            Some(narrow) => Chunks::Narrow(rows(narrow)?),
            None => Chunks::Wide(rows(child(table, b"co64")?)?),
        };
        let (runs, times) = (rows(child(table, b"stsc")?)?, rows(child(table, b"stts")?)?);
        let samples = Samples { file, count, size, sizes, chunks, runs, times };
        samples.check()?;
        Ok(samples)
    }

    /// Checks that the tables have as many samples as they should, in one pass over the chunks.
    fn check(&self) -> Result<(), Error> {
        if self.count == 0 {
            return Err(Error::Unsupported { format: NAME, feature: "an animation in fragments, or without frames" });
        }
        if self.runs.iter().any(|run| number(run, 8) != 1) {
            return Err(Error::Unsupported { format: NAME, feature: "several descriptions of the frames of a track" });
        }
        let ends = self.runs.iter().skip(1).map(|run| number(run, 0)).chain([self.chunks.count().saturating_add(1)]);
        let in_run =
            |(run, end): (&[u8; 12], u32)| u64::from(end.saturating_sub(number(run, 0))) * u64::from(number(run, 4));
        let in_chunks = self.runs.iter().zip(ends).map(in_run).fold(0, u64::saturating_add);
        let has_sizes = self.size > 0 || self.sizes.len() as u64 >= u64::from(self.count);
        if in_chunks < u64::from(self.count) || !has_sizes {
            return Err(Error::corrupt(NAME, "fewer frames than the track states"));
        }
        Ok(())
    }

    /// Number of frames; at least one.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of the longest sample, as far as the file may have them.
    pub fn longest_bytes(&self) -> u64 {
        let longest = self.sizes.iter().take(self.count as usize).map(|size| u32::from_be_bytes(*size)).max();
        u64::from(self.size.max(longest.unwrap_or_default())).min(self.file.len() as u64)
    }

    /// Data of the first frame.
    pub fn first(&self) -> Result<&'a [u8], Error> {
        let first = self.iter().next().ok_or_else(|| Error::corrupt(NAME, "no frame in the file"))?;
        first.map(|sample| sample.data)
    }

    /// The frames, one after the other.
    pub fn iter(&self) -> Walk<'_, 'a> {
        Walk { of: self, sample: 0, chunk: 0, run: 0, in_chunk: 0, at: 0, time: 0, in_time: 0 }
    }
}

impl Chunks<'_> {
    fn count(self) -> u32 {
        let count = match self {
            Chunks::Narrow(chunks) => chunks.len(),
            Chunks::Wide(chunks) => chunks.len(),
        };
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn at(self, chunk: u32) -> Option<u64> {
        match self {
            Chunks::Narrow(chunks) => chunks.get(chunk as usize).map(|at| u64::from(u32::from_be_bytes(*at))),
            Chunks::Wide(chunks) => chunks.get(chunk as usize).map(|at| u64::from_be_bytes(*at)),
        }
    }
}

/// Rows of a table after version, flags and the number of rows.
fn rows<const N: usize>(payload: &[u8]) -> Result<&[[u8; N]], Error> {
    let mut cursor = Cursor::new(NAME, payload);
    version(&mut cursor)?;
    let count = cursor.u32_be()? as usize;
    let rows = cursor.rest().as_chunks().0.get(..count);
    rows.ok_or_else(|| cursor.corrupt("truncated table of a track"))
}

/// The number at a place of a row.
fn number<const N: usize>(row: &[u8; N], at: usize) -> u32 {
    row[at..].first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// A place between two samples.
pub(in super::super) struct Walk<'b, 'a> {
    of: &'b Samples<'a>,
    sample: u32,
    /// Number of chunks begun.
    chunk: u32,
    /// The run of the current chunk.
    run: usize,
    /// Samples left in the current chunk.
    in_chunk: u32,
    /// Position of the next sample.
    at: u64,
    /// Number of runs of equal durations begun.
    time: usize,
    /// Samples left in the current one.
    in_time: u32,
}

impl<'a> Walk<'_, 'a> {
    fn step(&mut self) -> Option<Sample<'a>> {
        while self.in_chunk == 0 {
            self.begin_chunk()?;
        }
        let size = if self.of.size > 0 { self.of.size } else { number(self.of.sizes.get(self.sample as usize)?, 0) };
        let start = usize::try_from(self.at).ok()?;
        let data = self.of.file.get(start..start.checked_add(size as usize)?)?;
        self.at += u64::from(size);
        self.in_chunk -= 1;
        self.sample += 1;
        Some(Sample { data, duration: self.duration() })
    }

    fn begin_chunk(&mut self) -> Option<()> {
        self.at = self.of.chunks.at(self.chunk)?;
        self.chunk += 1;
        while self.of.runs.get(self.run + 1).is_some_and(|next| number(next, 0) <= self.chunk) {
            self.run += 1;
        }
        self.in_chunk = number(self.of.runs.get(self.run)?, 4);
        Some(())
    }

    /// Duration of the next sample; that of the last run where the table is too short.
    fn duration(&mut self) -> u32 {
        while self.in_time == 0 && self.time < self.of.times.len() {
            self.in_time = number(&self.of.times[self.time], 0);
            self.time += 1;
        }
        self.in_time = self.in_time.saturating_sub(1);
        self.of.times.get(self.time.saturating_sub(1)).map_or(0, |run| number(run, 4))
    }
}

impl<'a> Iterator for Walk<'_, 'a> {
    type Item = Result<Sample<'a>, Error>;

    /// The next frame; an error where the file ends before it.
    fn next(&mut self) -> Option<Self::Item> {
        if self.sample == self.of.count {
            return None;
        }
        let sample = self.step().ok_or_else(|| Error::corrupt(NAME, "truncated file"));
        if sample.is_err() {
            self.sample = self.of.count;
        }
        Some(sample)
    }
}
