//! [`Worker`]: one worker process, from its side of the server. It is killed when it is dropped.

use std::ffi::OsString;
use std::fs;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::wire::{self, LENGTH_BYTES, REPLY_BYTES_MAX, Reply, Request};
use crate::pipeline::TimeLimit;

/// How often a thread that waits for its worker looks whether it still should. A short render ends before.
const LOOK: Duration = Duration::from_millis(25);
/// How much later than at its deadline a worker is killed. It looks at its deadline itself wherever it can.
const GRACE: Duration = Duration::from_millis(250);
/// How long a worker may take to start.
const START: Duration = Duration::from_secs(60);

/// How to start a worker: this program with other arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerCommand {
    /// The arguments with which it calls [`super::serve`].
    pub args: Vec<OsString>,
    /// The environment, which is not inherited.
    pub environment: Vec<(OsString, OsString)>,
}

/// The file of this process: the same program, even after an upgrade has replaced it.
const PROGRAM: &str = "/proc/self/exe";

impl WorkerCommand {
    fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg0("progimage").args(&self.args).env_clear().envs(self.environment.iter().cloned());
        // What a codec prints says nothing to a user. The directory is not kept from being unmounted.
        command.stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
        command
    }

    /// Starts a worker, and ends it: whether this system can have workers.
    pub fn check(&self) -> io::Result<()> {
        Worker::start(self).map(drop)
    }
}

/// Why there is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The worker died, or speaks nonsense.
    Died,
    /// It has passed its deadline.
    Late,
    /// No caller waits for it any more.
    Cancelled,
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// The address space.
    pub space: u64,
    /// What is in RAM.
    pub resident: u64,
}

/// A worker process.
pub struct Worker {
    child: Child,
    socket: UnixStream,
    /// When it was ready first.
    pub at_start: Memory,
}

impl Worker {
    /// Starts a worker, which has the priority of this thread, and ends with it.
    pub fn start(command: &WorkerCommand) -> io::Result<Worker> {
        let (socket, theirs) = UnixStream::pair()?;
        socket.set_read_timeout(Some(LOOK))?;
        let child = command.command().stdin(OwnedFd::from(theirs)).spawn()?;
        let mut worker = Worker { child, socket, at_start: Memory::default() };
        match worker.reply(&Wait::new(TimeLimit::Elapsed(START), &AtomicBool::new(false), Duration::ZERO)) {
            Ok(Reply::Ready) => {
                worker.at_start = worker.memory()?;
                Ok(worker)
            }
            Ok(Reply::Panicked(reason)) => Err(io::Error::other(reason)),
            _ => Err(io::Error::other("a render worker did not start")),
        }
    }

    /// Bounds its address space to `bytes`.
    pub fn bound(&self, bytes: u64) -> io::Result<()> {
        // It cannot raise the bound: that system call is not among its own.
        let limit = Rlimit { current: Some(bytes), ..getrlimit(Resource::As) };
        Ok(prlimit(Some(Pid::from_child(&self.child)), Resource::As, limit).map(drop)?)
    }

    /// Sends a request with `memory`.
    pub fn send(&mut self, request: &Request, memory: Option<BorrowedFd>) -> Result<(), Ended> {
        self.write(request, memory).map_err(|_| Ended::Died)
    }

    fn write(&mut self, request: &Request, memory: Option<BorrowedFd>) -> io::Result<()> {
        let bytes = wire::written(request)?;
        let Some(memory) = memory else { return self.socket.write_all(&bytes) };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let rights = [memory];
        control.push(SendAncillaryMessage::ScmRights(&rights));
        let sent = sendmsg(self.socket.as_fd(), &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
        self.socket.write_all(&bytes[sent..])
    }

    /// Waits for a reply.
    pub fn reply(&mut self, wait: &Wait) -> Result<Reply, Ended> {
        let mut length = [0; LENGTH_BYTES];
        self.fill(&mut length, wait)?;
        // The rest of a reply is in the socket with its length, unless the worker is not itself.
        wire::read(Waiting { worker: self, wait }, length, REPLY_BYTES_MAX).map_err(|_| Ended::Died)
    }

    /// Waits for bytes until `buffer` is full.
    pub fn fill(&mut self, mut buffer: &mut [u8], wait: &Wait) -> Result<(), Ended> {
        while !buffer.is_empty() {
            match self.socket.read(buffer) {
                Ok(0) => return Err(Ended::Died),
                Ok(read) => buffer = &mut buffer[read..],
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    wait.check(self)?;
                }
                Err(_) => return Err(Ended::Died),
            }
        }
        Ok(())
    }

    /// Its memory now.
    pub fn memory(&self) -> io::Result<Memory> {
        let text = fs::read_to_string(format!("/proc/{}/statm", self.id()))?;
        let mut pages = text.split(' ').map_while(|number| number.parse::<u64>().ok());
        let mut bytes = || pages.next().map(|pages| pages * rustix::param::page_size() as u64);
        let memory = bytes().zip(bytes()).map(|(space, resident)| Memory { space, resident });
        memory.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The processor time that it has used. None of it if the system does not say.
    pub fn processor_time(&self) -> Duration {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        // Of what follows the name: utime and stime are the fields 14 and 15 of proc_pid_stat(5), the state is 3.
        let fields = text.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ');
        let ticks: u64 = fields.skip(14 - 3).take(2).filter_map(|number| number.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 1000 / clock_ticks_per_second().max(1))
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills the process, and says how it ended.
    pub fn end(mut self) -> String {
        match self.kill() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    fn kill(&mut self) -> io::Result<std::process::ExitStatus> {
        _ = self.child.kill();
        self.child.wait()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        _ = self.kill();
    }
}

/// How long a thread waits for its worker.
pub struct Wait<'a> {
    limit: TimeLimit,
    began: Instant,
    /// The processor time of the worker at the beginning.
    used: Duration,
    cancelled: &'a AtomicBool,
}

impl Wait<'_> {
    /// A wait that begins now. `used` is the processor time that the worker has used so far.
    pub fn new(limit: TimeLimit, cancelled: &AtomicBool, used: Duration) -> Wait<'_> {
        Wait { limit, began: Instant::now(), used, cancelled }
    }

    fn check(&self, worker: &Worker) -> Result<(), Ended> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Ended::Cancelled);
        }
        let (TimeLimit::Elapsed(time) | TimeLimit::OfThread(time)) = self.limit;
        let most = time + GRACE;
        let late = match self.limit {
            TimeLimit::Elapsed(_) => self.began.elapsed() >= most,
            // Processor time is never more than elapsed time, which is cheap to ask for.
            TimeLimit::OfThread(_) => {
                self.began.elapsed() >= most && worker.processor_time().saturating_sub(self.used) >= most
            }
        };
        if late { Err(Ended::Late) } else { Ok(()) }
    }
}

/// A worker's bytes as they come, for as long as the wait allows.
struct Waiting<'a> {
    worker: &'a mut Worker,
    wait: &'a Wait<'a>,
}

impl Read for Waiting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.worker.fill(buffer, self.wait).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(buffer.len())
    }
}
