//! [`Queue`]: how a render waits for memory, and until when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::Error;
use super::super::admission::{Budget, Permit, Refused};
use super::Lane;
use crate::pipeline;

/// The least time in which a thread takes a render that was admitted.
const WAKING: Duration = Duration::from_secs(1);

/// The wait of one render, which may be in two parts.
pub struct Queue<'a> {
    pub(super) lane: &'a Lane,
    pub(super) end: Option<tokio::time::Instant>,
    pub(super) waited: Duration,
}

impl Queue<'_> {
    /// A permit for `bytes` of the memory of renders.
    ///
    /// In the bulk lane a render that asks for more than there is takes all of it and runs alone. The source and the results
    /// of a render are not part of `memory_bytes_max`, so a permitted render may exceed the lane.
    pub async fn acquire(&mut self, bytes: u64) -> Result<Permit, Error> {
        self.acquire_of(&self.lane.memory, bytes).await
    }

    pub(super) async fn acquire_of(&mut self, budget: &Arc<Budget>, bytes: u64) -> Result<Permit, Error> {
        let bytes = if self.end.is_some() { bytes } else { bytes.min(budget.bytes_max()) };
        let began = Instant::now();
        let permit = budget.acquire(bytes, self.end).await.map_err(|refused| match refused {
            Refused::TooLarge { bytes, bytes_max } => {
                pipeline::Error::Limit { name: "render_memory_bytes_max", value: bytes, max: bytes_max }.into()
            }
            Refused::Busy => Error::Busy { retry_after_s: self.lane.retry_after_s() },
        })?;
        self.waited += began.elapsed();
        Ok(permit)
    }

    /// When a thread must have taken what was admitted. The system may be slow to wake a thread that is free.
    pub fn end(&self) -> Option<tokio::time::Instant> {
        self.end.map(|end| end.max(tokio::time::Instant::now() + WAKING))
    }

    /// How long it took so far.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}
