//! [`Members`]: the members of an object in an item, with the path by which errors name them. Knows no values.

use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::read::OPS_BYTES_MAX;
use super::{Error, OUTPUTS_MAX};
use crate::pipeline::Error as Refused;
use crate::pipeline::invalid::{invalid, missing, repeated, unfit, unknown_of};
use crate::pipeline::json::{Object, place_of, plain};

/// The members of one object, and its path in the item.
pub(super) struct Members<'a> {
    path: &'a str,
    pub(super) members: Vec<(String, &'a RawValue)>,
}

impl<'a> Members<'a> {
    pub(super) fn of_line(line: &'a [u8]) -> Result<Members<'a>, Error> {
        // No text of the line is shown, or kept with the results of a job: it may hold a URL with a password.
        let allowed = "one JSON object a line: {\"source\": {...}, \"outputs\": [...]}";
        let refused =
            |error| unfit("item", None, allowed).because(place_of(&error, "an object with source and outputs"));
        let Object(members) = serde_json::from_slice(line).map_err(refused)?;
        let item = Members { path: "", members };
        item.are_once()?;
        Ok(item)
    }

    pub(super) fn of(path: &'a str, json: &'a RawValue, allowed: &str) -> Result<Members<'a>, Error> {
        let members = serde_json::from_str(json.get()).map(|Object(members)| members);
        Ok(Members { path, members: members.map_err(|_| invalid(path, &plain(json.get()), allowed))? })
    }

    pub(super) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    pub(super) fn refused(&self, name: &str, value: &str, allowed: &str) -> Error {
        invalid(&self.path(name), value, allowed).into()
    }

    pub(super) fn missing(&self, name: &str, allowed: &str) -> Error {
        missing(&self.path(name), allowed).into()
    }

    /// An error of the pipeline, with the path of its parameter.
    pub(super) fn within(&self, error: Refused) -> Error {
        error.within(|name| self.path(name)).into()
    }

    pub(super) fn are_once(&self) -> Result<(), Error> {
        let twice = |(index, (name, _)): &(usize, &(String, _))| self.members[..*index].iter().any(|(n, _)| n == name);
        match self.members.iter().enumerate().find(twice) {
            Some((_, (name, _))) => Err(repeated(&self.path(name)).into()),
            None => Ok(()),
        }
    }

    pub(super) fn are_among(&self, names: &[&'static str]) -> Result<(), Error> {
        match self.members.iter().find(|(name, _)| !names.contains(&name.as_str())) {
            Some((name, value)) => Err(self.within(unknown_of(name, &plain(value.get()), names))),
            None => Ok(()),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.members.iter().find(|(member, _)| member == name).map(|(_, value)| *value)
    }

    /// A member that must be a string, if it is given.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Error> {
        let Some(json) = self.get(name) else { return Ok(None) };
        let text = serde_json::from_str(json.get());
        text.map(Some).map_err(|_| self.refused(name, &plain(json.get()), "a string"))
    }

    /// A member of an output whose value is an argument of the pipeline; none is long.
    pub(super) fn json(&self, name: &str) -> Result<serde_json::Value, Error> {
        let text = self.get(name).map_or("null", RawValue::get);
        let value = if text.len() > OPS_BYTES_MAX { None } else { serde_json::from_str(text).ok() };
        value.ok_or_else(|| self.refused(name, &plain(text), "a number, a string, true or false"))
    }
}

/// The first elements of an array, as many as an item may have, and their number. Further elements are counted and not
/// kept.
pub(super) struct Outputs<'a> {
    pub(super) first: Vec<&'a RawValue>,
    pub(super) count: usize,
}

impl<'de> Deserialize<'de> for Outputs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Outputs<'de>, D::Error> {
        struct Few;
        impl<'de> Visitor<'de> for Few {
            type Value = Outputs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Outputs<'de>, A::Error> {
                let mut first = Vec::new();
                while first.len() < OUTPUTS_MAX {
                    let Some(output) = array.next_element()? else { break };
                    first.push(output);
                }
                let mut count = first.len();
                while count >= OUTPUTS_MAX && array.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Outputs { first, count })
            }
        }
        deserializer.deserialize_seq(Few)
    }
}
