//! Files that end early or are a little damaged: what is whole is shown, what is missing is refused, or shown with
//! `tolerant`.

mod gif;
mod jpeg;
mod png;
mod webp;

use super::{decode, decode_tolerantly, fixtures};
use progimage::pipeline::{Error, Missing};

/// Every cut and a spread of flipped bits: whatever is shown has the size of the whole, and says that it lacks something
/// unless strict reading shows it, too.
#[test]
fn what_is_tolerated_is_bounded_and_says_so() {
    for (name, bytes) in fixtures(&["jpg", "png", "webp", "gif"]) {
        let whole = decode(&bytes).expect("valid");
        let cuts = (0..bytes.len()).step_by((bytes.len() / 30).max(1)).map(|cut| bytes[..cut].to_vec());
        let flip = |at: usize| {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            flipped
        };
        let flips = (0..bytes.len()).step_by((bytes.len() / 40).max(1)).map(flip);
        for (number, damaged) in cuts.chain(flips).enumerate() {
            let (strict, tolerant) = (decode(&damaged), decode_tolerantly(&damaged));
            match (&strict, &tolerant) {
                (Ok(strict), Ok(tolerant)) if strict.missing.is_none() => {
                    assert!(strict == tolerant, "{name} {number}")
                }
                (Ok(strict), Ok(tolerant)) => {
                    assert!(
                        tolerant.missing.is_some() && tolerant.frames.len() >= strict.frames.len(),
                        "{name} {number}"
                    );
                }
                (Ok(_), Err(error)) => panic!("{name} {number}: {error}"),
                (Err(_), Ok(tolerant)) => {
                    assert_eq!(tolerant.missing, Some(Missing::Pixels), "{name} {number}");
                    assert!(tolerant.frames.len() <= whole.frames.len().max(9), "{name} {number}");
                }
                (_, Err(error)) => {
                    let earned = matches!(
                        error,
                        Error::Corrupt { .. } | Error::Unsupported { .. } | Error::Limit { .. } | Error::UnknownFormat
                    );
                    assert!(earned, "{name} {number}: {error:?}");
                }
            }
        }
    }
}
