//! [`Flights`]: many callers of one key share one run. The run is a task of its own, so that a caller that leaves takes only
//! itself away; when the last one leaves, the run is cancelled. Not a cache: a finished flight is gone.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;
use tokio::task::AbortHandle;

/// The runs under way, by key.
pub struct Flights<K: Copy + Eq + Hash, V> {
    sky: Arc<Sky<K, V>>,
}

/// The run ended without a value: its task panicked, or the runtime stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

/// How often things happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs begun.
    pub started: u64,
    /// Callers that found a run under way.
    pub joined: u64,
    /// Runs that nobody waited for any more.
    pub cancelled: u64,
}

struct Sky<K, V> {
    flights: Mutex<HashMap<K, Flight<V>>>,
    started: AtomicU64,
    joined: AtomicU64,
    cancelled: AtomicU64,
}

struct Flight<V> {
    /// Tells this flight from a later one of the same key.
    serial: u64,
    waiters: usize,
    cancelled: Arc<AtomicBool>,
    task: AbortHandle,
    value: watch::Receiver<Option<V>>,
}

impl<K, V> Flights<K, V>
where
    K: Copy + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// No flights yet.
    pub fn new() -> Flights<K, V> {
        let sky = Sky {
            flights: Mutex::new(HashMap::new()),
            started: AtomicU64::new(0),
            joined: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
        };
        Flights { sky: Arc::new(sky) }
    }

    /// The value of the run of `key` that is under way, or else of the one that `start` describes, which is begun.
    ///
    /// `start` is given the flag that is raised when nobody waits any more. The task is aborted then too; what the run has
    /// handed to other threads must look at the flag.
    pub async fn join<F>(&self, key: K, start: impl FnOnce(Arc<AtomicBool>) -> F) -> Result<V, Lost>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let (_seat, mut value) = self.board(key, start);
        let landed = value.wait_for(Option::is_some).await.map_err(|_| Lost)?;
        landed.clone().ok_or(Lost)
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        Counts {
            started: self.sky.started.load(Ordering::Relaxed),
            joined: self.sky.joined.load(Ordering::Relaxed),
            cancelled: self.sky.cancelled.load(Ordering::Relaxed),
        }
    }

    fn board<F>(&self, key: K, start: impl FnOnce(Arc<AtomicBool>) -> F) -> (Seat<K, V>, watch::Receiver<Option<V>>)
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut flights = self.sky.lock();
        if let Some(flight) = flights.get_mut(&key) {
            flight.waiters += 1;
            self.sky.joined.fetch_add(1, Ordering::Relaxed);
            let seat = Seat { sky: self.sky.clone(), key, serial: flight.serial };
            return (seat, flight.value.clone());
        }
        let serial = self.sky.started.fetch_add(1, Ordering::Relaxed);
        let cancelled = Arc::new(AtomicBool::new(false));
        let (sender, value) = watch::channel(None);
        let run = start(cancelled.clone());
        let landing = Landing { sky: self.sky.clone(), key, serial };
        let task = tokio::spawn(async move {
            let result = run.await;
            // Gone from the map before anyone hears of it: a caller that comes now finds what the run left in a cache.
            drop(landing);
            sender.send_replace(Some(result));
        });
        let flight = Flight { serial, waiters: 1, cancelled, task: task.abort_handle(), value: value.clone() };
        flights.insert(key, flight);
        (Seat { sky: self.sky.clone(), key, serial }, value)
    }
}

impl<K: Copy + Eq + Hash, V> Sky<K, V> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Flight<V>>> {
        self.flights.lock().expect("nothing panics under this lock")
    }

    /// Takes the flight out, unless it is a later one.
    fn remove(&self, key: &K, serial: u64) -> Option<Flight<V>> {
        let mut flights = self.lock();
        if flights.get(key)?.serial == serial { flights.remove(key) } else { None }
    }

    /// One waiter less; the flight, if that was the last.
    fn leave(&self, key: &K, serial: u64) -> Option<Flight<V>> {
        let mut flights = self.lock();
        let flight = flights.get_mut(key).filter(|flight| flight.serial == serial)?;
        flight.waiters -= 1;
        if flight.waiters == 0 { flights.remove(key) } else { None }
    }
}

/// One waiter's place.
struct Seat<K: Copy + Eq + Hash, V> {
    sky: Arc<Sky<K, V>>,
    key: K,
    serial: u64,
}

impl<K: Copy + Eq + Hash, V> Drop for Seat<K, V> {
    fn drop(&mut self) {
        // Out of the map first, so that nobody can join what is being cancelled.
        if let Some(flight) = self.sky.leave(&self.key, self.serial) {
            self.sky.cancelled.fetch_add(1, Ordering::Relaxed);
            flight.cancelled.store(true, Ordering::Relaxed);
            flight.task.abort();
        }
    }
}

/// Takes the flight out of the map however its task ends.
struct Landing<K: Copy + Eq + Hash, V> {
    sky: Arc<Sky<K, V>>,
    key: K,
    serial: u64,
}

impl<K: Copy + Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        self.sky.remove(&self.key, self.serial);
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

    fn flights() -> Flights<u8, u64> {
        Flights::new()
    }

    /// Polls once: the caller has its seat now.
    async fn once<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Poll<T> {
        let mut future = Some(future);
        std::future::poll_fn(|context| Poll::Ready(pin!(future.take().expect("polled once")).poll(context))).await
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_thousand_simultaneous_callers_make_one_run() {
        let flights = Arc::new(flights());
        let gate = Arc::new(Notify::new());
        let runs = Arc::new(AtomicU64::new(0));
        let seated = Arc::new(tokio::sync::Barrier::new(1001));
        let callers: Vec<_> = (0..1000)
            .map(|_| {
                let (flights, gate, runs, seated) = (flights.clone(), gate.clone(), runs.clone(), seated.clone());
                tokio::spawn(async move {
                    let mut call = Box::pin(flights.join(7, |_| async move {
                        gate.notified().await;
                        runs.fetch_add(1, Ordering::Relaxed)
                    }));
                    assert!(once(&mut call).await.is_pending());
                    seated.wait().await;
                    call.await
                })
            })
            .collect();
        seated.wait().await;
        gate.notify_one();
        for value in join_all(callers).await {
            assert_eq!(value.expect("no caller panics"), Ok(0));
        }
        assert_eq!(flights.counts(), Counts { started: 1, joined: 999, cancelled: 0 });
    }

    #[tokio::test]
    async fn a_first_caller_that_leaves_takes_only_itself_away() {
        let flights = flights();
        let gate = Arc::new(Notify::new());
        let open = gate.clone();
        let mut first = Box::pin(flights.join(1, |_| async move {
            open.notified().await;
            5
        }));
        let mut second = Box::pin(flights.join(1, |_| async { unreachable!("one is under way") }));
        assert!(once(&mut first).await.is_pending());
        assert!(once(&mut second).await.is_pending());
        drop(first);
        gate.notify_one();
        assert_eq!(second.await, Ok(5));
        assert_eq!(flights.counts(), Counts { started: 1, joined: 1, cancelled: 0 });
    }

    #[tokio::test]
    async fn a_run_that_nobody_waits_for_is_cancelled_and_a_later_caller_starts_anew() {
        let flights = flights();
        let (flags, seen) = std::sync::mpsc::channel();
        let (dropped, was_dropped) = tokio::sync::oneshot::channel::<()>();
        let mut callers: Vec<_> = Vec::new();
        callers.push(Box::pin(flights.join(1, |cancelled| {
            flags.send(cancelled).expect("the test listens");
            async move {
                let _held = dropped;
                pending().await
            }
        })));
        assert!(once(&mut callers[0]).await.is_pending());
        let mut other = Box::pin(flights.join(1, |_| async { unreachable!("one is under way") }));
        assert!(once(&mut other).await.is_pending());
        callers.clear();
        let flag = seen.recv().expect("started");
        assert!(!flag.load(Ordering::Relaxed), "one caller is left");
        drop(other);
        assert!(flag.load(Ordering::Relaxed));
        assert_eq!(flights.join(1, |_| async { 9 }).await, Ok(9));
        assert!(was_dropped.await.is_err(), "the cancelled task is dropped with all that it holds");
        assert_eq!(flights.counts(), Counts { started: 2, joined: 1, cancelled: 1 });
        assert!(flights.sky.lock().is_empty());
    }

    #[tokio::test]
    async fn a_run_that_panics_is_lost_and_leaves_nothing_behind() {
        let flights = flights();
        assert_eq!(flights.join(1, |_| async { panic!("expected by the test") }).await, Err(Lost));
        assert_eq!(flights.join(1, |_| async { 2 }).await, Ok(2));
        assert!(flights.sky.lock().is_empty());
    }

    #[tokio::test]
    async fn a_finished_run_is_not_kept() {
        let flights = flights();
        assert_eq!(flights.join(1, |_| async { 1 }).await, Ok(1));
        assert_eq!(flights.join(1, |_| async { 2 }).await, Ok(2));
        assert_eq!(flights.counts(), Counts { started: 2, joined: 0, cancelled: 0 });
    }
}
