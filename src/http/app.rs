//! [`App`]: everything that a request can need, one per process. It is made in [`super::setup`].

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use super::message::options::Options;
use super::message::response_body::Response;
use super::message::spool::Spools;
use super::message::text_budget::TextBudget;
use super::protocol::auth::Access;
use super::protocol::metrics::Metrics;
use super::protocol::render_request::RenderPolicy;
use super::protocol::stream_writer::{self, StreamWriter};
use crate::fetch::{self, Sources};
use crate::items::Items;
use crate::jobs::{Jobs, Options as JobOptions};
use crate::pipeline::Limits;
use crate::renditions::{self, Renditions};
use crate::store::{self, Store, Uploads};

/// Everything that a request can need; one per process.
pub struct App {
    pub(super) store: Arc<dyn Store>,
    pub(super) uploads: Uploads,
    pub(super) list_budget: TextBudget,
    /// Arrays and forms of items, which are held until the last one has begun: apart, so that they shut out no list of ids.
    pub(super) batch_budget: TextBudget,
    pub(super) spools: Spools,
    pub(super) renditions: Arc<Renditions>,
    pub(super) sources: Arc<Sources>,
    pub(super) items: Arc<Items>,
    /// Places for bulk requests.
    pub(super) bulks: Arc<Semaphore>,
    pub(super) limits: Limits,
    pub(super) access: Access,
    pub(super) options: Options,
    pub(super) jobs: Jobs,
    pub(super) metrics: Arc<Metrics>,
    pub(super) draining: watch::Sender<bool>,
}

/// The settings of every layer below an [`App`], and its own.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Of uploads.
    pub store: store::Options,
    /// Of renders.
    pub limits: Limits,
    /// Of remote sources.
    pub fetch: fetch::Options,
    /// Of the cache and the render pool.
    pub renditions: renditions::Options,
    /// Of the queue of jobs.
    pub jobs: JobOptions,
    /// Of connections and requests.
    pub http: Options,
    /// Who may do what.
    pub access: Access,
}

impl App {
    /// What becomes of the queries of renders.
    pub(super) fn render_policy(&self) -> RenderPolicy<'_> {
        RenderPolicy { presets: &self.options.presets, converts_render: self.items.convert_renders() }
    }

    /// A streamed 200 that `work` writes, on a task of its own.
    pub(super) fn stream<F: Future<Output = ()> + Send + 'static>(
        &self,
        media_type: &'static str,
        work: impl FnOnce(StreamWriter) -> F,
    ) -> Response {
        stream_writer::spawn(&self.spools, &self.options, media_type, work)
    }

    /// Whether the server is on its way out: `/readyz` says so to load balancers.
    pub(super) fn draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Ready once it is.
    pub(super) async fn drains(&self) {
        // The sender lives as long as the app.
        _ = self.draining.subscribe().wait_for(|draining| *draining).await;
    }
}
