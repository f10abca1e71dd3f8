//! [`Object`]: a JSON object as it was written. Knows no member names.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;

/// Most members of one object: more than any object of ours has. Without a bound, `{"":0,"":0...}` would be several times
/// as large in memory as in a body.
const MEMBERS_MAX: usize = 64;

/// Longer strings are not decoded to be shown.
const PLAIN_BYTES_MAX: usize = 1_024;

/// An object in its written order, with repeated names: a map would hide them.
///
/// ```
/// use progimage::pipeline::json::Object;
/// let Object(members) = serde_json::from_str::<Object<u32>>(r#"{"w": 1, "h": 2, "w": 3}"#)?;
/// assert_eq!(members, [("w".to_owned(), 1), ("h".to_owned(), 2), ("w".to_owned(), 3)]);
/// # Ok::<(), serde_json::Error>(())
/// ```
pub struct Object<T>(pub Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<T>, D::Error> {
        struct Pairs<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Pairs<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<T>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    if pairs.len() == MEMBERS_MAX {
                        return Err(A::Error::custom(format!("an object has more than {MEMBERS_MAX} members")));
                    }
                    pairs.push(pair);
                }
                Ok(Object(pairs))
            }
        }
        deserializer.deserialize_map(Pairs(PhantomData))
    }
}

/// The place of a mistake in JSON, without the text at that place, which may be long or secret. `wanted` is what the text
/// should be.
pub fn place_of(error: &serde_json::Error, wanted: &str) -> String {
    let what = match error.classify() {
        Category::Data => format!("valid JSON, but not {wanted}"),
        Category::Syntax | Category::Eof | Category::Io => "not valid JSON".to_owned(),
    };
    match (error.line(), error.column()) {
        (_, 0) => what,
        // Most often it is one line of many, and its number is not that of the line.
        (1, column) => format!("{what}: error at column {column}"),
        (line, column) => format!("{what}: error at line {line}, column {column}"),
    }
}

/// The text of a JSON value as a query would write it: a string without its quotes, all else as it is.
pub fn plain(json: &str) -> Cow<'_, str> {
    // Of a longer one only the beginning is shown.
    let string = if json.len() <= PLAIN_BYTES_MAX { serde_json::from_str::<String>(json).ok() } else { None };
    string.map_or_else(|| json.strip_prefix('"').unwrap_or(json).into(), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_keeps_its_order_and_its_bound() {
        let object = |text: &str| serde_json::from_str::<Object<u32>>(text).map(|object| object.0);
        let pairs = |pairs: &[(&str, u32)]| pairs.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect::<Vec<_>>();
        assert_eq!(object("{\"b\":1,\"a\":2,\"b\":3}").expect("good"), pairs(&[("b", 1), ("a", 2), ("b", 3)]));
        let of = |count: usize| format!("{{{}}}", vec!["\"\":0"; count].join(","));
        assert_eq!(object(&of(MEMBERS_MAX)).expect("reached").len(), MEMBERS_MAX);
        assert!(object(&of(MEMBERS_MAX + 1)).is_err(), "one past");
    }
}
