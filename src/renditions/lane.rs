//! [`Lane`]: the threads and the memory of one kind of work. Single requests and bulk work have one each.
//!
//! Bulk has threads of its own and not a lower place in one queue, because we cannot interrupt a render. If all threads
//! rendered for bulk, the most urgent request would wait for one of them to end. The system can interrupt threads: those
//! of the bulk lane give way to all others ([`Rank::Idle`], unless [`Options::bulk_idle`] is off). They hold no lock that a
//! request waits for (permits are given back elsewhere), since a thread may get no processor for long.

mod clock;
mod queue;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::admission::{Budget, Permit};
use super::isolate::Workers;
use super::pool::{Pool, Rank};
use super::render::Renderer;
use super::{Error, Options};
use crate::pipeline::{self, Limits};

pub use clock::Clock;
pub use queue::Queue;

/// Admitted renders per thread: while one runs, the next one's source is read.
const PLACES_PER_THREAD: usize = 2;

/// Blobs that are read for their header at once, in number and in sizes of the largest blob. They have a budget of their
/// own, so that metadata does not wait for renders.
const HEADER_READS_MAX: usize = 64;
const HEADER_READ_BLOBS_MAX: u64 = 2;

/// Threads, and what may be held on their behalf.
pub struct Lane {
    /// Where it renders.
    pub pool: Pool<Renderer>,
    /// What one render may take.
    pub limits: Arc<Limits>,
    /// Admission of renders, and the right to hold their results.
    pub memory: Arc<Budget>,
    /// Admission of reads for a header alone.
    pub reads: Arc<Budget>,
    /// Outputs that were rendered, well or not.
    pub renders: AtomicU64,
    /// Outputs whose render panicked.
    pub panics: AtomicU64,
    render_timeout: Duration,
    /// How long single work may wait. `None`: bulk work, which waits until there is room or the caller leaves. Its caller
    /// bounds how much it brings, and waiting holds that back.
    queue_timeout: Option<Duration>,
}

impl Lane {
    /// For requests whose client waits.
    pub fn single(options: &Options, limits: &Limits, workers: Option<&Arc<Workers>>) -> Lane {
        let threads = options.render_threads.max(1);
        let (bytes_max, cache_bytes_max) = (options.render_memory_bytes_max, options.cache_bytes_max);
        let pool = Pool::new("render", threads, Rank::Render, || Renderer::new(workers));
        let memory = Budget::with_cache(bytes_max, cache_bytes_max, threads * PLACES_PER_THREAD, options.queue_max);
        let queue_timeout = Some(Duration::from_millis(options.queue_timeout_ms));
        Lane::new(pool, memory, options.queue_max, queue_timeout, limits.clone(), options)
    }

    /// For work of which there is always more.
    pub fn bulk(options: &Options, limits: &Limits, workers: Option<&Arc<Workers>>) -> Lane {
        let (threads, bytes_max) = (options.bulk_threads.max(1), options.bulk_memory_bytes_max);
        let rank = if options.bulk_idle { Rank::Idle } else { Rank::Render };
        let pool = Pool::new("bulk", threads, rank, || Renderer::new(workers));
        let memory = Budget::with_cache(bytes_max, 0, threads * PLACES_PER_THREAD, usize::MAX);
        // A render whose size is left to the pixels is planned to hold all that it may: it must fit into the lane.
        let limits = Limits { memory_bytes_max: limits.memory_bytes_max.min(bytes_max), ..limits.clone() };
        Lane::new(pool, memory, usize::MAX, None, limits, options)
    }

    fn new(
        pool: Pool<Renderer>,
        memory: Arc<Budget>,
        queue_max: usize,
        queue_timeout: Option<Duration>,
        limits: Limits,
        options: &Options,
    ) -> Lane {
        Lane {
            pool,
            memory,
            reads: Budget::new(limits.bytes_max * HEADER_READ_BLOBS_MAX, HEADER_READS_MAX, queue_max),
            limits: Arc::new(limits),
            renders: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            render_timeout: Duration::from_millis(options.render_timeout_ms),
            queue_timeout,
        }
    }

    /// The time of a render that begins now.
    pub fn clock(&self, cancelled: Arc<AtomicBool>) -> Clock {
        let end = self.queue_timeout.map(|_| Instant::now() + self.render_timeout);
        Clock { end, timeout: self.render_timeout, cancelled }
    }

    /// A place in its queues, for one render.
    pub fn queue(&self) -> Queue<'_> {
        let end = self.queue_timeout.map(|timeout| tokio::time::Instant::now() + timeout);
        Queue { lane: self, end, waited: Duration::ZERO }
    }

    /// The right to hold `bytes` that exist already, in memory or in a file: at once if they are free, even while others
    /// wait for a thread.
    pub async fn acquire(&self, bytes: u64) -> Result<Permit, Error> {
        match self.memory.try_acquire(bytes) {
            Some(permit) => Ok(permit),
            None => self.queue().acquire(bytes).await.map(|mut permit| permit.split(bytes)),
        }
    }

    /// A permit to read a blob of this length for its header. A blob above the limit (stored under a higher one) is read
    /// alone.
    pub async fn acquire_header(&self, len: u64) -> Result<Permit, Error> {
        let bytes = len.min(self.reads.bytes_max());
        self.queue().acquire_of(&self.reads, bytes).await
    }

    /// Counts the results of a render. A cancelled one has no caller that would be answered.
    pub fn count<T>(&self, outputs: &[Result<T, Error>]) {
        let cancelled = |output: &&Result<T, Error>| matches!(output, Err(Error::Pipeline(pipeline::Error::Cancelled)));
        let panicked = outputs.iter().filter(|output| matches!(output, Err(Error::Panicked))).count();
        let answered = outputs.len() - outputs.iter().filter(cancelled).count();
        self.renders.fetch_add(answered as u64, Ordering::Relaxed);
        self.panics.fetch_add(panicked as u64, Ordering::Relaxed);
    }

    /// The error of a render that no thread has taken in time, which is counted.
    pub fn late(&self) -> Error {
        self.memory.count_refusal();
        Error::Busy { retry_after_s: self.retry_after_s() }
    }

    /// By then everything that waits now was served or dropped.
    fn retry_after_s(&self) -> u32 {
        let seconds = self.queue_timeout.unwrap_or_default().as_millis().div_ceil(1000);
        u32::try_from(seconds.max(1)).unwrap_or(u32::MAX)
    }
}
