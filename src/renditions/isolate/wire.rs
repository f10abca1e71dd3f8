//! What a thread and its worker say to each other: JSON with its length before it. The bytes of a result follow their
//! reply as they are. They are copied in any case, since memory that a worker can still write is not to be trusted.

mod errors;

pub use errors::NamesLeft;

use std::io::{self, Read};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::pipeline::codec::{self, Codec, Header};
use crate::pipeline::{self, Batch, Headers, Limits, Missing, Pipeline, TimeLimit};

/// Bytes of the longest message to a worker: a bulk item may have many outputs.
pub const REQUEST_BYTES_MAX: usize = 256 << 20;
/// Bytes of the longest message from a worker.
pub const REPLY_BYTES_MAX: usize = 64 << 10;
/// Bytes of the length before a message.
pub const LENGTH_BYTES: usize = 4;

/// A step that a worker takes.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Take a batch of outputs, with its images in shared memory. There is no reply.
    Open(Box<Task>),
    /// Decode the source for a group of the batch.
    Decode {
        /// The place of the group.
        group: usize,
        /// Time for this step.
        limit: TimeLimit,
    },
    /// Finish an output of the group that was decoded last.
    Finish {
        /// The place of the output in its group.
        member: usize,
        /// Time for this step.
        limit: TimeLimit,
    },
    /// Free the batch. The reply is [`Reply::Ready`].
    Close,
}

/// What a worker replies.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// The worker has shut itself in, or has freed a batch, and waits for work.
    Ready,
    /// The source is decoded.
    Decoded,
    /// An output is finished. This many bytes of it follow.
    Finished {
        /// Bytes of the result.
        bytes: u64,
        /// What it lacks because the source is damaged.
        missing: Option<Missing>,
        /// Time spent decoding.
        decode: Duration,
        /// Time spent in operations.
        operations: Duration,
        /// Time spent encoding.
        encode: Duration,
    },
    /// The step failed.
    Failed(#[serde(with = "errors")] pipeline::Error),
    /// The step panicked, with this message.
    Panicked(String),
}

/// A batch of outputs of one source, without its images.
#[derive(Debug, Serialize, Deserialize)]
pub struct Task {
    /// Format and header of the source.
    source: (String, Header),
    /// Format and header of the other images.
    headers: Vec<(Digest, String, Header)>,
    /// The canonical text of each pipeline.
    pipelines: Vec<String>,
    limits: Limits,
    /// The bound within which the batch was planned.
    memory_bytes_max: u64,
    /// Bytes of the source, which comes first in the shared memory.
    pub source_bytes: usize,
    /// The images after it, and the bytes of each.
    pub images: Vec<(Digest, usize)>,
}

impl Task {
    /// The task of a batch that was planned within `limits` and `memory_bytes_max`.
    pub fn new(batch: &Batch, limits: &Limits, memory_bytes_max: u64) -> Task {
        let (codec, header) = batch.source();
        let named = |(id, (codec, header)): (&Digest, &(&Codec, Header))| (*id, codec.name.to_owned(), header.clone());
        Task {
            source: (codec.name.to_owned(), header.clone()),
            headers: batch.headers().iter().map(named).collect(),
            pipelines: batch.pipelines().iter().map(Pipeline::to_string).collect(),
            limits: limits.clone(),
            memory_bytes_max,
            source_bytes: 0,
            images: Vec::new(),
        }
    }

    /// The batch, planned as it was by its sender. `None`: a name is not known.
    pub fn batch(&self) -> Option<Batch> {
        let header_of =
            |(id, name, header): &(Digest, String, Header)| Some((*id, (codec::by_name(name)?, header.clone())));
        let headers = self.headers.iter().map(header_of).collect::<Option<Headers>>()?;
        let pipelines = self.pipelines.iter().map(|text| pipeline_of(text)).collect::<Option<Vec<_>>>()?;
        let source = (codec::by_name(&self.source.0)?, &self.source.1);
        Some(Batch::plan(pipelines, source, headers, &self.limits, self.memory_bytes_max))
    }

    /// What one render may take.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }
}

/// Reads a canonical text. The format of summaries has no name that could be asked for.
fn pipeline_of(text: &str) -> Option<Pipeline> {
    let summary = Pipeline::summary();
    if text == summary.to_string() { Some(summary) } else { text.parse().ok() }
}

/// A message with its length before it.
pub fn written(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut bytes, message)?;
    let length = u32::try_from(bytes.len() - LENGTH_BYTES).map_err(io::Error::other)?;
    bytes[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// Reads the message of this length.
pub fn read<T: DeserializeOwned>(mut from: impl Read, length: [u8; LENGTH_BYTES], bytes_max: usize) -> io::Result<T> {
    let length = u32::from_le_bytes(length) as usize;
    if length > bytes_max {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; length];
    from.read_exact(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Size;

    #[test]
    fn a_batch_is_planned_on_the_other_side_as_it_was_here() {
        let bytes = b"P6 4 3 255\n....................................";
        let codec = codec::sniff(bytes).expect("a pixmap");
        let header = (codec.inspect)(bytes).expect("a header");
        let texts = ["png;;resize(width=2)", "jpeg;quality=50;", "ppm;;"];
        let mut pipelines: Vec<Pipeline> = texts.iter().map(|text| text.parse().expect(text)).collect();
        pipelines.extend([Pipeline::summary(), pipelines[2].clone().into_render()]);
        let limits = Limits { pixels_max: 12, ..Limits::default() };
        let batch = Batch::plan(pipelines, (codec, &header), Headers::new(), &limits, 1 << 20);
        let sent = written(&Task::new(&batch, &limits, 1 << 20)).expect("written");
        let (length, text) = sent.split_at(LENGTH_BYTES);
        let task: Task = read(text, length.try_into().expect("four"), REQUEST_BYTES_MAX).expect("read");
        let there = task.batch().expect("known names");
        assert_eq!((there.pipelines(), there.source()), (batch.pipelines(), batch.source()));
        assert_eq!(task.limits(), &limits);
        let shape = |batch: &Batch| batch.groups().iter().map(|group| group.members().len()).collect::<Vec<_>>();
        assert_eq!((shape(&there), there.memory_bytes()), (shape(&batch), batch.memory_bytes()));
        assert_eq!(header.size, Size::new(4, 3));
    }

    #[test]
    fn a_message_longer_than_allowed_is_not_read() {
        let sent = written(&Reply::Panicked("x".repeat(100))).expect("written");
        let (length, text) = sent.split_at(LENGTH_BYTES);
        let length = length.try_into().expect("four");
        assert!(read::<Reply>(text, length, text.len()).is_ok());
        assert!(read::<Reply>(text, length, text.len() - 1).is_err());
    }
}
