//! Counters of the edge and the text exposition. The layers below keep figures of their own; [`SAMPLES`] is where they are read.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{App, ROUTES};
use crate::renditions::Origin;
use crate::store::Receipt;

/// Upper bounds of latency, in seconds: hits are tens of microseconds, renders up to ten seconds.
const LATENCY_S: [f64; 12] = [0.0001, 0.00025, 0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 5.0, 10.0];

/// The label of requests that reached no route.
const NO_ROUTE: &str = "none";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answer {
    method: &'static str,
    route: &'static str,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Place {
    method: &'static str,
    route: &'static str,
}

/// A figure that another layer keeps, read when the page is asked for.
enum Sample {
    Counter(&'static str, &'static str, fn(&App) -> u64),
    Gauge(&'static str, &'static str, fn(&App) -> i64),
}

/// Every such figure.
const SAMPLES: &[Sample] = &[
    Sample::Counter("http_connections_accepted", "Connections since the start", |app| {
        app.metrics.accepted.load(Ordering::Relaxed)
    }),
    Sample::Gauge("store_writable", "Whether uploads would be accepted now", |app| {
        i64::from(app.store.writable().is_ok())
    }),
    Sample::Gauge("draining", "Whether the server is on its way out", |app| i64::from(app.draining())),
];

/// What one route is counted under; found once, so that a request costs an index and not a hash of labels.
struct RouteMetrics {
    place: Place,
    statuses: Box<[OnceLock<Counter>]>,
    latency: Histogram,
}

/// An open connection; its end is counted even when its task panics.
struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The counters of the edge.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Answer, Counter>,
    routes: Vec<RouteMetrics>,
    hits: Counter,
    misses: Counter,
    uploads: Counter,
    duplicates: Counter,
    uploaded_bytes: Counter,
    /// Connections that are open now.
    connections: Gauge,
    accepted: AtomicU64,
}

impl Metrics {
    pub(super) fn new() -> Metrics {
        let mut registry = Registry::with_prefix("progimage");
        let requests = Family::<Answer, Counter>::default();
        registry.register("http_requests", "Answers by route and status", requests.clone());
        let latency = Family::<Place, Histogram>::new_with_constructor(|| Histogram::new(LATENCY_S.iter().copied()));
        registry.register("http_request_seconds", "Time from a request's head to its answer's head", latency.clone());
        let places = ROUTES.iter().map(|route| (route.method(), route.path())).chain([(NO_ROUTE, NO_ROUTE)]);
        let routes = places
            .map(|(method, route)| {
                let place = Place { method, route };
                let latency = latency.get_or_create_owned(&place);
                RouteMetrics { place, latency, statuses: (100..600).map(|_| OnceLock::new()).collect() }
            })
            .collect();
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let (hits, misses) = (
            counter("rendition_hits", "Renditions answered from the cache"),
            counter("rendition_misses", "Renditions answered after a render"),
        );
        let (uploads, duplicates) = (
            counter("uploads", "Uploads that stored an image"),
            counter("uploads_duplicate", "Uploads of an image that was stored already"),
        );
        let uploaded_bytes = counter("uploaded_bytes", "Bytes of acknowledged uploads");
        let connections = Gauge::default();
        registry.register("http_connections", "Open connections", connections.clone());
        Metrics {
            registry,
            requests,
            routes,
            hits,
            misses,
            uploads,
            duplicates,
            uploaded_bytes,
            connections,
            accepted: AtomicU64::new(0),
        }
    }

    /// Counts an answer; `route` is its index in [`ROUTES`].
    pub(super) fn answered(&self, route: Option<usize>, status: StatusCode, elapsed: Duration) {
        let Some(metrics) = self.routes.get(route.unwrap_or(ROUTES.len())) else { return };
        metrics.latency.observe(elapsed.as_secs_f64());
        let status = status.as_u16();
        let Some(counter) = metrics.statuses.get(usize::from(status) - 100) else { return };
        counter
            .get_or_init(|| {
                let Place { method, route } = metrics.place;
                self.requests.get_or_create_owned(&Answer { method, route, status })
            })
            .inc();
    }

    /// Counts a connection as open until the guard is dropped.
    pub(super) fn connected(&self) -> impl Drop + use<> {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.connections.inc();
        Connected(self.connections.clone())
    }

    /// Counts a rendition.
    pub(super) fn rendition(&self, origin: Origin) {
        match origin {
            Origin::Hit => self.hits.inc(),
            Origin::Rendered { .. } => self.misses.inc(),
        };
    }

    /// Counts an acknowledged upload.
    pub(super) fn uploaded(&self, receipt: &Receipt) {
        if receipt.created { &self.uploads } else { &self.duplicates }.inc();
        self.uploaded_bytes.inc_by(receipt.bytes);
    }

    /// The whole page.
    pub(super) fn text(&self, app: &App) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        let mut layers = Registry::with_prefix("progimage");
        for sample in SAMPLES {
            match *sample {
                Sample::Counter(name, help, read) => layers.register(name, help, ConstCounter::new(read(app))),
                Sample::Gauge(name, help, read) => layers.register(name, help, ConstGauge::new(read(app))),
            }
        }
        encode_registry(&mut text, &layers)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}
