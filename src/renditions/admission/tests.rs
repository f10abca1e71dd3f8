//! Which requests are admitted, wait or are refused, and that all memory is given back.

use super::*;
use futures_util::future::{FutureExt, join_all};
use proptest::prelude::*;
use std::time::Duration;

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(10))
}

/// The memory that is still held after the work of a permit.
fn part(mut permit: Permit, bytes: u64) -> Permit {
    permit.split(bytes)
}

#[tokio::test(start_paused = true)]
async fn more_than_the_whole_budget_is_never_queued() {
    let budget = Budget::new(100, 9, 9);
    assert_eq!(budget.acquire(101, soon()).await.err(), Some(Refused::TooLarge { bytes: 101, bytes_max: 100 }));
    assert!(budget.acquire(100, soon()).await.is_ok());
    assert_eq!(budget.refused(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_queue_takes_its_number_and_not_one_more() {
    let budget = Budget::new(100, 9, 3);
    let held = budget.acquire(100, soon()).await.expect("free");
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(budget.acquire(100, soon()))).collect();
    for waiter in &mut waiting {
        assert!(waiter.now_or_never().is_none());
    }
    assert_eq!(budget.queue_len(), 3);
    let began = Instant::now();
    assert_eq!(budget.acquire(1, soon()).await.err(), Some(Refused::Busy));
    assert_eq!(Instant::now(), began, "a full queue answers at once");
    drop(held);
    // Each permit is dropped as soon as it is seen, which admits the next.
    let admitted = join_all(waiting.into_iter().map(|waiter| async { waiter.await.is_ok() })).await;
    assert_eq!(admitted, [true; 3]);
    assert_eq!((budget.bytes_held(), budget.queue_len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_past_its_deadline_is_dropped_and_lets_others_by() {
    let budget = Budget::new(100, 9, 9);
    let held = budget.acquire(60, soon()).await.expect("free");
    let began = Instant::now();
    let mut large = Box::pin(budget.acquire(90, Some(began + Duration::from_millis(700))));
    let mut small = Box::pin(budget.acquire(40, Some(began + Duration::from_secs(5))));
    assert!((&mut large).now_or_never().is_none());
    assert!((&mut small).now_or_never().is_none(), "a small request does not overtake");
    let (large, small) = tokio::join!(large, small);
    assert_eq!(large.err(), Some(Refused::Busy));
    assert!(small.is_ok());
    assert_eq!(began.elapsed().as_millis() / 100, 7);
    assert_eq!((budget.queue_len(), budget.bytes_held()), (0, 100));
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn places_are_bounded_as_well_as_bytes() {
    let budget = Budget::new(100, 2, 9);
    let first = budget.acquire(0, soon()).await.expect("free");
    let _second = budget.acquire(0, soon()).await.expect("free");
    let mut third = Box::pin(budget.acquire(0, soon()));
    assert!((&mut third).now_or_never().is_none());
    drop(first);
    assert!(third.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_oldest_goes_first_until_the_queue_is_more_than_half_full() {
    for (waiters, first_served) in [(2, 0), (3, 2)] {
        let budget = Budget::new(1, 9, 4);
        let held = budget.acquire(1, soon()).await.expect("free");
        let mut waiting: Vec<_> = (0..waiters).map(|_| Box::pin(budget.acquire(1, soon()))).collect();
        for waiter in &mut waiting {
            assert!(waiter.now_or_never().is_none());
        }
        drop(held);
        let served: Vec<bool> = waiting.iter_mut().map(|waiter| waiter.now_or_never().is_some()).collect();
        assert_eq!(served.iter().position(|served| *served), Some(first_served));
    }
}

#[tokio::test(start_paused = true)]
async fn a_granted_permit_that_is_not_taken_is_given_back() {
    let budget = Budget::new(10, 9, 9);
    let held = budget.acquire(10, soon()).await.expect("free");
    let mut waiter = Box::pin(budget.acquire(10, soon()));
    assert!((&mut waiter).now_or_never().is_none());
    drop(held);
    drop(waiter);
    assert_eq!((budget.bytes_held(), budget.queue_len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_permit_grows_only_into_what_is_free() {
    let budget = Budget::new(10, 9, 9);
    let mut permit = budget.acquire(4, soon()).await.expect("free");
    assert!(!permit.try_acquire_more(7));
    assert!(permit.try_acquire_more(6));
    assert_eq!(budget.bytes_held(), 10);
    drop(permit);
    assert_eq!(budget.bytes_held(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_takes_no_place_and_its_bytes_until_it_is_dropped() {
    let budget = Budget::new(10, 1, 9);
    let kept = part(budget.acquire(10, soon()).await.expect("free"), 4);
    assert_eq!((budget.bytes_held(), budget.bytes_kept()), (0, 4));
    let mut large = Box::pin(budget.acquire(7, soon()));
    assert!((&mut large).now_or_never().is_none(), "4 of 10 are kept");
    drop(kept);
    assert!(large.await.is_ok());
    // More than was granted cannot be kept.
    let kept = part(budget.acquire(3, soon()).await.expect("free"), 5);
    assert_eq!(budget.bytes_kept(), 3);
    drop(budget.acquire(7, soon()).await.expect("free"));
    drop(kept);
    assert_eq!((budget.bytes_held(), budget.bytes_kept()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_without_a_deadline_waits_for_as_long_as_it_takes() {
    let budget = Budget::new(100, 9, 9);
    let held = budget.acquire(60, soon()).await.expect("free");
    let mut patient = Box::pin(budget.acquire(50, None));
    assert!((&mut patient).now_or_never().is_none());
    tokio::time::advance(Duration::from_secs(100 * 365 * 86_400)).await;
    assert!((&mut patient).now_or_never().is_none());
    drop(held);
    assert!(patient.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_split_into_what_each_result_needs() {
    let budget = Budget::new(10, 1, 9);
    let mut permit = budget.acquire(10, soon()).await.expect("free");
    let (first, second) = (permit.split(3), permit.split(9));
    assert_eq!((budget.bytes_held(), budget.bytes_kept()), (0, 10), "no more than there was");
    drop(first);
    assert!(Box::pin(budget.acquire(1, soon())).now_or_never().is_none(), "the place is not given back yet");
    drop(permit);
    drop(budget.acquire(3, soon()).await.expect("free"));
    drop(second);
    assert_eq!((budget.bytes_held(), budget.bytes_kept()), (0, 0));
    let mut kept = part(budget.acquire(10, soon()).await.expect("free"), 8);
    let part = kept.split(5);
    drop(kept);
    assert_eq!((budget.bytes_held(), budget.bytes_kept()), (0, 5));
    drop(part);
    assert_eq!(budget.bytes_kept(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_there_already_is_held_without_a_place_or_not_at_all() {
    let budget = Budget::new(10, 1, 9);
    let _working = budget.acquire(4, soon()).await.expect("free");
    let held = budget.try_acquire(6).expect("free");
    assert!(budget.try_acquire(1).is_none());
    assert_eq!((budget.bytes_held(), budget.bytes_kept()), (4, 6));
    drop(held);
    assert_eq!(budget.bytes_kept(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_cache_takes_nothing_from_the_others() {
    let budget = Budget::with_cache(10, 5, 9, 9);
    assert_eq!(budget.acquire(11, soon()).await.err(), Some(Refused::TooLarge { bytes: 11, bytes_max: 10 }));
    let mut grown = budget.acquire(4, soon()).await.expect("free");
    assert!(!grown.try_acquire_more(7) && grown.try_acquire_more(6), "not into the room of the cache either");
    drop(grown);
    let _cached = part(budget.acquire(5, soon()).await.expect("free"), 5);
    let _all = budget.acquire(10, soon()).await.expect("free");
    assert!(Box::pin(budget.acquire(1, soon())).now_or_never().is_none(), "and not one more");
}

proptest! {
    /// In every order of requests, drops and grants, the budget holds and all memory is given back.
    #[test]
    fn the_budget_is_never_exceeded(steps in proptest::collection::vec((0u64..40, any::<bool>()), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let budget = Budget::new(50, 3, 8);
            let mut waiting = VecDeque::new();
            let mut held = Vec::new();
            for (bytes, release) in steps {
                let mut call = Box::pin(budget.acquire(bytes, soon()));
                match (&mut call).now_or_never() {
                    Some(Ok(permit)) => held.push((bytes, permit)),
                    Some(Err(refused)) => assert_eq!((refused, budget.queue_len()), (Refused::Busy, 8)),
                    None => waiting.push_back((bytes, call)),
                }
                if release && !held.is_empty() {
                    held.remove(bytes as usize % held.len());
                } else if release {
                    waiting.pop_front();
                }
                let mut still = VecDeque::new();
                for (bytes, mut call) in waiting {
                    match (&mut call).now_or_never() {
                        Some(Ok(permit)) => held.push((bytes, permit)),
                        _ => still.push_back((bytes, call)),
                    }
                }
                waiting = still;
                let sum: u64 = held.iter().map(|(bytes, _)| bytes).sum();
                assert!(held.len() <= 3 && sum <= 50);
                assert_eq!((budget.bytes_held(), budget.queue_len()), (sum, waiting.len()));
                assert!(waiting.is_empty() || !held.is_empty(), "no caller waits for free memory");
            }
            drop((waiting, held));
            assert_eq!((budget.bytes_held(), budget.queue_len()), (0, 0));
        });
    }
}
