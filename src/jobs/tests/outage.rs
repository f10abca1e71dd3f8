//! A store that is unavailable for a while, and the items of jobs meanwhile.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::store::double::{Call, Double};

/// A store in memory, whether it is unavailable, and the number of calls while it was.
#[derive(Default)]
struct Outage {
    away: AtomicBool,
    looks: AtomicUsize,
}

impl Outage {
    async fn store(self: Arc<Outage>) -> Arc<dyn Store> {
        Double::refusing(memory_store().await, move |call| {
            if call != Call::List || !self.away.load(Ordering::SeqCst) {
                return None;
            }
            self.looks.fetch_add(1, Ordering::SeqCst);
            Some(store::Error::Unavailable("away".to_owned()))
        })
    }
}

/// Items that need the store.
struct Needing(Arc<Outage>);

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
    let outage = Arc::new(Outage { away: AtomicBool::new(true), ..Outage::default() });
    let work = Arc::new(Needing(outage.clone()));
    let options = Options { attempts_max: 2, ..options() };
    let jobs = Jobs::start(Database::in_memory().unwrap(), work, outage.clone().store().await, webhooks(), options);
    // More chunks than run at once.
    let id = submit(&jobs, None, &vec!["ok"; 10 * chunk::CHUNK_ITEMS_MAX]).await.unwrap().id;
    soon(async || outage.looks.load(Ordering::SeqCst) >= 2).await;
    outage.away.store(false, Ordering::SeqCst);
    let status = end(&jobs, &id).await;
    assert_eq!((status.done, status.failed), (10 * chunk::CHUNK_ITEMS_MAX as u64, 0));
}
