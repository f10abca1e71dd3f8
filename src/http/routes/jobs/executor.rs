//! [`ItemExecutor`]: runs the items of jobs, and writes their result lines. The queue is in [`crate::jobs`], items in
//! [`crate::items`].
//!
//! ```json
//! {"item": 0, "key": "a", "output": 0, "status": 200, "url": "/images/<digest>.webp?w=300"}
//! {"item": 1, "output": 0, "status": 201, "source": "<digest>", "id": "<digest>", "url": "/images/<digest>", "bytes": 977}
//! {"item": 2, "status": 400, "problem": {"type": "/problems/invalid-parameter", ...}}
//! ```

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::http::error::Error;
use crate::http::protocol::metrics::Metrics;
use crate::http::protocol::result_line;
use crate::http::protocol::rights::Rights;
use crate::items::{self, Done, Item, Items, Needs, Placed, Source, To};
use crate::jobs::{self, JobExecutor, Mistake, Outcome, Place, Selection, Verdict, WaitReason, Wrong};
use crate::pipeline::invalid::{invalid, unknown_of};
use crate::pipeline::json::plain;
use crate::{renditions, store};

/// Where an output may go; the first is the default. No client waits for a response.
const PLACES: &[To] = &[To::Rendition, To::Blob];

/// The result of an output of a job. No client waits for it, so it is never a response.
type Stored = Done<Infallible>;

/// Runs items of jobs.
#[derive(Clone)]
pub(in crate::http) struct ItemExecutor {
    pub(in crate::http) items: Arc<Items>,
    pub(in crate::http) metrics: Arc<Metrics>,
    /// The bound on the length of a line.
    pub(in crate::http) line_bytes_max: usize,
}

impl JobExecutor for ItemExecutor {
    fn run(&self, rights: u32, place: Place, line: Bytes) -> BoxFuture<'static, Vec<Outcome>> {
        let executor = self.clone();
        async move { executor.outcomes(rights, place, line).await }.boxed()
    }

    fn may_select(&self, rights: u32) -> bool {
        Rights::of_bits(rights).list().is_ok()
    }

    fn refused(&self, place: Place, error: jobs::Error) -> Outcome {
        failed(result_line::head(place.item, None), 0, &error.into(), Verdict::Failed)
    }

    fn lost(&self, place: Place) -> Outcome {
        failed(result_line::head(place.item, None), 0, &Error::Panicked, Verdict::Failed)
    }
}

impl ItemExecutor {
    async fn outcomes(&self, rights: u32, place: Place, line: Bytes) -> Vec<Outcome> {
        if line.is_empty() {
            let error = Error::TooLarge { name: "line_bytes_max", max: self.line_bytes_max as u64 };
            return vec![failed(result_line::head(place.item, None), 0, &error, Verdict::Failed)];
        }
        let rights = Rights::of_bits(rights);
        let item = match self.items.read(line.clone(), PLACES).await {
            Ok(item) => item,
            Err(unread) => {
                let verdict = verdict(&unread.error);
                // The line is a well-formed selection, but its sender may not list the store.
                let unlisted = Selection::of(&line).and_then(|_| rights.list().err());
                let error = unlisted.or_else(|| mistaken(&line)).unwrap_or_else(|| unread.error.into());
                return vec![failed(result_line::head(place.item, unread.key.as_deref()), 0, &error, verdict)];
            }
        };
        let mut head = result_line::head(place.item, item.key.as_deref());
        if let Err(error) = rights.check(needs(&item)) {
            return vec![failed(head, 0, &error, Verdict::Failed)];
        }
        // Asked first: what cannot be stored need not be fetched and rendered.
        if let Some(error) = self.items.admits().err().filter(|_| needs(&item).write) {
            let verdict = verdict(&error);
            return vec![failed(head, 0, &error.into(), verdict)];
        }
        let named = if let Source::Stored(id) = &item.source { Some(*id) } else { None };
        let (outcomes, source) = self.run_item(item).await;
        // The client does not know the id of the source yet.
        if let Some(source) = source.filter(|_| place.part > 0 || named.is_none()) {
            head.insert("source".to_owned(), source.to_string().into());
        }
        outcomes.into_iter().zip(0..).map(|(outcome, output)| self.outcome(head.clone(), output, outcome)).collect()
    }

    /// Stores the source, if it is not stored, and runs the item over it. A job outlives the bytes that came with its
    /// request.
    async fn run_item(&self, item: Item) -> (Vec<Result<Stored, items::Error>>, Option<Digest>) {
        let outputs = item.outputs.len();
        match self.items.stored(item.source).await {
            Ok(source) => {
                let id = if let Source::Stored(id) = &source { Some(*id) } else { None };
                // No output of a job may go into a response.
                let respond = |_| async { Err(items::Error::from(renditions::Error::Panicked)) }.boxed();
                (self.items.run(Item { source, ..item }, &respond).await, id)
            }
            Err(error) => ((0..outputs).map(|_| Err(error.clone())).collect(), None),
        }
    }

    fn outcome(&self, mut line: Map<String, Value>, output: u32, outcome: Result<Stored, items::Error>) -> Outcome {
        line.insert("output".to_owned(), output.into());
        let done = match outcome {
            Ok(done) => done,
            Err(error) => {
                let verdict = verdict(&error);
                return failed(line, output, &error.into(), verdict);
            }
        };
        result_line::missing(&mut line, done.missing);
        match done.place {
            Placed::Blob(receipt) => result_line::blob(&mut line, &receipt, &self.metrics),
            Placed::Rendition { url } => result_line::rendition(&mut line, url),
            Placed::Response(_, never) => match never {},
        }
        Outcome { output, line: Value::Object(line).to_string().into(), verdict: Verdict::Done }
    }
}

/// The mistake in a source of the kind that only jobs accept, by its member.
fn mistaken(line: &[u8]) -> Option<Error> {
    let Mistake { member, value, wrong } = Mistake::of(line)?;
    let value = plain(&value);
    let error = match wrong {
        Wrong::Value(allowed) => invalid(&member, &value, allowed),
        Wrong::Name(known) => unknown_of(&member, &value, known),
    };
    Some(error.within(|name| format!("source.{name}")).into())
}

/// The rights that an item of a job needs: its source is stored, too.
fn needs(item: &Item) -> Needs {
    let needs = item.needs();
    Needs { write: needs.write || !matches!(item.source, Source::Stored(_)), ..needs }
}

fn verdict(error: &items::Error) -> Verdict {
    match error.store_state() {
        Some(store::Error::ReadOnly) => return Verdict::Wait(WaitReason::ReadOnly),
        Some(store::Error::Full) => return Verdict::Wait(WaitReason::Full),
        Some(_) => return Verdict::Wait(WaitReason::Unavailable),
        None => {}
    }
    if error.is_transient() { Verdict::Retry } else { Verdict::Failed }
}

fn failed(line: Map<String, Value>, output: u32, error: &Error, verdict: Verdict) -> Outcome {
    let line = Value::Object(result_line::failed(line, error));
    Outcome { output, line: line.to_string().into(), verdict }
}
