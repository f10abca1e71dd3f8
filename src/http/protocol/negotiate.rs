//! `.auto`: the format that an `Accept` field asks for. There are three buckets, so that a cache keeps three variants
//! and not thirty.
//!
//! Modern formats must be named, since a client that sends `*/*` only may be old. Among named formats the highest
//! weight wins. At equal weights AVIF comes before WebP, and WebP before the rest.

use hyper::header::{ACCEPT, HeaderMap};

use crate::http::error::Error;
pub(in crate::http) use crate::pipeline::codec::is_auto;
use crate::pipeline::codec::{Codec, Header, by_name};

/// A group of clients that get the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Bucket {
    Avif,
    Webp,
    /// The source's own format if it is JPEG, PNG or GIF; otherwise PNG with alpha and JPEG without.
    Legacy,
}

/// The formats that every client of the legacy bucket reads.
const LEGACY: [&str; 3] = ["jpeg", "png", "gif"];

impl Bucket {
    /// The name in the entity tag.
    pub(in crate::http) fn name(self) -> &'static str {
        match self {
            Bucket::Avif => "avif",
            Bucket::Webp => "webp",
            Bucket::Legacy => "legacy",
        }
    }

    /// The formats that this bucket may choose.
    pub(in crate::http) fn codecs(self) -> impl Iterator<Item = &'static Codec> {
        let names: &[&str] = match self {
            Bucket::Avif => &["avif"],
            Bucket::Webp => &["webp"],
            Bucket::Legacy => &LEGACY,
        };
        names.iter().filter_map(|name| by_name(name))
    }

    /// The format for a source.
    pub(in crate::http) fn codec(self, source: &'static Codec, header: &Header) -> Option<&'static Codec> {
        match self {
            Bucket::Avif => by_name("avif"),
            Bucket::Webp => by_name("webp"),
            Bucket::Legacy if LEGACY.contains(&source.name) => Some(source),
            Bucket::Legacy => by_name(if header.channels.alpha() { "png" } else { "jpeg" }),
        }
    }
}

/// The bucket of a request.
pub(in crate::http) fn bucket(headers: &HeaderMap) -> Result<Bucket, Error> {
    let fields: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let accept = fields.join(",");
    if accept.trim().is_empty() {
        return Ok(Bucket::Legacy);
    }
    let ranges: Vec<(&str, u16)> = accept.split(',').filter_map(range).collect();
    let named = |name: &str| weight(&ranges, &[name]);
    let legacy = ["image/jpeg", "image/png", "image/gif"].iter().map(|name| weight(&ranges, &[name, "image/*", "*/*"]));
    let weights = [
        (Bucket::Avif, named("image/avif")),
        (Bucket::Webp, named("image/webp")),
        (Bucket::Legacy, legacy.max().flatten()),
    ];
    let best = weights.iter().filter_map(|(_, weight)| *weight).max().filter(|weight| *weight > 0);
    let chosen = weights.iter().find(|(_, weight)| best.is_some() && *weight == best);
    chosen.map(|(bucket, _)| *bucket).ok_or(Error::NotAcceptable)
}

/// The weight of the first of `names` that is present; the most specific name comes first.
fn weight(ranges: &[(&str, u16)], names: &[&str]) -> Option<u16> {
    names.iter().find_map(|name| {
        ranges.iter().filter(|(range, _)| range.eq_ignore_ascii_case(name)).map(|(_, weight)| *weight).max()
    })
}

/// A media range and its weight in thousandths; a malformed one is ignored.
fn range(text: &str) -> Option<(&str, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().filter(|range| range.contains('/'))?;
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    let weight = match weight {
        None => 1000,
        Some(text) => {
            text.parse::<f32>().ok().filter(|weight| (0.0..=1.0).contains(weight)).map(|q| (q * 1000.0) as u16)?
        }
    };
    Some((range, weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_the_bucket_they_ask_for() {
        let check = |accept: &str, expected: Result<Bucket, Error>| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().expect("a field value"));
            assert_eq!(bucket(&headers), expected, "{accept}");
        };
        check("", Ok(Bucket::Legacy));
        check("*/*", Ok(Bucket::Legacy));
        check("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", Ok(Bucket::Avif));
        check("image/webp,*/*;q=0.8", Ok(Bucket::Webp));
        check("image/webp, image/avif;q=0.5", Ok(Bucket::Webp));
        check("image/avif;q=0.5, image/jpeg", Ok(Bucket::Legacy));
        check("image/avif;q=0, */*", Ok(Bucket::Legacy));
        check("image/avif;q=0, */*;q=0", Err(Error::NotAcceptable));
        check("image/*;q=0, */*", Err(Error::NotAcceptable));
        check("image/jpeg;q=0, image/png;q=0.1, */*;q=0", Ok(Bucket::Legacy));
        check("text/html", Err(Error::NotAcceptable));
        check("IMAGE/AVIF", Ok(Bucket::Avif));
        check("image/avif;q=x, image/webp;q=2, image/*", Ok(Bucket::Legacy));
    }
}
