//! [`Param`] and [`Kind`]: what an operation or an encoder accepts; [`Args`]: what it was given. Ranges, units, defaults
//! and words are declared once, so that parsing, printing, errors and documentation cannot disagree. Knows no pixels.

mod kind;

use std::fmt;

use super::Error;
use super::foreign;
use super::invalid::{Help, Invalid, invalid, is_short, nearest, short, unknown_of};
use crate::digest::Digest;
pub use kind::{Kind, Value};

/// A parameter: the declaration of one argument.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Param {
    /// Name in JSON and in the canonical text, unique in its table.
    pub name: &'static str,
    /// Keys in a flat query; the first is canonical, the others are short forms. Without a key, the value follows that of
    /// the parameter before it, after a comma (`sharpen=2,1.5`), and may be left out.
    pub keys: &'static [&'static str],
    /// Accepted values.
    pub kind: Kind,
    /// Value if it is not given; `None`: `doc` states what its absence means.
    pub default: Option<Value>,
    /// One sentence for the documentation.
    pub doc: &'static str,
}

impl Param {
    /// Reads a value. `written` is the name as the client wrote it, for errors.
    pub fn parse(&self, written: &str, text: &str) -> Result<Value, Error> {
        self.read(text).ok_or_else(|| self.refused(written, text))
    }

    /// Reads a value in our spelling, or in another service's if that has an exact equal.
    fn read(&self, text: &str) -> Option<Value> {
        self.kind.parse(text).or_else(|| self.kind.parse(&foreign::value(self.key(), text)?))
    }

    /// The pair as a member of a JSON object.
    fn member(&self, value: &str) -> String {
        let is_plain = self.kind == Kind::Flag || value.parse::<serde_json::Number>().is_ok();
        let value = if is_plain { value.to_owned() } else { serde_json::Value::from(value).to_string() };
        format!("\"{}\": {value}", self.name)
    }

    /// The key by which spellings of other services are found.
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

/// The members of a JSON object that say what a query says, if each of its keys is in the table.
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

/// The error for a name that is not in the table; `written` is its name in errors.
fn unknown_name(written: &str, name: &str, text: &str, params: &'static [Param]) -> Error {
    let names: Vec<&str> = params.iter().map(|param| param.name).collect();
    let short_form = params.iter().find(|param| param.keys.contains(&name)).map(|param| param.name);
    let near = short_form.or_else(|| nearest(name, names.iter().copied()));
    unknown_of(written, text, &names).helped(near.map_or(Help::None, |name| Help::Nearest(name.to_owned())))
}

/// The arguments of one table of [`Param`]s. Arguments at their default are not held, so that equal meaning is equal value.
///
/// ```
/// use progimage::pipeline::operation::by_name;
/// use progimage::pipeline::param::Args;
/// let resize = by_name("resize").unwrap();
/// let args = Args::parse(resize.params, "width=300&fit=inside")?;
/// assert_eq!((args.number("width"), args.word("fit")), (Some(300), Some("inside")));
/// // `inside` is the default.
/// assert_eq!(args.to_string(), "width=300");
/// # Ok::<(), progimage::pipeline::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Args {
    params: &'static [Param],
    /// Places in the table and values, in the order of the table: most arguments are not given.
    values: Vec<(usize, Value)>,
}

impl Args {
    /// All arguments at their default.
    pub fn defaults(params: &'static [Param]) -> Args {
        Args { params, values: Vec::new() }
    }

    /// The table of the arguments.
    pub fn params(&self) -> &'static [Param] {
        self.params
    }

    /// Sets the argument `name`.
    ///
    /// # Panics
    /// If the table has no such name: a bug of the caller, never of the input.
    pub fn with(mut self, name: &str, value: Value) -> Args {
        let index = self.index(name);
        self.set(index, value);
        self
    }

    /// Sets the argument at this place of the table.
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

    /// Resets the argument `name` to its default.
    pub fn reset(&mut self, name: &str) {
        let index = self.index(name);
        self.values.retain(|(place, _)| *place != index);
    }

    /// Whether all arguments are at their default.
    pub fn are_defaults(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether the argument `name` has a value, given or by default.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The arguments that are not at their default, in the order of the table.
    pub fn written(&self) -> impl Iterator<Item = (&'static Param, &Value)> {
        self.values.iter().map(|(index, value)| (&self.params[*index], value))
    }

    /// The ids of all images among the values.
    pub fn images(&self) -> impl Iterator<Item = Digest> {
        self.values.iter().filter_map(|(_, value)| if let Value::Image(id) = value { Some(*id) } else { None })
    }

    /// The value of `name`; `None` if it is not given and has no default.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.value(self.index(name))
    }

    /// The number `name`; `None` if it has no value, or a value of another kind.
    pub fn number(&self, name: &str) -> Option<i64> {
        if let Some(Value::Number(number)) = self.get(name) { Some(*number) } else { None }
    }

    /// The word `name`; `None` if it has no value, or a value of another kind.
    pub fn word(&self, name: &str) -> Option<&'static str> {
        if let Some(Value::Word(word)) = self.get(name) { Some(word) } else { None }
    }

    /// Whether the flag `name` is on.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Value::Flag(true)))
    }

    /// The colour `name`; `None` if it has no value, or a value of another kind.
    pub fn color(&self, name: &str) -> Option<[u8; 4]> {
        if let Some(Value::Color(color)) = self.get(name) { Some(*color) } else { None }
    }

    /// The image `name`; `None` if it has no value, or a value of another kind.
    pub fn image(&self, name: &str) -> Option<Digest> {
        if let Some(Value::Image(id)) = self.get(name) { Some(*id) } else { None }
    }

    /// Reads `name=value&name=value`, the form that [`fmt::Display`] writes.
    pub fn parse(params: &'static [Param], text: &str) -> Result<Args, Error> {
        let mut args = Args::defaults(params);
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            args.set_named(name, name, value)?;
        }
        Ok(args)
    }

    /// Sets the argument `name` from text; `written` is its name in errors.
    pub fn set_named(&mut self, written: &str, name: &str, text: &str) -> Result<(), Error> {
        let index = self.params.iter().position(|param| param.name == name);
        let index = index.ok_or_else(|| unknown_name(written, name, text, self.params))?;
        self.set(index, self.params[index].parse(written, text)?);
        Ok(())
    }

    /// Sets the argument at this place, and those without a key that follow it, from the value of a flat query.
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

    /// The pairs of a flat query from which [`Args::set_flat`] reads these arguments.
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

    /// Whether four edges begin here; in a flat query, edges that are left out follow from the others.
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

/// Number of parameters after this one that have no key of their own.
fn followers(params: &[Param], index: usize) -> usize {
    params[index + 1..].iter().take_while(|param| param.keys.is_empty()).count()
}

/// The accepted values of a flat key: `sigma[,amount[,threshold]]` with the range of each, once if it is that of all.
fn group_allowed(group: &[Param]) -> String {
    match group {
        [alone] => alone.kind.allowed(),
        [first, others @ ..] if others.iter().all(|other| other.kind == first.kind) => {
            format!("{}; each {}", names(group), first.kind.allowed())
        }
        group => {
            let names = group.iter().map(|param| format!("{}: {}", param.name, param.kind.allowed()));
            names.collect::<Vec<_>>().join("; then, after a comma, ")
        }
    }
}

/// The error for more values between commas than there are parameters.
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

/// The error for one of several values between commas. The hint for the whole value is that of the first parameter.
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
