//! Makes an [`App`] from [`Settings`]: each layer over the one below it.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use super::app::{App, Settings};
use super::message::spool::Spools;
use super::message::text_budget::TextBudget;
use super::protocol::auth::Callers;
use super::protocol::metrics::Metrics;
use super::routes::jobs::executor::ItemExecutor;
use super::table::ROUTES;
use crate::fetch::{self, Sources, WebhookClient};
use crate::items::{self, Items};
use crate::jobs::{Database, Jobs};
use crate::renditions::Renditions;
use crate::store::{Scrub, Store, Uploads};

impl App {
    /// Sets up the layers above `store`, with jobs that end with the process. Must be called on a tokio runtime.
    pub fn new(store: Arc<dyn Store>, settings: Settings) -> Arc<App> {
        App::with_database(store, Database::in_memory().expect("a database in memory opens"), settings)
    }

    /// Sets up the layers above `store` and resumes the jobs of `database`. Must be called on a tokio runtime.
    pub fn with_database(store: Arc<dyn Store>, database: Database, settings: Settings) -> Arc<App> {
        let Settings { store: store_options, limits, mut fetch, renditions, jobs, http, access } = settings;
        fetch.bytes_max = fetch.bytes_max.min(limits.bytes_max);
        let items_options = items::Options {
            presets: http.presets.clone(),
            convert_renders: http.convert_renders || access.originals_need_key,
            tolerant: http.tolerant,
            bytes_max: limits.bytes_max.min(store_options.blob_bytes_max),
            url_bytes_max: http.url_bytes_max,
            busy_wait_ms: http.body_stall_ms,
        };
        let scrub = Scrub::start(store.clone(), &store_options);
        let uploads = Uploads::new(store.clone(), store_options);
        let renditions = Renditions::new(store.clone(), limits.clone(), renditions);
        let sources = Arc::new(Sources::new(&fetch));
        let items = Items::new(&uploads, renditions.clone(), sources.clone(), items_options);
        let metrics = Arc::new(Metrics::new(ROUTES.iter().map(|route| (route.method(), route.path()))));
        let line_bytes_max = http.line_bytes_max;
        let hooks = WebhookClient::new(&fetch::Options { allow: jobs.webhook_allow.clone(), ..fetch.clone() });
        let executor = Arc::new(ItemExecutor { items: items.clone(), metrics: metrics.clone(), line_bytes_max });
        Arc::new(App {
            jobs: Jobs::start(database, executor, store.clone(), hooks, jobs),
            items,
            uploads,
            scrub,
            renditions,
            bulks: Arc::new(Semaphore::new(http.bulk_requests_max.min(Semaphore::MAX_PERMITS))),
            list_budget: TextBudget::new(http.lists_bytes_max),
            batch_budget: TextBudget::new(http.lists_bytes_max),
            sources,
            spools: Spools::new(http.spool_bytes_max, http.spools_bytes_max),
            store,
            limits,
            callers: Callers::new(&access),
            access,
            options: http,
            metrics,
            draining: watch::Sender::new(false),
        })
    }
}
