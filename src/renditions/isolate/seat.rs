//! [`Apart`]: a thread that renders in its worker, and [`Session`]: the steps of one batch there.

use std::cell::OnceCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::memory::{self, Kept};
use super::process::{Ended, NotStarted, Wait, Worker, WorkerCommand, is_from_outside};
use super::strikes::Strikes;
use super::wire::{Reply, Request, Task};
use crate::digest::Digest;
use crate::pipeline::{self, Output, Pipeline, TimeLimit};
use crate::renditions::Error;
use crate::renditions::lane::Clock;
use crate::renditions::pool::Tools;
use crate::renditions::render::{Steps, Work};

/// Memory that a worker may keep between two batches, in RAM and in address space. One that keeps more is replaced.
const RESIDENT_KEPT_MAX: u64 = 64 << 20;
const SPACE_KEPT_MAX: u64 = 512 << 20;
/// Address space of a batch in addition to its plan: stacks, tables, and what allocators take at a time.
const SPACE_EXTRA: u64 = 128 << 20;
/// Times its planned memory that a batch may take of the address space: allocators round up, and keep what was freed.
const SPACE_FACTOR: u64 = 2;
/// Bytes of a result in addition to its plan and its images: color profiles, and what a container has of its own.
const RESULT_EXTRA: u64 = 1 << 20;
/// Seconds after which to try again when no worker can be started.
const RETRY_AFTER_S: u32 = 1;

/// What all threads with a worker share.
pub struct Workers {
    command: WorkerCommand,
    strikes: Strikes,
    deaths: AtomicU64,
}

impl Workers {
    /// Workers that `command` starts.
    pub fn new(command: WorkerCommand) -> Arc<Workers> {
        Arc::new(Workers { command, strikes: Strikes::default(), deaths: AtomicU64::new(0) })
    }

    /// Workers that died or were killed during a step.
    pub fn deaths(&self) -> u64 {
        self.deaths.load(Ordering::Relaxed)
    }
}

/// The worker of a thread. It is replaced when it ends.
pub struct Apart {
    workers: Arc<Workers>,
    /// The worker, and the address space that it had before its batch.
    worker: Option<(Worker, u64)>,
    /// Memory for the images of its batches. `None` where the system cannot seal it.
    kept: Option<Kept>,
}

impl Apart {
    /// A place without a worker yet.
    pub fn new(workers: Arc<Workers>) -> Apart {
        Apart { workers, worker: None, kept: Kept::new().ok() }
    }

    /// The steps of `work`, within the time of `clock`.
    pub fn session<'a>(&'a mut self, work: &'a Work, clock: &'a Clock) -> Session<'a> {
        Session { apart: self, work, clock, images: None, is_open: false, decoded: None, source: OnceCell::new() }
    }

    /// The process of the worker.
    #[cfg(test)]
    pub fn process_id(&self) -> Option<u32> {
        self.worker.as_ref().map(|(worker, _)| worker.id())
    }

    /// Shared memory with these images. The worker has none of the last ones: it has closed their batch, or was ended.
    fn shared<'a>(&mut self, images: impl Iterator<Item = &'a Bytes> + Clone) -> io::Result<OwnedFd> {
        let len = images.clone().map(Bytes::len).sum();
        match &mut self.kept {
            Some(kept) if Kept::fits(len) => kept.hold(images),
            _ => memory::sealed(images),
        }
    }

    /// The worker, which is started within `wait` if there is none.
    fn started(&mut self, wait: &Wait) -> Result<&mut (Worker, u64), Error> {
        if self.worker.is_none() {
            let worker = Worker::start(&self.workers.command, wait).map_err(|error| match error {
                NotStarted::Ended(Ended::Cancelled) => Error::from(pipeline::Error::Cancelled),
                error => {
                    tracing::error!(?error, "no render worker can be started");
                    Error::Busy { retry_after_s: RETRY_AFTER_S }
                }
            })?;
            let space = worker.at_start.space;
            self.worker = Some((worker, space));
        }
        self.worker.as_mut().ok_or(Error::Panicked)
    }
}

impl Tools for Apart {
    /// Frees the last batch, replaces a worker that keeps much memory, and starts one that is missing: no caller waits meanwhile.
    fn tidy(&mut self) {
        if let Some((worker, space)) = &mut self.worker {
            match worker.close().ok().and_then(|()| worker.memory().ok()) {
                Some(now)
                    if now.resident <= worker.at_start.resident + RESIDENT_KEPT_MAX
                        && now.space <= worker.at_start.space + SPACE_KEPT_MAX =>
                {
                    *space = now.space;
                }
                _ => self.worker = None,
            }
        }
        _ = self.started(&Wait::for_start());
    }
}

/// The steps of one batch. A worker that dies is replaced, and its step is taken once more: what was rendered before may
/// have left it damaged, or another process has killed it. Not more often, since the system may have killed it for memory
/// that the image takes.
pub struct Session<'a> {
    apart: &'a mut Apart,
    work: &'a Work,
    clock: &'a Clock,
    /// The images in shared memory.
    images: Option<OwnedFd>,
    /// Whether the present worker has the batch.
    is_open: bool,
    /// The group that the present worker has decoded.
    decoded: Option<usize>,
    /// The digest of the source, once it is asked for.
    source: OnceCell<Digest>,
}

/// What a step gave: nothing for a decode, or the output. The outer error says that the worker has ended.
type Taken = Result<Result<Option<Output>, Error>, Ended>;

impl Steps for Session<'_> {
    fn decode(&mut self, group: usize) -> Result<(), Error> {
        self.step(group, None).map(drop)
    }

    fn finish(&mut self, group: usize, member: usize) -> Result<Output, Error> {
        self.step(group, Some(member))?.ok_or(Error::Panicked)
    }
}

impl Session<'_> {
    fn step(&mut self, group: usize, member: Option<usize>) -> Result<Option<Output>, Error> {
        self.clock.deadline().check()?;
        self.refused(group, member)?;
        let mut has_died = false;
        loop {
            let ended = match self.take(group, member) {
                Ok(taken) => return taken,
                Err(ended) => ended,
            };
            let status = self.apart.worker.take().map(|(worker, _)| worker.end()).transpose().ok().flatten();
            (self.is_open, self.decoded) = (false, None);
            self.apart.workers.deaths.fetch_add(1, Ordering::Relaxed);
            let is_killed = ended == Ended::Died && status.is_some_and(is_from_outside);
            let status = status.map(|status| status.to_string()).unwrap_or_default();
            match ended {
                Ended::Cancelled => return Err(pipeline::Error::Cancelled.into()),
                Ended::Late => return Err(self.blamed(group, member, &status, pipeline::Error::Timeout.into())),
                Ended::Died | Ended::Astray if !has_died => has_died = true,
                Ended::Died | Ended::Astray if is_killed => return Err(self.killed(&status)),
                Ended::Died | Ended::Astray => return Err(self.blamed(group, member, &status, Error::Panicked)),
            }
            tracing::warn!(source = %self.source(), %status, "a render worker died; its step is taken once more");
        }
    }

    /// Takes the step in a worker that has the batch and, for an output, its group.
    fn take(&mut self, group: usize, member: Option<usize>) -> Taken {
        if !self.is_open
            && let Err(error) = self.open()?
        {
            return Ok(Err(error));
        }
        if self.decoded != Some(group) || member.is_none() {
            match self.ask(|limit| Request::Decode { group, limit })? {
                Ok(None) => self.decoded = Some(group),
                Ok(Some(_)) => return Err(Ended::Astray),
                failed => return Ok(failed),
            }
        }
        let Some(member) = member else { return Ok(Ok(None)) };
        match self.ask(|limit| Request::Finish { member, limit })? {
            Ok(None) => Err(Ended::Astray),
            other => Ok(other),
        }
    }

    /// Gives the worker the batch, and the address space for it.
    fn open(&mut self) -> Result<Result<(), Error>, Ended> {
        let wait = Wait::for_start_within(self.clock.limit(), self.clock.cancelled());
        if self.apart.worker.as_ref().is_some_and(|(worker, _)| !worker.is_silent()) {
            tracing::warn!("a render worker died or spoke without being asked; it is replaced");
            self.apart.worker = None;
        }
        if let Err(error) = self.apart.started(&wait) {
            return Ok(Err(error));
        }
        let Work { batch, source, images, limits, memory_bytes_max } = self.work;
        let mut task = Task::new(batch, limits, *memory_bytes_max);
        task.source_bytes = source.len();
        task.images = images.iter().map(|(id, bytes)| (*id, bytes.len())).collect();
        if self.images.is_none() {
            match self.apart.shared(std::iter::once(source).chain(images.values())) {
                Ok(sealed) => self.images = Some(sealed),
                Err(error) => {
                    tracing::error!(%error, "no memory for the images of a render");
                    return Ok(Err(Error::Busy { retry_after_s: RETRY_AFTER_S }));
                }
            }
        }
        let shared = task.images.iter().fold(task.source_bytes, |sum, (_, bytes)| sum + bytes) as u64;
        let (clock, bytes_max) = (self.clock, self.bytes_max());
        let (worker, space) = self.apart.worker.as_mut().ok_or(Ended::Died)?;
        if let Err(error) = worker.bound(*space + shared + bytes_max) {
            tracing::error!(%error, "the memory of a render worker cannot be bounded");
            return Ok(Err(Error::Busy { retry_after_s: RETRY_AFTER_S }));
        }
        worker.send(&Request::Open(Box::new(task)), self.images.as_ref().map(AsFd::as_fd), &wait_for(clock))?;
        self.is_open = true;
        Ok(Ok(()))
    }

    /// Bytes that the worker may allocate for this batch.
    fn bytes_max(&self) -> u64 {
        self.work.batch.memory_bytes().saturating_mul(SPACE_FACTOR).saturating_add(SPACE_EXTRA)
    }

    /// Bytes of the longest result: what the plan has room for, and what it may carry over from its images.
    fn result_bytes_max(&self) -> u64 {
        let Work { batch, source, images, .. } = self.work;
        let carried = images.values().fold(source.len(), |sum, image| sum + image.len()) as u64;
        batch.memory_bytes().saturating_add(carried).saturating_add(RESULT_EXTRA)
    }

    fn ask(&mut self, request: impl FnOnce(TimeLimit) -> Request) -> Taken {
        let (clock, bytes_max) = (self.clock, self.result_bytes_max());
        let (worker, _) = self.apart.worker.as_mut().ok_or(Ended::Died)?;
        let wait = wait_for(clock);
        worker.send(&request(wait.limit), None, &wait)?;
        match worker.reply(&wait)? {
            Reply::Decoded => Ok(Ok(None)),
            Reply::Finished { bytes, missing, decode, operations, encode } if bytes <= bytes_max => {
                let result = worker.result(bytes as usize, &wait)?;
                Ok(Ok(Some(Output { bytes: result.into(), missing, decode, operations, encode })))
            }
            Reply::Failed(error) => Ok(Err(error.into())),
            Reply::Panicked(message) => {
                tracing::error!(panic = message, "a codec or an operation panicked: this is our bug");
                Ok(Err(Error::Panicked))
            }
            Reply::Ready | Reply::Finished { .. } => Err(Ended::Astray),
        }
    }

    /// Logs that another process has ended workers. Images are not blamed: the system also kills for memory that others take.
    fn killed(&self, status: &str) -> Error {
        tracing::error!(source = %self.source(), status, "render workers were killed by another process or by the system");
        Error::Busy { retry_after_s: RETRY_AFTER_S }
    }

    /// Logs what has ended a worker, and remembers its images, unless a long step was at fault and not they.
    fn blamed(&self, group: usize, member: Option<usize>, status: &str, error: Error) -> Error {
        let pipeline = self.pipeline(group, member).map(ToString::to_string).unwrap_or_default();
        tracing::error!(source = %self.source(), pipeline, status, %error, "an image has ended render workers");
        if matches!(error, Error::Panicked) || member.is_none() {
            self.apart.workers.strikes.add(self.name(group, member), error.clone());
        }
        error
    }

    /// Refuses images that ended workers before.
    fn refused(&self, group: usize, member: Option<usize>) -> Result<(), Error> {
        if self.apart.workers.strikes.are_none() {
            return Ok(());
        }
        self.apart.workers.strikes.refused(&self.name(group, member)).map_or(Ok(()), Err)
    }

    /// The name of the images of a step: of the source in a decode, and of all images of an output. So no source is
    /// refused for what was laid over it.
    fn name(&self, group: usize, member: Option<usize>) -> Digest {
        let source = self.source();
        let images = member.and_then(|_| self.pipeline(group, member)).map(|pipeline| pipeline.images());
        match images {
            Some(images) if !images.is_empty() => {
                let mut hasher = blake3::Hasher::new_derive_key("progimage 1 images of an output");
                std::iter::once(&source).chain(&images).for_each(|image| _ = hasher.update(image.as_bytes()));
                Digest::from_bytes(*hasher.finalize().as_bytes())
            }
            _ => source,
        }
    }

    /// The digest of the source. A source may be large and have many outputs: it is hashed once.
    fn source(&self) -> Digest {
        *self.source.get_or_init(|| Digest::of(&self.work.source))
    }

    /// The pipeline of an output, or of the first of a group.
    fn pipeline(&self, group: usize, member: Option<usize>) -> Option<&Pipeline> {
        let member = self.work.batch.groups().get(group)?.members().get(member.unwrap_or_default())?;
        self.work.batch.pipelines().get(member.index)
    }
}

/// A wait for the next reply, within the time of `clock`.
fn wait_for(clock: &Clock) -> Wait<'_> {
    Wait::new(clock.limit(), clock.cancelled())
}
