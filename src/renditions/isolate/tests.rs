//! Renders in workers of this test program, which starts itself again.

use std::process;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process};

use super::seat::{Apart, Workers};
use super::{WorkerCommand, serve};
use crate::digest::Digest;
use crate::pipeline::{self, Batch, Headers, Images, Limits, Pipeline, codec, query};
use crate::renditions::pool::{Pool, Rank};
use crate::renditions::render::Renderer;
use crate::renditions::{Error, Options, Rendition, Renditions, Source};
use crate::store;

/// The variable of a worker's environment.
pub const WORKER: &str = "PROGIMAGE_TEST_WORKER";

#[test]
fn the_worker_of_these_tests() {
    let asked = std::env::var_os(WORKER);
    while asked.as_ref().is_some_and(|how| how == "silent") {
        std::thread::park();
    }
    if asked.is_some() {
        let served = serve();
        process::exit(i32::from(format!("{served:?}") != format!("{:?}", process::ExitCode::SUCCESS)));
    }
}

fn command() -> WorkerCommand {
    let args = ["--exact", "renditions::isolate::tests::the_worker_of_these_tests", "--nocapture"];
    WorkerCommand { args: args.map(Into::into).to_vec(), environment: vec![(WORKER.into(), "1".into())] }
}

/// One thread each, with workers.
fn options() -> Options {
    Options { render_threads: 1, bulk_threads: 1, worker: Some(command()), ..Options::default() }
}

async fn renditions(options: Options) -> Arc<Renditions> {
    let store = store::open("memory:", &store::Options::default()).await.expect("the memory store opens");
    Renditions::new(store, Limits::default(), options)
}

fn given(bytes: impl Into<Bytes>) -> Source {
    Source::Given { bytes: bytes.into(), images: Images::new() }
}

fn misbehaving(word: &str) -> Source {
    given(format!("misbehave: {word}"))
}

fn pipeline(extension: &str, text: &str) -> Pipeline {
    let codec = codec::by_extension(extension).expect("a row");
    Pipeline::from_query(codec, &query::pairs(Some(text)).expect("pairs")).expect(text)
}

/// A picture that renders.
const GOOD: &[u8] = b"P5 2 2 255\n\x00\x40\x80\xff";

async fn check_good(renditions: &Renditions) {
    let (made, _) = renditions.get(given(GOOD), &pipeline("png", "w=1")).await.expect("rendered");
    assert!(made.bytes.starts_with(b"\x89PNG"));
}

async fn error_of(renditions: &Renditions, source: Source) -> Error {
    renditions.get(source, &pipeline("png", "")).await.map(drop).expect_err("it misbehaves")
}

#[tokio::test]
async fn a_crash_costs_its_request_and_nothing_else() {
    let renditions = renditions(options()).await;
    for word in ["abort", "recurse", "allocate"] {
        let error = error_of(&renditions, misbehaving(word)).await;
        assert!(matches!(error, Error::Panicked), "{word}: {error:?}");
        check_good(&renditions).await;
    }
    // Each was tried in a second worker.
    assert_eq!(renditions.counters().worker_deaths, 6);
}

#[tokio::test]
async fn what_never_ends_is_killed_at_its_deadline() {
    let renditions = renditions(Options { render_timeout_ms: 300, ..options() }).await;
    // The second one looks at its deadline itself.
    for word in ["loop", "wait"] {
        let error = error_of(&renditions, misbehaving(word)).await;
        assert!(matches!(error, Error::Pipeline(pipeline::Error::Timeout)), "{word}: {error:?}");
    }
    // Bulk work has a limit on processor time, of which the second one uses none.
    for word in ["loop", "block"] {
        let bulk = renditions.batch(misbehaving(word), &[pipeline("png", "")], false).await.remove(0);
        assert!(matches!(bulk, Err(Error::Pipeline(pipeline::Error::Timeout))), "{word}: {bulk:?}");
    }
}

#[tokio::test]
async fn a_reply_that_nothing_asked_for_is_not_taken_for_the_next() {
    let renditions = renditions(options()).await;
    let error = error_of(&renditions, misbehaving("speak")).await;
    assert!(matches!(error, Error::Panicked), "{error:?}");
    assert_eq!(renditions.counters().worker_deaths, 2);
    check_good(&renditions).await;
}

#[tokio::test]
async fn a_worker_opens_nothing_and_starts_nothing() {
    let renditions = renditions(options()).await;
    for word in ["open", "create", "connect", "run", "thread"] {
        let error = error_of(&renditions, misbehaving(word)).await;
        let denied = pipeline::Error::corrupt("misbehaving", "permission denied");
        assert!(matches!(&error, Error::Pipeline(error) if *error == denied), "{word}: {error:?}");
    }
    assert_eq!(renditions.counters().worker_deaths, 0);
}

#[tokio::test]
async fn a_panic_leaves_its_worker_alive() {
    let renditions = renditions(options()).await;
    assert!(matches!(error_of(&renditions, misbehaving("panic")).await, Error::Panicked));
    check_good(&renditions).await;
    assert_eq!(renditions.counters().worker_deaths, 0);
}

#[tokio::test]
async fn an_output_that_crashes_leaves_the_others_of_its_batch_alone() {
    let (apart, here) = (renditions(options()).await, renditions(Options { worker: None, ..options() }).await);
    let bad = Bytes::from("misbehave: abort");
    let images = Images::from([(Digest::of(&bad), bad.clone())]);
    let overlay = format!("overlay={}", Digest::of(&bad));
    let pipelines = [pipeline("png", "w=1"), pipeline("png", &overlay), pipeline("png", "h=1"), pipeline("jpg", "w=1")];
    let source = Source::Given { bytes: GOOD.into(), images };
    let made = apart.batch(source.clone(), &pipelines, false).await;
    assert!(matches!(made[1], Err(Error::Panicked)), "{:?}", made[1]);
    for place in [0, 2, 3] {
        let expected = here.batch(given(GOOD), &pipelines[place..=place], false).await.remove(0).expect("rendered");
        assert_eq!(made[place].as_ref().expect("rendered").bytes, expected.bytes, "{place}");
    }
    // The source is not refused for what was laid over it.
    for _ in 0..3 {
        assert!(matches!(apart.batch(source.clone(), &pipelines[1..2], false).await[0], Err(Error::Panicked)));
    }
    check_good(&apart).await;
}

#[tokio::test]
async fn a_source_that_ended_three_requests_is_refused() {
    let renditions = renditions(options()).await;
    for _ in 0..3 {
        assert!(matches!(error_of(&renditions, misbehaving("abort")).await, Error::Panicked));
    }
    let deaths = renditions.counters().worker_deaths;
    assert!(matches!(error_of(&renditions, misbehaving("abort")).await, Error::Panicked));
    assert_eq!(renditions.counters().worker_deaths, deaths, "no worker has seen it again");
    check_good(&renditions).await;
}

/// Whether a worker has been given a batch, with a bound on its address space.
fn has_batch(worker: Pid) -> bool {
    let limits = std::fs::read_to_string(format!("/proc/{worker}/limits")).unwrap_or_default();
    let bound = limits.lines().find_map(|line| line.strip_prefix("Max address space"));
    bound.is_some_and(|bound| !bound.trim_start().starts_with("unlimited"))
}

/// Processor time of a process: utime, field 14 of proc_pid_stat(5). The state after the name is 3.
fn ticks(process: Pid) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(14 - 3)?.parse().ok()
}

/// The worker that a thread has started, once it computes for a batch, and so is in a step.
async fn computing_worker(thread: Pid, last: Option<Pid>) -> Pid {
    let mut seen = None;
    for _ in 0..20_000 {
        let children = std::fs::read_to_string(format!("/proc/self/task/{thread}/children")).expect("a list");
        let numbers = children.split_whitespace().filter_map(|number| number.parse().ok());
        let worker = numbers.filter_map(Pid::from_raw).find(|worker| Some(*worker) != last && has_batch(*worker));
        match (worker.and_then(|worker| Some((worker, ticks(worker)?))), seen) {
            (Some((worker, now)), Some((first, then))) if worker == first && now > then + 1 => return worker,
            (Some((worker, _)), Some((first, _))) if worker == first => {}
            (found, _) => seen = found,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("no worker computes");
}

/// What is answered for a render whose workers, one after the other, get a signal from here.
async fn error_of_killed(renditions: &Arc<Renditions>, signals: [Signal; 2]) -> Error {
    let thread = renditions.engine.single.pool.submit(|_| rustix::thread::gettid());
    let thread = thread.await.expect("answered").expect("no panic");
    let render = tokio::spawn({
        let renditions = renditions.clone();
        async move { error_of(&renditions, misbehaving("loop")).await }
    });
    let mut last = None;
    for signal in signals {
        let worker = computing_worker(thread, last).await;
        kill_process(worker, signal).expect("it lives");
        last = Some(worker);
    }
    render.await.expect("no panic")
}

#[tokio::test]
async fn an_image_is_not_blamed_for_workers_that_others_kill() {
    let renditions = renditions(Options { render_timeout_ms: 3_600_000, ..options() }).await;
    // Once more than an image is forgiven.
    for signal in [Signal::KILL, Signal::TERM, Signal::USR1, Signal::KILL] {
        let error = error_of_killed(&renditions, [signal; 2]).await;
        assert!(matches!(error, Error::Busy { .. }), "{signal:?}: {error:?}");
    }
    assert_eq!(renditions.counters().worker_deaths, 8);
    check_good(&renditions).await;
    for _ in 0..3 {
        let error = error_of_killed(&renditions, [Signal::KILL, Signal::ABORT]).await;
        assert!(matches!(error, Error::Panicked), "{error:?}");
    }
    // It was at fault three times itself, so no worker sees it again.
    assert!(matches!(error_of(&renditions, misbehaving("loop")).await, Error::Panicked));
}

#[tokio::test]
async fn a_worker_whose_caller_left_is_stopped() {
    let renditions = renditions(Options { render_timeout_ms: 3_600_000, ..options() }).await;
    let render = tokio::spawn({
        let renditions = renditions.clone();
        async move { renditions.get(misbehaving("loop"), &pipeline("png", "")).await.map(drop) }
    });
    while renditions.counters().bytes_in_flight == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    render.abort();
    // The one thread is free again.
    check_good(&renditions).await;
}

#[tokio::test]
async fn copies_of_images_and_results_are_counted() {
    let mut in_flight = Vec::new();
    for worker in [None, Some(command())] {
        let renditions = renditions(Options { render_timeout_ms: 3_600_000, worker, ..options() }).await;
        let render = tokio::spawn({
            let renditions = renditions.clone();
            async move { renditions.get(misbehaving("wait"), &pipeline("png", "")).await.map(drop) }
        });
        while renditions.counters().bytes_in_flight == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        in_flight.push(renditions.counters().bytes_in_flight);
        render.abort();
    }
    let bytes = b"misbehave: wait";
    let codec = codec::sniff(bytes).expect("a row");
    let header = (codec.inspect)(bytes).expect("a header");
    let pipelines = vec![pipeline("png", "")];
    let batch = Batch::plan(pipelines, (codec, &header), Headers::new(), &Limits::default(), u64::MAX);
    assert_eq!(in_flight[1] - in_flight[0], bytes.len() as u64 + batch.result_bytes_max());
    assert!(batch.result_bytes_max() > 0);
}

/// The process that renders single requests.
async fn process(renditions: &Renditions) -> u32 {
    let asked = renditions.engine.single.pool.submit(|renderer| match renderer {
        Renderer::Apart(apart) => apart.process_id(),
        Renderer::Here => None,
    });
    asked.await.expect("answered").expect("no panic").expect("a worker")
}

#[tokio::test]
async fn a_worker_without_work_maps_no_images() {
    let renditions = renditions(options()).await;
    let process = process(&renditions).await;
    let shared_bytes = || {
        let text = std::fs::read_to_string(format!("/proc/{process}/statm")).expect("it lives");
        let pages: usize = text.split(' ').nth(2).expect("a field").parse().expect("a number");
        pages * rustix::param::page_size()
    };
    check_good(&renditions).await;
    let before = shared_bytes();
    let large = [b"misbehave: not", &[0; 48 << 20][..]].concat();
    let made = renditions.get(given(large), &pipeline("png", "")).await;
    assert!(made.is_ok(), "{made:?}");
    assert_eq!(self::process(&renditions).await, process);
    assert!(shared_bytes() < before + (32 << 20));
}

#[tokio::test]
async fn a_worker_that_keeps_much_memory_is_replaced() {
    let renditions = renditions(options()).await;
    let first = process(&renditions).await;
    check_good(&renditions).await;
    assert_eq!(process(&renditions).await, first);
    let made = renditions.get(misbehaving("keep"), &pipeline("png", "")).await;
    assert!(made.is_ok(), "{made:?}");
    assert_ne!(process(&renditions).await, first);
    assert_eq!(renditions.counters().worker_deaths, 0);
}

#[tokio::test]
async fn a_worker_has_the_priority_of_its_thread() {
    for (rank, policy) in [(Rank::Render, "0"), (Rank::Idle, "5")] {
        let pool = Pool::new("test", 1, rank, || Apart::new(Workers::new(command())));
        let process = pool.submit(|apart: &mut Apart| apart.process_id()).await.expect("answered").expect("no panic");
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.expect("started"))).expect("it lives");
        let fields = stat.rsplit_once(") ").expect("a name").1;
        // Field 41 of proc_pid_stat(5); the state after the name is 3.
        assert_eq!(fields.split(' ').nth(41 - 3), Some(policy), "{rank:?}");
        let score = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", process.expect("started")));
        assert_eq!(score.expect("readable").trim(), "1000");
    }
}

#[tokio::test]
async fn a_worker_ends_with_its_thread() {
    let pool = Pool::new("test", 1, Rank::Render, || Apart::new(Workers::new(command())));
    let process = pool.submit(|apart: &mut Apart| apart.process_id()).await.expect("answered").expect("no panic");
    drop(pool);
    let folder = format!("/proc/{}", process.expect("started"));
    while std::path::Path::new(&folder).exists() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn a_program_that_is_no_worker_is_told() {
    let none = WorkerCommand { args: vec!["--list".into()], environment: Vec::new() };
    assert!(none.check().is_err());
    assert!(command().check().is_ok());
}

/// What a client is told.
fn told(made: &Result<Rendition, Error>) -> Result<Digest, String> {
    match made {
        Ok(made) => Ok(Digest::of(&made.bytes)),
        Err(error) => Err(format!("{error:?}")),
    }
}

#[tokio::test]
async fn results_and_errors_are_the_same_with_and_without_workers() {
    let (apart, here) = (renditions(options()).await, renditions(Options { worker: None, ..options() }).await);
    let pipelines = [
        pipeline("png", ""),
        pipeline("jpg", "w=30&h=20&fit=cover&quality=50&metadata=all"),
        pipeline("webp", "w=24&rotate=90&blur=1"),
        pipeline("png", "crop=9000,9000,1,1"),
        pipeline("jpg", "w=64&max_bytes=100"),
        pipeline("qoi", "trim=10&w=16000&h=16000"),
        Pipeline::summary(),
    ];
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/sources");
    let files = std::fs::read_dir(folder).expect("fixtures").map(|entry| entry.expect("an entry").path());
    let mut compared = 0;
    for path in files.filter(|path| path.is_file()) {
        let whole = Bytes::from(std::fs::read(&path).expect("readable"));
        // Most files that were cut short fail in the decoder.
        for (source, pipelines) in [(whole.clone(), &pipelines[..]), (whole.slice(..whole.len() / 2), &pipelines[..2])]
        {
            let both = [&apart, &here].map(|renditions| renditions.batch(given(source.clone()), pipelines, false));
            let [apart, here] = join_all(both).await.try_into().expect("two");
            for (place, (apart, here)) in apart.iter().zip(&here).enumerate() {
                assert_eq!(told(apart), told(here), "{} {}", path.display(), pipelines[place]);
                compared += 1;
            }
        }
    }
    assert!(compared > 500, "{compared}");
    assert_eq!(apart.counters().worker_deaths, 0);
    let single = apart.get(given(GOOD), &pipelines[1]).await.map(|(made, _)| made);
    assert_eq!(told(&single), told(&here.get(given(GOOD), &pipelines[1]).await.map(|(made, _)| made)));
}
