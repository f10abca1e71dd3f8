//! [`Worker`]: one worker process, from its side of the server. It is killed when it is dropped.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libc::c_int;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, sendmsg};
use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::wire::{self, LENGTH_BYTES, NamesLeft, REPLY_BYTES_MAX, Reply, Request};
use crate::pipeline::TimeLimit;

/// How often a thread that waits for its worker looks whether it still should. A short render ends before.
const LOOK: Duration = Duration::from_millis(25);
/// How much later than at its deadline a worker is killed. It looks at its deadline itself wherever it can.
const GRACE: Duration = Duration::from_millis(250);
/// How long a worker may take to start.
const START: Duration = Duration::from_secs(60);
/// How long a worker may take to free a batch. It is not elapsed time, since an idle one may get no processor for long.
const CLOSE: TimeLimit = TimeLimit::OfThread(Duration::from_secs(1));

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
        Worker::start(self, &Wait::for_start()).map(drop).map_err(|not_started| match not_started {
            NotStarted::Failed(error) => error,
            NotStarted::Ended(_) => io::Error::other("a render worker did not start"),
        })
    }
}

/// Why there is no new worker.
#[derive(Debug)]
pub enum NotStarted {
    /// The system or the worker says why.
    Failed(io::Error),
    /// It ended, or the wait for it.
    Ended(Ended),
}

impl From<io::Error> for NotStarted {
    fn from(error: io::Error) -> NotStarted {
        NotStarted::Failed(error)
    }
}

/// Why there is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its end of the socket is closed: the process has ended.
    Died,
    /// It lives, and speaks nonsense.
    Astray,
    /// It has passed its deadline.
    Late,
    /// No caller waits for it any more.
    Cancelled,
}

/// Signals that a process brings on itself: by what it does with memory, numbers, instructions and system calls.
const OWN_SIGNALS: &[c_int] =
    &[libc::SIGABRT, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGSEGV, libc::SIGSYS, libc::SIGTRAP];

/// Whether a process that ended by itself was killed by another one: an operator, or the system when memory was short.
pub fn is_from_outside(status: ExitStatus) -> bool {
    status.signal().is_some_and(|signal| !OWN_SIGNALS.contains(&signal))
}

/// Room for the first numbers of proc_pid_statm(5).
const STATM_BYTES: usize = 64;

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
    /// What the system says about its memory. Opening it for each batch costs more than reading it.
    statm: File,
    /// Names that it may still bring.
    names: NamesLeft,
    /// When it was ready first.
    pub at_start: Memory,
}

impl Worker {
    /// Starts a worker, which has the priority of this thread, and ends with it.
    pub fn start(command: &WorkerCommand, wait: &Wait) -> Result<Worker, NotStarted> {
        let (socket, theirs) = UnixStream::pair()?;
        let child = command.command().stdin(OwnedFd::from(theirs)).spawn()?;
        let mut worker = Worker::of(child, socket)?;
        match worker.reply(wait) {
            Ok(Reply::Ready) => {
                worker.at_start = worker.memory()?;
                Ok(worker)
            }
            Ok(Reply::Panicked(reason)) => Err(io::Error::other(reason).into()),
            Ok(_) => Err(NotStarted::Ended(Ended::Astray)),
            Err(ended) => Err(NotStarted::Ended(ended)),
        }
    }

    fn of(mut child: Child, socket: UnixStream) -> io::Result<Worker> {
        let statm = File::open(format!("/proc/{}/statm", child.id()));
        let statm = statm.inspect_err(|_| _ = (child.kill(), child.wait()))?;
        let worker = Worker { child, socket, statm, names: NamesLeft::default(), at_start: Memory::default() };
        worker.socket.set_read_timeout(Some(LOOK))?;
        worker.socket.set_write_timeout(Some(LOOK))?;
        Ok(worker)
    }

    /// Bounds its address space to `bytes`, or to what the system allows this process.
    pub fn bound(&self, bytes: u64) -> io::Result<()> {
        // It cannot raise the bound: that system call is not among its own.
        let allowed = getrlimit(Resource::As);
        let bytes = allowed.maximum.map_or(bytes, |most| bytes.min(most));
        let limit = Rlimit { current: Some(bytes), ..allowed };
        Ok(prlimit(Some(Pid::from_child(&self.child)), Resource::As, limit).map(drop)?)
    }

    /// Takes its batch away, and with it the memory of the images and of the pixels.
    pub fn close(&mut self) -> Result<(), Ended> {
        let wait = Wait::new(CLOSE, &NEVER);
        self.send(&Request::Close, None, &wait)?;
        match self.reply(&wait)? {
            Reply::Ready => Ok(()),
            _ => Err(Ended::Astray),
        }
    }

    /// Whether it lives, and says nothing. Before a batch a worker that was not asked has nothing to say: its bytes
    /// would be taken for the reply to the next request, which is about another image.
    pub fn is_silent(&self) -> bool {
        let peeked = recv(&self.socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        matches!(peeked, Err(Errno::AGAIN))
    }

    /// Sends a request with `memory`.
    pub fn send(&mut self, request: &Request, memory: Option<BorrowedFd>, wait: &Wait) -> Result<(), Ended> {
        let bytes = wire::written(request).map_err(|_| Ended::Astray)?;
        self.write(&bytes, memory, wait)
    }

    /// Sends bytes, for as long as the wait allows: a worker that is not itself may take none.
    fn write(&self, mut bytes: &[u8], mut memory: Option<BorrowedFd>, wait: &Wait) -> Result<(), Ended> {
        loop {
            match self.write_some(bytes, memory) {
                Ok(sent) => (bytes, memory) = (&bytes[sent..], None),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return Err(Ended::Died),
            }
            if bytes.is_empty() {
                return Ok(());
            }
            wait.check(self)?;
        }
    }

    fn write_some(&self, bytes: &[u8], memory: Option<BorrowedFd>) -> rustix::io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let rights = memory.as_slice();
        if memory.is_some() {
            control.push(SendAncillaryMessage::ScmRights(rights));
        }
        sendmsg(self.socket.as_fd(), &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
    }

    /// Waits for a reply.
    pub fn reply(&mut self, wait: &Wait) -> Result<Reply, Ended> {
        let mut length = [0; LENGTH_BYTES];
        self.fill(&mut length, wait)?;
        let mut names = self.names;
        // The rest of a reply is in the socket with its length, unless the worker is not itself.
        let mut body = Waiting { worker: self, wait, ended: Ended::Astray };
        let read = names.within(|| wire::read(&mut body, length, REPLY_BYTES_MAX));
        let ended = body.ended;
        self.names = names;
        read.map_err(|_| ended)
    }

    /// Waits for bytes until `buffer` is full.
    pub fn fill(&self, mut buffer: &mut [u8], wait: &Wait) -> Result<(), Ended> {
        while !buffer.is_empty() {
            match (&self.socket).read(buffer) {
                Ok(0) => return Err(Ended::Died),
                Ok(read) if read == buffer.len() => return Ok(()),
                Ok(read) => buffer = &mut buffer[read..],
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(_) => return Err(Ended::Died),
            }
            wait.check(self)?;
        }
        Ok(())
    }

    /// Waits for a result of `len` bytes.
    pub fn result(&self, len: usize, wait: &Wait) -> Result<Vec<u8>, Ended> {
        let mut result = Vec::with_capacity(len);
        while result.len() < len {
            match recv(&self.socket, spare_capacity(&mut result), RecvFlags::empty()) {
                Ok((0, _)) => return Err(Ended::Died),
                Ok(_) if result.len() == len => break,
                Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return Err(Ended::Died),
            }
            wait.check(self)?;
        }
        // More can come where the allocator gave more room than was asked for.
        if result.len() == len { Ok(result) } else { Err(Ended::Astray) }
    }

    /// Its memory now.
    pub fn memory(&self) -> io::Result<Memory> {
        let mut text = [0; STATM_BYTES];
        let read = self.statm.read_at(&mut text, 0)?;
        let text = str::from_utf8(&text[..read]).unwrap_or_default();
        let mut pages = text.split(' ').map_while(|number| number.parse::<u64>().ok());
        let mut bytes = || pages.next().map(|pages| pages * rustix::param::page_size() as u64);
        let memory = bytes().zip(bytes()).map(|(space, resident)| Memory { space, resident });
        memory.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Whether it sleeps or was stopped, and the processor time that it has used: none of it if the system does not say.
    fn activity(&self) -> (bool, Duration) {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        // Of what follows the name: utime and stime are the fields 14 and 15 of proc_pid_stat(5), the state is 3.
        let fields = text.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let numbers = fields.split(' ').skip(14 - 3).take(2);
        let ticks: u64 = numbers.filter_map(|number| number.parse::<u64>().ok()).sum();
        let used = Duration::from_millis(ticks * 1000 / clock_ticks_per_second().max(1));
        (fields.starts_with(['S', 'T', 't']), used)
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills the process, and says how it ended. One that has closed its socket is ending already, with a status that a kill
    /// does not change.
    pub fn end(mut self) -> io::Result<ExitStatus> {
        self.kill()
    }

    fn kill(&mut self) -> io::Result<ExitStatus> {
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
    /// The limit from its beginning.
    pub limit: TimeLimit,
    began: Instant,
    cancelled: &'a AtomicBool,
    /// The processor time of the worker at the first look. Most steps end before it: what the system says costs them nothing.
    used: Cell<Option<Duration>>,
    /// Time in which the worker slept instead of working, and the last look at it.
    asleep: Cell<(Duration, Instant)>,
}

/// A flag for waits that no caller cancels.
static NEVER: AtomicBool = AtomicBool::new(false);

impl Wait<'static> {
    /// A wait for a worker that starts while no caller waits.
    pub fn for_start() -> Wait<'static> {
        Wait::new(TimeLimit::Elapsed(START), &NEVER)
    }
}

impl Wait<'_> {
    /// A wait that begins now.
    pub fn new(limit: TimeLimit, cancelled: &AtomicBool) -> Wait<'_> {
        let began = Instant::now();
        Wait { limit, began, cancelled, used: Cell::new(None), asleep: Cell::new((Duration::ZERO, began)) }
    }

    /// A wait for a worker that starts within a render, at most as long as for any start.
    pub fn for_start_within(limit: TimeLimit, cancelled: &AtomicBool) -> Wait<'_> {
        let limit = match limit {
            TimeLimit::Elapsed(time) => TimeLimit::Elapsed(time.min(START)),
            TimeLimit::OfThread(time) => TimeLimit::OfThread(time.min(START)),
        };
        Wait::new(limit, cancelled)
    }

    fn check(&self, worker: &Worker) -> Result<(), Ended> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Ended::Cancelled);
        }
        let (TimeLimit::Elapsed(time) | TimeLimit::OfThread(time)) = self.limit;
        let most = time + GRACE;
        let late = match self.limit {
            TimeLimit::Elapsed(_) => self.began.elapsed() >= most,
            TimeLimit::OfThread(_) => self.is_spent(worker, most),
        };
        if late { Err(Ended::Late) } else { Ok(()) }
    }

    /// Whether the worker has computed for `most`, or slept: a step waits for nothing, so one that sleeps is stuck. One
    /// that could run and gets no processor does not sleep.
    fn is_spent(&self, worker: &Worker, most: Duration) -> bool {
        let (asleep, seen) = self.asleep.get();
        if seen.elapsed() < LOOK {
            return false;
        }
        let Some(before) = self.used.get() else {
            self.used.set(Some(worker.activity().1));
            return false;
        };
        // Neither processor time nor sleep is ever more than elapsed time, which is cheap to ask for.
        if self.began.elapsed() < most {
            return false;
        }
        let (sleeps, used) = worker.activity();
        // A look counts for its own time alone: this thread may have waited long for a processor itself.
        let asleep = if sleeps { asleep + LOOK } else { asleep };
        self.asleep.set((asleep, Instant::now()));
        asleep >= most || used.saturating_sub(before) >= most
    }
}

/// A worker's bytes as they come, for as long as the wait allows.
struct Waiting<'a> {
    worker: &'a Worker,
    wait: &'a Wait<'a>,
    /// Why they end.
    ended: Ended,
}

impl Read for Waiting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.worker.fill(buffer, self.wait).map_err(|ended| {
            self.ended = ended;
            io::Error::from(io::ErrorKind::BrokenPipe)
        })?;
        Ok(buffer.len())
    }
}

#[cfg(test)]
mod tests;
