//! [`Pool`]: a fixed number of threads for long computations, below the priority of the threads that answer requests. Its
//! callers bound its queue (each job has an admission permit). Knows no images.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use parking_lot::Mutex;
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};
use tokio::sync::oneshot;

/// The priority of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// After threads that answer requests: a hit or a 304 is served first when every core renders.
    Render,
    /// After all other threads: SCHED_IDLE, from which any thread that wakes takes the processor at once.
    Idle,
}

/// The nice values of [`Rank::Render`], and of [`Rank::Idle`] if the system has nothing lower.
const RENDER_NICENESS: i32 = 10;
const IDLE_NICENESS: i32 = 19;

/// Stack of each thread. The AV1 codecs keep large frames on it; untouched pages cost nothing.
const STACK_BYTES: usize = 8 << 20;

type Job<T> = Box<dyn FnOnce(&mut T) + Send>;

/// What a thread works with.
pub trait Tools: Send + 'static {
    /// Puts them in order before the first job and after each, when the job was answered.
    fn tidy(&mut self);
}

/// Threads that take jobs in order, each with tools of its own. A drop ends each thread once all jobs have run.
pub struct Pool<T> {
    jobs: Sender<Job<T>>,
}

/// The job panicked; the panic was logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panicked;

impl<T: Tools> Pool<T> {
    /// Starts `threads` threads, at least one, named `name` and a number.
    pub fn new(name: &str, threads: usize, rank: Rank, tools: impl Fn() -> T) -> Pool<T> {
        let (jobs, waiting) = channel::<Job<T>>();
        let waiting = Arc::new(Mutex::new(waiting));
        for index in 0..threads.max(1) {
            let (waiting, tools) = (waiting.clone(), tools());
            thread::Builder::new()
                .name(format!("{name}-{index}"))
                .stack_size(STACK_BYTES)
                .spawn(move || work(&waiting, rank, tools))
                .expect("the system gives the threads that the configuration asks for at start");
        }
        Pool { jobs }
    }

    /// Runs `job` on one of the threads, even if the receiver is dropped.
    pub fn submit<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> oneshot::Receiver<Result<R, Panicked>> {
        let (sender, receiver) = oneshot::channel();
        let job = move |tools: &mut T| {
            let _ = sender.send(guarded(|| job(tools)));
        };
        self.jobs.send(Box::new(job)).expect("the threads live as long as the pool");
        receiver
    }
}

/// Runs `job`. A panic is logged and ends nothing else.
pub fn guarded<T>(job: impl FnOnce() -> T) -> Result<T, Panicked> {
    caught(job).map_err(|panic| {
        tracing::error!(panic, "a codec or an operation panicked: this is our bug");
        Panicked
    })
}

/// Runs `job`. A panic is its message.
pub fn caught<T>(job: impl FnOnce() -> T) -> Result<T, String> {
    // A job owns its data, so a panic leaves nothing half-changed that others see.
    catch_unwind(AssertUnwindSafe(job)).map_err(|panic| message(&*panic).to_owned())
}

/// Sets the priority of this thread. Without permission the thread keeps its priority: hits are slower, nothing worse.
fn take(rank: Rank) {
    let niceness = match rank {
        Rank::Render => RENDER_NICENESS,
        Rank::Idle => IDLE_NICENESS,
    };
    let _ = rustix::process::setpriority_process(None, niceness);
    if rank == Rank::Idle {
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
    }
}

fn work<T: Tools>(waiting: &Mutex<Receiver<Job<T>>>, rank: Rank, mut tools: T) {
    take(rank);
    loop {
        tools.tidy();
        let job = waiting.lock().recv();
        match job {
            Ok(job) => job(&mut tools),
            Err(_) => return,
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    impl Tools for () {
        fn tidy(&mut self) {}
    }

    #[tokio::test]
    async fn a_panic_stays_with_its_job() {
        let pool = Pool::new("render", 1, Rank::Render, || ());
        let bad = pool.submit(|_: &mut ()| -> () { panic!("expected by the test") });
        let worse = pool.submit(|_: &mut ()| -> () { std::panic::panic_any(7) });
        let good = pool.submit(|_: &mut ()| 3);
        assert_eq!(bad.await.expect("answered"), Err(Panicked));
        assert_eq!(worse.await.expect("answered"), Err(Panicked));
        assert_eq!(good.await.expect("the thread survived"), Ok(3));
    }

    #[tokio::test]
    async fn all_threads_work_at_once_and_none_is_the_runtimes() {
        let pool = Pool::new("render", 3, Rank::Render, || ());
        let meeting = Arc::new(Barrier::new(3));
        let jobs: Vec<_> = (0..3)
            .map(|_| {
                let meeting = meeting.clone();
                pool.submit(move |_: &mut ()| {
                    meeting.wait();
                    thread::current().name().map(str::to_owned)
                })
            })
            .collect();
        let mut names = Vec::new();
        for job in jobs {
            names.push(job.await.expect("answered").expect("no panic").expect("named"));
        }
        names.sort();
        assert_eq!(names, ["render-0", "render-1", "render-2"]);
    }

    #[tokio::test]
    async fn idle_threads_are_scheduled_after_all_others() {
        let policy = |rank| Pool::new("thread", 1, rank, || ()).submit(|()| thread_priority::thread_schedule_policy());
        let idle = policy(Rank::Idle).await.expect("answered").expect("no panic");
        assert_eq!(idle.ok(), Some(ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle)));
        let render = policy(Rank::Render).await.expect("answered").expect("no panic");
        assert_eq!(render.ok(), Some(ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other)));
    }

    #[tokio::test]
    async fn dropping_the_pool_ends_its_threads_after_their_work() {
        let pool = Pool::new("render", 2, Rank::Render, || ());
        let job = pool.submit(|_: &mut ()| 1);
        let (alive, ended) = oneshot::channel::<()>();
        let last = pool.submit(move |_: &mut ()| drop(alive));
        drop(pool);
        assert_eq!(job.await.expect("answered"), Ok(1));
        assert_eq!(last.await.expect("answered"), Ok(()));
        assert!(ended.await.is_err());
    }
}
