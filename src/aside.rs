//! [`aside`]: what takes a while, off the threads of the runtime. Knows nothing else.

/// What takes longer than so many bytes do is not for the runtime's threads: without special instructions SHA-256 takes about a
/// millisecond for these.
pub const INLINE_BYTES_MAX: usize = 256 << 10;

/// What `work` over so many bytes comes to, on another thread where it takes a while. `None`: there it panicked, or the runtime is
/// stopping.
pub async fn aside<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
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
        let there = |bytes| aside(bytes, || std::thread::current().id());
        assert_eq!(there(INLINE_BYTES_MAX).await, Some(here));
        assert!(there(INLINE_BYTES_MAX + 1).await.is_some_and(|there| there != here));
    }
}
