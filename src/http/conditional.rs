//! Conditional and range requests (RFC 9110, 13 and 14): pure decisions over header fields, no bodies.
//!
//! There is no `Last-Modified`, so date conditions are ignored and an `If-Range` date does not match.

use std::ops::Range;

use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};

/// More ranges than this in one request are ignored.
const RANGES_MAX: usize = 8;

/// What the conditions of a request say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// Answer as if there were none.
    Proceed,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// Holds `If-Match` and `If-None-Match` against the entity tag of what is there (`None`: nothing is).
pub(super) fn condition(method: &Method, headers: &HeaderMap, etag: Option<&str>) -> Condition {
    if headers.contains_key(IF_MATCH) && !tags_match(headers, IF_MATCH, etag, strongly) {
        return Condition::Failed;
    }
    if !tags_match(headers, IF_NONE_MATCH, etag, weakly) {
        return Condition::Proceed;
    }
    if *method == Method::GET || *method == Method::HEAD { Condition::NotModified } else { Condition::Failed }
}

/// Whether the request has a condition at all.
pub(super) fn is_conditional(headers: &HeaderMap) -> bool {
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

/// The entity tags of a list; ends at the first thing that is none. A comma may stand inside a tag.
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

/// What a request's ranges come to for a body of some length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ranges {
    /// None, or none that is honoured: 200.
    Whole,
    /// 206.
    One(Range<u64>),
    /// 206 as `multipart/byteranges`.
    Many(Vec<Range<u64>>),
    /// 416.
    Unsatisfiable,
}

/// Reads `Range` and `If-Range` for a body of `length` bytes with this strong entity tag.
pub(super) fn ranges(method: &Method, headers: &HeaderMap, etag: &str, length: u64) -> Ranges {
    let mut fields = headers.get_all(RANGE).iter();
    let (Some(range), None) = (fields.next(), fields.next()) else { return Ranges::Whole };
    if *method != Method::GET || headers.get(IF_RANGE).is_some_and(|tag| tag.as_bytes() != etag.as_bytes()) {
        return Ranges::Whole;
    }
    range.to_str().ok().and_then(|set| parse(set, length)).unwrap_or(Ranges::Whole)
}

/// `None`: not a range set that is honoured.
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
        // More than the whole: overlapping ranges as an amplifier.
        _ if total > length => return None,
        _ => Ranges::Many(ranges),
    })
}

/// One range, clipped; `Some(None)` when it lies outside, `None` when it is malformed.
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

/// Digits alone; one too large to hold is as good as the largest.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
