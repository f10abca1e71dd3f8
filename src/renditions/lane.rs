//! [`Lane`]: the threads and the memory of one kind of work. Single requests and bulk work have one each.
//!
//! Bulk has threads of its own rather than a lower place in one queue, because a render cannot be interrupted by us: where all
//! threads render for bulk, the most urgent request would wait for one of them to end. Threads can be interrupted by the system,
//! and those of the bulk lane give way to every other ([`Rank::Idle`], unless [`Options::bulk_idle`] is off). They hold no lock that a request waits for (permits are
//! given back elsewhere), or a request might wait for a thread that gets no processor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::admission::{Budget, Permit, Refused};
use super::pool::{Pool, Rank};
use super::{Error, Options};
use crate::pipeline::{self, Deadline, Limits};

/// Admitted renders per thread: while one runs, the next one's source is read.
const PLACES_PER_THREAD: usize = 2;

/// Blobs that are read for their header at once, in number and in sizes of the largest blob: metadata does not wait behind
/// renders, so it has a budget of its own.
const HEADER_READS_MAX: usize = 64;
const HEADER_READ_BLOBS_MAX: u64 = 2;

/// Threads, and what may be held on their behalf.
pub struct Lane {
    /// Where it renders.
    pub pool: Pool,
    /// What one render may take.
    pub limits: Arc<Limits>,
    /// Admission of renders, and the right to hold their results.
    pub memory: Arc<Budget>,
    /// Admission of reads for a header alone.
    pub reads: Arc<Budget>,
    /// How the time of a render is counted.
    pub clock: Clock,
    patience: Patience,
    renders: AtomicU64,
    panics: AtomicU64,
}

/// How the time of a render is counted.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// As it passes, for the whole render.
    Wall(Duration),
    /// While its thread has a processor, for the decode and for each output: a thread of the bulk lane may wait long for one.
    Thread(Duration),
}

impl Clock {
    /// The deadlines of a render that begins now, on this thread. Each is for the next part of it.
    pub fn start(self, cancelled: Arc<AtomicBool>) -> impl Fn() -> Deadline {
        let started = Instant::now();
        move || match self {
            Clock::Wall(time) => Deadline::new(started + time, cancelled.clone()),
            Clock::Thread(time) => Deadline::of_thread(time, cancelled.clone()),
        }
    }
}

/// How long its work may wait.
#[derive(Clone, Copy, Debug)]
enum Patience {
    /// In a queue that is bounded by number and time.
    QueueTimeout(Duration),
    /// Until there is room, or the caller leaves: the caller bounds how much work it brings, and waiting holds that back.
    Endless,
}

impl Lane {
    /// For requests that somebody waits for.
    pub fn single(options: &Options, limits: &Limits) -> Lane {
        let threads = options.render_threads.max(1);
        let (bytes_max, cache_bytes_max) = (options.render_memory_bytes_max, options.cache_bytes_max);
        Lane {
            pool: Pool::new("render", threads, Rank::Render),
            memory: Budget::with_cache(bytes_max, cache_bytes_max, threads * PLACES_PER_THREAD, options.queue_max),
            reads: Budget::new(limits.bytes_max * HEADER_READ_BLOBS_MAX, HEADER_READS_MAX, options.queue_max),
            limits: Arc::new(limits.clone()),
            clock: Clock::Wall(Duration::from_millis(options.render_timeout_ms)),
            patience: Patience::QueueTimeout(Duration::from_millis(options.queue_timeout_ms)),
            renders: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        }
    }

    /// For work of which there is always more.
    pub fn bulk(options: &Options, limits: &Limits) -> Lane {
        let (threads, bytes_max) = (options.bulk_threads.max(1), options.bulk_memory_bytes_max);
        let rank = if options.bulk_idle { Rank::Idle } else { Rank::Render };
        // A render whose size is left to the pixels is planned to hold all that it may: it must fit into the lane.
        let memory_bytes_max = limits.memory_bytes_max.min(bytes_max);
        Lane {
            pool: Pool::new("bulk", threads, rank),
            memory: Budget::new(bytes_max, threads * PLACES_PER_THREAD, usize::MAX),
            reads: Budget::new(limits.bytes_max * HEADER_READ_BLOBS_MAX, HEADER_READS_MAX, usize::MAX),
            limits: Arc::new(Limits { memory_bytes_max, ..limits.clone() }),
            clock: Clock::Thread(Duration::from_millis(options.render_timeout_ms)),
            patience: Patience::Endless,
            renders: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        }
    }

    /// A place in its queues, for one render.
    pub fn queue(&self) -> Queue<'_> {
        let end = match self.patience {
            Patience::QueueTimeout(timeout) => Some(tokio::time::Instant::now() + timeout),
            Patience::Endless => None,
        };
        Queue { lane: self, end, waited: Duration::ZERO }
    }

    /// The right to hold `bytes` that are there already, or in a file: at once where they are free, also while others wait for a thread.
    pub async fn acquire(&self, bytes: u64) -> Result<Permit, Error> {
        match self.memory.try_acquire(bytes) {
            Some(permit) => Ok(permit),
            None => self.queue().acquire(bytes).await.map(|mut permit| permit.split(bytes)),
        }
    }

    /// A permit to read a blob of this length for its header. One above the limit (it was stored under a higher one) is read
    /// alone.
    pub async fn acquire_header(&self, len: u64) -> Result<Permit, Error> {
        let bytes = len.min(self.reads.bytes_max());
        self.queue().acquire_of(&self.reads, bytes).await
    }

    /// Notes what a render came to.
    pub fn count<T>(&self, outputs: &[Result<T, Error>]) {
        let panicked = outputs.iter().filter(|output| matches!(output, Err(Error::Panicked))).count();
        self.renders.fetch_add(outputs.len() as u64, Ordering::Relaxed);
        self.panics.fetch_add(panicked as u64, Ordering::Relaxed);
    }

    /// Outputs that were rendered, well or not.
    pub fn renders(&self) -> u64 {
        self.renders.load(Ordering::Relaxed)
    }

    /// Outputs whose render panicked.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// By then everything that waits now was served or dropped.
    fn retry_after_s(&self) -> u32 {
        let seconds = match self.patience {
            Patience::QueueTimeout(timeout) => timeout.as_millis().div_ceil(1000),
            Patience::Endless => 0,
        };
        u32::try_from(seconds.max(1)).unwrap_or(u32::MAX)
    }
}

/// The wait of one render, which may be in two parts.
pub struct Queue<'a> {
    lane: &'a Lane,
    end: Option<tokio::time::Instant>,
    waited: Duration,
}

impl Queue<'_> {
    /// A permit for `bytes` of the memory of renders.
    ///
    /// In the bulk lane one that asks for more than there is takes all of it and runs alone: the source and the results of a
    /// render that may hold `memory_bytes_max` come on top of it.
    pub async fn acquire(&mut self, bytes: u64) -> Result<Permit, Error> {
        self.acquire_of(&self.lane.memory, bytes).await
    }

    async fn acquire_of(&mut self, budget: &Arc<Budget>, bytes: u64) -> Result<Permit, Error> {
        let bytes = match self.lane.patience {
            Patience::QueueTimeout(_) => bytes,
            Patience::Endless => bytes.min(budget.bytes_max()),
        };
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

    /// How long it took so far.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}
