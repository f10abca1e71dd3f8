//! Responses that are images: bytes, caching fields, 304 and 206. This module chooses no error status.

use std::borrow::Cow;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LINK,
};
use hyper::http::request::Parts;

use super::auth::Grant;
use super::conditional::{self, Condition, ETag, Ranges};
use super::digest_fields::REPR_DIGEST;
use super::response::{value, with};
use super::response_options::ResponseOptions;
use crate::digest::Digest;
use crate::http::error::Error;
use crate::http::message::response_body::{Body, Piece, Response};
use crate::pipeline::Missing;
use crate::pipeline::codec::{CODECS, by_extension};
use crate::pipeline::query::push_url;
use crate::renditions::{Origin, Rendition};
use crate::store::Blob;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// What an image lacks: `frames`, or `pixels`, which are gray, transparent or inexact.
const INCOMPLETE: HeaderName = HeaderName::from_static("progimage-incomplete");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The fields of an immutable response, whatever its status.
pub(in crate::http) struct Image<'a> {
    pub(in crate::http) parts: &'a Parts,
    pub(in crate::http) grant: Grant,
    pub(in crate::http) options: &'a ResponseOptions,
    pub(in crate::http) etag: ETag,
    pub(in crate::http) media_type: &'static str,
    /// Where the rendition came from, once that is known.
    pub(in crate::http) origin: Option<Origin>,
    /// The link to the one URL of the image, from [`canonical`].
    pub(in crate::http) canonical: Option<HeaderValue>,
    /// The `Repr-Digest` of the whole, if the client wants it.
    pub(in crate::http) digest: Option<HeaderValue>,
    /// What the image lacks because its source is damaged.
    pub(in crate::http) missing: Option<Missing>,
}

impl<'a> Image<'a> {
    /// Begins a response to a request of which only the entity tag and the media type are known.
    pub(in crate::http) fn new(
        parts: &'a Parts,
        grant: Grant,
        options: &'a ResponseOptions,
        etag: ETag,
        media_type: &'static str,
    ) -> Image<'a> {
        Image { parts, grant, options, etag, media_type, origin: None, canonical: None, digest: None, missing: None }
    }

    /// Checks the conditions of the request; `Some` is the response.
    pub(in crate::http) fn condition(&self) -> Result<Option<Response>, Error> {
        match conditional::condition(&self.parts.method, &self.parts.headers, Some(self.etag.as_str())) {
            Condition::Proceed => Ok(None),
            Condition::NotModified => {
                let mut response = self.head(StatusCode::NOT_MODIFIED, Body::Empty);
                self.add_origin(&mut response);
                Ok(Some(response))
            }
            Condition::Failed => Err(Error::Precondition),
        }
    }

    /// Answers with bytes in memory, or with ranges of them. A hit is sent without a copy, since the cache holds its bytes
    /// in any case.
    pub(in crate::http) fn bytes(&self, bytes: &Bytes) -> Result<Response, Error> {
        let total = bytes.len() as u64;
        let is_hit = self.origin == Some(Origin::Hit);
        let one = |part: Bytes| if is_hit { Body::Full(part) } else { Body::unkept(bytes.len(), part.into()) };
        let many = |parts| if is_hit { Body::Parts(parts) } else { Body::unkept(bytes.len(), parts) };
        let mut response = match self.ranges(total) {
            Ranges::Whole => self.whole(one(bytes.clone())),
            Ranges::One(range) => {
                let part = bytes.slice(range.start as usize..range.end as usize);
                self.part(one(part), &range, total)
            }
            Ranges::Many(ranges) => {
                let part = |piece| match piece {
                    Piece::Bytes(head) => head,
                    Piece::Range(range) => bytes.slice(range.start as usize..range.end as usize),
                };
                self.parts_of(many(self.pieces(&ranges, total).into_iter().map(part).collect()))
            }
            Ranges::Unsatisfiable => return Err(Error::Range { bytes: total }),
        };
        self.add_fields(&mut response);
        Ok(response)
    }

    /// Streams a blob, or ranges of it.
    pub(in crate::http) async fn blob(&self, blob: Blob) -> Result<Response, Error> {
        let total = blob.len;
        Ok(match self.ranges(total) {
            Ranges::Whole => self.whole(Body::of_blob(blob, [Piece::Range(0..total)]).await?),
            Ranges::One(range) => {
                let body = Body::of_blob(blob, [Piece::Range(range.clone())]).await?;
                self.part(body, &range, total)
            }
            Ranges::Many(ranges) => self.parts_of(Body::of_blob(blob, self.pieces(&ranges, total)).await?),
            Ranges::Unsatisfiable => return Err(Error::Range { bytes: total }),
        })
    }

    fn ranges(&self, total: u64) -> Ranges {
        conditional::ranges(&self.parts.method, &self.parts.headers, self.etag.as_str(), total)
    }

    fn whole(&self, body: Body) -> Response {
        let mut response = self.head(StatusCode::OK, body);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        if let Some(name) = self.options.download.as_deref() {
            let disposition = disposition(&file_name(name, self.media_type));
            response.headers_mut().insert(CONTENT_DISPOSITION, disposition);
        }
        response
    }

    fn part(&self, body: Body, range: &std::ops::Range<u64>, total: u64) -> Response {
        let mut response = self.whole(body);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let field = format!("bytes {}-{}/{total}", range.start, range.end - 1);
        response.headers_mut().insert(CONTENT_RANGE, value(field));
        response
    }

    fn parts_of(&self, body: Body) -> Response {
        let mut response = self.whole(body);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let field = format!("multipart/byteranges; boundary={}", self.boundary());
        response.headers_mut().insert(CONTENT_TYPE, value(field));
        response
    }

    /// The boundary of the parts. These digits cannot occur in the bytes by intent: that would take a preimage of the
    /// hash that names them.
    fn boundary(&self) -> &str {
        self.etag.as_str().trim_matches('"')
    }

    fn pieces(&self, ranges: &[std::ops::Range<u64>], total: u64) -> Vec<Piece> {
        let (boundary, media_type) = (self.boundary(), self.media_type);
        let mut pieces = Vec::with_capacity(ranges.len() * 2 + 1);
        for range in ranges {
            let (first, last) = (range.start, range.end - 1);
            let head = format!(
                "\r\n--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: bytes {first}-{last}/{total}\r\n\r\n"
            );
            pieces.push(Piece::Bytes(head.into()));
            pieces.push(Piece::Range(range.clone()));
        }
        pieces.push(Piece::Bytes(format!("\r\n--{boundary}--\r\n").into()));
        pieces
    }

    /// Adds the fields about the bytes, except their media type.
    fn add_fields(&self, response: &mut Response) {
        if let Some(link) = &self.canonical {
            response.headers_mut().insert(LINK, link.clone());
        }
        self.add_origin(response);
        if let Some(digest) = &self.digest {
            response.headers_mut().insert(REPR_DIGEST, digest.clone());
        }
        lacks(response, self.missing);
    }

    fn add_origin(&self, response: &mut Response) {
        if let Some(origin) = self.origin {
            came_from(response, origin);
        }
    }

    fn head(&self, status: StatusCode, body: Body) -> Response {
        let mut response = with(status, body);
        let headers = response.headers_mut();
        headers.insert(ETAG, self.etag.value());
        headers.insert(CACHE_CONTROL, cache_control(self.grant, self.options.preset));
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        response
    }
}

/// Content under a hash never changes. The meaning of a preset may change, and a signed URL expires.
fn cache_control(grant: Grant, preset: bool) -> HeaderValue {
    const YEAR_S: u64 = 31_536_000;
    const PRESET_S: u64 = 300;
    match (grant, preset) {
        (Grant::Public | Grant::PublicWithKey | Grant::Signed { left_s: None }, false) => {
            HeaderValue::from_static("public, max-age=31536000, immutable, no-transform")
        }
        (Grant::Private, false) => HeaderValue::from_static("private, max-age=31536000, immutable, no-transform"),
        _ => {
            let left_s = if let Grant::Signed { left_s: Some(left_s) } = grant { left_s } else { YEAR_S };
            let age = left_s.min(if preset { PRESET_S } else { YEAR_S });
            value(format!("{}, max-age={age}, no-transform", grant.caches()))
        }
    }
}

/// A rendition that no cache keeps, since it is made of the body of the request.
pub(in crate::http) fn unkept(rendition: &Rendition, origin: Origin, download: Option<&str>) -> Response {
    let bytes = rendition.bytes.clone();
    let mut response = with(StatusCode::OK, Body::unkept(bytes.len(), bytes.into()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(rendition.codec.media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(name) = download {
        headers.insert(CONTENT_DISPOSITION, disposition(&file_name(name, rendition.codec.media_type)));
    }
    lacks(&mut response, rendition.missing);
    came_from(&mut response, origin);
    response
}

/// Says what an image lacks because its source is damaged.
fn lacks(response: &mut Response, missing: Option<Missing>) {
    if let Some(missing) = missing {
        response.headers_mut().insert(INCOMPLETE, HeaderValue::from_static(missing.name()));
    }
}

/// Bounds how long a response may be kept: as long as its source; not at all if `max_age` is `None`.
pub(in crate::http) fn aged(response: &mut Response, grant: Grant, max_age: Option<std::time::Duration>) {
    let who = grant.caches();
    let field = max_age.map_or("no-store".to_owned(), |age| format!("{who}, max-age={}", age.as_secs()));
    response.headers_mut().insert(CACHE_CONTROL, value(field));
}

/// The name of a download, with an extension of its format: a client cannot always know the format beforehand. The
/// extension of another format is replaced.
fn file_name<'a>(name: &'a str, media_type: &str) -> Cow<'a, str> {
    let Some(codec) = CODECS.iter().find(|codec| codec.media_type == media_type) else { return name.into() };
    let stem = match name.rsplit_once('.').map(|(stem, extension)| (stem, by_extension(extension))) {
        Some((_, Some(own))) if own == *codec => return name.into(),
        Some((stem, Some(_))) if !stem.is_empty() => stem,
        _ => name,
    };
    format!("{}.{}", stem.trim_end_matches('.'), codec.extensions[0]).into()
}

/// The disposition of a download (RFC 6266): the name in ASCII for old clients, and as UTF-8.
fn disposition(name: &str) -> HeaderValue {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || " ._-".contains(c) { c } else { '_' }).collect();
    let mut encoded = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    value(format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"))
}

/// Adds the fields that say where a rendition came from.
fn came_from(response: &mut Response, origin: Origin) {
    let (status, timing) = match origin {
        Origin::Hit => (HeaderValue::from_static("progimage; hit"), None),
        // The meaning of `detail` is left to the cache (RFC 9211, 2.8).
        Origin::Tier => (HeaderValue::from_static("progimage; hit; detail=tier"), None),
        Origin::Rendered { queue, decode, operations, encode } => {
            let ms = |part: std::time::Duration| part.as_secs_f64() * 1e3;
            let timing = format!(
                "queue;dur={:.3}, decode;dur={:.3}, operations;dur={:.3}, encode;dur={:.3}",
                ms(queue),
                ms(decode),
                ms(operations),
                ms(encode)
            );
            (HeaderValue::from_static("progimage; fwd=miss"), Some(value(timing)))
        }
    };
    response.headers_mut().insert(CACHE_STATUS, status);
    if let Some(timing) = timing {
        response.headers_mut().insert(SERVER_TIMING, timing);
    }
}

/// The link to the one URL of a rendition (RFC 6596), however it was asked for. It is left out where the URL would be
/// longer than `url_bytes_max`, since such a URL is refused.
pub(in crate::http) fn canonical(id: &Digest, rendition: &Rendition, url_bytes_max: usize) -> Option<HeaderValue> {
    const OPEN: &str = "<";
    const CLOSE: &str = ">; rel=\"canonical\"";
    // One allocation, since this is on the path of hits.
    let mut link = String::with_capacity(128 + rendition.query.len());
    link.push_str(OPEN);
    push_url(&mut link, id, rendition.codec, &rendition.query);
    link.push_str(CLOSE);
    (link.len() <= OPEN.len() + url_bytes_max + CLOSE.len()).then(|| value(link))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::hold::hold;
    use crate::http::message::spool::Spools;

    #[test]
    fn ranges_of_bytes_in_memory_are_not_copied() {
        let bytes = Bytes::from(vec![7; 1000]);
        let Body::Parts(mut parts) = body(&bytes, None, "bytes=0-99,500-") else { panic!("parts") };
        let slices = std::iter::from_fn(|| parts.pop()).filter(|part| bytes.as_ptr_range().contains(&part.as_ptr()));
        assert_eq!(slices.map(|slice| slice.len()).collect::<Vec<_>>(), [100, 500]);
    }

    #[tokio::test]
    async fn large_results_leave_memory_and_hits_are_sent_as_they_are() {
        let rendered = Origin::Rendered { queue: NONE, decode: NONE, operations: NONE, encode: NONE };
        for range in ["", "bytes=1-", "bytes=1-1,99-", "bytes=0-0", "bytes=0-0,2-2"] {
            for (origin, holders) in [(Origin::Hit, 2), (Origin::Tier, 1), (rendered, 1)] {
                let permit = Arc::new(());
                let bytes = hold(vec![7; 2 << 20], permit.clone());
                let mut body = body(&bytes, Some(origin), range);
                body.leave_memory(&Spools::new(1 << 30, 1 << 30), NONE);
                let is_short = range.contains("0-");
                assert_eq!(matches!(body, Body::Large(_)), origin != Origin::Hit && !is_short, "{origin:?} {range}");
                drop(bytes);
                // A short range holds nothing of the whole.
                assert!(Arc::strong_count(&permit) == holders || !is_short, "{origin:?} {range}");
            }
        }
    }

    const NONE: Duration = Duration::ZERO;

    /// The body of an answer with `bytes`, or with `range` of them.
    fn body(bytes: &Bytes, origin: Option<Origin>, range: &str) -> Body {
        let (parts, ()) = hyper::Request::get("/").header("range", range).body(()).expect("good").into_parts();
        let (etag, options) = (ETag::of_key(&Digest::of(b"")), ResponseOptions::default());
        let mut image = Image::new(&parts, Grant::Public, &options, etag, "x/y");
        image.origin = origin;
        image.bytes(bytes).expect("ranges").into_body()
    }

    #[test]
    fn an_answer_says_where_its_rendition_came_from() {
        let rendered = Origin::Rendered { queue: NONE, decode: NONE, operations: NONE, encode: NONE };
        for (origin, status) in [
            (Origin::Hit, "progimage; hit"),
            (Origin::Tier, "progimage; hit; detail=tier"),
            (rendered, "progimage; fwd=miss"),
        ] {
            let mut response = with(StatusCode::OK, Body::Empty);
            came_from(&mut response, origin);
            assert_eq!(response.headers()[CACHE_STATUS], status);
        }
    }

    #[test]
    fn a_download_has_one_extension_of_its_format() {
        let check = |name: &str, media_type: &str, expected: &str| assert_eq!(file_name(name, media_type), expected);
        check("street", "image/webp", "street.webp");
        check("street.webp", "image/webp", "street.webp");
        check("street.JPG", "image/jpeg", "street.JPG");
        check("street.jpeg", "image/jpeg", "street.jpeg");
        check("street", "image/jpeg", "street.jpg");
        check("street.jpg", "image/avif", "street.avif");
        check("street.tar", "image/png", "street.tar.png");
        check("version 1.5", "image/gif", "version 1.5.gif");
        check("street.", "image/png", "street.png");
        check(".png", "image/gif", ".png.gif");
        check("naïve 图", "image/webp", "naïve 图.webp");
        check("street", "application/octet-stream", "street");
    }

    #[test]
    fn no_name_breaks_out_of_a_disposition() {
        let check = |name: &str, expected: &str| assert_eq!(disposition(name), expected);
        check("a b.png", "attachment; filename=\"a b.png\"; filename*=UTF-8''a%20b.png");
        check("é\"\r\n;", "attachment; filename=\"_____\"; filename*=UTF-8''%C3%A9%22%0D%0A%3B");
    }
}
