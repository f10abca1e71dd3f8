//! [`Group`]: many callers of one key share one run, as in Go's `x/sync/singleflight`. The run is a task of its own, so
//! a caller that leaves takes only itself away. When the last caller leaves, the run is cancelled, unless the group is
//! [detached](Group::detached).
//!
//! Not a cache: a finished run is forgotten.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// The runs under way, by key.
pub struct Group<K: Copy + Eq + Hash, V> {
    shared: Arc<Shared<K, V>>,
}

/// The run ended without a value: its task panicked, or the runtime stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted;

/// Counts of events since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs that were started.
    pub started: u64,
    /// Callers that joined a run under way.
    pub joined: u64,
    /// Runs that were cancelled because their last caller left.
    pub cancelled: u64,
}

struct Shared<K, V> {
    runs: Mutex<HashMap<K, Run<V>>>,
    /// Whether a run goes on after its last caller has left.
    detached: bool,
    started: AtomicU64,
    joined: AtomicU64,
    cancelled: AtomicU64,
}

struct Run<V> {
    /// Distinguishes this run from a later one of the same key.
    serial: u64,
    waiters: usize,
    task: AbortHandle,
    value: watch::Receiver<Option<V>>,
}

impl<K, V> Group<K, V>
where
    K: Copy + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// A group whose runs are cancelled when their last caller leaves.
    pub fn new() -> Group<K, V> {
        Group::with(false)
    }

    /// A group whose runs go on to their end, even if every caller leaves.
    pub fn detached() -> Group<K, V> {
        Group::with(true)
    }

    fn with(detached: bool) -> Group<K, V> {
        let shared = Shared {
            runs: Mutex::new(HashMap::new()),
            detached,
            started: AtomicU64::new(0),
            joined: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
        };
        Group { shared: Arc::new(shared) }
    }

    /// Waits for the value of the run of `key`. If none is under way, `start` is called at the first poll and its
    /// future is run. When a run is cancelled its future is dropped, which must stop what the run has started on other
    /// threads.
    pub async fn join_or_start<F>(&self, key: K, start: impl FnOnce() -> F) -> Result<V, Aborted>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let (_waiter, mut value) = self.enter(key, start);
        let value = value.wait_for(Option::is_some).await.map_err(|_| Aborted)?;
        value.clone().ok_or(Aborted)
    }

    /// The counts at this moment.
    pub fn counts(&self) -> Counts {
        Counts {
            started: self.shared.started.load(Ordering::Relaxed),
            joined: self.shared.joined.load(Ordering::Relaxed),
            cancelled: self.shared.cancelled.load(Ordering::Relaxed),
        }
    }

    fn enter<F>(&self, key: K, start: impl FnOnce() -> F) -> (Waiter<K, V>, watch::Receiver<Option<V>>)
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut runs = self.shared.runs.lock();
        if let Some(run) = runs.get_mut(&key) {
            run.waiters += 1;
            self.shared.joined.fetch_add(1, Ordering::Relaxed);
            let waiter = Waiter { shared: self.shared.clone(), key, serial: run.serial };
            return (waiter, run.value.clone());
        }
        let serial = self.shared.started.fetch_add(1, Ordering::Relaxed);
        let (sender, value) = watch::channel(None);
        let future = start();
        let shared = self.shared.clone();
        let task = tokio::spawn(async move {
            // Made in here: a runtime that is stopping drops the task at once, while this caller holds the lock.
            let remove = RemoveOnDrop { shared, key, serial };
            let result = future.await;
            // Removed before the value is sent: a caller that comes later finds what the run left in a cache.
            drop(remove);
            sender.send_replace(Some(result));
        });
        runs.insert(key, Run { serial, waiters: 1, task: task.abort_handle(), value: value.clone() });
        (Waiter { shared: self.shared.clone(), key, serial }, value)
    }
}

impl<K: Copy + Eq + Hash, V> Shared<K, V> {
    /// Removes the run, unless a later one has taken its key.
    fn remove(&self, key: &K, serial: u64) {
        let mut runs = self.runs.lock();
        if runs.get(key).is_some_and(|run| run.serial == serial) {
            runs.remove(key);
        }
    }

    /// Counts one waiter less, and removes and returns the run if it is to be cancelled.
    fn leave(&self, key: &K, serial: u64) -> Option<Run<V>> {
        let mut runs = self.runs.lock();
        let run = runs.get_mut(key).filter(|run| run.serial == serial)?;
        run.waiters -= 1;
        if run.waiters == 0 && !self.detached { runs.remove(key) } else { None }
    }
}

/// Counts one caller as long as it waits.
struct Waiter<K: Copy + Eq + Hash, V> {
    shared: Arc<Shared<K, V>>,
    key: K,
    serial: u64,
}

impl<K: Copy + Eq + Hash, V> Drop for Waiter<K, V> {
    fn drop(&mut self) {
        // Removed first, so that no caller joins a run that is being cancelled.
        if let Some(run) = self.shared.leave(&self.key, self.serial) {
            self.shared.cancelled.fetch_add(1, Ordering::Relaxed);
            run.task.abort();
        }
    }
}

/// Removes a run however its task ends.
struct RemoveOnDrop<K: Copy + Eq + Hash, V> {
    shared: Arc<Shared<K, V>>,
    key: K,
    serial: u64,
}

impl<K: Copy + Eq + Hash, V> Drop for RemoveOnDrop<K, V> {
    fn drop(&mut self) {
        self.shared.remove(&self.key, self.serial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use std::future::pending;
    use std::pin::pin;
    use std::task::Poll;
    use tokio::sync::Notify;
    use tokio::sync::oneshot::error::TryRecvError;

    fn group() -> Group<u8, u64> {
        Group::new()
    }

    /// Polls once: the caller is counted now.
    async fn once<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Poll<T> {
        let mut future = Some(future);
        std::future::poll_fn(|context| Poll::Ready(pin!(future.take().expect("polled once")).poll(context))).await
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_thousand_simultaneous_callers_make_one_run() {
        let group = Arc::new(group());
        let gate = Arc::new(Notify::new());
        let runs = Arc::new(AtomicU64::new(0));
        let entered = Arc::new(tokio::sync::Barrier::new(1001));
        let callers: Vec<_> = (0..1000)
            .map(|_| {
                let (group, gate, runs, entered) = (group.clone(), gate.clone(), runs.clone(), entered.clone());
                tokio::spawn(async move {
                    let mut call = Box::pin(group.join_or_start(7, || async move {
                        gate.notified().await;
                        runs.fetch_add(1, Ordering::Relaxed)
                    }));
                    assert!(once(&mut call).await.is_pending());
                    entered.wait().await;
                    call.await
                })
            })
            .collect();
        entered.wait().await;
        gate.notify_one();
        for value in join_all(callers).await {
            assert_eq!(value.expect("no caller panics"), Ok(0));
        }
        assert_eq!(group.counts(), Counts { started: 1, joined: 999, cancelled: 0 });
    }

    #[tokio::test]
    async fn a_first_caller_that_leaves_takes_only_itself_away() {
        let group = group();
        let gate = Arc::new(Notify::new());
        let open = gate.clone();
        let mut first = Box::pin(group.join_or_start(1, || async move {
            open.notified().await;
            5
        }));
        let mut second = Box::pin(group.join_or_start(1, || async { unreachable!("one is under way") }));
        assert!(once(&mut first).await.is_pending());
        assert!(once(&mut second).await.is_pending());
        drop(first);
        gate.notify_one();
        assert_eq!(second.await, Ok(5));
        assert_eq!(group.counts(), Counts { started: 1, joined: 1, cancelled: 0 });
    }

    #[tokio::test]
    async fn a_run_without_callers_is_cancelled_and_a_later_caller_starts_anew() {
        let group = group();
        let (dropped, mut was_dropped) = tokio::sync::oneshot::channel::<()>();
        let mut callers: Vec<_> = Vec::new();
        callers.push(Box::pin(group.join_or_start(1, || async move {
            let _held = dropped;
            pending().await
        })));
        assert!(once(&mut callers[0]).await.is_pending());
        let mut other = Box::pin(group.join_or_start(1, || async { unreachable!("one is under way") }));
        assert!(once(&mut other).await.is_pending());
        callers.clear();
        tokio::task::yield_now().await;
        assert_eq!(was_dropped.try_recv(), Err(TryRecvError::Empty), "one caller is left");
        drop(other);
        assert_eq!(group.join_or_start(1, || async { 9 }).await, Ok(9));
        assert!(was_dropped.await.is_err(), "the cancelled task is dropped with all that it holds");
        assert_eq!(group.counts(), Counts { started: 2, joined: 1, cancelled: 1 });
        assert!(group.shared.runs.lock().is_empty());
    }

    #[tokio::test]
    async fn a_run_that_panics_is_aborted_and_leaves_nothing_behind() {
        let group = group();
        assert_eq!(group.join_or_start(1, || async { panic!("expected by the test") }).await, Err(Aborted));
        assert_eq!(group.join_or_start(1, || async { 2 }).await, Ok(2));
        assert!(group.shared.runs.lock().is_empty());
    }

    #[tokio::test]
    async fn a_finished_run_is_not_kept() {
        let group = group();
        assert_eq!(group.join_or_start(1, || async { 1 }).await, Ok(1));
        assert_eq!(group.join_or_start(1, || async { 2 }).await, Ok(2));
        assert_eq!(group.counts(), Counts { started: 2, joined: 0, cancelled: 0 });
    }

    #[tokio::test]
    async fn a_detached_run_goes_on_when_every_caller_has_left() {
        let group = Group::<u8, u64>::detached();
        let gate = Arc::new(Notify::new());
        let open = gate.clone();
        let mut first = Box::pin(group.join_or_start(1, || async move {
            open.notified().await;
            5
        }));
        assert!(once(&mut first).await.is_pending());
        drop(first);
        let mut later = Box::pin(group.join_or_start(1, || async { unreachable!("one is under way") }));
        assert!(once(&mut later).await.is_pending());
        gate.notify_one();
        assert_eq!(later.await, Ok(5));
        assert_eq!(group.counts(), Counts { started: 1, joined: 1, cancelled: 0 });
        assert!(group.shared.runs.lock().is_empty());
    }
}
