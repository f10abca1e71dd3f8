//! [`JobExecutor`]: runs the items of jobs, and says what their results are. This is the interface that jobs call;
//! what runs is `http::routes::jobs::executor`, over `items`.

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::Error;

/// The position of an item: a line of a job and, if the line names a part of the store, one of its images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The line, from 0.
    pub item: u64,
    /// 0: the line itself; from 1: the images of its selection.
    pub part: u64,
}

/// Runs one item; called for many at once.
pub trait JobExecutor: Send + Sync + 'static {
    /// Runs the item of this line and returns one outcome for each output, at least one. `rights` are those with which
    /// the job was received. An empty line stands for one that was too long to be held.
    fn run(&self, rights: u32, place: Place, line: Bytes) -> BoxFuture<'static, Vec<Outcome>>;

    /// Whether these rights allow a line to name a part of the store. Otherwise such a line is run like any other, and
    /// the store is not listed.
    fn may_select(&self, rights: u32) -> bool;

    /// The outcome of a line that cannot be run because of a bound of the jobs.
    fn refused(&self, place: Place, error: Error) -> Outcome;

    /// The outcome of an item whose effect is unknown: its run panicked, or ended the process each time.
    fn lost(&self, place: Place) -> Outcome;
}

/// The result of one output of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The output, from 0. An item without outputs has one outcome, with 0.
    pub output: u32,
    /// The line of the results: one JSON object.
    pub line: Bytes,
    /// How the output ended.
    pub verdict: Verdict,
}

/// How an output ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It succeeded.
    Done,
    /// It failed, and would fail another time.
    Failed,
    /// It failed for a temporary reason. The item is tried again while attempts are left.
    Retry,
    /// The store cannot take or give it now. The item waits, however long that lasts, and no attempt is counted.
    Wait(WaitReason),
}

/// The state of the store for which an item waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// It stores nothing, since a sync failed or its device became read-only.
    ReadOnly,
    /// Its device has no room.
    Full,
    /// It does not respond at all. If it does respond, only this item could not be read, and an attempt is counted.
    Unavailable,
}

impl WaitReason {
    /// Every reason.
    pub const ALL: [WaitReason; 3] = [WaitReason::ReadOnly, WaitReason::Full, WaitReason::Unavailable];

    /// The name in JSON: the type of the problem that an upload would meet.
    pub fn name(self) -> &'static str {
        match self {
            WaitReason::ReadOnly => "store-read-only",
            WaitReason::Full => "store-full",
            WaitReason::Unavailable => "store-unavailable",
        }
    }
}
