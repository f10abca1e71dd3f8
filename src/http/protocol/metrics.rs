//! The counters of this module, and the text exposition of all metrics. The layers below keep counters of their own;
//! [`SAMPLES`] reads them.

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

use self::Sample::{Now, Total};
use crate::store::{self, Receipt};
use crate::{jobs, renditions};

/// Upper bounds of latency, in seconds. Hits take tens of microseconds, renders up to ten seconds.
const LATENCY_S: [f64; 12] = [0.0001, 0.00025, 0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 5.0, 10.0];

/// The prefix of every metric.
const PREFIX: &str = "progimage";

/// The label of requests without a route.
const NO_ROUTE: &str = "none";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: &'static str,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabels {
    method: &'static str,
    route: &'static str,
}

/// The counters of the layers, read when the page is requested.
#[derive(Default)]
pub(in crate::http) struct Figures {
    pub(in crate::http) accepted: u64,
    pub(in crate::http) draining: bool,
    pub(in crate::http) writable: bool,
    pub(in crate::http) renditions: renditions::Counters,
    pub(in crate::http) store: store::Counters,
    /// The space of the store's device, if it is known.
    pub(in crate::http) space: Option<store::FreeSpace>,
    pub(in crate::http) scrub: store::ScrubCounters,
    /// Folders of the store that cannot be read.
    pub(in crate::http) unreadable: u64,
    pub(in crate::http) jobs: jobs::Counters,
    /// Whether the queue of jobs has answered.
    pub(in crate::http) jobs_answer: bool,
    /// Malformed queues that were moved aside.
    pub(in crate::http) jobs_lost: u64,
}

/// One metric of the layers.
enum Sample {
    /// A counter: name, help, value.
    Total(&'static str, &'static str, fn(&Figures) -> u64),
    /// A gauge: name, help, value.
    Now(&'static str, &'static str, fn(&Figures) -> u64),
}

/// Every metric of the layers.
const SAMPLES: &[Sample] = &[
    Total("http_connections_accepted", "Connections since the start", |figures| figures.accepted),
    Now("draining", "Whether the server is shutting down", |figures| u64::from(figures.draining)),
    Total("rendition_hits", "Renditions answered from the cache", |figures| figures.renditions.hits),
    Total("rendition_misses", "Renditions that were not in the cache", |figures| figures.renditions.misses),
    Total("rendition_joined", "Misses that shared a running render", |figures| figures.renditions.joined),
    Total("rendition_cancelled", "Renders cancelled because no client waited", |figures| figures.renditions.cancelled),
    Total("rendition_evictions", "Renditions dropped from the cache for lack of room", |figures| {
        figures.renditions.evictions
    }),
    Now("rendition_cache_entries", "Renditions in the cache", |figures| figures.renditions.cache_entries),
    Now("rendition_cache_bytes", "Weight of the cache", |figures| figures.renditions.cache_bytes),
    Total("renders", "Renders of single requests that ended, failures included", |figures| figures.renditions.renders),
    Total("render_panics", "Renders that panicked, which are bugs", |figures| figures.renditions.panics),
    Total("render_worker_deaths", "Worker processes that died or were killed during a render", |figures| {
        figures.renditions.worker_deaths
    }),
    Total("render_refusals", "Renders and header reads refused for lack of room or time", |figures| {
        figures.renditions.busy
    }),
    Now("render_queue", "Renders that wait for admission", |figures| figures.renditions.queue_len),
    Now("render_bytes_in_flight", "Memory granted to renders, sources included", |figures| {
        figures.renditions.bytes_in_flight
    }),
    Now("rendition_bytes_held", "Bytes of renditions held by the cache or a response", |figures| {
        figures.renditions.result_bytes
    }),
    Total("bulk_renders", "Outputs rendered in the bulk lane, failures included", |figures| {
        figures.renditions.bulk_renders
    }),
    Now("bulk_waiting", "Callers that wait for room in the bulk lane", |figures| figures.renditions.bulk_waiting),
    Now("bulk_bytes_in_flight", "Memory granted in the bulk lane, sources included", |figures| {
        figures.renditions.bulk_bytes_in_flight
    }),
    Now("tier_entries", "Renditions in the tier on disk", |figures| figures.renditions.tier_entries),
    Now("tier_bytes", "Bytes on the device taken by the tier", |figures| figures.renditions.tier_bytes),
    Total("tier_hits", "Renditions answered from the tier", |figures| figures.renditions.tier_hits),
    Total("tier_evictions", "Renditions dropped from the tier for lack of room", |figures| {
        figures.renditions.tier_evictions
    }),
    Now("jobs_answer", "Whether the queue of jobs responds; if not, its metrics are 0", |figures| {
        u64::from(figures.jobs_answer)
    }),
    Now("jobs_lost_queues", "Malformed queues beside the present one, whose jobs do not run", |figures| {
        figures.jobs_lost
    }),
    Now("jobs_queued", "Jobs without an item that has run", |figures| figures.jobs.queued),
    Now("jobs_running", "Unfinished jobs with an item that has run", |figures| figures.jobs.running),
    Now("jobs_waiting_read_only", "Unfinished jobs that wait since the store is read-only", |figures| {
        figures.jobs.waiting[0]
    }),
    Now("jobs_waiting_full", "Unfinished jobs that wait since the store is full", |figures| figures.jobs.waiting[1]),
    Now("jobs_waiting_unavailable", "Unfinished jobs that wait since the store is away", |figures| {
        figures.jobs.waiting[2]
    }),
    Now("jobs_done", "Jobs that have ended and are still kept", |figures| figures.jobs.done),
    Now("jobs_cancelled", "Jobs that were cancelled and are still kept", |figures| figures.jobs.cancelled),
    Total("job_items_done", "Job items that succeeded", |figures| figures.jobs.items_done),
    Total("job_items_failed", "Job items that failed", |figures| figures.jobs.items_failed),
    Total("job_items_retried", "Job items queued again for another attempt", |figures| figures.jobs.items_retried),
    Total("webhooks_delivered", "Webhooks that were delivered", |figures| figures.jobs.webhooks_delivered),
    Total("webhooks_failed", "Webhook calls that failed", |figures| figures.jobs.webhooks_failed),
    Now("store_writable", "Whether uploads would be accepted now", |figures| u64::from(figures.writable)),
    Now("store_unreadable_folders", "Folders of images that could not be read when last needed", |figures| {
        figures.unreadable
    }),
    Now("store_free_bytes", "Bytes free on the device of the store; 0 also if it has none", |figures| {
        figures.space.map_or(0, |space| space.bytes)
    }),
    Now("store_reserve_bytes", "Bytes of that device that uploads leave free", |figures| {
        figures.space.map_or(0, |space| space.reserve_bytes)
    }),
    Total("store_fdatasync", "Files whose bytes were synced", |figures| figures.store.fdatasync),
    Total("store_fsync", "Directories whose names were synced", |figures| figures.store.fsync),
    Total("store_syncfs", "Syncs of the whole file system", |figures| figures.store.syncfs),
    Total("store_commits", "Group commits", |figures| figures.store.commits),
    Total("store_published", "Blobs published by group commits", |figures| figures.store.published),
    Total("store_quarantined", "Blobs taken out of service", |figures| figures.store.quarantined),
    Total("scrub_bytes", "Bytes read by the scrub", |figures| figures.scrub.bytes),
    Total("scrub_bad", "Blobs that the scrub found bad or could not read", |figures| figures.scrub.bad),
    Now("scrub_place", "Place of the scrub in its pass, in 4,096ths", |figures| figures.scrub.place),
    Now("scrub_whole_pass_start_seconds", "Unix time since which every blob was read again; 0: unknown", |figures| {
        figures.scrub.whole_pass_s
    }),
];

/// The metrics of one route. They are found once, so that a request costs an index and not a hash of labels.
struct RouteMetrics {
    labels: RouteLabels,
    statuses: Box<[OnceLock<Counter>]>,
    latency: Histogram,
}

/// An open connection. Its end is counted even if its task panics.
struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The counters of connections, requests and uploads.
pub(in crate::http) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    routes: Vec<RouteMetrics>,
    uploads: Counter,
    duplicates: Counter,
    refused: Counter,
    uploaded_bytes: Counter,
    /// Open connections.
    connections: Gauge,
    accepted: AtomicU64,
}

impl Metrics {
    /// Makes counters for `routes`, each a method and a path, and for requests without a route.
    pub(in crate::http) fn new(routes: impl Iterator<Item = (&'static str, &'static str)>) -> Metrics {
        let mut registry = Registry::with_prefix(PREFIX);
        let requests = Family::<RequestLabels, Counter>::default();
        registry.register("http_requests", "Responses by route and status", requests.clone());
        let latency =
            Family::<RouteLabels, Histogram>::new_with_constructor(|| Histogram::new(LATENCY_S.iter().copied()));
        registry.register(
            "http_request_seconds",
            "Time from the head of a request to the head of its response",
            latency.clone(),
        );
        let routes = routes
            .chain([(NO_ROUTE, NO_ROUTE)])
            .map(|(method, route)| {
                let labels = RouteLabels { method, route };
                let latency = latency.get_or_create_owned(&labels);
                RouteMetrics { labels, latency, statuses: (100..600).map(|_| OnceLock::new()).collect() }
            })
            .collect();
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let (uploads, duplicates, refused) = (
            counter("uploads", "Uploads that stored an image"),
            counter("uploads_duplicate", "Uploads of an image that was stored already"),
            counter("upload_entries_refused", "Entries of forms and archives that were refused"),
        );
        let uploaded_bytes = counter("uploaded_bytes", "Bytes of acknowledged uploads");
        let connections = Gauge::default();
        registry.register("http_connections", "Open connections", connections.clone());
        Metrics {
            registry,
            requests,
            routes,
            uploads,
            duplicates,
            refused,
            uploaded_bytes,
            connections,
            accepted: AtomicU64::new(0),
        }
    }

    /// Counts a response; `route` is its index among the routes.
    pub(in crate::http) fn answered(&self, route: Option<usize>, status: StatusCode, elapsed: Duration) {
        let Some(metrics) = self.routes.get(route.unwrap_or(self.routes.len() - 1)) else { return };
        metrics.latency.observe(elapsed.as_secs_f64());
        let status = status.as_u16();
        let Some(counter) = metrics.statuses.get(usize::from(status) - 100) else { return };
        counter
            .get_or_init(|| {
                let RouteLabels { method, route } = metrics.labels;
                self.requests.get_or_create_owned(&RequestLabels { method, route, status })
            })
            .inc();
    }

    /// Counts a connection as open until the guard is dropped.
    pub(in crate::http) fn connected(&self) -> impl Drop + use<> {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.connections.inc();
        Connected(self.connections.clone())
    }

    /// Connections since the start.
    pub(in crate::http) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Counts an acknowledged upload.
    pub(in crate::http) fn uploaded(&self, receipt: &Receipt) {
        if receipt.created { &self.uploads } else { &self.duplicates }.inc();
        self.uploaded_bytes.inc_by(receipt.bytes);
    }

    /// Counts an entry of many that was not stored.
    pub(in crate::http) fn refused(&self) {
        self.refused.inc();
    }

    /// The whole page.
    pub(in crate::http) fn text(&self, figures: &Figures) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, &registry_of(figures))?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

/// Every metric, as Markdown. It is made of a page, so that none is missing.
pub fn describe() -> String {
    let metrics = Metrics::new(std::iter::empty());
    // Metrics with labels are on the page once there is a response.
    metrics.answered(None, StatusCode::OK, Duration::ZERO);
    let page = metrics.text(&Figures::default()).unwrap_or_default();
    let mut table = "| Metric | Kind | Meaning |\n|---|---|---|\n".to_owned();
    let (mut name, mut help) = ("", "");
    for line in page.lines() {
        if let Some(line) = line.strip_prefix("# HELP ") {
            (name, help) = line.split_once(' ').unwrap_or((line, ""));
        } else if let Some((_, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            table += &format!("| `{name}{suffix}` | {kind} | {help} |\n");
        }
    }
    table
}

fn registry_of(figures: &Figures) -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    for sample in SAMPLES {
        match *sample {
            Total(name, help, read) => registry.register(name, help, ConstCounter::new(read(figures))),
            // A gauge is signed in the exposition; no value of ours comes near the sign bit.
            Now(name, help, read) => registry.register(name, help, ConstGauge::new(read(figures).cast_signed())),
        }
    }
    registry
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every field is written out, so a new one stops the build until it has its row.
    #[test]
    fn every_figure_of_the_layers_is_on_the_page() {
        let renditions = renditions::Counters {
            hits: 101,
            misses: 102,
            joined: 103,
            cancelled: 104,
            renders: 105,
            panics: 106,
            worker_deaths: 190,
            busy: 107,
            queue_len: 108,
            bytes_in_flight: 109,
            result_bytes: 120,
            cache_entries: 110,
            cache_bytes: 111,
            evictions: 112,
            bulk_renders: 121,
            bulk_waiting: 122,
            bulk_bytes_in_flight: 123,
            tier_entries: 124,
            tier_bytes: 125,
            tier_hits: 126,
            tier_evictions: 127,
        };
        let store =
            store::Counters { fdatasync: 113, fsync: 114, syncfs: 115, commits: 116, published: 117, quarantined: 118 };
        let scrub = store::ScrubCounters { bytes: 201, bad: 202, place: 203, whole_pass_s: 204 };
        let jobs = jobs::Counters {
            queued: 128,
            running: 129,
            done: 130,
            cancelled: 131,
            items_done: 132,
            items_failed: 133,
            items_retried: 134,
            webhooks_delivered: 135,
            webhooks_failed: 136,
            waiting: [137, 138, 139],
        };
        let figures = Figures {
            accepted: 119,
            draining: true,
            writable: true,
            renditions,
            store,
            space: Some(store::FreeSpace { bytes: 205, reserve_bytes: 206 }),
            scrub,
            unreadable: 140,
            jobs,
            jobs_answer: true,
            jobs_lost: 207,
        };
        let mut text = String::new();
        encode_registry(&mut text, &registry_of(&figures)).expect("it is written to memory");
        for value in (101..=140).chain([190]).chain(201..=207) {
            assert_eq!(text.matches(&format!(" {value}\n")).count(), 1, "{value} in {text}");
        }
    }

    #[test]
    fn every_metric_is_described() {
        let table = describe();
        let own = ["http_requests_total", "http_request_seconds", "uploads_total", "http_connections"];
        let samples = SAMPLES.iter().map(|sample| match sample {
            Total(name, help, _) => (format!("{name}_total` | counter"), *help),
            Now(name, help, _) => (format!("{name}` | gauge"), *help),
        });
        for (name, help) in samples.chain(own.map(|name| (format!("{name}` | "), ""))) {
            let row = table.lines().find(|row| row.contains(&format!("`progimage_{name}")));
            assert!(row.is_some_and(|row| row.contains(help)), "{name} in {table}");
        }
    }

    #[test]
    fn no_two_figures_share_a_name() {
        let name = |sample: &Sample| match sample {
            Total(name, ..) | Now(name, ..) => *name,
        };
        for (index, sample) in SAMPLES.iter().enumerate() {
            assert!(SAMPLES[index + 1..].iter().all(|other| name(other) != name(sample)), "{}", name(sample));
        }
    }
}
