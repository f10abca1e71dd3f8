//! Images of other servers: `GET /remote.{ext}` renders one. `POST /images` with a URL is in [`super::upload::remote`].

use hyper::header::{AUTHORIZATION, HeaderName};

use super::{images, upload};
use crate::digest::Digest;
use crate::fetch::RemoteSource;
use crate::http::app::App;
use crate::http::call::{Call, Reply};
use crate::http::error::Error;
use crate::http::message::response_body::Response;
use crate::http::protocol::auth::{Kind, Scope};
use crate::http::protocol::conditional::ETag;
use crate::http::protocol::image_response::{self, Image};
use crate::http::protocol::render_request::{Pipelines, RenderRequest};
use crate::http::protocol::response;
use crate::http::protocol::response_options::{Pairs, ResponseOptions, once};
use crate::pipeline::Pipeline;
use crate::pipeline::invalid::{invalid, missing};
use crate::renditions::{self, Origin, Rendition, inspect};

/// `GET /remote.{ext}?url=...`
pub(in crate::http) fn remote(call: Call, extension: &str) -> Reply {
    let mut params = RemoteParams::default();
    let (options, pipelines) = match request(&call, extension, &mut params) {
        Ok(request) => request,
        Err(error) => return Reply::Now(Err(error)),
    };
    Reply::later(async move {
        let sources = &call.app.sources;
        let source = sources.get(&params.url).await;
        let source = source.map_err(|error| Error::of_remote(error, Some(sources.failures_max_age())))?;
        let answer = answer(&call, &source, params.store, pipelines, &options).await;
        answer.map_err(|error| Error::of_remote(error, source.max_age))
    })
}

/// Answers with a rendition of a source that was fetched.
async fn answer(
    call: &Call,
    source: &RemoteSource,
    store: bool,
    pipelines: Pipelines,
    options: &ResponseOptions,
) -> Result<Response, Error> {
    let app = &call.app;
    let pipeline = pipelines.fitting(inspect(&source.bytes)).await?;
    if store {
        upload::remote::store(app, source.bytes.clone()).await?;
    }
    let key = pipeline.key(&source.digest);
    let mut image = Image::new(&call.parts, call.grant, options, ETag::of_key(&key), pipeline.codec().media_type);
    images::others_exist(app, &pipeline).await?;
    let mut response = match image.condition()? {
        Some(answer) => answer,
        None => {
            let (rendition, origin) = render(app, source, (key, &pipeline), store).await?;
            image.origin = Some(origin);
            image.missing = rendition.missing;
            image.bytes(&rendition.bytes)?
        }
    };
    image_response::aged(&mut response, call.grant, source.max_age);
    if store {
        // The source of the rendition, by the relation "via" of RFC 4287.
        let link = response::value(format!("</images/{}>; rel=\"via\"", source.digest));
        response.headers_mut().insert(HeaderName::from_static("link"), link);
    }
    Ok(response)
}

/// The parameters that only this route understands.
#[derive(Default)]
struct RemoteParams {
    url: String,
    store: bool,
}

impl RemoteParams {
    fn take(&mut self, pairs: &mut Pairs) -> Result<(), Error> {
        self.url = once(pairs, "url")?.ok_or_else(|| missing("url", "the URL of an image"))?;
        self.store = match once(pairs, "store")?.as_deref() {
            Some("" | "true") => true,
            None | Some("false") => false,
            Some(other) => return Err(invalid("store", other, "true, false").must_be("true or false").into()),
        };
        Ok(())
    }
}

/// Reads the query, and refuses all mistakes before anything is fetched.
fn request(call: &Call, extension: &str, params: &mut RemoteParams) -> Result<(ResponseOptions, Pipelines), Error> {
    let policy = call.app.render_policy();
    let request = RenderRequest::of(&call.parts, call.grant, policy, extension, |pairs| params.take(pairs))?;
    if params.store {
        let (access, headers) = (&call.app.access, &call.parts.headers);
        let grant = access.check(Scope::Write, Kind::Other, "", headers.get_all(AUTHORIZATION))?;
        access.check_page(grant, headers)?;
    }
    call.app.sources.check(&params.url)?;
    let pipelines = request.pipelines(policy, &[])?;
    Ok((request.options, pipelines))
}

async fn render(
    app: &App,
    source: &RemoteSource,
    (key, pipeline): (Digest, &Pipeline),
    stored: bool,
) -> Result<(Rendition, Origin), Error> {
    if stored {
        return Ok(app.renditions.get(&source.digest, pipeline).await?);
    }
    let fetched = renditions::Source::Fetched { digest: source.digest, bytes: source.bytes.clone() };
    if let Some(hit) = app.renditions.cached(fetched.clone(), &key) {
        return Ok((hit, Origin::Hit));
    }
    // While the bytes wait for their render, they count as a body in flight.
    let _reserved = app.uploads.try_acquire(source.bytes.len() as u64)?;
    Ok(app.renditions.missed(fetched, key, pipeline).await?)
}
