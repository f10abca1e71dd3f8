//! [`App`]: everything that a request can need, once a process. [`super::setup`] makes it.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use super::message::options::Options;
use super::message::response_body::Response;
use super::message::spool::Spools;
use super::message::text_budget::TextBudget;
use super::protocol::auth::{Access, Callers};
use super::protocol::metrics::Metrics;
use super::protocol::render_request::RenderPolicy;
use super::protocol::stream_writer::{self, StreamWriter};
use crate::fetch::{self, Sources};
use crate::items::Items;
use crate::jobs::{Jobs, Options as JobOptions};
use crate::pipeline::Limits;
use crate::renditions::{self, Renditions};
use crate::store::{self, FreeSpace, Scrub, Store, Uploads};

/// Everything that a request can need; one per process.
pub struct App {
    pub(super) store: Arc<dyn Store>,
    pub(super) uploads: Uploads,
    pub(super) scrub: Scrub,
    pub(super) list_budget: TextBudget,
    /// The budget of arrays and forms of items, which are kept until the last item has begun. It is separate, so that
    /// they leave room for lists of ids.
    pub(super) batch_budget: TextBudget,
    pub(super) spools: Spools,
    pub(super) renditions: Arc<Renditions>,
    pub(super) sources: Arc<Sources>,
    pub(super) items: Arc<Items>,
    /// The permits of bulk requests.
    pub(super) bulks: Arc<Semaphore>,
    pub(super) limits: Limits,
    pub(super) access: Access,
    pub(super) callers: Callers,
    pub(super) options: Options,
    pub(super) jobs: Jobs,
    pub(super) metrics: Arc<Metrics>,
    pub(super) draining: watch::Sender<bool>,
}

/// The settings of every layer below an [`App`], and its own.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Settings of uploads.
    pub store: store::Options,
    /// Limits of renders.
    pub limits: Limits,
    /// Settings of remote sources.
    pub fetch: fetch::Options,
    /// Settings of the cache and the render pool.
    pub renditions: renditions::Options,
    /// Settings of the queue of jobs.
    pub jobs: JobOptions,
    /// Settings of connections and requests.
    pub http: Options,
    /// Keys, signing keys, and what needs neither.
    pub access: Access,
}

impl App {
    /// The settings that change what a query means.
    pub(super) fn render_policy(&self) -> RenderPolicy<'_> {
        RenderPolicy {
            presets: &self.options.presets,
            converts_render: self.items.convert_renders(),
            effort_max: self.options.effort_max,
            tolerant: self.options.tolerant,
        }
    }

    /// The space of the store's device, if it is known.
    pub(super) fn free_space(&self) -> Option<FreeSpace> {
        self.store.free_space()
    }

    /// Answers with a streamed 200 whose body `work` writes, on a task of its own.
    pub(super) fn stream<F: Future<Output = ()> + Send + 'static>(
        &self,
        media_type: &'static str,
        work: impl FnOnce(StreamWriter) -> F,
    ) -> Response {
        stream_writer::spawn(&self.spools, &self.options, media_type, work)
    }

    /// Whether the server is shutting down; `/readyz` reports it to load balancers.
    pub(super) fn draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Waits until the server shuts down.
    pub(super) async fn drains(&self) {
        // The sender lives as long as the app.
        _ = self.draining.subscribe().wait_for(|draining| *draining).await;
    }
}
