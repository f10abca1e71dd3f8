//! `multipart/form-data`: one part is an upload like a raw body; two or more are [`super::many`].

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::many::{self, Entries, UploadEntry};
use crate::http::call::Call;
use crate::http::error::Error;
use crate::http::message::form::{Chunks, FORM_BYTES_MAX, beginning, of_form};
use crate::http::message::options::ms;
use crate::http::message::response_body::Response;
use crate::http::protocol::digest_fields::Claims;
use crate::http::routes::prerender::Prerender;

/// Stores a form of any number of parts, whatever their names.
pub(super) async fn upload(call: Call, boundary: String, prerender: &Prerender) -> Result<Response, Error> {
    let Call { app, parts, body, .. } = call;
    // A digest in the head covers the whole form. It is checked for a form that is one image.
    let claims = Claims::of(&parts.headers)?;
    // These refusals come before anything is read. Later they would concern one part of many.
    app.uploads.admits_bodies()?;
    drop(app.uploads.try_acquire(0)?);
    let chunks = Chunks::new(body.stream(&app.options), claims);
    let mut form = FormEntries::new(chunks.clone(), boundary);
    let first = async {
        let entry = form.next().await?.ok_or(Error::NoImagePart)?;
        let taken = many::take(&app.uploads, &mut form, &entry).await?;
        Ok::<_, Error>((entry, taken, form.next().await?))
    };
    let first = tokio::time::timeout(ms(app.options.body_timeout_ms), first);
    let (entry, taken, second) = first.await.map_err(|_| Error::BodyTimeout)??;
    if second.is_some() {
        form.peeked = second;
        return Ok(many::answer(&app, form, Some((entry, taken)), prerender));
    }
    let sealed = taken?;
    chunks.tap().check()?;
    super::store(&app, sealed, prerender).await
}

/// The parts of a form.
struct FormEntries {
    chunks: Chunks<Claims>,
    parser: multer::Multipart<'static>,
    part: Option<multer::Field<'static>>,
    /// What was read of the part already.
    beginning: Bytes,
    /// A part whose head was read, and put back.
    peeked: Option<UploadEntry>,
}

impl FormEntries {
    fn new(chunks: Chunks<Claims>, boundary: String) -> FormEntries {
        let parser = multer::Multipart::new(chunks.clone(), boundary);
        FormEntries { chunks, parser, part: None, beginning: Bytes::new(), peeked: None }
    }
}

impl Entries for FormEntries {
    async fn next(&mut self) -> Result<Option<UploadEntry>, Error> {
        if let Some(entry) = self.peeked.take() {
            return Ok(Some(entry));
        }
        loop {
            // The parser returns the next part only after the last one is dropped.
            self.part = None;
            self.chunks.allow_more(FORM_BYTES_MAX);
            self.part = self.parser.next_field().await.map_err(of_form)?;
            let Some(part) = &mut self.part else {
                // The bytes after the last boundary belong to the body, and to its digest.
                while self.chunks.try_next().await?.is_some() {}
                return Ok(None);
            };
            if let Some(beginning) = beginning(part).await? {
                self.chunks.allow_any();
                self.beginning = beginning;
                let name = part.file_name().filter(|name| !name.is_empty()).or(part.name()).unwrap_or_default();
                return Ok(Some(UploadEntry::new(name.as_bytes())));
            }
        }
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if !self.beginning.is_empty() {
            return Ok(Some(std::mem::take(&mut self.beginning)));
        }
        match &mut self.part {
            Some(part) => part.chunk().await.map_err(of_form),
            None => Ok(None),
        }
    }

    async fn drain(mut self, bytes_max: u64) {
        self.chunks.allow_more(bytes_max);
        while let Ok(Some(_)) = self.chunks.try_next().await {}
    }
}
