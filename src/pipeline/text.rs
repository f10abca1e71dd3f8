//! The spellings of a [`Pipeline`]: flat query, `ops` in JSON, and the canonical text, which is also written here.

use std::fmt;
use std::str::FromStr;

use serde_json::Value as Json;

use super::codec::{self, CODECS, Codec};
use super::operation::{self, OPERATIONS, Operation};
use super::param::{Args, Param, invalid};
use super::{ENCODE, Error, Pipeline};

/// The query key of a JSON chain.
pub(super) const OPS: &str = "ops";

/// See [`Pipeline::from_query`].
pub(super) fn from_query(codec: &'static Codec, query: &[(String, String)]) -> Result<Pipeline, Error> {
    let ops = query.iter().find(|(key, _)| key == OPS);
    let mut flat = Flat::new();
    for (key, value) in query.iter().filter(|(key, _)| key != OPS) {
        if ops.is_some() && place(ENCODE, key).is_none() {
            return Err(invalid(key, value, format!("beside ops only {}", keys(ENCODE.iter()))));
        }
        flat.write(key, value)?;
    }
    if query.iter().filter(|(key, _)| key == OPS).count() > 1 {
        return Err(twice(OPS, "", OPS));
    }
    let steps = match ops {
        Some((_, json)) => from_json(json)?,
        None => flat.steps(),
    };
    Pipeline::new(codec, !query.is_empty(), flat.encode, steps)
}

/// The arguments of a flat query, by table.
struct Flat {
    encode: Args,
    operations: Vec<Args>,
    /// Canonical keys that were given already.
    given: Vec<&'static str>,
}

impl Flat {
    fn new() -> Flat {
        let operations = OPERATIONS.iter().map(|operation| Args::defaults(operation.params)).collect();
        Flat { encode: Args::defaults(ENCODE), operations, given: Vec::new() }
    }

    /// Gives a value to each parameter that has this key: `background` has several owners, all other keys have one.
    fn write(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let mut owner = None;
        for args in std::iter::once(&mut self.encode).chain(&mut self.operations) {
            if let Some(index) = place(args.params(), key) {
                let param = &args.params()[index];
                args.set(index, param.parse(key, value)?);
                owner = Some(param);
            }
        }
        let Some(owner) = owner else { return Err(invalid(key, value, all_keys())) };
        if self.given.contains(&owner.keys[0]) {
            return Err(twice(key, value, owner.keys[0]));
        }
        self.given.push(owner.keys[0]);
        Ok(())
    }

    /// The operations of which a parameter of their own is not at its default.
    fn steps(&self) -> Vec<(&'static Operation, Args)> {
        let written = |args: &Args| args.written().any(|(param, _)| place(ENCODE, param.keys[0]).is_none());
        let pairs = OPERATIONS.iter().zip(&self.operations);
        pairs.filter(|(_, args)| written(args)).map(|(operation, args)| (*operation, args.clone())).collect()
    }
}

fn place(params: &[Param], key: &str) -> Option<usize> {
    params.iter().position(|param| param.keys.contains(&key))
}

fn keys<'a>(params: impl Iterator<Item = &'a Param>) -> String {
    let mut keys: Vec<&str> = params.map(|param| param.keys[0]).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.join(", ")
}

fn all_keys() -> String {
    format!("{}, {OPS}", keys(OPERATIONS.iter().flat_map(|operation| operation.params).chain(ENCODE)))
}

fn twice(key: &str, value: &str, canonical: &str) -> Error {
    invalid(key, value, format!("{canonical} once only"))
}

fn from_json(json: &str) -> Result<Vec<(&'static Operation, Args)>, Error> {
    let wanted = "a JSON array of objects, each with \"op\"";
    let chain: Vec<serde_json::Map<String, Json>> =
        serde_json::from_str(json).map_err(|error| invalid(OPS, &error.to_string(), wanted))?;
    let step = |(place, object): (usize, &serde_json::Map<String, Json>)| {
        let named = object.get("op").and_then(Json::as_str).unwrap_or_default();
        let operation = operation(&format!("{OPS}[{place}].op"), named)?;
        let mut args = Args::defaults(operation.params);
        for (name, value) in object.iter().filter(|(name, _)| *name != "op") {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            args.set_named(&format!("{OPS}[{place}].{name}"), name, &text)?;
        }
        Ok((operation, args))
    };
    chain.iter().enumerate().map(step).collect()
}

fn operation(written: &str, name: &str) -> Result<&'static Operation, Error> {
    operation::by_name(name).ok_or_else(|| {
        let names: Vec<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
        invalid(written, name, names.join(", "))
    })
}

/// What is written for a render of which every argument is a default.
pub(super) const RENDER: (&str, &str) = ("metadata", "none");

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};", self.codec.name)?;
        if self.render && self.encode.are_defaults() && self.steps.is_empty() {
            let (name, value) = RENDER;
            write!(f, "{name}={value}")?;
        }
        write!(f, "{};", self.encode)?;
        for (place, (operation, args)) in self.steps.iter().enumerate() {
            let separator = if place == 0 { "" } else { "/" };
            write!(f, "{separator}{}({args})", operation.name)?;
        }
        Ok(())
    }
}

impl FromStr for Pipeline {
    type Err = Error;

    /// Reads the canonical text. Errors: [`Error::Invalid`].
    fn from_str(text: &str) -> Result<Pipeline, Error> {
        let malformed = || invalid("pipeline", text, "<format>;<encode arguments>;<operation>(<arguments>)/...");
        let mut parts = text.split(';');
        let (Some(format), Some(encode), Some(steps), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed());
        };
        let codec = codec::by_name(format).ok_or_else(|| {
            let names: Vec<&str> = CODECS.iter().map(|codec| codec.name).collect();
            invalid("format", format, names.join(", "))
        })?;
        let step = |step: &str| {
            let (name, args) = step.strip_suffix(')').and_then(|step| step.split_once('(')).ok_or_else(malformed)?;
            let operation = operation("operation", name)?;
            Ok((operation, Args::parse(operation.params, args)?))
        };
        let chain = steps.split('/').filter(|step| !step.is_empty()).map(step).collect::<Result<Vec<_>, Error>>()?;
        let render = !encode.is_empty() || !chain.is_empty();
        Pipeline::new(codec, render, Args::parse(ENCODE, encode)?, chain)
    }
}
