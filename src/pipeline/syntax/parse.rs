//! Every spelling of a [`Pipeline`]: the flat query, `ops` in JSON, and the canonical text, which is also written here.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use serde_json::Value as Json;

use super::invalid::{Help, conflict, invalid, missing, nearest, repeated, unfit, unknown_but, unknown_of};
use super::json::{Object, place_of};
use super::presets::PRESET;
use super::{foreign, query};
use crate::digest::Digest;
use crate::pipeline::codec::{self, CODECS, Codec};
use crate::pipeline::operation::{self, OPERATIONS, Operation};
use crate::pipeline::param::{Args, Param};
use crate::pipeline::{ENCODE, Error, Pipeline, Step};

/// The query key of a JSON chain.
pub(super) const OPS: &str = "ops";

/// Images that came with a query, by the names of their parts.
type Parts<'a> = &'a [(&'a str, Digest)];

/// Reads a query; [`Pipeline::from_form`] explains `parts`.
pub(in crate::pipeline) fn from_query(
    codec: &'static Codec,
    query: &[(String, String)],
    parts: Parts<'_>,
) -> Result<Pipeline, Error> {
    let ops = query.iter().find(|(key, _)| key == OPS);
    let mut flat = Flat::default();
    for (key, value) in query.iter().filter(|(key, _)| key != OPS) {
        if ops.is_some() && place(ENCODE, key).is_none() {
            return Err(if is_known(key) { conflict(key, value, OPS) } else { unknown_of_query(key, value) });
        }
        flat.write(key, value)?;
    }
    if ops.is_none() {
        // In a flat query, the name of a part is the key that takes an image.
        parts.iter().try_for_each(|(name, id)| flat.write(name, id.hex().as_str()))?;
    }
    if query.iter().filter(|(key, _)| key == OPS).count() > 1 {
        return Err(repeated(OPS));
    }
    let encode = flat.encode();
    let steps = match ops {
        Some((_, json)) => from_json(json, parts)?,
        None => flat.steps(),
    };
    all_are_named(&steps, parts)?;
    let written = |place: usize, params: &'static [Param], error: Error| match ops {
        Some(_) => error.within(|name| json_name(place, name)),
        None => error.renamed(|name| flat_key(params, name).to_owned()),
    };
    Pipeline::new(codec, !query.is_empty() || !parts.is_empty(), encode, steps, written)
}

/// The name of an argument of a JSON chain in errors.
fn json_name(place: usize, name: &str) -> String {
    format!("{OPS}[{place}].{name}")
}

/// The flat key of an argument: its own, or the key of the argument whose value it follows.
fn flat_key<'a>(params: &'static [Param], name: &'a str) -> &'a str {
    let up_to = params.iter().position(|param| param.name == name).map_or(0, |place| place + 1);
    params[..up_to].iter().rev().find_map(|param| param.keys.first()).copied().unwrap_or(name)
}

/// Refuses a part that no operation uses: it would be ignored silently.
fn all_are_named(steps: &[Step], parts: Parts<'_>) -> Result<(), Error> {
    let named = |id: &Digest| steps.iter().flat_map(|(_, args)| args.images()).any(|image| image == *id);
    match parts.iter().find(|(_, id)| !named(id)) {
        Some((name, _)) => Err(unfit(name, None, format!("named by an operation, as {{\"part\": \"{name}\"}}"))),
        None => Ok(()),
    }
}

/// A table of parameters: the encoder's, or an operation's by its place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Table {
    Encode,
    Operation(usize),
}

impl Table {
    fn params(self) -> &'static [Param] {
        match self {
            Table::Encode => ENCODE,
            Table::Operation(place) => OPERATIONS[place].params,
        }
    }
}

/// The owners of each key of a flat query: `background` has several, all other keys have one.
static OWNERS: LazyLock<HashMap<&'static str, Vec<(Table, usize)>>> = LazyLock::new(|| {
    let mut owners: HashMap<_, Vec<_>> = HashMap::new();
    for table in std::iter::once(Table::Encode).chain((0..OPERATIONS.len()).map(Table::Operation)) {
        for (index, param) in table.params().iter().enumerate() {
            for key in param.keys {
                owners.entry(*key).or_default().push((table, index));
            }
        }
    }
    owners
});

/// The arguments of a flat query, by table. Holds only tables with a given argument.
#[derive(Default)]
struct Flat {
    tables: Vec<(Table, Args)>,
    /// Canonical keys that were given already, each with the key as written.
    given: Vec<(&'static str, String)>,
}

impl Flat {
    fn write(&mut self, key: &str, value: &str) -> Result<(), Error> {
        if let Some(owners) = OWNERS.get(key) {
            return self.write_to(owners, key, value);
        }
        let (alias, meant) = foreign::alias(key, value).ok_or_else(|| unknown_of_query(key, value))?;
        let owners = OWNERS.get(alias.as_str()).ok_or_else(|| unknown_of_query(key, value))?;
        self.write_to(owners, key, &meant)
    }

    /// Sets the argument of all `owners`; `key` is the name as written.
    fn write_to(&mut self, owners: &[(Table, usize)], key: &str, value: &str) -> Result<(), Error> {
        for (table, index) in owners {
            let canonical = table.params()[*index].keys[0];
            if let Err(refused) = self.args(*table).set_flat(key, *index, value)
                && !foreign::is_nothing(canonical, value)
            {
                return Err(refused);
            }
            if (*table, *index) == owners[0] {
                self.give(key, canonical)?;
            }
        }
        Ok(())
    }

    fn give(&mut self, key: &str, canonical: &'static str) -> Result<(), Error> {
        if let Some((_, earlier)) = self.given.iter().find(|(given, _)| *given == canonical) {
            return Err(repeated(key).also_as(earlier));
        }
        self.given.push((canonical, key.to_owned()));
        Ok(())
    }

    fn args(&mut self, table: Table) -> &mut Args {
        let place = self.tables.binary_search_by_key(&table, |(table, _)| *table).unwrap_or_else(|place| {
            self.tables.insert(place, (table, Args::defaults(table.params())));
            place
        });
        &mut self.tables[place].1
    }

    fn encode(&mut self) -> Args {
        self.args(Table::Encode).clone()
    }

    /// The operations with a parameter of their own that is not at its default, in the order of the table. A right angle
    /// counts as orientation and comes first.
    fn steps(self) -> Vec<Step> {
        let own = |param: &Param| param.keys.first().is_none_or(|key| OWNERS[key].len() == 1);
        let mut steps: Vec<Step> = Vec::with_capacity(self.tables.len());
        for (table, args) in self.tables {
            if let Table::Operation(place) = table
                && args.written().any(|(param, _)| own(param))
            {
                steps.push((OPERATIONS[place], args));
            }
        }
        steps.sort_by_key(|(operation, args)| !operation::is_right_angle(operation, args));
        steps
    }
}

fn place(params: &[Param], key: &str) -> Option<usize> {
    params.iter().position(|param| param.keys.contains(&key))
}

/// Whether this is a key of a flat query.
pub fn is_known(key: &str) -> bool {
    key == OPS || OWNERS.contains_key(key)
}

/// The canonical key for a key.
pub(super) fn canonical(key: &str) -> Option<&'static str> {
    OWNERS.get(key).map(|owners| owners[0].0.params()[owners[0].1].keys[0])
}

/// Whether a flat query accepts this pair.
pub(super) fn takes(key: &str, value: &str) -> bool {
    is_known(key) && Flat::default().write(key, value).is_ok()
}

/// Whether WebP accepts this query: it has most of the parameters.
pub(super) fn is_good(query: &str) -> bool {
    let pairs = query::pairs(Some(query)).unwrap_or_default();
    codec::by_name("webp").is_some_and(|codec| from_query(codec, &pairs, &[]).is_ok())
}

/// The error for an unknown key of a flat query, with a hint.
pub fn unknown_of_query(key: &str, value: &str) -> Error {
    unknown_but(key, value, meant(key, value))
}

fn meant(key: &str, value: &str) -> Help {
    let foreign = foreign::help(key, value);
    if foreign != Help::None {
        return foreign;
    }
    if let Some(help) = argument_of(key) {
        return help;
    }
    let keys = OWNERS.keys().copied().chain([OPS, PRESET, "download"]);
    if let Some(key) = nearest(key, keys.filter(|known| *known != key)) {
        return Help::Nearest(key.to_owned());
    }
    match foreign::of_path(key) {
        Some((query, _)) if value.is_empty() => Help::Write(query, None),
        _ => Help::Words("`progimage describe operations` lists all".into()),
    }
}

/// The hint for the JSON name of an argument in a query.
fn argument_of(name: &str) -> Option<Help> {
    let of = |operation: &&'static Operation| {
        let param = operation.params.iter().find(|param| param.name == name && param.keys.len() == 1)?;
        Some((operation.name, param.keys[0]))
    };
    let (operation, key) = OPERATIONS.iter().find_map(of)?;
    Some(Help::Words(format!("in a query {key}=... is the {name} of {operation}").into()))
}

fn from_json(json: &str, parts: Parts<'_>) -> Result<Vec<Step>, Error> {
    let refused = |error| invalid(OPS, json, "a JSON array of objects, each with \"op\"").because(place_of(&error));
    let chain: Vec<Object<Json>> = serde_json::from_str(json).map_err(refused)?;
    let steps = chain.iter().enumerate().map(|(place, object)| json_step(place, &object.0, parts));
    steps.filter_map(Result::transpose).collect()
}

/// One step; `None` if an argument means no operation.
fn json_step(place: usize, object: &[(String, Json)], parts: Parts<'_>) -> Result<Option<Step>, Error> {
    let written = |name: &str| json_name(place, name);
    let named = object.iter().find(|(name, _)| name == "op").ok_or_else(|| missing(&written("op"), operations()))?;
    let operation = operation(&written("op"), &json_text(&named.1, parts))?;
    let (mut args, mut is_nothing) = (Args::defaults(operation.params), false);
    for (index, (name, value)) in object.iter().enumerate() {
        if object[..index].iter().any(|(earlier, _)| earlier == name) {
            return Err(repeated(&written(name)));
        }
        let text = json_text(value, parts);
        if name != "op"
            && let Err(refused) = args.set_named(&written(name), name, &text)
        {
            let key = operation.params.iter().find(|param| param.name == name).and_then(|param| param.keys.first());
            is_nothing = key.is_some_and(|key| foreign::is_nothing(key, &text));
            if !is_nothing {
                return Err(refused);
            }
        }
    }
    Ok(Some((operation, args)).filter(|_| !is_nothing))
}

/// Reads the members of a JSON object, as [`Pipeline::from_json`] explains.
pub(in crate::pipeline) fn from_members(
    codec: &'static Codec,
    preset: &[(String, String)],
    encode: &[(String, Json)],
    ops: Option<&str>,
) -> Result<Pipeline, Error> {
    let mut query = preset.to_vec();
    for (name, value) in encode {
        if !ENCODE.iter().any(|param| param.name == name) {
            return Err(unknown_member(name, &value.to_string(), &[OPS]));
        }
        query.push((name.clone(), json_text(value, &[])));
    }
    query.extend(ops.map(|ops| (OPS.to_owned(), ops.to_owned())));
    from_query(codec, &query, &[])
}

/// The error for a member that is neither one of `others` nor an encode argument, with a hint.
pub fn unknown_member(name: &str, value: &str, others: &[&'static str]) -> Error {
    let names: Vec<&str> = others.iter().copied().chain(ENCODE.iter().map(|param| param.name)).collect();
    let error = unknown_of(name, value, &names);
    let operation = |(table, index): &(Table, usize)| match table {
        Table::Operation(place) => Some((OPERATIONS[*place].name, table.params()[*index].name)),
        Table::Encode => None,
    };
    let encode = ENCODE.iter().find(|param| param.keys.contains(&name));
    match (encode, OWNERS.get(name).and_then(|owners| owners.iter().find_map(operation))) {
        (Some(param), _) => error.helped(Help::Nearest(param.name.to_owned())),
        (None, Some((operation, argument))) => {
            let words = format!("operations go into ops: {{\"op\": \"{operation}\", \"{argument}\": ...}}");
            error.helped(Help::Words(words.into()))
        }
        (None, None) => error,
    }
}

/// A value as a query writes it: `[1, 2]` is `1,2`, `{"id": "..."}` is the id, `{"part": "mask"}` is the id of the part.
fn json_text(value: &Json, parts: Parts<'_>) -> String {
    let part = |object: &serde_json::Map<String, Json>| {
        let named = object.get("part").filter(|_| object.len() == 1)?;
        parts.iter().find(|(name, _)| named == name).map(|(_, id)| id.to_string())
    };
    match value {
        Json::String(text) => text.clone(),
        Json::Array(values) if values.len() > 1 && values.iter().all(Json::is_number) => {
            values.iter().map(Json::to_string).collect::<Vec<_>>().join(",")
        }
        Json::Object(object) if object.len() == 1 && object.contains_key("id") => json_text(&object["id"], parts),
        Json::Object(object) => part(object).unwrap_or_else(|| value.to_string()),
        other => other.to_string(),
    }
}

fn operation(written: &str, name: &str) -> Result<&'static Operation, Error> {
    operation::by_name(name).ok_or_else(|| {
        let alias = foreign::alias(name, "").map(|(name, _)| name).filter(|name| operation::by_name(name).is_some());
        let near = nearest(name, OPERATIONS.iter().map(|operation| operation.name)).map(str::to_owned);
        invalid(written, name, operations())
            .must_be("the name of an operation")
            .helped(alias.or(near).map_or(Help::None, Help::Nearest))
    })
}

fn operations() -> String {
    OPERATIONS.iter().map(|operation| operation.name).collect::<Vec<_>>().join(", ")
}

/// The pair that is written for a render whose arguments are all defaults.
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
        Pipeline::new(codec, render, Args::parse(ENCODE, encode)?, chain, |_, _, error| error)
    }
}
