//! [`Param`] and [`Kind`]: what an operation or an encoder accepts; [`Args`]: what it was given. Ranges, units, defaults and words
//! live here and nowhere else, so that parsing, printing, errors and documentation cannot disagree. Knows no pixels.

mod kind;

use std::fmt;

use super::Error;
use super::foreign;
use super::invalid::{Help, Invalid, invalid, is_short, nearest, short, unknown_of};
use crate::digest::Digest;
pub use kind::{Kind, Value};

/// One argument that is accepted.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Param {
    /// Its name in JSON and in the canonical text, unique in its table.
    pub name: &'static str,
    /// Its keys in a flat query; the first is the canonical one, the others are short forms. None: its value stands after that of
    /// the parameter before it, behind a comma (`sharpen=2,1.5`), and may be left out.
    pub keys: &'static [&'static str],
    /// What values it takes.
    pub kind: Kind,
    /// What it is when it is not written; `None`: `doc` says what its absence means.
    pub default: Option<Value>,
    /// One sentence for the README.
    pub doc: &'static str,
}

impl Param {
    /// Reads a value, or says what would be accepted. `written` is the name as the client wrote it.
    pub fn parse(&self, written: &str, text: &str) -> Result<Value, Error> {
        self.read(text).ok_or_else(|| self.refused(written, text))
    }

    /// Reads a value as we spell it, or as others do where that means the same.
    fn read(&self, text: &str) -> Option<Value> {
        self.kind.parse(text).or_else(|| self.kind.parse(&foreign::value(self.key(), text)?))
    }

    /// As a member of a JSON object.
    fn member(&self, value: &str) -> String {
        let is_plain = self.kind == Kind::Flag || value.parse::<serde_json::Number>().is_ok();
        let value = if is_plain { value.to_owned() } else { serde_json::Value::from(value).to_string() };
        format!("\"{}\": {value}", self.name)
    }

    /// What it is called in a flat query, which others may know by the same name.
    fn key(&self) -> &'static str {
        self.keys.first().unwrap_or(&self.name)
    }

    fn refused(&self, written: &str, text: &str) -> Error {
        let near = || nearest(text, self.kind.words().iter().copied()).map(|word| Help::Nearest(word.to_owned()));
        let key = if self.keys.contains(&written) { written } else { self.key() };
        let meant = || self.kind.meant(text).map(|meant| Help::Write(format!("{key}={meant}"), None));
        let help = match foreign::help(self.key(), text) {
            Help::None => meant().or_else(near).unwrap_or_default(),
            foreign => foreign,
        };
        invalid(written, text, self.kind.allowed()).must_be(self.kind.in_words()).helped(help)
    }
}

/// The members of a JSON object that say what a query says, where each of its keys is in the table.
pub(super) fn members(params: &[Param], query: &str) -> Option<String> {
    let mut members = Vec::new();
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=')?;
        let index = params.iter().position(|param| param.keys.contains(&key) || param.name == key)?;
        let group = &params[index..=index + followers(params, index)];
        let values: Vec<&str> = if group.len() == 1 { vec![value] } else { value.split(',').collect() };
        members.extend(group.iter().zip(values).map(|(param, value)| param.member(value)));
    }
    Some(members.join(", "))
}

/// A name that is not in the table; `written` is what errors call it.
fn unknown_name(written: &str, name: &str, text: &str, params: &'static [Param]) -> Error {
    let names: Vec<&str> = params.iter().map(|param| param.name).collect();
    let short_form = params.iter().find(|param| param.keys.contains(&name)).map(|param| param.name);
    let near = short_form.or_else(|| nearest(name, names.iter().copied()));
    unknown_of(written, text, &names).helped(near.map_or(Help::None, |name| Help::Nearest(name.to_owned())))
}

/// The arguments of one table of [`Param`]s. Arguments at their default are not held, so equal meaning is equal value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Args {
    params: &'static [Param],
    /// Places in the table and values, in the order of the table: few of many are given.
    values: Vec<(usize, Value)>,
}

impl Args {
    /// Every argument at its default.
    pub fn defaults(params: &'static [Param]) -> Args {
        Args { params, values: Vec::new() }
    }

    /// The table that these are arguments of.
    pub fn params(&self) -> &'static [Param] {
        self.params
    }

    /// The same with the argument `name` set.
    ///
    /// # Panics
    /// When the table has no such name: a bug of the caller, never of the input.
    pub fn with(mut self, name: &str, value: Value) -> Args {
        let index = self.index(name);
        self.set(index, value);
        self
    }

    /// Sets the argument in this place of the table.
    pub fn set(&mut self, index: usize, value: Value) {
        let place = self.values.binary_search_by_key(&index, |(index, _)| *index);
        let is_default = self.params[index].default.as_ref() == Some(&value);
        match (place, is_default) {
            (Ok(place), true) => drop(self.values.remove(place)),
            (Ok(place), false) => self.values[place].1 = value,
            (Err(_), true) => {}
            (Err(place), false) => self.values.insert(place, (index, value)),
        }
    }

    /// Takes the argument `name` back to its default.
    pub fn reset(&mut self, name: &str) {
        let index = self.index(name);
        self.values.retain(|(place, _)| *place != index);
    }

    /// Whether every argument is at its default.
    pub fn are_defaults(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether the argument `name` has a value, if only its default.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The arguments that are not at their default, in the order of the table.
    pub fn written(&self) -> impl Iterator<Item = (&'static Param, &Value)> {
        self.values.iter().map(|(index, value)| (&self.params[*index], value))
    }

    /// The images that are named.
    pub fn images(&self) -> impl Iterator<Item = Digest> {
        self.values.iter().filter_map(|(_, value)| if let Value::Image(id) = value { Some(*id) } else { None })
    }

    /// The value of `name`; `None` when it is not given and has no default.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.value(self.index(name))
    }

    /// A number; `None` when it is not given and has no default, or is another kind of value.
    pub fn number(&self, name: &str) -> Option<i64> {
        if let Some(Value::Number(number)) = self.get(name) { Some(*number) } else { None }
    }

    /// A word; `None` as above.
    pub fn word(&self, name: &str) -> Option<&'static str> {
        if let Some(Value::Word(word)) = self.get(name) { Some(word) } else { None }
    }

    /// Whether a flag is on.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Value::Flag(true)))
    }

    /// A colour; `None` as above.
    pub fn color(&self, name: &str) -> Option<[u8; 4]> {
        if let Some(Value::Color(color)) = self.get(name) { Some(*color) } else { None }
    }

    /// An image; `None` as above.
    pub fn image(&self, name: &str) -> Option<Digest> {
        if let Some(Value::Image(id)) = self.get(name) { Some(*id) } else { None }
    }

    /// Reads `name=value&name=value`, as [`fmt::Display`] writes it.
    pub fn parse(params: &'static [Param], text: &str) -> Result<Args, Error> {
        let mut args = Args::defaults(params);
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            args.set_named(name, name, value)?;
        }
        Ok(args)
    }

    /// Sets the argument `name` from text; `written` is what errors call it.
    pub fn set_named(&mut self, written: &str, name: &str, text: &str) -> Result<(), Error> {
        let index = self.params.iter().position(|param| param.name == name);
        let index = index.ok_or_else(|| unknown_name(written, name, text, self.params))?;
        self.set(index, self.params[index].parse(written, text)?);
        Ok(())
    }

    /// Sets the argument in this place, and those without a key that follow it, from the value of a flat query.
    pub fn set_flat(&mut self, key: &str, index: usize, text: &str) -> Result<(), Error> {
        let followers = followers(self.params, index);
        if followers == 0 {
            self.set(index, self.params[index].parse(key, text)?);
            return Ok(());
        }
        let group = &self.params[index..=index + followers];
        let mut values = Vec::with_capacity(group.len());
        for (offset, part) in text.split(',').enumerate() {
            let param = group.get(offset).ok_or_else(|| too_many(key, text, group))?;
            values.push(param.read(part).ok_or_else(|| refused_part(key, text, group, (param, part)))?);
        }
        if self.are_edges(index) {
            // CSS: bottom follows top, left follows right, right follows top.
            while values.len() < 4 {
                values.push(values[values.len().saturating_sub(2)].clone());
            }
        }
        for (offset, value) in values.into_iter().enumerate() {
            self.set(index + offset, value);
        }
        Ok(())
    }

    /// The pairs of a flat query that [`Args::set_flat`] would read these from, where there are such.
    pub fn to_flat(&self) -> Vec<(String, String)> {
        let print =
            |index: usize| self.value(index).map(|value| self.params[index].kind.print(value)).unwrap_or_default();
        let pair = |(head, param): (usize, &Param)| {
            let key = param.keys.first()?;
            let group = head..=head + followers(self.params, head);
            let last = self.values.iter().map(|(index, _)| *index).rfind(|index| group.contains(index))?;
            let last = if self.are_edges(head) { *group.end() } else { last };
            Some(((*key).to_owned(), (head..=last).map(print).collect::<Vec<_>>().join(",")))
        };
        self.params.iter().enumerate().filter_map(pair).collect()
    }

    /// Whether four edges begin here, which in a flat query follow from each other.
    fn are_edges(&self, index: usize) -> bool {
        let edges = self.params[index..].iter().take_while(|param| matches!(param.kind, Kind::Edge { .. })).count();
        edges == 4 && followers(self.params, index) == 3
    }

    fn value(&self, index: usize) -> Option<&Value> {
        let given = self.values.iter().find(|(place, _)| *place == index).map(|(_, value)| value);
        given.or(self.params[index].default.as_ref())
    }

    fn index(&self, name: &str) -> usize {
        self.params.iter().position(|param| param.name == name).expect("operations ask for names of their own table")
    }
}

/// How many parameters behind this one have no key of their own.
fn followers(params: &[Param], index: usize) -> usize {
    params[index + 1..].iter().take_while(|param| param.keys.is_empty()).count()
}

/// What the value of a flat key accepts: `sigma[,amount[,threshold]]` with the range of each, once where it is that of all.
fn group_allowed(group: &[Param]) -> String {
    match group {
        [alone] => alone.kind.allowed(),
        [first, others @ ..] if others.iter().all(|other| other.kind == first.kind) => {
            format!("{}; each {}", names(group), first.kind.allowed())
        }
        group => {
            let names = group.iter().map(|param| format!("{}: {}", param.name, param.kind.allowed()));
            names.collect::<Vec<_>>().join("; then, behind a comma, ")
        }
    }
}

/// More values behind commas than there are parameters.
fn too_many(key: &str, text: &str, group: &[Param]) -> Error {
    invalid(key, text, group_allowed(group)).must_be(format!("{} and no more", names(group)))
}

fn names(group: &[Param]) -> String {
    group.iter().map(|param| param.name).collect::<Vec<_>>().join(",")
}

/// The values behind commas as they were probably meant, where all can be read so.
fn group_meant(key: &str, text: &str, group: &[Param]) -> Option<Help> {
    let one = |(part, param): (&str, &Param)| match param.read(part) {
        Some(_) => Some(part.to_owned()),
        None => param.kind.meant(part),
    };
    let values: Vec<String> = text.split(',').zip(group).map(one).collect::<Option<_>>()?;
    Some(Help::Write(format!("{key}={}", values.join(",")), None)).filter(|_| is_short(text))
}

/// One of several values behind commas that does not fit; of the first one others may know another spelling.
fn refused_part(key: &str, text: &str, group: &[Param], (param, part): (&Param, &str)) -> Error {
    let help = match foreign::help(group[0].key(), text) {
        Help::None => group_meant(key, text, group).unwrap_or_default(),
        foreign => foreign,
    };
    let mut error = invalid(key, text, group_allowed(group)).helped(help);
    if let Error::Invalid { kind, .. } = &mut error
        && let Invalid::Value { part: of, must, .. } = &mut **kind
    {
        *of = Some((param.name, short(part))).filter(|_| !text.is_empty());
        *must = param.kind.in_words();
    }
    error
}

impl fmt::Display for Args {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (param, value)) in self.written().enumerate() {
            let separator = if place == 0 { "" } else { "&" };
            write!(f, "{separator}{}={}", param.name, param.kind.print(value))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_at_its_default_is_not_held() {
        static PARAMS: [Param; 1] =
            [Param { name: "on", keys: &["on"], kind: Kind::Flag, default: Some(Value::Flag(false)), doc: "" }];
        let args = Args::defaults(&PARAMS);
        assert_eq!(args.clone().with("on", Value::Flag(false)), args);
        assert!(args.clone().with("on", Value::Flag(true)).flag("on"));
        assert_eq!(args.clone().with("on", Value::Flag(true)).to_string(), "on=true");
        assert_eq!(Args::parse(&PARAMS, "on=false"), Ok(args));
    }

    #[test]
    fn what_a_client_wrote_is_shortened_in_errors() {
        let Error::Invalid { kind, .. } = invalid("w", &"\u{e9}".repeat(1000), "") else { unreachable!() };
        assert_eq!(kind.value().expect("given").chars().count(), 64);
    }
}
