//! Search for the highest quality within a size limit: each try is a whole encode, and their number is bounded.

use crate::pipeline::codec::{EncodeOptions, Encoder};
use crate::pipeline::{Error, Picture};

/// Tries after the first: six halve the range 1..=99 down to one quality.
const TRIES_MAX: u32 = 6;

/// Encodes at the highest quality, from 1 up to the requested one, whose result has at most `bytes_max` bytes. Since
/// the number of tries is bounded, the quality may be one or two below the best.
///
/// Errors: [`Error::Limit`] `max_bytes`, with the smallest size that was reached.
pub(super) fn within_bytes(
    encoder: &Encoder,
    picture: &Picture,
    options: &EncodeOptions,
    bytes_max: u64,
) -> Result<Vec<u8>, Error> {
    let attempt = |quality| {
        options.deadline.check()?;
        (encoder.encode)(picture, &EncodeOptions { quality: Some(quality), ..*options })
    };
    let fits = |bytes: &Vec<u8>| bytes.len() as u64 <= bytes_max;
    let most = options.quality.or(encoder.quality).unwrap_or(100);
    let first = attempt(most)?;
    if fits(&first) {
        return Ok(first);
    }
    let mut fewest = first.len() as u64;
    drop(first);
    let (mut low, mut high) = (1, most.saturating_sub(1));
    let mut best = None;
    for _ in 0..TRIES_MAX {
        if low > high {
            break;
        }
        let quality = low.midpoint(high);
        let bytes = attempt(quality)?;
        fewest = fewest.min(bytes.len() as u64);
        if fits(&bytes) {
            low = quality + 1;
            best = Some(bytes);
        } else {
            high = quality - 1;
        }
    }
    best.ok_or(Error::Limit { name: "max_bytes", value: fewest, max: bytes_max })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::pipeline::{Channels, Deadline, Raster, Samples, Size};

    thread_local! {
        static TRIED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }

    /// An encoder whose result has ten bytes for each step of quality.
    const TEN: Encoder = Encoder {
        quality: Some(80),
        encode: |_, options| {
            let quality = options.quality.unwrap_or(0);
            TRIED.with_borrow_mut(|tried| tried.push(quality));
            Ok(vec![0; 10 * usize::from(quality)])
        },
        ..Encoder::PLAIN
    };

    fn check(asked: Option<u8>, bytes_max: u64, expected: Result<usize, Error>) -> Vec<u8> {
        TRIED.with_borrow_mut(Vec::clear);
        let picture = Picture::still(Raster::new(Size::new(1, 1), Channels::Gray, Samples::U8(vec![0])));
        let deadline = Deadline::default();
        let options = EncodeOptions { quality: asked, ..EncodeOptions::new(&deadline) };
        let bytes = within_bytes(&TEN, &picture, &options, bytes_max);
        assert_eq!(bytes.map(|bytes| bytes.len()), expected, "{asked:?} within {bytes_max}");
        TRIED.with_borrow(Vec::clone)
    }

    #[test]
    fn the_quality_is_lowered_only_as_far_as_it_must() {
        assert_eq!(check(None, 800, Ok(800)), [80]);
        assert_eq!(check(Some(50), 10_000, Ok(500)), [50]);
        for asked in [Some(100), None] {
            for bytes_max in (10..790).step_by(10) {
                assert!(tried_for(asked, bytes_max) <= 7);
            }
        }
    }

    /// Number of tries; the search may end one quality below the best.
    fn tried_for(asked: Option<u8>, bytes_max: u64) -> usize {
        TRIED.with_borrow_mut(Vec::clear);
        let picture = Picture::still(Raster::new(Size::new(1, 1), Channels::Gray, Samples::U8(vec![0])));
        let deadline = Deadline::default();
        let options = EncodeOptions { quality: asked, ..EncodeOptions::new(&deadline) };
        let bytes = within_bytes(&TEN, &picture, &options, bytes_max).expect("quality 1 fits").len() as u64;
        assert!(bytes <= bytes_max && bytes + 10 >= bytes_max, "{bytes} of {bytes_max}");
        TRIED.with_borrow(Vec::len)
    }

    #[test]
    fn what_the_lowest_quality_exceeds_is_refused_with_what_was_reached() {
        let refused = |max| Err(Error::Limit { name: "max_bytes", value: 10, max });
        assert_eq!(check(Some(100), 9, refused(9)), [100, 50, 25, 12, 6, 3, 1]);
        assert_eq!(check(Some(1), 9, refused(9)), [1]);
        assert_eq!(check(Some(2), 9, refused(9)), [2, 1]);
    }

    #[test]
    fn a_cancelled_search_ends() {
        let raised = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let deadline = Deadline::new(std::time::Instant::now() + std::time::Duration::from_secs(3600), raised);
        let picture = Picture::still(Raster::new(Size::new(1, 1), Channels::Gray, Samples::U8(vec![0])));
        assert_eq!(within_bytes(&TEN, &picture, &EncodeOptions::new(&deadline), 5), Err(Error::Cancelled));
    }
}
