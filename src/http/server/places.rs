//! [`Places`]: the connections of a server, bounded in all and for each address.
//!
//! When places run short, the connection goes that has been idle longest: a client that finds it closed connects anew,
//! and loses nothing. A connection for which there is no place even so may ask whether the server lives, and nothing
//! else, so that a probe gets through whatever clients do.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::http::error::Error;
use crate::http::message::activity::Activity;
use crate::http::message::options::Options;

/// Connections past the bound that are accepted for probes.
const SPARES: usize = 16;

/// To find the connection that has been idle longest takes a look at all of them. So one in as many goes at a time, and
/// a flood of connections costs little for each.
const PARTING: usize = 64;

/// The pause before it is looked for an idle connection again, when even the spare places are taken.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The connections of a server.
pub(super) struct Places {
    bounds: Bounds,
    sockets: Arc<Semaphore>,
    seats: Mutex<Seats>,
}

/// The most connections that are served.
#[derive(Clone, Copy)]
struct Bounds {
    all: usize,
    of_address: usize,
}

impl Bounds {
    fn of(options: &Options) -> Bounds {
        let all = options.connections_max;
        let of_address = match options.connections_per_address_max {
            0 => all.div_ceil(2),
            max => max,
        };
        Bounds { all, of_address }
    }
}

#[derive(Default)]
struct Seats {
    next: u64,
    all: HashMap<u64, Seat>,
    /// Connections that are served.
    served: usize,
    /// Connections that are served, by address.
    of_address: HashMap<IpAddr, usize>,
}

#[derive(Clone)]
struct Seat {
    address: IpAddr,
    shared: Arc<Shared>,
}

/// What a connection and its places know of each other.
struct Shared {
    activity: Arc<Activity>,
    /// Whether it takes one of the places; otherwise it has a spare one, or is about to go.
    is_served: AtomicBool,
    leave: Notify,
}

/// The place of one connection, given back when it is dropped.
pub(in crate::http) struct Place {
    number: u64,
    places: Arc<Places>,
    shared: Arc<Shared>,
    _socket: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(options: &Options) -> Arc<Places> {
        let bounds = Bounds::of(options);
        let sockets = Arc::new(Semaphore::new(bounds.all.saturating_add(SPARES).min(Semaphore::MAX_PERMITS)));
        Arc::new(Places { bounds, sockets, seats: Mutex::default() })
    }

    /// Waits until one more connection may be accepted. Connections past that wait in the kernel, and cost nothing here.
    pub(super) async fn room(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(room) = self.sockets.clone().try_acquire_owned() {
                return room;
            }
            self.seats.lock().part(self.bounds.all, |_| true);
            // None may have been idle.
            if let Ok(Ok(room)) = timeout(LOOK_AGAIN, self.sockets.clone().acquire_owned()).await {
                return room;
            }
        }
    }

    /// Takes in a connection from `address`.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr, socket: OwnedSemaphorePermit) -> Arc<Place> {
        let address = client(address);
        let activity = Arc::new(Activity::new());
        let mut seats = self.seats.lock();
        let is_served = AtomicBool::new(seats.serve(self.bounds, address).is_ok());
        let shared = Arc::new(Shared { activity, is_served, leave: Notify::new() });
        let number = seats.next;
        seats.next += 1;
        seats.all.insert(number, Seat { address, shared: shared.clone() });
        Arc::new(Place { number, places: self.clone(), shared, _socket: socket })
    }
}

impl Place {
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.shared.activity
    }

    /// Waits until the place is needed by another connection.
    pub(super) async fn is_needed(&self) {
        self.shared.leave.notified().await;
    }

    /// Whether the connection has a place. Otherwise it may ask whether the server lives, and nothing else.
    pub(super) fn is_served(&self) -> bool {
        self.shared.is_served.load(Ordering::Relaxed)
    }

    /// Takes a place for a request, if there is one by now. The connection may have been told to leave when the request
    /// was on its way: it takes its place again.
    pub(super) fn serve(&self) -> Result<(), Error> {
        if self.is_served() {
            return Ok(());
        }
        let mut seats = self.places.seats.lock();
        let Some(address) = seats.all.get(&self.number).map(|seat| seat.address) else { return Ok(()) };
        seats.serve(self.places.bounds, address)?;
        self.shared.is_served.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut seats = self.places.seats.lock();
        if let Some(seat) = seats.all.remove(&self.number) {
            seats.unserve(&seat);
        }
    }
}

impl Seats {
    /// Counts one more connection that is served, for which others that are idle may have to go.
    fn serve(&mut self, bounds: Bounds, address: IpAddr) -> Result<(), Error> {
        let refused = |name, max: usize| Error::ConnectionsBusy { name, max: max as u64 };
        let of_address = self.of_address.get(&address).copied().unwrap_or(0);
        let is_served = |seat: &Seat| seat.shared.is_served.load(Ordering::Relaxed);
        if of_address >= bounds.of_address
            && !self.part(bounds.of_address, |seat| seat.address == address && is_served(seat))
        {
            return Err(refused("connections_per_address_max", bounds.of_address));
        }
        if self.served >= bounds.all && !self.part(bounds.all, is_served) {
            return Err(refused("connections_max", bounds.all));
        }
        self.served += 1;
        *self.of_address.entry(address).or_default() += 1;
        Ok(())
    }

    fn unserve(&mut self, seat: &Seat) {
        if !seat.shared.is_served.swap(false, Ordering::Relaxed) {
            return;
        }
        self.served -= 1;
        if let Some(count) = self.of_address.get_mut(&seat.address) {
            *count -= 1;
            if *count == 0 {
                self.of_address.remove(&seat.address);
            }
        }
    }

    /// Tells those of `bound` connections to leave that have been idle longest. Returns whether there was one.
    fn part(&mut self, bound: usize, may_go: impl Fn(&Seat) -> bool) -> bool {
        let idle_since = |(number, seat): (&u64, &Seat)| Some((seat.shared.activity.idle_since()?, *number));
        let mut idle: Vec<(Instant, u64)> =
            self.all.iter().filter(|(_, seat)| may_go(seat)).filter_map(idle_since).collect();
        let count = (bound / PARTING).max(1);
        if idle.len() > count {
            idle.select_nth_unstable(count);
            idle.truncate(count);
        }
        for (_, number) in &idle {
            if let Some(seat) = self.all.get(number).cloned() {
                self.unserve(&seat);
                seat.shared.leave.notify_one();
            }
        }
        !idle.is_empty()
    }
}

/// The client behind an address: a host has one IPv4 address, and usually all IPv6 addresses of a /64 network.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(all: usize, of_address: usize) -> Arc<Places> {
        let options = Options { connections_max: all, connections_per_address_max: of_address, ..Options::default() };
        Places::new(&options)
    }

    fn enter(places: &Arc<Places>, address: &str) -> Arc<Place> {
        let socket = places.sockets.clone().try_acquire_owned().expect("a free socket");
        places.enter(address.parse().expect("an address"), socket)
    }

    /// Whether the place was asked for.
    fn is_needed(place: &Place) -> bool {
        use futures_util::FutureExt;
        place.is_needed().now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_was_idle_longest_makes_room() {
        let places = places(2, 9);
        let first = enter(&places, "10.0.0.1");
        tokio::time::advance(Duration::from_millis(1)).await;
        let second = enter(&places, "10.0.0.1");
        tokio::time::advance(Duration::from_millis(1)).await;
        // The first one has moved since.
        first.activity().begin(false);
        first.activity().end();
        let third = enter(&places, "10.0.0.1");
        assert!(is_needed(&second) && !is_needed(&first) && !is_needed(&third));
        assert!(first.is_served() && third.is_served() && !second.is_served());
    }

    #[tokio::test]
    async fn while_all_are_at_work_a_connection_gets_health_alone_until_one_is_done() {
        let places = places(1, 9);
        let busy = enter(&places, "10.0.0.1");
        busy.activity().begin(false);
        let probe = enter(&places, "10.0.0.2");
        assert!(!probe.is_served() && !is_needed(&busy));
        assert_eq!(probe.serve(), Err(Error::ConnectionsBusy { name: "connections_max", max: 1 }));
        busy.activity().end();
        assert_eq!(probe.serve(), Ok(()));
        assert!(is_needed(&busy) && probe.is_served());
        drop((busy, probe));
        let seats = places.seats.lock();
        assert_eq!((seats.served, seats.all.len(), seats.of_address.len()), (0, 0, 0));
    }

    #[test]
    fn one_address_has_half_of_the_places_by_default() {
        for (all, half) in [(1, 1), (2, 1), (3, 2), (10_000, 5_000)] {
            let bounds = Bounds::of(&Options { connections_max: all, ..Options::default() });
            assert_eq!((bounds.all, bounds.of_address), (all, half));
        }
    }

    #[tokio::test]
    async fn an_address_has_a_bound_of_its_own() {
        let places = places(9, 1);
        let [one, other, network] = ["10.0.0.1", "10.0.0.2", "2001:db8::1"].map(|address| enter(&places, address));
        for place in [&one, &other, &network] {
            assert!(place.is_served());
            place.activity().begin(false);
        }
        let refused = Err(Error::ConnectionsBusy { name: "connections_per_address_max", max: 1 });
        for address in ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8::ffff:2"] {
            assert_eq!(enter(&places, address).serve(), refused, "{address}");
        }
        assert!(enter(&places, "2001:db8:0:1::1").is_served());
        one.activity().end();
        assert!(enter(&places, "10.0.0.1").is_served() && is_needed(&one));
    }

    #[tokio::test(start_paused = true)]
    async fn when_even_the_spare_places_are_taken_the_longest_idle_connection_makes_room() {
        let places = places(1, 9);
        let busy = enter(&places, "10.0.0.1");
        busy.activity().begin(false);
        let mut spares: Vec<_> = (0..SPARES).map(|_| enter(&places, "10.0.0.2")).collect();
        let waiting = tokio::spawn({
            let places = places.clone();
            async move { places.room().await }
        });
        let needed = futures_util::future::select_all(spares.iter().map(|spare| Box::pin(spare.is_needed())));
        let ((), index, _) = needed.await;
        drop(spares.swap_remove(index));
        assert!(waiting.await.is_ok());
        assert!(!is_needed(&busy));
    }
}
