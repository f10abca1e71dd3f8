//! [`Strikes`]: images that end workers. After three, they are refused for a while.

use std::time::Duration;

use moka::sync::Cache;

use super::super::Error;
use crate::digest::Digest;

/// Deaths after which an image is refused.
const DEATHS_MAX: u32 = 3;
/// How long a death is remembered after the last one.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Images that are remembered: some 100 KB.
const IMAGES_MAX: u64 = 1_024;

/// Deaths by image, or by the images that were rendered together.
pub struct Strikes(Cache<Digest, (u32, Error)>);

impl Default for Strikes {
    fn default() -> Strikes {
        Strikes(Cache::builder().max_capacity(IMAGES_MAX).time_to_live(REMEMBERED).build())
    }
}

impl Strikes {
    /// Whether there is none: the usual case, in which no image need be hashed.
    pub fn are_none(&self) -> bool {
        self.0.entry_count() == 0
    }

    /// Counts a death, for which `error` was answered.
    pub fn add(&self, image: Digest, error: Error) {
        let deaths = self.0.get(&image).map_or(0, |(deaths, _)| deaths) + 1;
        self.0.insert(image, (deaths, error));
        // The count of entries is exact after this alone.
        self.0.run_pending_tasks();
    }

    /// Why an image is refused.
    pub fn refused(&self, image: &Digest) -> Option<Error> {
        let (deaths, error) = self.0.get(image)?;
        (deaths >= DEATHS_MAX).then_some(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_death_is_the_last() {
        let (strikes, image) = (Strikes::default(), Digest::of(b"1"));
        assert!(strikes.are_none());
        for death in 1..=DEATHS_MAX {
            assert!(strikes.refused(&image).is_none(), "{death}");
            strikes.add(image, Error::Panicked);
        }
        assert!(matches!(strikes.refused(&image), Some(Error::Panicked)));
        assert!(strikes.refused(&Digest::of(b"2")).is_none() && !strikes.are_none());
    }

    #[test]
    fn no_more_images_are_remembered_than_there_is_room_for() {
        let strikes = Strikes::default();
        for number in 0..2 * IMAGES_MAX {
            strikes.add(Digest::of(&number.to_le_bytes()), Error::Panicked);
        }
        assert!(strikes.0.entry_count() <= IMAGES_MAX);
    }
}
