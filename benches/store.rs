//! The disk store: put, duplicate and get of 100 KB blobs at 1 and 64 writers, with the sync calls of each upload; and
//! group commit against the same store made to commit one by one, and against writers that each sync for themselves, in
//! one run.

// A failure ends a bench.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use progimage::digest::Digest;
use progimage::store::{self, Options, Store, Uploads};
use tokio::runtime::Runtime;

const BYTES: usize = 100_000;
const WRITERS: [u64; 2] = [1, 64];
const ROUNDS: usize = 5;
const UPLOADS_OF_A_ROUND: u64 = 512;

/// A body with new bytes.
fn fresh() -> Bytes {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut body = vec![7; BYTES];
    body[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    body.into()
}

struct Bench {
    runtime: Runtime,
    store: Arc<dyn Store>,
    uploads: Arc<Uploads>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(options: Options) -> Bench {
        // Next to the build, not in /tmp, which may be memory.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let runtime = Runtime::new().unwrap();
        let store = runtime.block_on(store::open(folder.path().to_str().unwrap(), &options)).unwrap();
        runtime.block_on(store.stat(&[])).unwrap();
        let uploads = Arc::new(Uploads::new(Arc::clone(&store), options));
        Bench { runtime, store, uploads, _folder: folder }
    }

    /// `count` calls, shared by `writers` tasks.
    fn time<F: Future<Output = ()> + Send>(
        &self,
        writers: u64,
        count: u64,
        call: impl Fn(Arc<dyn Store>, Arc<Uploads>) -> F + Clone + Send + 'static,
    ) -> Duration {
        let left = Arc::new(AtomicU64::new(count));
        let begun = Instant::now();
        let tasks: Vec<_> = (0..writers)
            .map(|_| {
                let (left, call) = (Arc::clone(&left), call.clone());
                let (store, uploads) = (Arc::clone(&self.store), Arc::clone(&self.uploads));
                self.runtime.spawn(async move {
                    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                        call(Arc::clone(&store), Arc::clone(&uploads)).await;
                    }
                })
            })
            .collect();
        tasks.into_iter().for_each(|task| self.runtime.block_on(task).unwrap());
        begun.elapsed()
    }

    fn puts(&self, writers: u64, count: u64) -> Duration {
        self.time(writers, count, |_, uploads| async move { put(&uploads, fresh()).await })
    }
}

async fn put(uploads: &Uploads, body: Bytes) {
    let mut upload = uploads.begin(Some(body.len() as u64)).await.unwrap();
    upload.write(body).await.unwrap();
    upload.seal(None).await.unwrap().commit().await.unwrap();
}

fn calls(criterion: &mut Criterion) {
    let bench = Bench::new(Options::default());
    let mut group = criterion.benchmark_group("store");
    group.throughput(Throughput::Elements(1)).sample_size(10).measurement_time(Duration::from_secs(3));
    for writers in WRITERS {
        let (before, mut uploaded) = (bench.store.counters(), 0);
        group.bench_function(format!("put/{writers}"), |b| {
            b.iter_custom(|count| {
                uploaded += count;
                bench.puts(writers, count)
            })
        });
        let after = bench.store.counters();
        if uploaded > 0 {
            let per_upload = (after.syncs() - before.syncs()) as f64 / uploaded as f64;
            let per_commit = uploaded as f64 / (after.commits - before.commits) as f64;
            println!(
                "{writers} writers: {per_upload:.2} sync calls per upload, {per_commit:.1} uploads per group commit"
            );
        }
        let known = fresh();
        bench.runtime.block_on(put(&bench.uploads, known.clone()));
        group.bench_function(format!("duplicate/{writers}"), |b| {
            let known = known.clone();
            let call = move |_, uploads: Arc<Uploads>| {
                let known = known.clone();
                async move { put(&uploads, known).await }
            };
            b.iter_custom(|count| bench.time(writers, count, call.clone()))
        });
        let digest = Digest::of(&known);
        group.bench_function(format!("get/{writers}"), |b| {
            let call = move |store: Arc<dyn Store>, _| async move {
                assert_eq!(store.open(&digest).await.unwrap().bytes().await.unwrap().len(), BYTES);
            };
            b.iter_custom(|count| bench.time(writers, count, call))
        });
        group.bench_function(format!("stat/{writers}"), |b| {
            let call = move |store: Arc<dyn Store>, _| async move {
                assert!(store.stat(&[digest]).await.unwrap()[0].is_some());
            };
            b.iter_custom(|count| bench.time(writers, count, call))
        });
    }
    group.finish();
}

/// Interleaved rounds, so that other work slows all of them; the median of the ratios of each round.
///
/// It runs first and deletes nothing before its end. For minutes after a deletion ext4 searches long for inodes to use
/// again, and that search would be measured instead of the syncs.
fn group_commit(_: &mut Criterion) {
    let writers = 64;
    let (group, single) = (Bench::new(Options::default()), Bench::new(Options { batch_max: 1, ..Options::default() }));
    let (mut against_single, mut against_own, mut folders) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let grouped = per_second(group.puts(writers, UPLOADS_OF_A_ROUND));
        let one_by_one = per_second(single.puts(writers, UPLOADS_OF_A_ROUND));
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let own = per_second(each_syncs_for_itself(folder.path(), writers, UPLOADS_OF_A_ROUND));
        folders.push(folder);
        println!(
            "uploads/s at {writers} writers: group {grouped:.0}, one by one {one_by_one:.0}, each for itself {own:.0}"
        );
        against_single.push(grouped / one_by_one);
        against_own.push(grouped / own);
    }
    println!("group commit / one by one: {:.1}x", median(against_single));
    println!("group commit / each writer for itself, in its own thread, no hash: {:.1}x", median(against_own));
}

fn per_second(elapsed: Duration) -> f64 {
    UPLOADS_OF_A_ROUND as f64 / elapsed.as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The usual way: every writer writes, syncs, links and syncs the folder, at the same time as the others.
fn each_syncs_for_itself(folder: &Path, writers: u64, count: u64) -> Duration {
    let shard = |index: u64| folder.join(format!("{:03x}", index % 4096));
    (0..count).for_each(|index| fs::create_dir(shard(index)).unwrap());
    File::open(folder).unwrap().sync_all().unwrap();
    let next = AtomicU64::new(0);
    let store = |index: u64| -> std::io::Result<()> {
        let draft = folder.join(format!("draft-{index}"));
        let mut file = File::create_new(&draft)?;
        file.write_all(&fresh())?;
        file.sync_data()?;
        fs::hard_link(&draft, shard(index).join("blob"))?;
        File::open(shard(index))?.sync_all()?;
        fs::remove_file(&draft)
    };
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..writers {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    store(index).unwrap();
                }
            });
        }
    });
    begun.elapsed()
}

criterion_group!(benches, group_commit, calls);
criterion_main!(benches);
