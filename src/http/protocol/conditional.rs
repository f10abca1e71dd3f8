//! Conditional and range requests (RFC 9110, 13 and 14): pure decisions over header fields, without bodies.
//!
//! There is no `Last-Modified`. So conditions on dates are ignored, and an `If-Range` date does not match.

use std::ops::Range;

use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};

use crate::digest::Digest;

/// A request with more ranges than this is answered in full.
const RANGES_MAX: usize = 8;

/// A strong entity tag: `"<hex>"`.
pub(in crate::http) struct ETag([u8; 66], usize);

impl ETag {
    /// The tag of an original: its whole id.
    pub(in crate::http) fn of_original(id: &Digest) -> ETag {
        ETag::quoted(id.hex().as_str())
    }

    /// The tag of a rendition: the first 32 digits of its key.
    pub(in crate::http) fn of_key(key: &Digest) -> ETag {
        ETag::quoted(&key.hex().as_str()[..32])
    }

    fn quoted(hex: &str) -> ETag {
        let mut text = [b'"'; 66];
        text[1..=hex.len()].copy_from_slice(hex.as_bytes());
        ETag(text, hex.len() + 2)
    }

    pub(in crate::http) fn as_str(&self) -> &str {
        str::from_utf8(&self.0[..self.1]).expect("quotes and hex digits")
    }

    pub(in crate::http) fn value(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0[..self.1]).expect("quotes and hex digits")
    }
}

/// The result of the conditions of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Condition {
    /// The request is answered as if it had no condition.
    Proceed,
    /// The response is 304.
    NotModified,
    /// The response is 412.
    Failed,
}

/// Checks `If-Match` and `If-None-Match` against the entity tag of the stored thing; `None` means that nothing is
/// stored.
pub(in crate::http) fn condition(method: &Method, headers: &HeaderMap, etag: Option<&str>) -> Condition {
    if headers.contains_key(IF_MATCH) && !tags_match(headers, IF_MATCH, etag, strongly) {
        return Condition::Failed;
    }
    if !tags_match(headers, IF_NONE_MATCH, etag, weakly) {
        return Condition::Proceed;
    }
    if *method == Method::GET || *method == Method::HEAD { Condition::NotModified } else { Condition::Failed }
}

/// Whether the request has a condition at all.
pub(in crate::http) fn is_conditional(headers: &HeaderMap) -> bool {
    headers.contains_key(IF_MATCH) || headers.contains_key(IF_NONE_MATCH)
}

fn strongly(tag: &str, etag: &str) -> bool {
    tag == etag
}

fn weakly(tag: &str, etag: &str) -> bool {
    tag.strip_prefix("W/").unwrap_or(tag) == etag
}

fn tags_match(headers: &HeaderMap, name: HeaderName, etag: Option<&str>, same: fn(&str, &str) -> bool) -> bool {
    let Some(etag) = etag else { return false };
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|list| list.trim() == "*" || Tags(list).any(|tag| same(tag, etag)))
}

/// The entity tags of a list, up to the first text that is none. A comma may occur inside a tag.
struct Tags<'a>(&'a str);

impl<'a> Iterator for Tags<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.0.trim_start_matches([' ', '\t', ',']);
        let opaque = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"')?;
        let length = rest.len() - opaque.len() + opaque.find('"')? + 1;
        let (tag, rest) = rest.split_at(length);
        self.0 = rest;
        Some(tag)
    }
}

/// The ranges of a request, for a body of some length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) enum Ranges {
    /// No range, or none that is honoured: 200.
    Whole,
    /// One range: 206.
    One(Range<u64>),
    /// Several ranges: 206 as `multipart/byteranges`.
    Many(Vec<Range<u64>>),
    /// No range lies inside the body: 416.
    Unsatisfiable,
}

/// Reads `Range` and `If-Range` for a body of `length` bytes with this strong entity tag.
pub(in crate::http) fn ranges(method: &Method, headers: &HeaderMap, etag: &str, length: u64) -> Ranges {
    let mut fields = headers.get_all(RANGE).iter();
    let (Some(range), None) = (fields.next(), fields.next()) else { return Ranges::Whole };
    if *method != Method::GET || headers.get(IF_RANGE).is_some_and(|tag| tag.as_bytes() != etag.as_bytes()) {
        return Ranges::Whole;
    }
    range.to_str().ok().and_then(|set| parse(set, length)).unwrap_or(Ranges::Whole)
}

/// Reads a range set; `None` if it is not honoured.
fn parse(set: &str, length: u64) -> Option<Ranges> {
    let (unit, specs) = set.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let specs: Vec<&str> =
        specs.split(',').map(|spec| spec.trim_matches([' ', '\t'])).filter(|spec| !spec.is_empty()).collect();
    if specs.is_empty() || specs.len() > RANGES_MAX {
        return None;
    }
    let mut ranges = Vec::with_capacity(specs.len());
    for spec in specs {
        let (first, last) = spec.split_once('-')?;
        ranges.extend(bounds(first, last, length)?);
    }
    let total: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    Some(match ranges.len() {
        0 => Ranges::Unsatisfiable,
        1 => Ranges::One(ranges.remove(0)),
        // Ranges that together exceed the whole overlap. Answering them would amplify the request.
        _ if total > length => return None,
        _ => Ranges::Many(ranges),
    })
}

/// One range, clipped; `Some(None)` if it lies outside, `None` if it is malformed.
fn bounds(first: &str, last: &str, length: u64) -> Option<Option<Range<u64>>> {
    let range = match (first, last) {
        ("", last) => length.saturating_sub(number(last)?)..length,
        (first, "") => number(first)?..length,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(length)
        }
    };
    Some((range.start < range.end).then_some(range))
}

/// Reads digits alone. A number too large to hold counts as the largest.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
