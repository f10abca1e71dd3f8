//! [`aside`]: what takes a while, off the threads of the runtime.

use super::error::Error;
use crate::items::INLINE_BYTES_MAX;

/// What `work` over so many bytes comes to: off the runtime's threads, where it takes a while.
pub(super) async fn aside<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    if bytes <= INLINE_BYTES_MAX {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Panicked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_takes_long_is_done_on_other_threads() {
        let here = std::thread::current().id();
        let there = |bytes| aside(bytes, || std::thread::current().id());
        assert_eq!(there(INLINE_BYTES_MAX).await, Ok(here));
        assert!(there(INLINE_BYTES_MAX + 1).await.is_ok_and(|there| there != here));
    }
}
