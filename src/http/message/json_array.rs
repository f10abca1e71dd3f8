//! [`Array`]: a body that is a small batch of items, as one JSON array. It does not know what an item means.

use std::fmt;

use bytes::Bytes;
use serde::Deserializer as _;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;

use super::body::RequestBody;
use super::options::Options;
use super::text_budget::TextBudget;
use crate::http::error::Error;
use crate::offload;
use crate::pipeline::json::Object;

const MALFORMED: Error =
    Error::Malformed { what: "the body must be a JSON array of items, or an object with such an array as its items" };

/// One item in the place of an array.
const ONE: Error = Error::Malformed { what: "the body is one item: put it in [ ], or send it as application/x-ndjson" };

/// The elements of a JSON array, as ranges of its text. The text counts in the budget of batches for as long as this
/// lives. Each element is a line: line feeds between tokens are replaced by blanks.
pub(in crate::http) struct Array {
    text: Bytes,
    places: std::vec::IntoIter<(u32, u32)>,
    _held: OwnedSemaphorePermit,
}

impl Array {
    /// Reads an array, or an object with an array as `items`, within `budget`.
    pub(in crate::http) async fn read(
        budget: &TextBudget,
        body: RequestBody,
        options: &Options,
    ) -> Result<Array, Error> {
        let (text, held) = budget.text(body, options).await?;
        let (text, places) = offload::run(text.len(), move || elements(text)).await.ok_or(Error::Panicked)??;
        Ok(Array { text, places: places.into_iter(), _held: held })
    }
}

impl Iterator for Array {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let (start, end) = self.places.next()?;
        Some(self.text.slice(start as usize..end as usize))
    }
}

/// Turns the elements into lines, and returns the text and their ranges.
fn elements(mut text: Vec<u8>) -> Result<(Bytes, Vec<(u32, u32)>), Error> {
    let places = places(&text)?;
    // The text is JSON, so no string holds a line feed.
    text.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    Ok((text.into(), places))
}

/// The ranges of the elements. Each takes eight bytes, and at least two in the text; references would take twice as
/// much.
fn places(text: &[u8]) -> Result<Vec<(u32, u32)>, Error> {
    let text = str::from_utf8(text).map_err(|_| MALFORMED)?;
    let array = match serde_json::from_str::<Object<&RawValue>>(text) {
        Ok(Object(members)) => match members.as_slice() {
            [(name, items)] if name == "items" => items.get(),
            members if members.iter().any(|(name, _)| name == "source" || name == "outputs") => return Err(ONE),
            _ => return Err(MALFORMED),
        },
        Err(_) => text,
    };
    let mut json = serde_json::Deserializer::from_str(array);
    let places = json.deserialize_seq(Elements { text }).map_err(|_| MALFORMED)?;
    json.end().map_err(|_| MALFORMED)?;
    Ok(places)
}

struct Elements<'a> {
    text: &'a str,
}

impl<'de> Visitor<'de> for Elements<'de> {
    type Value = Vec<(u32, u32)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut places = Vec::new();
        while let Some(element) = array.next_element::<&RawValue>()? {
            let start = element.get().as_ptr() as usize - self.text.as_ptr() as usize;
            let place = u32::try_from(start).ok().zip(u32::try_from(start + element.get().len()).ok());
            places.push(place.ok_or_else(|| A::Error::custom("more than 4 GiB"))?);
        }
        Ok(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_elements_of_an_array_are_found_where_they_lie() {
        let check = |text: &str, expected: Option<&[&str]>| {
            let found = places(text.as_bytes());
            let found = found.as_ref().map(|places| {
                places.iter().map(|(start, end)| &text[*start as usize..*end as usize]).collect::<Vec<_>>()
            });
            assert_eq!(found.as_deref().ok(), expected, "{text}");
        };
        check("[]", Some(&[]));
        check(" [ {\"a\": [1, 2]} ,3]\n", Some(&["{\"a\": [1, 2]}", "3"]));
        check("{\"items\": [{}, {}]}", Some(&["{}", "{}"]));
        for bad in ["", "{}", "1", "[", "[1] 2", "{\"items\": {}}", "{\"items\": [], \"more\": 1}", "{\"items\": 1}"] {
            check(bad, None);
        }
        assert_eq!(places(b"{\"source\": {}, \"outputs\": []}"), Err(ONE));
    }

    #[test]
    fn elements_are_lines() {
        let (text, places) = elements(b"[\n {\"a\":\r\n \"\\n\"},\n1]".to_vec()).expect("an array");
        let lines: Vec<_> = places.iter().map(|(start, end)| text.slice(*start as usize..*end as usize)).collect();
        assert_eq!(lines, ["{\"a\":   \"\\n\"}", "1"]);
        assert!(elements(b"[\"\n\"]".to_vec()).is_err(), "no string holds a line feed");
    }
}
