//! Writes an animation: the boxes of a still image of its first frame, from the crate that writes stills, and a box `moov`
//! whose tracks name all frames. Readers that know no sequences show the still image.
//!
//! Sources: ISO/IEC 14496-12, the AVIF specification 1.1, sections 3 and 7, and what libavif writes.

use super::NAME;
use super::aom::Encoded;
use super::boxes::{Boxes, Meta, append};
use super::container::Cicp;
use crate::pipeline::codec::animation::DelayRounding;
use crate::pipeline::{Delay, Error, Size};

/// Ids of the items and of the tracks: colours, alpha.
const IDS: [u32; 2] = [1, 2];
/// The transformation matrix that changes nothing, in fixed point.
const UNITY: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];
/// The name of auxiliary data that is alpha.
const ALPHA_NAME: &[u8] = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0";

/// An animation to write.
pub(super) struct Animation<'a> {
    /// A file of the first frame.
    pub still: &'a [u8],
    /// Size of the frames.
    pub size: Size,
    /// Colour description.
    pub cicp: Cicp,
    /// Profile of AV1.
    pub profile: u8,
    /// Frames of the colours, and as many of the alpha, if there is one.
    pub layers: &'a [Vec<Encoded>],
    /// Duration of each frame.
    pub delays: &'a [Delay],
    /// Number of plays; 0 repeats for ever.
    pub plays: u32,
}

impl Animation<'_> {
    /// Writes the file.
    pub fn write(&self) -> Result<Vec<u8>, Error> {
        let lengths: Vec<usize> =
            self.layers.iter().map(|layer| layer.iter().map(|one| one.data.len()).sum()).collect();
        let bytes = lengths.iter().sum::<usize>() + 8;
        let failed = |_| Error::Encode { format: NAME, reason: "4 GiB of frames".into() };
        // Positions have a fixed width, so the length of what comes before the data does not depend on them.
        let head = |data_at: usize| {
            // Alpha comes first, so that a file that was cut has the alpha of each frame that it has.
            let places = [data_at + lengths.get(1).unwrap_or(&0), data_at];
            Ok::<_, Error>([self.brands(), self.meta(places)?, self.movie(places)?].concat())
        };
        let mut file = head(head(0)?.len() + 8)?;
        u32::try_from(file.len() + bytes).map_err(failed)?;
        file.extend((bytes as u32).to_be_bytes());
        file.extend(b"mdat");
        self.layers.iter().rev().flatten().for_each(|frame| file.extend_from_slice(&frame.data));
        Ok(file)
    }

    fn brands(&self) -> Vec<u8> {
        let profile: &[u8] = if self.profile == 0 { b"MA1B" } else { b"MA1A" };
        bmff(b"ftyp", &[b"avis\0\0\0\0avisavifmsf1iso8mif1miaf", profile])
    }

    /// The box `meta` of the still image, whose items are the first frames.
    fn meta(&self, places: [usize; 2]) -> Result<Vec<u8>, Error> {
        let failed = || Error::Encode { format: NAME, reason: "a still image without boxes".into() };
        let meta = Boxes::of(self.still).find_map(|found| found.ok().filter(|(kind, _)| kind == b"meta"));
        let (head, boxes) = meta.ok_or_else(failed)?.1.split_at_checked(4).ok_or_else(failed)?;
        let mut out = head.to_vec();
        for found in Boxes::of(boxes) {
            let (kind, payload) = found?;
            match &kind {
                b"iloc" => append(&mut out, kind, &self.locations(places)),
                _ => append(&mut out, kind, payload),
            }
        }
        Ok(bmff(b"meta", &[&out]))
    }

    /// A box `iloc` of version 0 with positions and lengths of 4 bytes.
    fn locations(&self, places: [usize; 2]) -> Vec<u8> {
        let mut out = vec![0, 0, 0, 0, 0x44, 0];
        out.extend((self.layers.len() as u16).to_be_bytes());
        for ((layer, id), at) in self.layers.iter().zip(IDS).zip(places) {
            out.extend((id as u16).to_be_bytes());
            out.extend([0, 0, 0, 1]);
            out.extend(numbers([at as u32, layer[0].data.len() as u32]));
        }
        out
    }

    fn movie(&self, places: [usize; 2]) -> Result<Vec<u8>, Error> {
        let (timescale, durations) = times(self.delays);
        let clock =
            Clock { timescale, total: durations.iter().copied().map(u64::from).sum(), durations, plays: self.plays };
        let items = Meta::read(self.still)?.ok_or_else(|| Error::corrupt(NAME, "no still image"))?;
        let header = [
            &[0; 16][..],
            &numbers([clock.timescale]),
            &clock.whole().to_be_bytes(),
            &numbers([0x1_0000, 0x100_0000, 0, 0]),
            &numbers(UNITY),
            &[0; 24],
            &numbers([IDS[1] + 1]),
        ];
        let mut movie = full(b"mvhd", 1, 0, &header);
        for ((layer, id), at) in self.layers.iter().zip(IDS).zip(places) {
            let config = items.property(id, b"av1C").ok_or_else(|| Error::corrupt(NAME, "no configuration"))?;
            movie.extend(self.track(layer, id, config, at, &clock));
        }
        Ok(bmff(b"moov", &[&movie]))
    }

    fn track(&self, layer: &[Encoded], id: u32, config: &[u8], at: usize, clock: &Clock) -> Vec<u8> {
        let is_alpha = id == IDS[1];
        let header = [
            &[0; 16][..],
            &numbers([id, 0]),
            &clock.whole().to_be_bytes(),
            &[0; 16],
            &numbers(UNITY),
            &numbers([self.size.w << 16, self.size.h << 16]),
        ];
        let edits = [&numbers([1])[..], &clock.total.to_be_bytes(), &[0; 8], &[0, 1, 0, 0]];
        let edits = full(b"elst", 1, u8::from(clock.plays != 1), &edits);
        let reference = if is_alpha { bmff(b"tref", &[&bmff(b"auxl", &[&numbers([IDS[0]])])]) } else { Vec::new() };
        let handler: &[u8] = if is_alpha { b"auxv" } else { b"pict" };
        let time = [&[0; 16][..], &numbers([clock.timescale]), &clock.total.to_be_bytes(), &[0x55, 0xc4, 0, 0]];
        let media = [
            full(b"mdhd", 1, 0, &time),
            full(b"hdlr", 0, 0, &[&[0; 4], handler, &[0; 13]]),
            bmff(
                b"minf",
                &[&full(b"vmhd", 0, 1, &[&[0; 8]]), &data_reference(), &self.table(layer, config, at, clock, is_alpha)],
            ),
        ];
        let header = full(b"tkhd", 1, 1, &header);
        bmff(b"trak", &[&header, &reference, &bmff(b"edts", &[&edits]), &bmff(b"mdia", &[&media.concat()])])
    }

    fn table(&self, layer: &[Encoded], config: &[u8], at: usize, clock: &Clock, is_alpha: bool) -> Vec<u8> {
        let count = layer.len() as u32;
        let sizes = layer.iter().flat_map(|frame| (frame.data.len() as u32).to_be_bytes()).collect::<Vec<u8>>();
        let keys: Vec<u32> = (1..).zip(layer).filter(|(_, frame)| frame.key).map(|(place, _)| place).collect();
        let boxes = [
            full(b"stsd", 0, 0, &[&numbers([1]), &self.entry(config, is_alpha)]),
            full(b"stts", 0, 0, &[&clock.runs()]),
            full(b"stsc", 0, 0, &[&numbers([1, 1, count, 1])]),
            full(b"stsz", 0, 0, &[&numbers([0, count]), &sizes]),
            full(b"stco", 0, 0, &[&numbers([1, at as u32])]),
            full(
                b"stss",
                0,
                0,
                &[&numbers([keys.len() as u32]), &keys.iter().flat_map(|key| key.to_be_bytes()).collect::<Vec<u8>>()],
            ),
        ];
        bmff(b"stbl", &[&boxes.concat()])
    }

    /// The description of the frames of a track.
    fn entry(&self, config: &[u8], is_alpha: bool) -> Vec<u8> {
        let Cicp { primaries, transfer, matrix, full_range } = self.cicp;
        let described = match is_alpha {
            true => full(b"auxi", 0, 0, &[ALPHA_NAME]),
            false => bmff(b"colr", &[b"nclx", &[0, primaries, 0, transfer, 0, matrix, u8::from(full_range) << 7]]),
        };
        let [w, h] = [self.size.w, self.size.h].map(|side| (side as u16).to_be_bytes());
        // 72 dots per inch, one frame a sample, no name, 24 bits.
        let visual =
            [&[0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 16], &w, &h, &numbers([0x48_0000, 0x48_0000, 0]), &[0, 1], &[0; 32]];
        let visual = [&visual.concat()[..], &[0, 24, 0xff, 0xff]].concat();
        // Frames may refer to any number of others, and predict within themselves.
        let constraints = full(b"ccst", 0, 0, &[&[0x7c, 0, 0, 0]]);
        bmff(b"av01", &[&visual, &bmff(b"av1C", &[config]), &described, &constraints])
    }
}

/// The times of an animation.
struct Clock {
    /// Units in a second.
    timescale: u32,
    durations: Vec<u32>,
    /// Sum of the durations.
    total: u64,
    plays: u32,
}

impl Clock {
    /// Duration of all plays; all ones if it repeats for ever.
    fn whole(&self) -> u64 {
        if self.plays == 0 { u64::MAX } else { self.total.saturating_mul(u64::from(self.plays)) }
    }

    /// Rows of the box `stts`, and their number: how many frames last equally long.
    fn runs(&self) -> Vec<u8> {
        let runs = self.durations.chunk_by(|a, b| a == b);
        let rows: Vec<u8> = runs.clone().flat_map(|run| numbers([run.len() as u32, run[0]])).collect();
        [&numbers([runs.count() as u32])[..], &rows].concat()
    }
}

fn data_reference() -> Vec<u8> {
    // The data is in this file.
    let own = full(b"url ", 0, 1, &[]);
    bmff(b"dinf", &[&full(b"dref", 0, 0, &[&numbers([1]), &own])])
}

fn numbers<const N: usize>(numbers: [u32; N]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn bmff(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    append(&mut out, *kind, &parts.concat());
    out
}

/// A box with a version and flags.
fn full(kind: &[u8; 4], version: u8, flags: u8, parts: &[&[u8]]) -> Vec<u8> {
    bmff(kind, &[&[version, 0, 0, flags], &parts.concat()])
}

/// Most units of time in a second; above it durations are rounded to milliseconds.
const TIMESCALE_MAX: u64 = 1 << 20;
const MILLISECONDS: u32 = 1000;

/// The units of time in a second, and the duration of each frame in them; at least one unit, since a frame of a track cannot
/// last no time. Exact if the delays have a common unit that is long enough; otherwise in milliseconds, whose
/// rounding is carried on.
fn times(delays: &[Delay]) -> (u32, Vec<u32>) {
    exact(delays).unwrap_or_else(|| (MILLISECONDS, rounded(delays)))
}

fn exact(delays: &[Delay]) -> Option<(u32, Vec<u32>)> {
    let common = |scale: u64, delay: &Delay| {
        let denominator = u64::from(delay.denominator);
        Some(scale / gcd(scale, denominator) * denominator).filter(|scale| *scale <= TIMESCALE_MAX)
    };
    let scale = delays.iter().try_fold(1, common)?;
    let units = |delay: &Delay| {
        let units = u64::from(delay.numerator) * (scale / u64::from(delay.denominator));
        u32::try_from(units.max(1)).ok()
    };
    Some((scale as u32, delays.iter().map(units).collect::<Option<_>>()?))
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn rounded(delays: &[Delay]) -> Vec<u32> {
    let mut rounding = DelayRounding::to_parts(MILLISECONDS);
    delays.iter().map(|delay| rounding.round(*delay).max(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_exact_where_they_have_a_common_unit() {
        let check = |delays: &[(u32, u32)], expected: (u32, &[u32])| {
            let delays: Vec<Delay> =
                delays.iter().map(|&(numerator, denominator)| Delay { numerator, denominator }).collect();
            let (scale, units) = times(&delays);
            assert_eq!((scale, &units[..]), expected);
        };
        check(&[(10, 100), (5, 100)], (100, &[10, 5]));
        check(&[(1, 30), (40, 1000)], (3000, &[100, 120]));
        check(&[(0, 100), (3, 100)], (100, &[1, 3]));
        // No common unit: milliseconds, and at least one.
        check(&[(1, 65_521), (1, 65_519), (1, 7)], (1000, &[1, 1, 143]));
        check(&[(u32::MAX, 1), (1, 3)], (1000, &[u32::MAX, 333]));
    }
}
