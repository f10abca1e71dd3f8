//! The test double of a store: every call goes on to another store once the test has let it. Unit tests and `tests/it`
//! share this file.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;

use super::{Blob, Commit, Counters, Digest, Error, FreeSpace, Future, Listing, Stage, Stat, Store};

/// A moment at which a test may delay, refuse or count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Stat,
    Open,
    Stage,
    /// Before the bytes are published.
    Commit,
    /// After the bytes are published, before the caller gets the result.
    Committed,
    Delete,
    List,
    /// A look whether uploads are accepted, which cannot wait.
    Writable,
}

type Gate = Arc<dyn Fn(Call) -> Future<'static, ()> + Send + Sync>;

/// A store behind a gate.
pub struct Double {
    store: Arc<dyn Store>,
    gate: Gate,
}

impl Double {
    /// A store whose calls wait for the gate, and fail with its error.
    pub fn gated(
        store: Arc<dyn Store>,
        gate: impl Fn(Call) -> Future<'static, ()> + Send + Sync + 'static,
    ) -> Arc<Double> {
        Arc::new(Double { store, gate: Arc::new(gate) })
    }

    /// A store whose calls fail with the error that `refusal` returns for them, if any.
    pub fn refusing(
        store: Arc<dyn Store>,
        refusal: impl Fn(Call) -> Option<Error> + Send + Sync + 'static,
    ) -> Arc<Double> {
        Double::gated(store, move |call| {
            let refusal = refusal(call);
            Box::pin(async { refusal.map_or(Ok(()), Err) })
        })
    }

    async fn pass(&self, call: Call) -> Result<(), Error> {
        (self.gate)(call).await
    }
}

impl Store for Double {
    fn stat<'a>(&'a self, digests: &'a [Digest]) -> Future<'a, Vec<Option<Stat>>> {
        Box::pin(async {
            self.pass(Call::Stat).await?;
            self.store.stat(digests).await
        })
    }

    fn open<'a>(&'a self, digest: &'a Digest) -> Future<'a, Blob> {
        Box::pin(async {
            self.pass(Call::Open).await?;
            self.store.open(digest).await
        })
    }

    fn stage(&self, size_hint: Option<u64>) -> Future<'_, Box<dyn Stage>> {
        Box::pin(async move {
            self.pass(Call::Stage).await?;
            let stage = self.store.stage(size_hint).await?;
            Ok(Box::new(Gated { stage, gate: Arc::clone(&self.gate) }) as Box<dyn Stage>)
        })
    }

    fn delete<'a>(&'a self, digest: &'a Digest) -> Future<'a, bool> {
        Box::pin(async {
            self.pass(Call::Delete).await?;
            self.store.delete(digest).await
        })
    }

    fn list(&self, after: Option<Digest>, limit: usize) -> Future<'_, Listing> {
        Box::pin(async move {
            self.pass(Call::List).await?;
            self.store.list(after, limit).await
        })
    }

    fn open_to_scrub<'a>(&'a self, digest: &'a Digest) -> Future<'a, Blob> {
        Box::pin(async {
            self.pass(Call::Open).await?;
            self.store.open_to_scrub(digest).await
        })
    }

    fn scrub_note(&self) -> Future<'_, Option<String>> {
        self.store.scrub_note()
    }

    fn set_scrub_note(&self, note: String) -> Future<'_, ()> {
        self.store.set_scrub_note(note)
    }

    fn writable(&self) -> Result<(), Error> {
        self.pass(Call::Writable).now_or_never().unwrap_or(Ok(()))?;
        self.store.writable()
    }

    fn unreadable(&self) -> Vec<String> {
        self.store.unreadable()
    }

    fn free_space(&self) -> Option<FreeSpace> {
        self.store.free_space()
    }

    fn counters(&self) -> Counters {
        self.store.counters()
    }
}

/// A write whose commit is gated.
struct Gated {
    stage: Box<dyn Stage>,
    gate: Gate,
}

impl Stage for Gated {
    fn write(&mut self, bytes: Bytes) -> Future<'_, ()> {
        self.stage.write(bytes)
    }

    fn bytes(&mut self) -> Future<'_, Bytes> {
        self.stage.bytes()
    }

    fn commit(self: Box<Self>, digest: Digest) -> Future<'static, Commit> {
        Box::pin(async move {
            (self.gate)(Call::Commit).await?;
            let commit = self.stage.commit(digest).await?;
            (self.gate)(Call::Committed).await?;
            Ok(commit)
        })
    }
}
