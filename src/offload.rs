//! [`run`]: runs long work on other threads than the runtime's. Knows nothing else.

/// The most bytes that are worked on in place. Without special instructions, SHA-256 takes about a millisecond for them.
pub const INLINE_BYTES_MAX: usize = 256 << 10;

/// Runs `work`, which goes over `bytes` bytes, and returns its result. More than [`INLINE_BYTES_MAX`] run on a blocking
/// thread. `None`: the work panicked there, or the runtime is stopping.
pub async fn run<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    if bytes <= INLINE_BYTES_MAX {
        return Some(work());
    }
    tokio::task::spawn_blocking(work).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_takes_long_is_done_on_other_threads() {
        let here = std::thread::current().id();
        let there = |bytes| run(bytes, || std::thread::current().id());
        assert_eq!(there(INLINE_BYTES_MAX).await, Some(here));
        assert!(there(INLINE_BYTES_MAX + 1).await.is_some_and(|there| there != here));
    }
}
