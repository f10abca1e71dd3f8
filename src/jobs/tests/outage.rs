//! A store that is away, and what becomes of items meanwhile.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::store::{Blob, Counters, Future, Stage, Stat};

/// A store in memory, and whether it is there.
struct Leaving {
    store: Arc<dyn Store>,
    away: AtomicBool,
    /// How often it was looked for while it was away.
    looks: AtomicUsize,
}

impl Store for Leaving {
    fn stat<'a>(&'a self, digests: &'a [Digest]) -> Future<'a, Vec<Option<Stat>>> {
        self.store.stat(digests)
    }

    fn open<'a>(&'a self, digest: &'a Digest) -> Future<'a, Blob> {
        self.store.open(digest)
    }

    fn stage(&self, size_hint: Option<u64>) -> Future<'_, Box<dyn Stage>> {
        self.store.stage(size_hint)
    }

    fn delete<'a>(&'a self, digest: &'a Digest) -> Future<'a, bool> {
        self.store.delete(digest)
    }

    fn list(&self, after: Option<Digest>, limit: usize) -> Future<'_, Vec<(Digest, Stat)>> {
        if !self.away.load(Ordering::SeqCst) {
            return self.store.list(after, limit);
        }
        self.looks.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Err(store::Error::Unavailable("away".to_owned())) })
    }

    fn writable(&self) -> Result<(), store::Error> {
        self.store.writable()
    }

    fn counters(&self) -> Counters {
        self.store.counters()
    }
}

/// Items that need the store.
struct Needing(Arc<Leaving>);

impl JobExecutor for Needing {
    fn run(&self, _: u32, place: Place, _: Bytes) -> BoxFuture<'static, Vec<Outcome>> {
        let verdict = if self.0.away.load(Ordering::SeqCst) { Verdict::Retry } else { Verdict::Done };
        Box::pin(async move { vec![Outcome { output: 0, line: text(place, 0), verdict }] })
    }

    fn may_select(&self, _: u32) -> bool {
        false
    }

    fn refused(&self, place: Place, _: Error) -> Outcome {
        self.lost(place)
    }

    fn lost(&self, place: Place) -> Outcome {
        Outcome { output: 0, line: text(place, 99), verdict: Verdict::Failed }
    }
}

#[tokio::test]
async fn no_item_fails_while_the_store_is_away() {
    let looks = AtomicUsize::new(0);
    let store = Arc::new(Leaving { store: memory_store().await, away: AtomicBool::new(true), looks });
    let work = Arc::new(Needing(store.clone()));
    let options = Options { attempts_max: 2, ..options() };
    let jobs = Jobs::start(Database::in_memory().unwrap(), work, store.clone(), webhooks(), options);
    // More chunks than run at once.
    let id = submit(&jobs, None, &vec!["ok"; 10 * chunk::CHUNK_ITEMS_MAX]).await.unwrap().id;
    soon(async || store.looks.load(Ordering::SeqCst) >= 2).await;
    store.away.store(false, Ordering::SeqCst);
    let status = end(&jobs, &id).await;
    assert_eq!((status.done, status.failed), (10 * chunk::CHUNK_ITEMS_MAX as u64, 0));
}
