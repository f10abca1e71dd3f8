//! Frames of animations: which of them a decoder keeps, and how an encoder rounds their delays. Knows no format.

use super::DecodeOptions;
use crate::pipeline::{Delay, Frame, Raster};

/// Collects decoded frames: all, or as many as are asked for, at even distances. Delays of frames that are left out are added
/// to the frame before them, so that the animation takes as long as before.
pub struct FrameCollector {
    frames: Vec<Frame>,
    decoded: u32,
    kept: u32,
    seen: u32,
}

impl FrameCollector {
    /// A collector for a file of `frames` frames.
    pub fn new(frames: u32, options: &DecodeOptions) -> FrameCollector {
        let decoded = frames.min(options.frames_max.max(1));
        FrameCollector { frames: Vec::new(), decoded, kept: decoded.min(options.frames_kept.max(1)), seen: 0 }
    }

    /// Number of frames to decode.
    pub fn decoded(&self) -> u32 {
        self.decoded
    }

    /// Number of frames that are held in the end.
    pub fn kept(&self) -> u32 {
        self.kept
    }

    /// Number of frames before the next one.
    pub fn seen(&self) -> u32 {
        self.seen
    }

    /// Whether all frames have come.
    pub fn is_full(&self) -> bool {
        self.seen >= self.decoded
    }

    /// Whether the pixels of the next frame are kept; if not, `None` may take their place.
    pub fn keeps_next(&self) -> bool {
        let group = |frame: u32| u64::from(frame) * u64::from(self.kept) / u64::from(self.decoded);
        self.seen == 0 || group(self.seen) != group(self.seen - 1)
    }

    /// Adds the next frame.
    pub fn add(&mut self, raster: Option<Raster>, delay: Delay) {
        self.seen += 1;
        match (raster, self.frames.last_mut()) {
            (Some(raster), _) => self.frames.push(Frame { raster, delay }),
            (None, Some(last)) => last.delay = last.delay.plus(delay),
            (None, None) => {}
        }
    }

    /// The frames, in their order.
    pub fn into_frames(self) -> Vec<Frame> {
        self.frames
    }
}

/// Rounds delays to units, so that the sum of any of them from the first on is off by at most half a unit.
pub struct DelayRounding {
    unit_ns: i64,
    /// Time that the delays so far have lost to rounding.
    left_ns: i64,
}

const SECOND_NS: u64 = 1_000_000_000;

impl DelayRounding {
    /// Rounding to parts of a second.
    pub fn to_parts(of_second: u32) -> DelayRounding {
        DelayRounding { unit_ns: (SECOND_NS / u64::from(of_second.max(1))) as i64, left_ns: 0 }
    }

    /// The next delay in units. Zero stays zero; players choose a duration for it.
    pub fn round(&mut self, delay: Delay) -> u32 {
        if delay.numerator == 0 {
            return 0;
        }
        // At most 2^32 s, which is below 2^63 ns.
        let delay_ns = u128::from(delay.numerator) * u128::from(SECOND_NS) / u128::from(delay.denominator);
        let due_ns = (delay_ns as i64).saturating_add(self.left_ns);
        let units = (due_ns.saturating_add(self.unit_ns / 2)).div_euclid(self.unit_ns).max(0);
        self.left_ns = (due_ns - units * self.unit_ns).clamp(-self.unit_ns, self.unit_ns);
        u32::try_from(units).unwrap_or(u32::MAX)
    }

    /// Forgets what rounding has lost, when a delay was set otherwise.
    pub fn forget(&mut self) {
        self.left_ns = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Channels, Deadline, Limits, Samples, Size};

    /// The numbers and delays in milliseconds of the frames that are kept of `frames` of 10 ms.
    fn kept(frames: u32, frames_max: u32, frames_kept: u32) -> Vec<(u8, u32)> {
        let (limits, deadline) = (Limits::default(), Deadline::default());
        let options = DecodeOptions { frames_max, frames_kept, ..DecodeOptions::new(&limits, &deadline) };
        let mut collector = FrameCollector::new(frames, &options);
        while !collector.is_full() {
            let raster = Raster::new(Size::new(1, 1), Channels::Gray, Samples::U8(vec![collector.seen() as u8]));
            let raster = collector.keeps_next().then_some(raster);
            collector.add(raster, Delay::from_ms(10));
        }
        let number = |frame: &Frame| match frame.raster.samples() {
            Samples::U8(samples) => samples[0],
            Samples::U16(_) => unreachable!("eight bits"),
        };
        collector.into_frames().iter().map(|frame| (number(frame), frame.delay.ms())).collect()
    }

    #[test]
    fn frames_are_left_out_at_even_distances_and_their_delays_stay() {
        assert_eq!(kept(4, 9, 9), [(0, 10), (1, 10), (2, 10), (3, 10)]);
        assert_eq!(kept(4, 2, 9), [(0, 10), (1, 10)]);
        assert_eq!(kept(4, 9, 2), [(0, 20), (2, 20)]);
        assert_eq!(kept(7, 9, 3), [(0, 30), (3, 20), (5, 20)]);
        assert_eq!(kept(200, 999, 1), [(0, 2000)]);
        for (frames, wanted) in [(257, 100), (250, 249), (101, 100), (100, 99), (3, 2)] {
            let kept = kept(frames, u32::MAX, wanted);
            assert_eq!(kept.len(), wanted as usize, "{wanted} of {frames}");
            assert_eq!(kept.iter().map(|(_, ms)| ms).sum::<u32>(), frames * 10);
            let longest = kept.iter().map(|(_, ms)| ms / 10).max();
            assert_eq!(longest, Some(frames.div_ceil(wanted)), "{wanted} of {frames}");
        }
    }

    #[test]
    fn rounding_keeps_the_sum() {
        let check = |delay: Delay, count: u32, parts: u32, expected: &[u32]| {
            let mut rounding = DelayRounding::to_parts(parts);
            let rounded: Vec<u32> = (0..count).map(|_| rounding.round(delay)).collect();
            assert_eq!(&rounded[..expected.len()], expected, "{delay:?} in 1/{parts} s");
            let (sum, seconds) =
                (rounded.iter().sum::<u32>(), f64::from(delay.numerator) / f64::from(delay.denominator));
            assert!((f64::from(sum) - seconds * f64::from(count * parts)).abs() <= 0.5, "{sum}");
        };
        check(Delay::from_ms(75), 20, 100, &[8, 7, 8, 7]);
        check(Delay::from_ms(33), 30, 100, &[3, 4, 3]);
        check(Delay::from_ms(110), 9, 100, &[11, 11]);
        check(Delay { numerator: 1, denominator: 30 }, 30, 1000, &[33, 34, 33]);
        check(Delay { numerator: 1, denominator: 60 }, 600, 1000, &[17, 16, 17]);
        check(Delay::from_ms(0), 9, 100, &[0, 0]);
    }

    #[test]
    fn the_longest_delays_do_not_overflow() {
        let longest = Delay { numerator: u32::MAX, denominator: 1 };
        let mut rounding = DelayRounding::to_parts(1000);
        assert_eq!((rounding.round(longest), rounding.round(Delay::from_ms(7))), (u32::MAX, 7));
    }
}
