//! `POST /process.{ext}`: renders the body of the request. Nothing is stored, cached or shared.

use bytes::Bytes;
use futures_util::TryStreamExt;

use crate::digest::{Digest, Hasher};
use crate::http::app::App;
use crate::http::call::{Call, Reply};
use crate::http::error::Error;
use crate::http::message::body::content_type;
use crate::http::message::form::{Chunks, FORM_BYTES_MAX, beginning, boundary, of_form};
use crate::http::message::response_body::Response;
use crate::http::protocol::auth::Grant;
use crate::http::protocol::digest_fields::Claims;
use crate::http::protocol::image_response;
use crate::http::protocol::render_request::RenderRequest;
use crate::pipeline::invalid::{Help, conflict, missing, nearest, repeated, unknown_part};
use crate::pipeline::{self, Presets, foreign};
use crate::renditions::{Source, inspect};
use crate::store::Reserved;

/// Bytes of the part `ops`.
const OPS_BYTES_MAX: u64 = 64 << 10;
/// Parts that operations may use as images. The names are also keys of a flat query.
const IMAGE_PARTS: [&str; 2] = ["mask", "overlay"];
/// Every part of the form.
const PARTS: [&str; 4] = ["image", "mask", "overlay", "ops"];

/// `POST /process.{ext}`
pub(in crate::http) fn process(call: Call, extension: &str) -> Reply {
    let request = match RenderRequest::of(&call.parts, call.grant, call.app.render_policy(), extension, |_| Ok(())) {
        Ok(request) => request,
        Err(error) => return Reply::Now(Err(error)),
    };
    Reply::later(async move {
        let app = call.app.clone();
        let (content_type, media_type) = content_type(&call.parts.headers);
        match (media_type == "multipart/form-data").then(|| boundary(content_type)) {
            None => {
                // A wrong query is refused before the body is sent.
                request.pipelines(app.render_policy(), &[])?;
                let image = raw(call).await?;
                render(&app, &request, image, &[]).await
            }
            Some(boundary) => {
                let (grant, presets) = (call.grant, &app.options.presets);
                let (form, ops) = form(call, boundary?).await?;
                let free = ops.as_ref().map(|_| "ops").or(form.others.first().map(|(name, _)| *name));
                if let Some(name) = free {
                    parts_are_free(name, grant, presets)?;
                }
                let mut request = request;
                request.pairs.extend(ops.map(|ops| ("ops".to_owned(), ops)));
                let FormImages { image, others } = form;
                let image = image.ok_or_else(|| missing("image", "a part that is an image"))?;
                render(&app, &request, image, &others).await
            }
        }
    })
}

/// Checks that parts may be used. They describe operations as the query does, so its restrictions bind them too:
/// presets, and a signature, which covers the URL alone.
fn parts_are_free(name: &str, grant: Grant, presets: &Presets) -> Result<(), Error> {
    match grant {
        _ if presets.only => Err(presets.alone("part", name).into()),
        Grant::Signed { .. } => {
            let why = "a signature covers the URL alone, so with it a form has no part but image";
            Err(conflict("part", name, "sig").because(why).into())
        }
        _ => Ok(()),
    }
}

/// An image in memory, within its bound and the budget of uploads. Its permit goes with it.
struct LoadedImage {
    bytes: Bytes,
    digest: Digest,
    _reserved: Reserved,
}

/// An image that is being read into memory.
struct Arriving {
    bytes: Vec<u8>,
    hasher: Hasher,
    reserved: Reserved,
}

impl Arriving {
    /// Refuses at once a declared length that is too large. The budget is taken as bytes come.
    fn new(app: &App, declared: Option<u64>) -> Result<Arriving, Error> {
        app.uploads.expects(declared.unwrap_or(0))?;
        let reserved = app.uploads.try_acquire(0)?;
        Ok(Arriving { bytes: Vec::new(), hasher: Hasher::default(), reserved })
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), Error> {
        self.reserved.try_acquire(self.bytes.len() as u64 + chunk.len() as u64)?;
        self.hasher.update(chunk);
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    fn end(self) -> LoadedImage {
        LoadedImage { bytes: self.bytes.into(), digest: self.hasher.digest(), _reserved: self.reserved }
    }
}

async fn raw(call: Call) -> Result<LoadedImage, Error> {
    let Call { app, parts, body, .. } = call;
    let mut claims = Claims::of(&parts.headers)?;
    let mut image = Arriving::new(&app, body.declared())?;
    let mut reader = body.read(&app.options);
    while let Some(chunk) = reader.next().await? {
        claims.update(&chunk);
        image.take(&chunk)?;
    }
    claims.check()?;
    Ok(image.end())
}

/// The images of a form.
#[derive(Default)]
struct FormImages {
    image: Option<LoadedImage>,
    others: Vec<(&'static str, LoadedImage)>,
}

impl FormImages {
    fn has(&self, name: &str) -> bool {
        self.others.iter().any(|(other, _)| *other == name)
    }
}

async fn form(call: Call, boundary: String) -> Result<(FormImages, Option<String>), Error> {
    let Call { app, parts, body, .. } = call;
    // A digest in the head covers the whole form.
    let claims = Claims::of(&parts.headers)?;
    let max = app.limits.bytes_max;
    let parts_max = 1 + IMAGE_PARTS.len() as u64;
    if body.declared().is_some_and(|declared| declared > max.saturating_add(FORM_BYTES_MAX).saturating_mul(parts_max)) {
        return Err(Error::BodyTooLarge { max });
    }
    let chunks = Chunks::new(body.read(&app.options), claims);
    let mut parser = multer::Multipart::new(chunks.clone(), boundary);
    let (mut form, mut ops) = (FormImages::default(), None);
    while let Some(mut part) = parser.next_field().await.map_err(of_form)? {
        let name = part.name().unwrap_or_default();
        let image_part = IMAGE_PARTS.into_iter().find(|known| *known == name);
        if form.has(name) || name == "image" && form.image.is_some() || name == "ops" && ops.is_some() {
            return Err(repeated(name).into());
        }
        if name == "ops" {
            ops = Some(text(&mut part).await?);
        } else if let Some(name) = image_part {
            form.others.extend(image(&app, &chunks, &mut part).await?.map(|image| (name, image)));
        } else if name == "image" {
            form.image = image(&app, &chunks, &mut part).await?;
        } else {
            is_beside(&mut part).await?;
        }
        // This bounds the text until the next part begins.
        chunks.allow_more(FORM_BYTES_MAX);
    }
    // The bytes after the last boundary belong to the body, and to its digest.
    let mut rest = chunks.clone();
    while rest.try_next().await?.is_some() {}
    chunks.tap().check()?;
    Ok((form, ops))
}

/// Passes over a part that is no image, such as a token of the page. Refuses an image, and a field whose name looks like one
/// that means something here.
async fn is_beside(part: &mut multer::Field<'static>) -> Result<(), Error> {
    let name = part.name().unwrap_or_default().to_owned();
    let is_meant = name.is_empty() || is_parameter(&name) || nearest(&name, PARTS).is_some();
    if is_meant || beginning(part).await?.is_some() { Err(unknown(&name)) } else { Ok(()) }
}

fn is_parameter(name: &str) -> bool {
    pipeline::is_known(name, "") || foreign::format(name, "").is_some()
}

/// A part that the form does not have; what belongs in the query is often tried as one.
fn unknown(part: &str) -> Error {
    let help = match is_parameter(part) {
        true => Help::Words("parameters go in the query, not in the form".into()),
        false => Help::None,
    };
    unknown_part(part, &PARTS, help).into()
}

/// Reads an image; `None`: its file input was left empty.
async fn image(
    app: &App,
    chunks: &Chunks<Claims>,
    part: &mut multer::Field<'static>,
) -> Result<Option<LoadedImage>, Error> {
    // The exact bound is checked on what arrives; the parser may read a little ahead.
    chunks.allow_image(app.limits.bytes_max);
    let was_left = part.file_name() == Some("");
    let mut image = Arriving::new(app, None)?;
    while let Some(chunk) = part.chunk().await.map_err(of_form)? {
        image.take(&chunk)?;
    }
    Ok(Some(image.end()).filter(|image| !was_left || !image.bytes.is_empty()))
}

async fn text(part: &mut multer::Field<'static>) -> Result<String, Error> {
    let mut text = Vec::new();
    while let Some(chunk) = part.chunk().await.map_err(of_form)? {
        if (text.len() + chunk.len()) as u64 > OPS_BYTES_MAX {
            return Err(Error::TooLarge { name: "ops_bytes_max", max: OPS_BYTES_MAX });
        }
        text.extend_from_slice(&chunk);
    }
    String::from_utf8(text).map_err(|_| Error::Malformed { what: "the part ops must be UTF-8" })
}

async fn render(
    app: &App,
    request: &RenderRequest,
    image: LoadedImage,
    others: &[(&str, LoadedImage)],
) -> Result<Response, Error> {
    let found = inspect(&image.bytes).await?;
    let parts: Vec<(&str, Digest)> = others.iter().map(|(name, part)| (*name, part.digest)).collect();
    let pipelines = request.pipelines(app.render_policy(), &parts)?;
    let pipeline = pipelines.fitting(async { Ok::<_, Error>(found) }).await?;
    let images = others.iter().map(|(_, part)| (part.digest, part.bytes.clone())).collect();
    let source = Source::Given { bytes: image.bytes.clone(), images };
    let (rendition, origin) = app.renditions.get(source, &pipeline).await?;
    Ok(image_response::unkept(&rendition, origin, request.options.download.as_deref()))
}
