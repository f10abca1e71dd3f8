//! [`serve`]: the worker process. It takes a batch and then its steps, one after the other, until its server goes away.

use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::wire::{self, LENGTH_BYTES, REQUEST_BYTES_MAX, Reply, Request, Task};
use super::{memory, sandbox};
use crate::pipeline::{Batch, Deadline, Decoded, Images, Output, TimeLimit};
use crate::renditions::pool::caught;

/// Runs this process as a worker, with a socket to its server as standard input. Returns when the server has closed it.
pub fn serve() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    sandbox::close_inherited()?;
    let mut server = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    if let Err(error) = sandbox::enter() {
        send(&mut server, &Reply::Panicked(error.to_string()))?;
        return Err(error.into());
    }
    send(&mut server, &Reply::Ready)?;
    let mut work = None;
    while let Some((request, memory)) = received(&server)? {
        match (request, &mut work) {
            (Request::Open(task), work) => {
                *work = None;
                *work = Some(Work::open(*task, memory.ok_or("no images")?)?);
            }
            (Request::Decode { group, limit }, Some(work)) => send(&mut server, &work.decode(group, limit))?,
            (Request::Finish { member, limit }, Some(work)) => {
                let (reply, bytes) = work.finish(member, limit);
                send(&mut server, &reply)?;
                server.write_all(&bytes)?;
            }
            (Request::Close, work) => {
                *work = None;
                send(&mut server, &Reply::Ready)?;
            }
            (_, None) => return Err("a step without a batch".into()),
        }
    }
    Ok(())
}

/// The next request, and the memory that came with it. `None`: the server has closed the connection.
fn received(server: &UnixStream) -> io::Result<Option<(Request, Option<OwnedFd>)>> {
    let mut length = [0; LENGTH_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let first = recvmsg(server, &mut [IoSliceMut::new(&mut length)], &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
    if first == 0 {
        return Ok(None);
    }
    let memory = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
        _ => None,
    });
    (&*server).read_exact(&mut length[first..])?;
    Ok(Some((wire::read(server, length, REQUEST_BYTES_MAX)?, memory)))
}

fn send(server: &mut UnixStream, reply: &Reply) -> io::Result<()> {
    server.write_all(&wire::written(reply)?)
}

/// A batch under way.
struct Work {
    task: Task,
    batch: Batch,
    source: Bytes,
    images: Images,
    /// The group that was decoded last. The server kills the worker when no caller waits any more, so no step is
    /// cancelled here.
    decoded: Option<(usize, Decoded)>,
}

impl Work {
    fn open(task: Task, memory: OwnedFd) -> Result<Work, Box<dyn std::error::Error>> {
        let batch = task.batch().ok_or("an unknown name")?;
        let len = task.images.iter().fold(task.source_bytes, |len, (_, bytes)| len + bytes);
        let mut rest = memory::mapped(memory, len)?;
        let source = rest.split_to(task.source_bytes);
        let images = task.images.iter().map(|(id, bytes)| (*id, rest.split_to(*bytes))).collect();
        Ok(Work { task, batch, source, images, decoded: None })
    }

    fn decode(&mut self, place: usize, limit: TimeLimit) -> Reply {
        // The last group's picture is dropped before the next one is decoded, as in a render without a worker.
        self.decoded = None;
        let Some(group) = self.batch.groups().get(place) else { return Reply::Panicked("no such group".to_owned()) };
        let deadline = Deadline::within(limit, Arc::default());
        match caught(|| self.batch.decode(group, &self.source, self.task.limits(), &deadline)) {
            Ok(Ok(decoded)) => {
                self.decoded = Some((place, decoded));
                Reply::Decoded
            }
            Ok(Err(error)) => Reply::Failed(error),
            Err(message) => Reply::Panicked(message),
        }
    }

    fn finish(&mut self, place: usize, limit: TimeLimit) -> (Reply, Bytes) {
        let Work { task, batch, source, images, decoded } = self;
        let found = decoded.as_mut().and_then(|(group, decoded)| Some((batch.groups().get(*group)?, decoded)));
        let Some((member, decoded)) = found.and_then(|(group, decoded)| Some((group.members().get(place)?, decoded)))
        else {
            return (Reply::Panicked("no such output".to_owned()), Bytes::new());
        };
        let deadline = Deadline::within(limit, Arc::default());
        match caught(|| batch.finish(member, decoded, (source, images), task.limits(), &deadline)) {
            Ok(Ok(Output { bytes, missing, decode, operations, encode })) => {
                (Reply::Finished { bytes: bytes.len() as u64, missing, decode, operations, encode }, bytes)
            }
            Ok(Err(error)) => (Reply::Failed(error), Bytes::new()),
            Err(message) => (Reply::Panicked(message), Bytes::new()),
        }
    }
}
