//! Several outputs of one source in the bulk lane: one read, one admission, one job, one decode where outputs agree on it
//! ([`Batch`]). Knows neither cache nor tier.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::admission::Permit;
use super::engine::{CancelOnDrop, Engine, exact, holding};
use super::generation::Generation;
use super::header::inspect;
use super::others::Others;
use super::pool::guarded;
use super::{Error, Rendition};
use crate::digest::Digest;
use crate::pipeline::codec::{Codec, Header};
use crate::pipeline::{self, Batch, Images, Limits, Output, Pipeline, Watch};

/// Whose renditions are made.
pub enum Source {
    /// A blob of the store.
    Stored(Arc<Generation>),
    /// Bytes that are not stored.
    Given(Bytes),
}

/// Outputs that may be rendered: what they are made of, and the right to hold it and them.
pub struct Admitted {
    work: Work,
    others: Others,
    pipelines: Vec<Pipeline>,
    /// For the source, the pixels, the results, and what the caller asked for beside them.
    pub permit: Permit,
}

/// What goes to a thread.
struct Work {
    batch: Batch,
    source: Bytes,
    images: Images,
}

impl Engine {
    /// Waits for the right to render `pipelines` of one source, and to hold `beside` bytes more. It is asked for once, when
    /// nothing is held yet: callers that wait while they hold results would wait for each other.
    ///
    /// Errors: those of the source, which fail every output.
    pub async fn admit_many(
        &self,
        source: &Source,
        given: Images,
        generations: &[Arc<Generation>],
        pipelines: Vec<Pipeline>,
        beside: u64,
    ) -> Result<Admitted, Error> {
        let lane = &self.bulk;
        let ids: Vec<_> = pipelines.iter().flat_map(Pipeline::images).collect();
        let mut others = Others::find(self, lane, ids, generations, given).await;
        let plan = |source: (&'static Codec, &Header)| {
            let (headers, shared_bytes_max) = (others.headers.clone(), lane.memory.bytes_max());
            let batch = Batch::plan(pipelines.clone(), source, headers, &lane.limits, shared_bytes_max);
            let held = batch.memory_bytes().saturating_add(others.len).saturating_add(beside);
            Ok((batch, held))
        };
        let (batch, bytes, permit) = match source {
            Source::Stored(generation) => {
                let blob = self.store.open(generation.source()).await?;
                let (batch, bytes, permit, _) = self.admit_blob(lane, (generation, blob), plan).await?;
                (batch, bytes, permit)
            }
            Source::Given(bytes) => {
                let (codec, header) = inspect(bytes).await?;
                let (batch, held) = plan((codec, &header))?;
                let held = held.saturating_add(bytes.len() as u64);
                let (permit, _) = lane.admit(&lane.memory, held, lane.queue_end()).await?;
                (batch, bytes.clone(), permit)
            }
        };
        let images = others.read().await;
        Ok(Admitted { work: Work { batch, source: bytes, images }, others, pipelines, permit })
    }

    /// Waits for the right to hold `bytes` of what was kept of a source, which must still be stored.
    pub async fn admit_kept(&self, source: &Digest, bytes: u64) -> Result<Permit, Error> {
        self.store.open(source).await?;
        let (permit, _) = self.bulk.admit(&self.bulk.memory, bytes, self.bulk.queue_end()).await?;
        Ok(permit)
    }

    /// Renders what was admitted: one answer for each pipeline, in their order. Cancelled when the future is dropped; what the
    /// work holds is given back when its thread lets go of it.
    pub async fn render_many(self: &Arc<Self>, admitted: Admitted) -> Vec<Result<Rendition, Error>> {
        let Admitted { work, others, pipelines, permit } = admitted;
        let cancel = CancelOnDrop::default();
        let (limits, timeout, cancelled) = (self.bulk.limits.clone(), self.render_timeout, cancel.0.clone());
        let lost: Vec<_> = pipelines.iter().map(|_| Err(Error::Panicked)).collect();
        let job = self.bulk.pool.submit(move || work.outputs(&limits, timeout, &cancelled));
        let engine = self.clone();
        // A task of its own keeps the permit: the thread of the job must not give it back, and the caller may leave.
        let task = tokio::spawn(async move {
            let outputs = job.await.ok().and_then(Result::ok);
            let outputs = outputs.unwrap_or_else(|| pipelines.iter().map(|_| Err(Error::Panicked)).collect());
            engine.bulk_renders.fetch_add(outputs.len() as u64, Ordering::Relaxed);
            let panicked = outputs.iter().filter(|output| matches!(output, Err(Error::Panicked))).count();
            engine.panics.fetch_add(panicked as u64, Ordering::Relaxed);
            renditions(outputs, &pipelines, &others, permit)
        });
        task.await.unwrap_or(lost)
    }
}

/// Results that hold their parts of `permit`.
fn renditions(
    outputs: Vec<Result<Output, Error>>,
    pipelines: &[Pipeline],
    others: &Others,
    mut permit: Permit,
) -> Vec<Result<Rendition, Error>> {
    let rendition = |(output, pipeline): (Result<Output, Error>, &Pipeline)| {
        let output = output.map_err(|error| why(error, others))?;
        let bytes = holding(output.bytes.clone(), permit.split(output.bytes.len() as u64));
        Ok(Rendition { bytes, codec: pipeline.codec(), query: pipeline.query().into() })
    };
    outputs.into_iter().zip(pipelines).map(rendition).collect()
}

/// An image that could not be had is missing to the pipeline; here it is known why.
fn why(error: Error, others: &Others) -> Error {
    match &error {
        Error::Pipeline(pipeline::Error::MissingImage { id }) => others.failure(id).cloned().unwrap_or(error),
        _ => error,
    }
}

impl Work {
    /// Runs on a thread of the lane, one output after the other. The decode and each output have the time of a render.
    fn outputs(self, limits: &Limits, timeout: Duration, cancelled: &Arc<AtomicBool>) -> Vec<Result<Output, Error>> {
        let Work { batch, source, images } = self;
        let watch = || Watch::of_thread(timeout, cancelled.clone());
        let mut outputs: Vec<_> = batch.pipelines().iter().map(|_| Err(Error::Panicked)).collect();
        for (index, error) in batch.refused() {
            outputs[*index] = Err(error.clone().into());
        }
        for group in batch.groups() {
            let mut decoded = attempt(|| batch.decode(group, &source, limits, &watch()));
            for member in group.members() {
                outputs[member.index] = match &mut decoded {
                    Ok(shared) => attempt(|| batch.finish(member, shared, (&source, &images), limits, &watch()))
                        .map(|output| Output { bytes: exact(output.bytes, &source), ..output }),
                    Err(error) => Err(error.clone()),
                };
            }
        }
        outputs
    }
}

fn attempt<T>(work: impl FnOnce() -> Result<T, pipeline::Error>) -> Result<T, Error> {
    Ok(guarded(work).map_err(|_| Error::Panicked)??)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use super::super::pool::Panicked;
    use super::super::{Options, Renditions};
    use super::*;
    use crate::pipeline::codec;
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
        let held = renditions.engine.bulk.pool.submit(move || gate.recv().is_ok());
        let call = |_| {
            let renditions = renditions.clone();
            tokio::spawn(async move { renditions.many(&source, &[png()], false).await.remove(0) })
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
            assert_eq!(answer.expect("no caller panics").expect("nobody is refused").bytes, single.bytes);
        }
        let counters = renditions.counters();
        assert_eq!((counters.bulk_renders, counters.busy), (CALLERS as u64, 0));
        assert_eq!((counters.bulk_waiting, counters.bulk_bytes_in_flight), (0, 0));
        assert_eq!(held.await, Ok(Ok(true)));
    }

    #[tokio::test]
    async fn bulk_threads_give_way_to_all_others_unless_told_otherwise() {
        use thread_priority::NormalThreadSchedulePolicy::{Idle, Other};
        for (bulk_idle, expected) in [(true, Idle), (false, Other)] {
            let (_, renditions) = renditions(Options { bulk_idle, ..impatient() }).await;
            let policy = renditions.engine.bulk.pool.submit(thread_priority::thread_schedule_policy).await;
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
        assert!(renditions.many(&source, &[png()], false).await.remove(0).is_ok());
    }

    #[tokio::test]
    async fn a_render_that_fills_the_lane_runs_and_a_larger_one_is_refused_by_name() {
        let (store, probe) = renditions(Options::default()).await;
        let (codec, header) = probe.header(&put(&store, 1).await).await.expect("known");
        let plan = png().plan((codec, &header), &pipeline::Headers::new(), &Limits::default()).expect("small");
        for (bulk_memory_bytes_max, fits) in [(plan.memory_bytes, true), (plan.memory_bytes - 1, false)] {
            let (store, renditions) = renditions(Options { bulk_memory_bytes_max, ..impatient() }).await;
            let answer = renditions.many(&put(&store, 1).await, &[png()], false).await.remove(0);
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
