//! [`CopyRun`]: copies the images that one store has and another lacks, for `copy`, `backup` and `restore`. It goes on past
//! what cannot be read, and names it.

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::ArgMatches;
use futures_util::stream::{self, StreamExt};
use serde_json::json;

use crate::cli::exit::{Exit, Failure};
use crate::cli::load;
use crate::cli::output::{self, Output};
use crate::cli::progress::Progress;
use crate::cli::serve::modes;
use crate::digest::Digest;
use crate::store::{self, Blob, Error, Folder, Listing, Options, Stat, Store, Uploads};

/// Blobs that are listed at a time, and looked up in the other store.
const PAGE: usize = 10_000;
/// The values of the first two bytes of a digest. Digests are spread evenly, so these bytes tell the progress of a
/// walk.
pub const PARTS: u64 = 1 << 16;

/// The part of the walk to which a digest belongs.
fn part(digest: &Digest) -> u64 {
    let bytes = digest.as_bytes();
    u64::from(bytes[0]) << 8 | u64::from(bytes[1])
}

/// A store, and the argument that names it.
#[derive(Clone, Copy)]
pub struct Named<'a> {
    pub name: &'a str,
    pub url: &'a str,
}

impl Named<'_> {
    /// The failure of a command whose store has failed as a whole.
    pub fn failure(&self, error: impl std::fmt::Display) -> Failure {
        Failure::new(Exit::Unreached, format!("{}: {error}", self.name))
    }

    fn check(&self) -> Result<(), Failure> {
        let Named { name, url } = self;
        let refused = format!("{name} {url}: not a store that outlives this command; expected a folder");
        Folder::of(url).map(drop).ok_or_else(|| Failure::usage(refused))
    }
}

/// What was copied.
#[derive(Default)]
pub struct CopyCounts {
    pub copied: u64,
    pub present: u64,
    pub failed: u64,
    pub bytes: u64,
}

impl CopyCounts {
    pub fn text(&self) -> String {
        let CopyCounts { copied, present, failed, bytes } = self;
        format!("{copied} copied ({}), {present} there before, {failed} failed", output::bytes(*bytes))
    }
}

/// The options of a copy. Stored images were admitted once, and the reserve of space is for a server. This command is bounded
/// by its jobs.
fn own(settings: Options) -> Options {
    Options { blob_bytes_max: u64::MAX, uploads_bytes_max: u64::MAX, space_reserve_bytes: 0, ..settings }
}

/// A copy from one store to another.
pub struct CopyRun<'a> {
    from: Named<'a>,
    source: Arc<dyn Store>,
    target: Arc<dyn Store>,
    uploads: Uploads,
    jobs: usize,
    /// Whether an image that is there already is read and compared with its id. Otherwise its length is enough.
    proves: bool,
}

impl<'a> CopyRun<'a> {
    /// Opens both stores: `from` to be read, and `to` as its owner.
    pub async fn open(
        from: Named<'a>,
        to: Named<'a>,
        matches: &ArgMatches,
        proves: bool,
    ) -> Result<CopyRun<'a>, Failure> {
        let settings = load(&[matches]).map_err(Failure::usage)?.layers.store;
        let options = own(settings);
        modes::keep_new_private();
        from.check()?;
        to.check()?;
        let source = store::open_to_read(from.url, &options).await.map_err(|error| from.failure(error))?;
        let target = store::open(to.url, &options).await.map_err(|error| to.failure(error))?;
        let jobs = matches.get_one("jobs").copied().unwrap_or(1);
        Ok(CopyRun { from, source, uploads: Uploads::new(Arc::clone(&target), options), target, jobs, proves })
    }

    /// Copies everything that is missing.
    pub async fn all(&self, output: &mut Output, progress: &Progress) -> Result<CopyCounts, Failure> {
        let (mut counts, mut after, mut named) = (CopyCounts::default(), None, BTreeSet::new());
        loop {
            let listed = self.source.list(after, PAGE).await;
            let Listing { blobs, unreadable } = listed.map_err(|error| self.from.failure(error))?;
            // A page names all folders up to its end, which the next one may reach, too.
            for folder in unreadable.into_iter().filter(|folder| named.insert(folder.clone())) {
                counts.failed += 1;
                let problem = "cannot be read: its images are not copied";
                output.failed(|| json!({ "path": folder, "problem": problem }), || format!("{folder}: {problem}"))?;
            }
            let Some((last, _)) = blobs.last() else { return Ok(counts) };
            after = Some(*last);
            self.page(&blobs, &mut counts, output, progress).await?;
            progress.set(part(last));
        }
    }

    async fn page(
        &self,
        page: &[(Digest, Stat)],
        counts: &mut CopyCounts,
        output: &mut Output,
        progress: &Progress,
    ) -> Result<(), Failure> {
        let digests: Vec<Digest> = page.iter().map(|(digest, _)| *digest).collect();
        let there = self.target.stat(&digests).await?;
        let copies = page.iter().zip(there).map(async |((digest, stat), there)| {
            // A blob of another length is damaged; the upload replaces it.
            let is_there = there == Some(*stat) && (!self.proves || self.is_good(digest).await);
            (*digest, stat.len, if is_there { Ok(false) } else { self.blob(digest).await.map(|()| true) })
        });
        let mut copies = std::pin::pin!(stream::iter(copies).buffer_unordered(self.jobs));
        while let Some((digest, len, copied)) = copies.next().await {
            match copied {
                Ok(false) => counts.present += 1,
                Ok(true) => {
                    counts.copied += 1;
                    counts.bytes += len;
                    output.item(|| json!({ "id": digest, "bytes": len }), || digest.to_string().into_bytes())?;
                    output.flush()?;
                }
                Err(Error::NotFound) => {}
                Err(error) if ends(&error) => return Err(Failure::new(Exit::Unreached, format!("{digest}: {error}"))),
                Err(error) => {
                    counts.failed += 1;
                    let problem = error.to_string();
                    output.failed(|| json!({ "id": digest, "problem": problem }), || format!("{digest}: {problem}"))?;
                    output.flush()?;
                }
            }
            progress.set(part(&digest));
            progress.message(|| counts.text());
        }
        Ok(())
    }

    /// Copies one blob durably. It is hashed when it is read, and again when it is written.
    async fn blob(&self, digest: &Digest) -> Result<(), Error> {
        let blob = self.source.open(digest).await?;
        self.uploads.admits()?;
        let mut upload = self.uploads.begin(Some(blob.len)).await?;
        let mut start = 0;
        while let Some(frame) = next(&blob, &mut start).await? {
            upload.write(frame).await?;
        }
        upload.seal(Some(*digest)).await?.commit().await.map(drop)
    }

    /// Whether the target's bytes match their id. If they do not, they are out of service afterwards.
    async fn is_good(&self, digest: &Digest) -> bool {
        let read = async {
            let blob = self.target.open(digest).await?;
            let mut start = 0;
            while next(&blob, &mut start).await?.is_some() {}
            Ok::<_, Error>(())
        };
        read.await.is_ok()
    }
}

/// The next bytes of a blob; `None` at its end.
async fn next(blob: &Blob, start: &mut u64) -> Result<Option<bytes::Bytes>, Error> {
    if *start >= blob.len {
        return Ok(None);
    }
    let frame = blob.frame(*start..blob.len).await?;
    *start += frame.len() as u64;
    Ok(Some(frame))
}

/// Whether every further blob would fail, too.
fn ends(error: &Error) -> bool {
    matches!(error, Error::Full | Error::ReadOnly)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_may_use_the_space_that_a_server_leaves_free() {
        let settings = Options { space_reserve_bytes: 1 << 30, blob_bytes_max: 1, ..Options::default() };
        let Options { space_reserve_bytes, blob_bytes_max, .. } = own(settings);
        assert_eq!((space_reserve_bytes, blob_bytes_max), (0, u64::MAX));
    }
}
