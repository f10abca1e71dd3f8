//! Lists of ids in bodies: one id a line, or a JSON array.

use std::borrow::Cow;
use std::fmt;

use hyper::header::HeaderMap;
use serde::Deserializer as _;
use serde::de::{Error as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;

use super::body::{RequestBody, content_type};
use super::options::Options;
use super::text_budget::TextBudget;
use crate::digest::Digest;
use crate::http::error::Error;

/// Bytes kept of a text that is no id: more than a message shows.
const VALUE_BYTES_SHOWN: usize = 256;

const MALFORMED: Error = Error::Malformed { what: "the body must be ids of 64 lower-case hexadecimal digits" };

/// The ids of a body, and the permit for as many bytes as the body had.
pub(in crate::http) async fn read(
    budget: &TextBudget,
    body: RequestBody,
    format: ListFormat,
    options: &Options,
) -> Result<(Vec<Digest>, OwnedSemaphorePermit), Error> {
    let (text, held) = budget.text(body, options).await?;
    Ok((format.read(&text, options.ids_max)?, held))
}

/// How a list of ids is written.
#[derive(Clone, Copy)]
pub(in crate::http) enum ListFormat {
    /// A JSON array.
    Json,
    /// One id a line.
    Lines,
}

impl ListFormat {
    /// The format that `Content-Type` names.
    pub(in crate::http) fn of(headers: &HeaderMap) -> Result<ListFormat, Error> {
        match content_type(headers).1.as_str() {
            "application/json" => Ok(ListFormat::Json),
            // The type that curl's --data-binary sets by itself is taken for a list, too.
            "" | "text/plain" | "application/x-www-form-urlencoded" => Ok(ListFormat::Lines),
            _ => Err(Error::MediaType { allowed: "text/plain with one id a line, or application/json" }),
        }
    }

    /// The media type of the response.
    pub(in crate::http) fn media_type(self) -> &'static str {
        match self {
            ListFormat::Json => "application/json",
            ListFormat::Lines => "text/plain",
        }
    }

    /// Reads up to `max` ids; the rest is counted and not kept.
    fn read(self, text: &[u8], max: usize) -> Result<Vec<Digest>, Error> {
        let (ids, count) = match self {
            ListFormat::Json => {
                let (mut json, mut bad) = (serde_json::Deserializer::from_slice(text), None);
                let read = json.deserialize_seq(Ids { max, bad: &mut bad });
                read.and_then(|read| json.end().map(|()| read)).map_err(|_| bad.unwrap_or(MALFORMED))?
            }
            ListFormat::Lines => {
                let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
                let mut lines = (1..).zip(lines).filter(|(_, line)| !line.is_empty());
                let read = |(at, line)| Digest::from_hex(line).map_err(|_| not_an_id("line", at, line));
                let ids = lines.by_ref().take(max).map(read).collect::<Result<Vec<_>, _>>()?;
                let count = ids.len() + lines.count();
                (ids, count)
            }
        };
        if count > max { Err(Error::TooManyIds { value: count as u64, max: max as u64 }) } else { Ok(ids) }
    }

    /// The text of `ids`.
    pub(in crate::http) fn write(self, ids: &[Digest]) -> String {
        let mut text = String::with_capacity(ids.len() * 67 + 2);
        let (open, before, between, after, close) = match self {
            ListFormat::Json => ("[", "\"", ",", "\"", "]"),
            ListFormat::Lines => ("", "", "", "\n", ""),
        };
        text.push_str(open);
        for (index, id) in ids.iter().enumerate() {
            text.push_str(if index > 0 { between } else { "" });
            text.extend([before, id.hex().as_str(), after]);
        }
        text.push_str(close);
        text
    }
}

/// Keeps no more of the text than is shown.
fn not_an_id(place: &'static str, at: u64, text: &[u8]) -> Error {
    Error::NotAnId {
        place,
        at,
        value: String::from_utf8_lossy(&text[..text.len().min(VALUE_BYTES_SHOWN)]).into_owned(),
    }
}

/// Reads a JSON array one element at a time. The first element that is no id ends it, and elements past `max` are only
/// counted. Read into a list of strings, `["","",...]` would take eight times the memory of the body.
struct Ids<'a> {
    max: usize,
    /// The error for the first element that is no id.
    bad: &'a mut Option<Error>,
}

impl<'de> Visitor<'de> for Ids<'_> {
    type Value = (Vec<Digest>, usize);

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an array of ids")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut ids: Vec<Digest> = Vec::new();
        while ids.len() < self.max {
            let Some(element) = array.next_element::<&RawValue>()? else { break };
            let id = serde_json::from_str::<Cow<'_, str>>(element.get()).ok().and_then(|id| id.parse().ok());
            ids.push(id.ok_or_else(|| {
                *self.bad = Some(not_an_id("index", ids.len() as u64, element.get().as_bytes()));
                A::Error::custom("no id")
            })?);
        }
        let mut count = ids.len();
        while array.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok((ids, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_they_are_written() {
        let ids: Vec<Digest> = (0..3).map(|n| Digest::of(&[n])).collect();
        for format in [ListFormat::Json, ListFormat::Lines] {
            for count in 0..=3 {
                let text = format.write(&ids[..count]);
                assert_eq!(format.read(text.as_bytes(), 3), Ok(ids[..count].to_vec()), "{text}");
            }
            let text = format.write(&ids);
            assert_eq!(format.read(text.as_bytes(), 2), Err(Error::TooManyIds { value: 3, max: 2 }));
        }
        assert_eq!(ListFormat::Json.write(&ids), serde_json::json!(ids).to_string());
        let cut = ListFormat::Json.write(&ids);
        for bad in ["", "{}", "[", "[] x", &cut[..cut.len() - 9]] {
            assert_eq!(ListFormat::Json.read(bad.as_bytes(), 3), Err(MALFORMED), "{bad}");
        }
    }

    #[test]
    fn what_is_no_id_is_named_by_its_place_and_shown() {
        let good = Digest::of(b"").to_string();
        let check = |format: ListFormat, text: &str, place, at, value: &str| {
            let expected = Error::NotAnId { place, at, value: value.to_owned() };
            assert_eq!(format.read(text.as_bytes(), 3), Err(expected), "{text}");
        };
        check(ListFormat::Lines, &format!("{good}\n\n {good}\r\noops\nworse"), "line", 4, "oops");
        check(ListFormat::Lines, &good[1..], "line", 1, &good[1..]);
        check(ListFormat::Lines, &"x".repeat(1_000), "line", 1, &"x".repeat(VALUE_BYTES_SHOWN));
        check(ListFormat::Json, &format!("[\"{good}\", 5]"), "index", 1, "5");
        check(ListFormat::Json, "[\"\"", "index", 0, "\"\"");
        // Past the bound they are only counted.
        let many = format!("{good}\n{good}\n{good}\noops");
        assert_eq!(ListFormat::Lines.read(many.as_bytes(), 3), Err(Error::TooManyIds { value: 4, max: 3 }));
    }
}
