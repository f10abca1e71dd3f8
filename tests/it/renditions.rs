//! Renditions over their public face, on the memory store. The shared parts (single flight, budget, pool, cache) are
//! tested next to their code, where a render can be held.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{FutureExt, join_all};
use progimage::digest::Digest;
use progimage::pipeline::{self, Images, Limits, Pipeline, codec};
use progimage::renditions::{Error, Options, Origin, Renditions, Source};
use progimage::store::{self, Store, Uploads};

fn options() -> Options {
    Options {
        cache_bytes_max: 1 << 20,
        render_threads: 2,
        render_memory_bytes_max: 64 << 20,
        queue_max: 64,
        queue_timeout_ms: 10_000,
        render_timeout_ms: 10_000,
        bulk_threads: 2,
        bulk_idle: false,
        bulk_memory_bytes_max: 64 << 20,
        ..Options::default()
    }
}

async fn memory_store() -> Arc<dyn Store> {
    store::open("memory:", &store::Options::default()).await.expect("the memory store opens")
}

/// Stores a small picture of one shade; its digest.
async fn put(store: &Arc<dyn Store>, shade: u8) -> Digest {
    let mut upload = Uploads::new(store.clone(), store::Options::default()).begin(None).await.expect("begun");
    upload.write(picture(shade)).await.expect("written");
    upload.seal(None).await.expect("sealed").commit().await.expect("stored").digest
}

fn picture(shade: u8) -> Bytes {
    let mut bytes = b"P6 4 3 255\n".to_vec();
    bytes.extend([shade; 4 * 3 * 3]);
    bytes.into()
}

/// A small picture that is not stored.
fn given(shade: u8) -> Source {
    Source::Given { bytes: picture(shade), images: Images::new() }
}

fn png() -> Pipeline {
    Pipeline::from_query(codec::by_extension("png").expect("a row"), &[]).expect("a conversion")
}

async fn renditions(options: Options) -> (Arc<dyn Store>, Arc<Renditions>) {
    let store = memory_store().await;
    (store.clone(), Renditions::new(store, Limits::default(), options))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_simultaneous_requests_for_one_cold_key_make_one_render() {
    let (store, renditions) = renditions(options()).await;
    let source = put(&store, 1).await;
    let calls = (0..1000).map(|_| {
        let renditions = renditions.clone();
        tokio::spawn(async move { renditions.get(&source, &png()).await })
    });
    let answers: Vec<_> = join_all(calls).await.into_iter().map(|call| call.expect("no caller panics")).collect();
    let first = answers[0].as_ref().expect("rendered").0.bytes.clone();
    for answer in answers {
        assert_eq!(answer.expect("rendered").0.bytes, first);
    }
    let counters = renditions.counters();
    assert_eq!(counters.renders, 1);
    assert_eq!(counters.hits + counters.misses, 1000);
    assert_eq!((counters.queue_len, counters.bytes_in_flight), (0, 0));
}

#[tokio::test]
async fn a_rendition_is_rendered_once_and_then_a_hit() {
    let (store, renditions) = renditions(options()).await;
    let (source, png) = (put(&store, 1).await, png());
    let key = png.key(&source);
    assert!(renditions.cached(&source, &key).is_none());
    let (made, origin) = renditions.get(&source, &png).await.expect("rendered");
    assert!(matches!(origin, Origin::Rendered { .. }));
    assert_eq!(codec::sniff(&made.bytes).map(|codec| codec.name), Ok("png"));
    let (hit, origin) = renditions.get(&source, &png).await.expect("cached");
    assert_eq!((hit.bytes.clone(), origin), (made.bytes, Origin::Hit));
    assert_eq!(renditions.cached(&source, &key).expect("cached").bytes, hit.bytes);
    let (other, _) = renditions.get(&put(&store, 2).await, &png).await.expect("rendered");
    assert_ne!(other.bytes, hit.bytes);
    let counters = renditions.counters();
    assert_eq!((counters.renders, counters.hits, counters.misses, counters.cache_entries), (2, 2, 2, 2));
}

#[tokio::test]
async fn without_a_cache_each_request_after_another_renders() {
    let (store, renditions) = renditions(Options { cache_bytes_max: 0, ..options() }).await;
    let (source, png) = (put(&store, 1).await, png());
    for _ in 0..2 {
        let (_, origin) = renditions.get(&source, &png).await.expect("rendered");
        assert!(matches!(origin, Origin::Rendered { .. }));
    }
    assert_eq!(renditions.counters().renders, 2);
    let (first, second) = tokio::join!(renditions.get(&source, &png), renditions.get(&source, &png));
    assert_eq!(first.expect("rendered").0.bytes, second.expect("rendered").0.bytes);
    assert_eq!(renditions.counters().renders, 3, "simultaneous ones share");
}

#[tokio::test]
async fn nothing_is_answered_after_a_delete_and_all_of_it_after_a_new_upload() {
    let (store, renditions) = renditions(options()).await;
    let (source, png) = (put(&store, 1).await, png());
    renditions.get(&source, &png).await.expect("rendered");
    renditions.header(&source).await.expect("known");
    assert_eq!(store.delete(&source).await, Ok(true));
    renditions.forget(&source).await;
    assert!(renditions.cached(&source, &png.key(&source)).is_none());
    assert!(matches!(renditions.get(&source, &png).await, Err(Error::Store(store::Error::NotFound))));
    assert!(matches!(renditions.header(&source).await, Err(Error::Store(store::Error::NotFound))));
    assert_eq!(put(&store, 1).await, source);
    renditions.get(&source, &png).await.expect("rendered again");
    assert_eq!(renditions.counters().renders, 2);
}

#[tokio::test]
async fn a_request_under_way_when_its_source_is_deleted_is_not_found() {
    let (store, renditions) = renditions(options()).await;
    let (source, png) = (put(&store, 1).await, png());
    let mut get = Box::pin(renditions.get(&source, &png));
    assert!((&mut get).now_or_never().is_none());
    renditions.forget(&source).await;
    assert!(matches!(get.await, Err(Error::Store(store::Error::NotFound))));
    assert!(renditions.cached(&source, &png.key(&source)).is_none());
    // The blob is still there, for only `forget` was called: a request that comes later starts anew.
    assert!(renditions.get(&source, &png).await.is_ok());
}

#[tokio::test]
async fn a_request_that_everybody_left_is_cancelled_and_can_be_asked_again() {
    let (store, renditions) = renditions(options()).await;
    let (source, png) = (put(&store, 1).await, png());
    let mut get = Box::pin(renditions.get(&source, &png));
    assert!((&mut get).now_or_never().is_none());
    drop(get);
    assert_eq!(renditions.counters().cancelled, 1);
    assert!(renditions.get(&source, &png).await.is_ok());
}

#[tokio::test]
async fn a_render_above_the_whole_budget_is_refused_by_name_and_never_queued() {
    let tiny = Options { render_memory_bytes_max: 60, ..options() };
    let (store, renditions) = renditions(tiny).await;
    let source = put(&store, 1).await;
    for _ in 0..2 {
        let Err(Error::Pipeline(pipeline::Error::Limit { name, value, max })) = renditions.get(&source, &png()).await
        else {
            panic!("a limit is reported");
        };
        assert_eq!((name, max), ("render_memory_bytes_max", 60));
        assert!(value > max);
    }
    assert_eq!(renditions.counters().bytes_in_flight, 0);
}

#[tokio::test]
async fn a_render_without_time_ends_at_its_deadline() {
    let (store, renditions) = renditions(Options { render_timeout_ms: 0, ..options() }).await;
    let source = put(&store, 1).await;
    let answer = renditions.get(&source, &png()).await.map(|(rendition, _)| rendition);
    for answer in [answer, renditions.batch(&source, &[png()], false).await.remove(0)] {
        assert!(matches!(answer, Err(Error::Pipeline(pipeline::Error::Timeout))), "{answer:?}");
    }
}

#[tokio::test]
async fn what_is_no_image_is_reported_as_such_and_not_kept() {
    let (store, renditions) = renditions(options()).await;
    let mut upload = Uploads::new(store.clone(), store::Options::default()).begin(None).await.expect("begun");
    upload.write(Bytes::from_static(b"just some text")).await.expect("written");
    let source = upload.seal(None).await.expect("sealed").commit().await.expect("stored").digest;
    for answer in [renditions.get(&source, &png()).await.err(), renditions.header(&source).await.err()] {
        assert!(matches!(answer, Some(Error::Pipeline(pipeline::Error::UnknownFormat))), "{answer:?}");
    }
    assert_eq!(renditions.counters().cache_entries, 0);
}

#[tokio::test]
async fn a_header_is_read_once() {
    let (store, renditions) = renditions(options()).await;
    let source = put(&store, 1).await;
    let (codec, header) = renditions.header(&source).await.expect("read");
    assert_eq!((codec.name, header.size.w, header.size.h), ("ppm", 4, 3));
    assert_eq!(store.delete(&source).await, Ok(true));
    assert_eq!(renditions.header(&source).await.expect("remembered until it is forgotten"), (codec, header));
}

#[tokio::test]
async fn a_source_that_is_not_stored_renders_to_the_same_bytes() {
    let (store, renditions) = renditions(options()).await;
    let source = put(&store, 7).await;
    let (stored, _) = renditions.get(&source, &png()).await.expect("rendered");
    let (given, origin) = renditions.get(given(7), &png()).await.expect("rendered");
    assert_eq!(given.bytes, stored.bytes);
    assert!(matches!(origin, Origin::Rendered { .. }));
    assert_eq!(renditions.counters().cache_entries, 1, "nothing is kept of it");
}

fn query(extension: &str, query: &str) -> Pipeline {
    let pairs = progimage::pipeline::query::pairs(Some(query)).expect("plain");
    Pipeline::from_query(codec::by_extension(extension).expect("a row"), &pairs).expect("valid")
}

#[tokio::test]
async fn many_outputs_have_the_bytes_of_each_alone_and_fail_alone() {
    let (store, renditions) = renditions(options()).await;
    let source = put(&store, 1).await;
    let missing = format!("mask={}", Digest::of(b"never stored"));
    let outputs = [
        query("png", "w=2"),
        query("jpg", "crop=9,9,1,1"),
        query("png", &missing),
        query("webp", "flip=h"),
        query("ppm", ""),
    ];
    let many = renditions.batch(&source, &outputs, false).await;
    let unstored = renditions.batch(given(1), &outputs, false).await;
    assert_eq!(renditions.counters().bulk_renders, 10);
    for ((pipeline, stored), unstored) in outputs.iter().zip(many).zip(unstored) {
        match renditions.get(&source, pipeline).await {
            Ok((alone, _)) => {
                for made in [stored.expect("as alone"), unstored.expect("as alone")] {
                    assert_eq!((made.bytes, made.codec, &made.query), (alone.bytes.clone(), alone.codec, &alone.query));
                }
            }
            Err(error) => {
                for other in [stored.expect_err("as alone"), unstored.expect_err("as alone")] {
                    assert_eq!(other.to_string(), error.to_string(), "{pipeline}");
                }
            }
        }
    }
    assert_eq!(renditions.counters().bulk_bytes_in_flight, 0);
}

#[tokio::test]
async fn many_outputs_of_nothing_are_not_found_each() {
    let (_, renditions) = renditions(options()).await;
    let answers = renditions.batch(&Digest::of(b"never stored"), &[png(), query("jpg", "")], true).await;
    assert_eq!(answers.len(), 2);
    assert!(answers.iter().all(|answer| matches!(answer, Err(Error::Store(store::Error::NotFound)))), "{answers:?}");
    assert!(renditions.batch(&Digest::of(b"never stored"), &[], true).await.is_empty());
}

#[tokio::test]
async fn many_outputs_take_what_is_cached_and_do_not_push_it_out() {
    let (store, renditions) = renditions(options()).await;
    let source = put(&store, 1).await;
    let (cached, _) = renditions.get(&source, &png()).await.expect("rendered");
    let answers = renditions.batch(&source, &[query("png", "flip=h"), png()], false).await;
    assert_eq!(answers[1].as_ref().expect("cached").bytes, cached.bytes);
    let counters = renditions.counters();
    assert_eq!((counters.bulk_renders, counters.hits, counters.cache_entries), (1, 1, 1));
    let again = renditions.batch(&source, &[png()], false).await.remove(0).expect("cached");
    assert_eq!((again.bytes, renditions.counters().bulk_renders), (cached.bytes, 1));
}

/// A store that outlives its renditions, and the folder of a tier.
struct Restarts {
    store: Arc<dyn Store>,
    folder: tempfile::TempDir,
}

impl Restarts {
    async fn new() -> Restarts {
        Restarts { store: memory_store().await, folder: tempfile::tempdir().expect("a folder") }
    }

    fn start(&self) -> Arc<Renditions> {
        let tier_folder = Some(self.folder.path().to_owned());
        Renditions::new(self.store.clone(), Limits::default(), Options { tier_folder, ..options() })
    }

    fn files(&self) -> Vec<std::path::PathBuf> {
        let folders = std::fs::read_dir(self.folder.path()).expect("readable").map(|entry| entry.unwrap().path());
        folders.flat_map(|folder| std::fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path()).collect()
    }
}

#[tokio::test]
async fn what_is_kept_is_answered_after_a_restart() {
    let restarts = Restarts::new().await;
    let source = put(&restarts.store, 1).await;
    let outputs = [png(), query("jpg", "w=2"), query("png", "crop=9,9,1,1")];
    let first = restarts.start();
    let made = first.batch(&source, &outputs, true).await;
    assert_eq!((first.counters().tier_entries, first.counters().bulk_renders), (2, 3));
    first.batch(&source, &[query("png", "flip=h")], false).await.remove(0).expect("rendered");
    assert_eq!(restarts.files().len(), 2, "what is not to be kept is not");

    let second = restarts.start();
    let (kept, origin) = second.get(&source, &outputs[0]).await.expect("kept");
    let made_first = made[0].as_ref().expect("made");
    assert_eq!((&kept.bytes, kept.codec, &kept.query), (&made_first.bytes, made_first.codec, &made_first.query));
    assert_eq!(origin, Origin::Tier);
    let (_, origin) = second.get(&source, &outputs[0]).await.expect("cached");
    assert_eq!(origin, Origin::Hit);
    // One of these is in the cache, one in the tier, one fails and one is new.
    let outputs = [outputs.to_vec(), vec![query("webp", "")]].concat();
    let again = second.batch(&source, &outputs, true).await;
    for (made, again) in made.iter().zip(&again) {
        match made {
            Ok(made) => assert_eq!(again.as_ref().expect("as before").bytes, made.bytes),
            Err(error) => assert_eq!(again.as_ref().expect_err("as before").to_string(), error.to_string()),
        }
    }
    let counters = second.counters();
    assert_eq!((counters.renders, counters.bulk_renders, counters.tier_hits), (0, 2, 2));
    assert_eq!((counters.tier_entries, counters.bulk_bytes_in_flight), (3, 0));
    // Again from the tier alone: nothing is rendered, and no source is read.
    let third = restarts.start();
    let outputs = [outputs[1].clone(), outputs[3].clone()];
    let kept = third.batch(&source, &outputs, false).await;
    assert_eq!(kept[0].as_ref().expect("kept").bytes, made[1].as_ref().expect("made").bytes);
    assert_eq!(kept[1].as_ref().expect("kept").bytes, again[3].as_ref().expect("made").bytes);
    assert_eq!((third.counters().tier_hits, third.counters().bulk_renders), (2, 0));
}

#[tokio::test]
async fn what_is_asked_for_twice_is_kept() {
    let restarts = Restarts::new().await;
    let source = put(&restarts.store, 1).await;
    let first = restarts.start();
    let (made, _) = first.get(&source, &png()).await.expect("rendered");
    first.get(&source, &query("png", "flip=h")).await.expect("rendered, and never again");
    assert!(restarts.files().is_empty());
    assert!(first.cached(&source, &png().key(&source)).is_some());
    while first.counters().tier_entries < 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(restarts.files().len(), 1);
    let (kept, origin) = restarts.start().get(&source, &png()).await.expect("kept");
    assert_eq!((kept.bytes, origin), (made.bytes, Origin::Tier));
}

#[tokio::test]
async fn what_was_damaged_meanwhile_is_made_anew() {
    let restarts = Restarts::new().await;
    let source = put(&restarts.store, 1).await;
    let outputs = [png(), query("png", "flip=h")];
    let made = restarts.start().batch(&source, &outputs, true).await;
    for one_by_one in [true, false] {
        let damaged = restarts.files();
        assert_eq!(damaged.len(), 2);
        for path in damaged {
            let mut bytes = std::fs::read(&path).expect("readable");
            *bytes.last_mut().expect("not empty") ^= 1;
            std::fs::write(&path, bytes).expect("writable");
        }
        let renditions = restarts.start();
        if one_by_one {
            let (rendition, origin) = renditions.get(&source, &outputs[0]).await.expect("made anew");
            assert_eq!(rendition.bytes, made[0].as_ref().expect("made").bytes);
            assert!(matches!(origin, Origin::Rendered { .. }));
        }
        for (made, again) in made.iter().zip(renditions.batch(&source, &outputs, true).await) {
            assert_eq!(again.expect("made anew").bytes, made.as_ref().expect("made").bytes);
        }
        assert_eq!(renditions.counters().bulk_bytes_in_flight, 0);
    }
}

#[tokio::test]
async fn nothing_of_a_deleted_image_is_kept_or_answered() {
    let restarts = Restarts::new().await;
    let source = put(&restarts.store, 1).await;
    let renditions = restarts.start();
    renditions.batch(&source, &[png()], true).await.remove(0).expect("rendered");
    assert_eq!(restarts.store.delete(&source).await, Ok(true));
    // Between both, the store says that it is gone, in every lane.
    let not_found = |error: Option<Error>| matches!(error, Some(Error::Store(store::Error::NotFound)));
    assert!(not_found(renditions.get(&source, &png()).await.err()));
    assert!(not_found(renditions.batch(&source, &[png()], true).await.remove(0).err()));
    assert_eq!(restarts.files().len(), 1);
    renditions.forget(&source).await;
    assert!(restarts.files().is_empty());
    assert_eq!(renditions.counters().tier_entries, 0);
    // A render that is under way during a delete is not kept either.
    assert_eq!(put(&restarts.store, 1).await, source);
    let outputs = [png()];
    let mut many = Box::pin(renditions.batch(&source, &outputs, true));
    assert!((&mut many).now_or_never().is_none());
    renditions.forget(&source).await;
    assert!(not_found(many.await.remove(0).err()));
    assert!(restarts.files().is_empty());
}
