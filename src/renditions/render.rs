//! [`Admitted`]: outputs of one source that may be rendered: one job on a thread of their lane, one decode where outputs
//! agree on it ([`Batch`]). A single render is a batch of one. The one place for time, cancellation and panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::admission::Permit;
use super::aux_images::AuxImages;
use super::isolate::{Apart, Workers};
use super::lane::{Clock, Lane};
use super::pool::{Tools, guarded};
use super::{Error, Origin, Rendition};
use crate::pipeline::{self, Batch, Decoded, Images, Limits, Output, Pipeline};

/// The result of one output, and where it is from.
pub type Made = Result<(Rendition, Origin), Error>;

/// Outputs that wait no more.
pub struct Admitted {
    /// For the source, the pixels, the results, and the extra bytes of the caller.
    pub permit: Permit,
    /// The render, or why none of the outputs can be rendered.
    pub render: Result<Render, Vec<Error>>,
}

/// A render that may run.
pub struct Render {
    pub lane: Arc<Lane>,
    pub batch: Batch,
    pub source: Bytes,
    pub images: Images,
    pub aux_images: AuxImages,
    pub waited: Duration,
    /// When a thread must have taken it. `None`: it may wait.
    pub until: Option<tokio::time::Instant>,
}

impl Admitted {
    /// Renders. One result for each output, in their order. Cancelled when the future is dropped: the permit is given
    /// back when the thread has stopped.
    pub async fn render(self) -> Vec<Made> {
        match self.render {
            Ok(render) => render.run(self.permit).await,
            Err(errors) => errors.into_iter().map(Err).collect(),
        }
    }
}

impl Render {
    async fn run(self, mut permit: Permit) -> Vec<Made> {
        let Render { lane, batch, source, images, aux_images, waited, until } = self;
        let submitted = Instant::now();
        let lost = vec![Err(Error::Panicked); batch.pipelines().len()];
        let (limits, memory_bytes_max) = (lane.limits.clone(), lane.memory.bytes_max());
        let work = Arc::new(Work { batch, source, images, limits, memory_bytes_max });
        let (queued, taken) = Queued::new(work.clone());
        let (lane_of_job, place, cancelled) = (lane.clone(), queued.place.clone(), queued.cancelled.clone());
        let job = lane.pool.submit(move |renderer| {
            let work = take(&place)?;
            let queue = waited + submitted.elapsed();
            Some((renderer.outputs(&work, &lane_of_job.clock(cancelled)), queue))
        });
        // A task of its own keeps the permit: the thread of the job must not give it back, and the caller may leave.
        let place = queued.place.clone();
        let task = tokio::spawn(async move {
            let pipelines = work.batch.pipelines();
            if let Err(refused) = in_time(&lane, &place, taken, until).await {
                return vec![Err(refused); pipelines.len()];
            }
            let done = job.await.ok().and_then(Result::ok).flatten();
            let (outputs, queue) = done.unwrap_or_else(|| (vec![Err(Error::Panicked); pipelines.len()], waited));
            lane.count(&outputs);
            let outputs = outputs.into_iter().map(|output| output.map_err(|error| aux_images.why(error)));
            let made = outputs.zip(pipelines);
            made.map(|(output, pipeline)| Ok(rendition(output?, pipeline, queue, &mut permit))).collect()
        });
        let made = task.await.unwrap_or(lost);
        drop(queued);
        made
    }
}

/// The place of a render in the queue of the pool, until a thread takes it: what it needs, and whom to tell.
type Place = Arc<Mutex<Option<(Arc<Work>, oneshot::Sender<()>)>>>;

/// Takes a render out of the queue. `None`: it was given up.
fn take(place: &Place) -> Option<Arc<Work>> {
    let (work, taken) = place.lock().take()?;
    // Without a receiver the caller has left, and the flag says so.
    _ = taken.send(());
    Some(work)
}

/// Waits until a thread has taken a render, at most until `until`.
async fn in_time(
    lane: &Lane,
    place: &Place,
    taken: oneshot::Receiver<()>,
    until: Option<tokio::time::Instant>,
) -> Result<(), Error> {
    let answer = match until {
        Some(until) => tokio::time::timeout_at(until, taken).await.ok(),
        None => Some(taken.await),
    };
    match answer {
        Some(Ok(())) => Ok(()),
        Some(Err(_)) => Err(pipeline::Error::Cancelled.into()),
        // It may have been taken just now.
        None => place.lock().take().map_or(Ok(()), |_| Err(lane.late())),
    }
}

/// A render whose caller waits. When it is dropped, it leaves the queue, or stops on its thread.
struct Queued {
    place: Place,
    cancelled: Arc<AtomicBool>,
}

impl Queued {
    fn new(work: Arc<Work>) -> (Queued, oneshot::Receiver<()>) {
        let (sender, taken) = oneshot::channel();
        (Queued { place: Arc::new(Mutex::new(Some((work, sender)))), cancelled: Arc::default() }, taken)
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        drop(self.place.lock().take());
    }
}

/// A result that holds its part of `permit` until the cache and every answer have dropped it.
fn rendition(output: Output, pipeline: &Pipeline, queue: Duration, permit: &mut Permit) -> (Rendition, Origin) {
    let Output { bytes, missing, decode, operations, encode } = output;
    let part = permit.split(bytes.len() as u64);
    let rendition = Rendition { bytes, codec: pipeline.codec(), query: pipeline.query().into(), missing };
    (rendition.held(part), Origin::Rendered { queue, decode, operations, encode })
}

/// What a render needs: its images, its plan, and the bounds within which it was planned.
pub struct Work {
    pub batch: Batch,
    pub source: Bytes,
    pub images: Images,
    pub limits: Arc<Limits>,
    /// The bound of [`Batch::plan`].
    pub memory_bytes_max: u64,
}

/// The steps of a render, wherever they are taken.
pub trait Steps {
    /// Decodes the source for a group of the batch.
    fn decode(&mut self, group: usize) -> Result<(), Error>;
    /// Finishes an output of the group that was decoded last.
    fn finish(&mut self, group: usize, member: usize) -> Result<Output, Error>;
}

/// Where a thread renders.
pub enum Renderer {
    /// In this process.
    Here,
    /// In a worker process.
    Apart(Apart),
}

impl Tools for Renderer {
    fn tidy(&mut self) {
        if let Renderer::Apart(apart) = self {
            apart.tidy();
        }
    }
}

impl Renderer {
    /// A renderer in a worker of `workers`, if there are any.
    pub fn new(workers: Option<&Arc<Workers>>) -> Renderer {
        workers.map_or(Renderer::Here, |workers| Renderer::Apart(Apart::new(workers.clone())))
    }

    /// Renders on this thread, one output after the other.
    fn outputs(&mut self, work: &Work, clock: &Clock) -> Vec<Result<Output, Error>> {
        let batch = &work.batch;
        let mut outputs = vec![Err(Error::Panicked); batch.pipelines().len()];
        for (index, error) in batch.refused() {
            outputs[*index] = Err(error.clone().into());
        }
        let mut here = Here { work, clock, decoded: None };
        let mut apart = match self {
            Renderer::Here => None,
            Renderer::Apart(apart) => Some(apart.session(work, clock)),
        };
        for (place, group) in batch.groups().iter().enumerate() {
            let steps: &mut dyn Steps = match &mut apart {
                Some(apart) if !group.passes_through() => apart,
                _ => &mut here,
            };
            let decoded = steps.decode(place);
            for (number, member) in group.members().iter().enumerate() {
                outputs[member.index] = decoded.clone().and_then(|()| steps.finish(place, number));
            }
        }
        outputs
    }
}

/// The steps on this thread.
struct Here<'a> {
    work: &'a Work,
    clock: &'a Clock,
    decoded: Option<Decoded>,
}

impl Steps for Here<'_> {
    fn decode(&mut self, group: usize) -> Result<(), Error> {
        // The last picture is dropped before the next one is decoded.
        self.decoded = None;
        let Work { batch, source, limits, .. } = self.work;
        let decode = || batch.decode(&batch.groups()[group], source, limits, &self.clock.deadline());
        self.decoded = Some(attempt(decode)?);
        Ok(())
    }

    fn finish(&mut self, group: usize, member: usize) -> Result<Output, Error> {
        let Work { batch, source, images, limits, .. } = self.work;
        let (member, deadline) = (&batch.groups()[group].members()[member], self.clock.deadline());
        let decoded = self.decoded.as_mut().ok_or(Error::Panicked)?;
        let output = attempt(|| batch.finish(member, decoded, (source, images), limits, &deadline))?;
        Ok(Output { bytes: exact(output.bytes, source), ..output })
    }
}

/// A result in a buffer of its own length. An encoder's buffer may be twice as long as its content, and could be neither
/// counted nor weighed. A source that was passed through is not copied.
fn exact(made: Bytes, source: &Bytes) -> Bytes {
    if made.as_ptr() == source.as_ptr() { made } else { Bytes::copy_from_slice(&made) }
}

fn attempt<T>(work: impl FnOnce() -> Result<T, pipeline::Error>) -> Result<T, Error> {
    Ok(guarded(work).map_err(|_| Error::Panicked)??)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::task::JoinHandle;

    use super::super::pool::Panicked;
    use super::super::{Options, Renditions};
    use super::*;
    use crate::digest::Digest;
    use crate::pipeline::Pipeline;
    use crate::pipeline::codec;
    use crate::renditions::Source;
    use crate::store::double::{Call, Double};
    use crate::store::{self, Store, Uploads};
    use futures_util::future::join_all;

    /// Stores a small picture of one shade; its digest.
    async fn put(store: &Arc<dyn Store>, shade: u8) -> Digest {
        let mut bytes = b"P6 4 3 255\n".to_vec();
        bytes.extend([shade; 4 * 3 * 3]);
        let mut upload = Uploads::new(store.clone(), store::Options::default()).begin(None).await.expect("begun");
        upload.write(bytes.into()).await.expect("written");
        upload.seal(None).await.expect("sealed").commit().await.expect("stored").digest
    }

    async fn renditions(options: Options) -> (Arc<dyn Store>, Arc<Renditions>) {
        let store = store::open("memory:", &store::Options::default()).await.expect("the memory store opens");
        (store.clone(), Renditions::new(store, Limits::default(), options))
    }

    fn png() -> Pipeline {
        Pipeline::from_query(codec::by_extension("png").expect("a row"), &[]).expect("a conversion")
    }

    /// Nothing here may be refused for want of room or time.
    fn impatient() -> Options {
        Options { bulk_threads: 1, bulk_idle: false, queue_max: 0, queue_timeout_ms: 0, ..Options::default() }
    }

    const CALLERS: usize = 20;

    /// A lane whose one thread waits until it is let go, and more callers than fit into it.
    struct Crowd {
        open: mpsc::Sender<()>,
        held: oneshot::Receiver<Result<bool, Panicked>>,
        callers: Vec<JoinHandle<Result<Rendition, Error>>>,
    }

    async fn crowd(renditions: &Arc<Renditions>, source: Digest) -> Crowd {
        let (open, gate) = mpsc::channel();
        let held = renditions.engine.bulk.pool.submit(move |_| gate.recv().is_ok());
        let call = |_| {
            let renditions = renditions.clone();
            tokio::spawn(async move { renditions.batch(&source, &[png()], false).await.remove(0) })
        };
        let callers = (0..CALLERS).map(call).collect();
        while renditions.counters().bulk_waiting < CALLERS as u64 - 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Crowd { open, held, callers }
    }

    #[tokio::test]
    async fn a_single_request_is_rendered_while_the_bulk_lane_is_busy() {
        let (store, renditions) = renditions(impatient()).await;
        let source = put(&store, 1).await;
        let Crowd { open, held, callers } = crowd(&renditions, source).await;
        assert_eq!(renditions.counters().bytes_in_flight, 0, "the memory of others is not touched");
        let (single, _) = renditions.get(&source, &png()).await.expect("rendered");
        let counters = renditions.counters();
        assert_eq!((counters.renders, counters.bulk_renders), (1, 0), "every bulk render is still to come");
        open.send(()).expect("the thread waits");
        for answer in join_all(callers).await {
            assert_eq!(answer.expect("no caller panics").expect("none is refused").bytes, single.bytes);
        }
        let counters = renditions.counters();
        assert_eq!((counters.bulk_renders, counters.busy), (CALLERS as u64, 0));
        assert_eq!((counters.bulk_waiting, counters.bulk_bytes_in_flight), (0, 0));
        assert_eq!(held.await, Ok(Ok(true)));
    }

    #[tokio::test]
    async fn a_render_that_no_thread_takes_in_time_is_refused_and_gives_back_what_it_held() {
        let options = Options { render_threads: 1, queue_timeout_ms: 20, ..Options::default() };
        let (store, renditions) = renditions(options).await;
        let source = put(&store, 1).await;
        let (open, gate) = mpsc::channel::<()>();
        let held = renditions.engine.single.pool.submit(move |_| gate.recv().is_ok());
        for _ in 0..2 {
            let refused = renditions.get(&source, &png()).await.map(drop);
            assert!(matches!(refused, Err(Error::Busy { .. })), "{refused:?}");
            let counters = renditions.counters();
            assert_eq!((counters.renders, counters.bytes_in_flight), (0, 0));
        }
        assert_eq!(renditions.counters().busy, 2);
        open.send(()).expect("the thread waits");
        assert_eq!(held.await, Ok(Ok(true)));
    }

    #[tokio::test]
    async fn a_miss_asks_the_cache_twice_and_renders_once() {
        let (store, renditions) = renditions(Options::default()).await;
        let (source, png) = (put(&store, 1).await, png());
        let key = png.key(&source);
        assert!(renditions.cached(&source, &key).is_none());
        let (made, _) = renditions.missed(&source, key, &png).await.expect("rendered");
        // The caller, and its run: another one may have ended in between.
        assert_eq!(renditions.cache.looks(), 2);
        let counters = renditions.counters();
        assert_eq!((counters.renders, counters.misses, counters.hits), (1, 1, 0));
        // The race itself: a caller that has looked before the run ended.
        let (found, origin) = renditions.missed(&source, key, &png).await.expect("cached");
        assert_eq!((found.bytes.as_ptr(), origin), (made.bytes.as_ptr(), Origin::Hit));
        assert_eq!((renditions.cache.looks(), renditions.counters().renders), (3, 1));
    }

    #[tokio::test]
    async fn what_cannot_be_rendered_waits_for_nothing() {
        let (store, renditions) = renditions(impatient()).await;
        let source = put(&store, 1).await;
        renditions.header(&source).await.expect("known from here on");
        let Crowd { open, held, callers } = crowd(&renditions, source).await;
        let outside = [("crop".to_owned(), "9,9,1,1".to_owned())];
        let pipeline = Pipeline::from_query(png().codec(), &outside).expect("valid");
        let answer = renditions.batch(&source, &[pipeline], false).await.remove(0);
        assert!(matches!(answer, Err(Error::Pipeline(_))), "{answer:?}");
        open.send(()).expect("the thread waits");
        assert!(join_all(callers).await.into_iter().all(|answer| answer.is_ok_and(|answer| answer.is_ok())));
        assert_eq!(held.await, Ok(Ok(true)));
    }

    #[tokio::test]
    async fn an_output_whose_mask_cannot_be_read_says_why_whatever_the_others_say() {
        let inner = store::open("memory:", &store::Options::default()).await.expect("the memory store opens");
        let unavailable = || store::Error::Unavailable("away".to_owned());
        let store = Double::refusing(inner, move |call| (call == Call::Open).then(unavailable));
        let renditions = Renditions::new(store, Limits::default(), impatient());
        let pipeline = |name: &str, value: &str| {
            Pipeline::from_query(png().codec(), &[(name.to_owned(), value.to_owned())]).expect("valid")
        };
        let mask = Digest::of(b"a mask").to_string();
        let pipelines = [pipeline("mask", &mask), pipeline("crop", "9,9,1,1")];
        let source = Source::Given { bytes: Bytes::from_static(b"P5 1 1 255\n\x07"), images: Images::new() };
        let [masked, cropped] = renditions.batch(source, &pipelines, false).await.try_into().expect("two outputs");
        assert!(matches!(masked, Err(Error::Store(store::Error::Unavailable(_)))), "{masked:?}");
        assert!(matches!(cropped, Err(Error::Pipeline(pipeline::Error::CropOutside))), "{cropped:?}");
    }

    #[tokio::test]
    async fn bulk_threads_give_way_to_all_others_unless_set_otherwise() {
        use thread_priority::NormalThreadSchedulePolicy::{Idle, Other};
        for (bulk_idle, expected) in [(true, Idle), (false, Other)] {
            let (_, renditions) = renditions(Options { bulk_idle, ..impatient() }).await;
            let policy = renditions.engine.bulk.pool.submit(|_| thread_priority::thread_schedule_policy()).await;
            let policy = policy.expect("answered").expect("no panic").ok();
            assert_eq!(policy, Some(thread_priority::ThreadSchedulePolicy::Normal(expected)), "{bulk_idle}");
        }
    }

    #[tokio::test]
    async fn callers_that_leave_give_back_their_place_in_the_queue_and_what_they_hold() {
        let (store, renditions) = renditions(impatient()).await;
        let source = put(&store, 1).await;
        let Crowd { open, held, callers } = crowd(&renditions, source).await;
        callers.iter().for_each(tokio::task::JoinHandle::abort);
        for left in join_all(callers).await {
            assert!(left.is_err_and(|error| error.is_cancelled()));
        }
        assert_eq!(renditions.counters().bulk_waiting, 0);
        drop(open);
        assert_eq!(held.await, Ok(Ok(false)), "the gate is gone");
        // Those that were admitted are on their way through the pool; they render nothing.
        while renditions.counters().bulk_bytes_in_flight > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(renditions.batch(&source, &[png()], false).await.remove(0).is_ok());
    }

    #[tokio::test]
    async fn a_render_that_fills_the_lane_runs_and_a_larger_one_is_refused_by_name() {
        let (store, probe) = renditions(Options::default()).await;
        let (codec, header) = probe.header(&put(&store, 1).await).await.expect("known");
        let plan = png().plan((codec, &header), &pipeline::Headers::new(), &Limits::default()).expect("small");
        for (bulk_memory_bytes_max, fits) in [(plan.memory_bytes, true), (plan.memory_bytes - 1, false)] {
            let (store, renditions) = renditions(Options { bulk_memory_bytes_max, ..impatient() }).await;
            let answer = renditions.batch(&put(&store, 1).await, &[png()], false).await.remove(0);
            match answer {
                Ok(_) => assert!(fits),
                Err(Error::Pipeline(pipeline::Error::Limit { name: "memory_bytes_max", value, max })) => {
                    assert_eq!((value, max, fits), (plan.memory_bytes, plan.memory_bytes - 1, false));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_panic_stays_with_its_output() {
        assert!(matches!(attempt(|| -> Result<(), _> { panic!("expected by the test") }), Err(Error::Panicked)));
        assert!(matches!(attempt(|| Ok(1)), Ok(1)));
    }
}
