//! Every spelling of a [`Pipeline`]: the flat query, `ops` in JSON, and the canonical text, which is also written here.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use serde_json::Value as Json;

use super::invalid::{Help, conflict, invalid, missing, nearest, repeated, short, unfit, unknown_but, unknown_of};
use super::json::{Object, place_of};
use super::{foreign, query};
use crate::digest::Digest;
use crate::pipeline::codec::{self, CODECS, Codec};
use crate::pipeline::operation::{self, OPERATIONS, Operation};
use crate::pipeline::param::{self, Args, Param};
use crate::pipeline::{ENCODE, Error, Pipeline, Step};

/// The query key of a JSON chain.
pub(super) const OPS: &str = "ops";
/// The query key of a preset.
pub const PRESET: &str = "preset";

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
            let known = is_known(key, value);
            return Err(if known { conflict(key, value, OPS) } else { unknown_of_query(key, value) });
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
    let (places, steps): (Vec<usize>, Vec<Step>) = match ops {
        Some((_, json)) => from_json(json, parts)?.into_iter().unzip(),
        None => flat.steps().into_iter().enumerate().unzip(),
    };
    all_are_named(&steps, parts)?;
    let written = |step: usize, params: &'static [Param], error: Error| match ops {
        Some(_) => error.within(|name| json_name(places[step], name)),
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
        Some((name, _)) => {
            let add = format!("{{\"op\": \"{name}\", \"source\": {{\"part\": \"{name}\"}}}}");
            Err(unfit(name, None, "named by an operation").helped(Help::Words(format!("add {add} to ops").into())))
        }
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
    given: Vec<Given>,
}

/// A parameter that was given already.
struct Given {
    canonical: &'static str,
    /// The key as written.
    key: String,
    /// Its value in our words.
    value: String,
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
            let param = &table.params()[*index];
            if let Err(refused) = self.args(*table).set_flat(key, *index, value)
                && !foreign::is_nothing(param.keys[0], value)
            {
                return Err(refused);
            }
            if (*table, *index) == owners[0] {
                self.give(key, value, param)?;
            }
        }
        Ok(())
    }

    /// Takes note of a parameter. Another name of it with the same meaning is the parameter again, with another meaning it is
    /// another parameter.
    fn give(&mut self, key: &str, value: &str, param: &'static Param) -> Result<(), Error> {
        let canonical = param.keys[0];
        if let Some(earlier) = self.given.iter().find(|given| given.canonical == canonical) {
            let is_ours = |key: &str| OWNERS.contains_key(key);
            let means_the_same = param.kind.parse(&earlier.value) == param.kind.parse(value);
            let again = earlier.key == key || means_the_same || is_ours(key) && is_ours(&earlier.key);
            return Err(match again {
                true => repeated(key).also_as(&earlier.key),
                false => conflict(key, value, earlier.key.as_str()),
            });
        }
        self.given.push(Given { canonical, key: key.to_owned(), value: value.to_owned() });
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

/// Whether this is a key of a flat query, or another name of one with this value.
pub fn is_known(key: &str, value: &str) -> bool {
    key == OPS || canonical_of(key, value).is_some()
}

/// The canonical key for a key.
fn canonical(key: &str) -> Option<&'static str> {
    OWNERS.get(key).map(|owners| owners[0].0.params()[owners[0].1].keys[0])
}

/// The canonical key for a key, or for the one that it means with this value.
pub(super) fn canonical_of(key: &str, value: &str) -> Option<&'static str> {
    canonical(key).or_else(|| canonical(&foreign::alias(key, value)?.0))
}

/// Whether a key is one of the encoder, which may be given with `ops`.
pub(super) fn is_of_encoder(key: &str) -> bool {
    place(ENCODE, key).is_some()
}

/// Whether a flat query accepts this pair.
fn takes(key: &str, value: &str) -> bool {
    (key == OPS || OWNERS.contains_key(key)) && Flat::default().write(key, value).is_ok()
}

/// Whether WebP accepts this query: it has most of the parameters.
fn is_good(query: &str) -> bool {
    let pairs = query::pairs(Some(query)).unwrap_or_default();
    codec::by_name("webp").is_some_and(|codec| from_query(codec, &pairs, &[]).is_ok())
}

/// The query and the extension for operations in the words of other services, in a path or in one word, as
/// `w_300,c_fill`. `None`: it is not wholly understood, or too long to be meant so.
pub fn of_path(path: &str) -> Option<(String, String)> {
    foreign::of_path(path, &foreign::Own { takes, canonical, is_good })
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
    match of_path(key) {
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

/// The steps of a chain, each with its place in it; those at which nothing is done are left out.
fn from_json(json: &str, parts: Parts<'_>) -> Result<Vec<(usize, Step)>, Error> {
    let refused = |error| {
        invalid(OPS, json, "a JSON array of objects, each with \"op\"").because(place_of(&error, "an array of objects"))
    };
    let chain: Vec<Object<Json>> = serde_json::from_str(json).map_err(refused)?;
    let step =
        |(place, object): (usize, &Object<Json>)| Ok(json_step(place, &object.0, parts)?.map(|step| (place, step)));
    chain.iter().enumerate().map(step).filter_map(Result::transpose).collect()
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
                let refused = refused.in_json(|query| param::members(operation.params, query));
                return Err(no_part(value, &written(name), parts).unwrap_or(refused));
            }
        }
    }
    Ok(Some((operation, args)).filter(|_| !is_nothing))
}

/// The error for an image that is named as a part of the form, where the form has no such part.
fn no_part(value: &Json, written: &str, parts: Parts<'_>) -> Option<Error> {
    let name = value.get("part").filter(|_| value.as_object().is_some_and(|object| object.len() == 1))?.as_str()?;
    let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
    let allowed = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let error = invalid(written, name, allowed).must_be("the name of a part of the form");
    Some(error.because(format!("no part {} in this form", short(name))))
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
            return Err(unknown_member(name, &json_text(value, &[]), &[OPS]));
        }
        query.push((name.clone(), json_text(value, &[])));
    }
    query.extend(ops.map(|ops| (OPS.to_owned(), ops.to_owned())));
    // What is said of a step is in the words of JSON already.
    from_query(codec, &query, &[]).map_err(|error| error.in_json(in_members))
}

/// What a query says, as members of an output.
fn in_members(query: &str) -> Option<String> {
    if query.starts_with('"') { Some(query.to_owned()) } else { param::members(ENCODE, query) }
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
        let alias = foreign::operation(name).filter(|name| operation::by_name(name).is_some());
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

/// Whether the arguments in a canonical text make a render. The setting `tolerant` may have made a conversion tolerant, so
/// that `tolerant=true` alone does not; only a client writes `tolerant=false`.
fn says_render(encode: &Args) -> bool {
    encode.written().any(|(param, value)| param.name != "tolerant" || *value == param::Value::Flag(false))
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};", self.codec.name)?;
        if self.render && !says_render(&self.encode) && self.steps.is_empty() {
            let (name, value) = RENDER;
            let separator = if self.encode.are_defaults() { "" } else { "&" };
            write!(f, "{name}={value}{separator}")?;
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
        let args = Args::parse(ENCODE, encode)?;
        let (name, value) = RENDER;
        let marked = encode.split('&').any(|pair| pair.split_once('=') == Some((name, value)));
        let render = marked || says_render(&args) || !chain.is_empty();
        Pipeline::new(codec, render, args, chain, |_, _, error| error)
    }
}
