//! [`Pool`]: threads that make blocking calls for asynchronous callers. They start when they are needed, up to a bound.
//!
//! Not tokio's blocking pool: syncs and reads each have their own threads, so that neither waits for the other. The
//! queue needs no bound of its own, since the layers above bound uploads in flight and open connections.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex, MutexGuard};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};
use tokio::sync::oneshot;

use crate::store::Error;

type Task = Box<dyn FnOnce() + Send>;

/// Threads and their queue. A drop runs the queued tasks and joins the threads.
pub struct Pool {
    shared: Arc<Shared>,
    threads_max: usize,
    name: &'static str,
    rank: Rank,
}

/// The priority of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// As other threads.
    Usual,
    /// After all other threads, for the processor and the device.
    Idle,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    idle: usize,
    threads: Vec<JoinHandle<()>>,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }
}

impl Pool {
    /// A pool of up to `threads_max` threads. The first one starts now: while a system gives no more, it does the work
    /// of all.
    pub fn start(name: &'static str, threads_max: usize, rank: Rank) -> std::io::Result<Pool> {
        let pool = Pool { shared: Arc::default(), threads_max, name, rank };
        let first = pool.spawn()?;
        pool.shared.lock().threads.push(first);
        Ok(pool)
    }

    fn spawn(&self) -> std::io::Result<JoinHandle<()>> {
        let (shared, rank) = (Arc::clone(&self.shared), self.rank);
        let run = move || {
            take(rank);
            work(&shared);
        };
        thread::Builder::new().name(self.name.into()).spawn(run)
    }

    /// Runs `task` on a thread, even if its answer is not awaited. The answer is an error if the task panicked.
    pub fn run<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
        let (answer, answered) = oneshot::channel();
        let mut state = self.shared.lock();
        state.tasks.push_back(Box::new(move || drop(answer.send(task()))));
        if state.idle < state.tasks.len() && state.threads.len() < self.threads_max {
            // Where the system gives no further thread, the task waits for one of those that are there.
            state.threads.extend(self.spawn());
        }
        self.shared.wake.notify_one();
        answered
    }

    /// Runs `task` on a thread and waits for its answer.
    pub async fn call<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.run(task).await.unwrap_or_else(|_| Err(panicked()))
    }
}

/// The error of a caller whose task panicked.
pub fn panicked() -> Error {
    Error::Unavailable("a thread of the store failed".into())
}

/// Sets the priority of this thread. A thread of SCHED_IDLE has the idle class for the device, too, unless it asks for
/// another (`ioprio_set(2)`). Without permission it keeps its priority.
fn take(rank: Rank) {
    if rank == Rank::Idle {
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
    }
}

fn work(shared: &Shared) {
    let mut state = shared.lock();
    loop {
        if let Some(task) = state.tasks.pop_front() {
            drop(state);
            // The panic hook has already reported it, and the caller finds the answer missing.
            let _ = catch_unwind(AssertUnwindSafe(task));
            state = shared.lock();
        } else if state.closed {
            return;
        } else {
            state.idle += 1;
            shared.wake.wait(&mut state);
            state.idle -= 1;
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let threads = {
            let mut state = self.shared.lock();
            state.closed = true;
            std::mem::take(&mut state.threads)
        };
        self.shared.wake.notify_all();
        for thread in threads {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_run_together_up_to_the_bound_and_a_panic_ends_only_its_own() {
        let pool = Pool::start("test", 2, Rank::Usual).expect("a thread");
        let both = Arc::new(std::sync::Barrier::new(2));
        let meets = |both: &Arc<std::sync::Barrier>| {
            let both = Arc::clone(both);
            pool.run(move || both.wait().is_leader())
        };
        let (first, second) = (meets(&both), meets(&both));
        assert!(first.blocking_recv().unwrap() ^ second.blocking_recv().unwrap());
        assert!(pool.run(|| panic!("on purpose")).blocking_recv().is_err());
        let answers: Vec<_> = (0..10).map(|i| pool.run(move || i)).collect();
        assert_eq!(answers.into_iter().map(|answer| answer.blocking_recv().unwrap()).sum::<i32>(), 45);
        assert_eq!(pool.shared.lock().threads.len(), 2);
    }
}
