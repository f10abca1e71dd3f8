//! [`Presets`]: names for queries. Part of no cache key: a preset is replaced by its query before a pipeline is read.

use std::collections::BTreeMap;
use std::fmt;

use super::invalid::{Help, conflict, invalid, nearest, one_of};
use super::parse::{OPS, PRESET, canonical_of, is_of_encoder};
use super::query::{self, Pairs};
use crate::pipeline::codec::CODECS;
use crate::pipeline::{Error, Pipeline};

/// Most presets of one server.
const PRESETS_MAX: usize = 1_000;

/// Queries by name.
///
/// ```
/// use progimage::pipeline::{Presets, query};
/// let mut presets = Presets::default();
/// presets.set(Presets::named("thumb:w=300&q=60")?);
/// let mut pairs = query::pairs(Some("h=200&preset=thumb"))?;
/// assert!(presets.expand(&mut pairs)?);
/// assert_eq!(pairs, query::pairs(Some("w=300&q=60&h=200"))?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presets {
    named: BTreeMap<String, Pairs>,
    /// Whether the client may use presets alone, without parameters of its own.
    pub only: bool,
}

impl Presets {
    /// Reads `name:query`, separated by blanks or line ends.
    pub fn named(text: &str) -> Result<BTreeMap<String, Pairs>, String> {
        let mut named = BTreeMap::new();
        for word in text.split_whitespace() {
            let (name, query) =
                word.split_once(':').ok_or_else(|| format!("{word:?}: a preset is written name:query"))?;
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
                return Err(format!("preset {name:?}: a name has letters, digits, - _ and . only"));
            }
            if named.insert(name.to_owned(), preset(name, query)?).is_some() {
                return Err(format!("preset {name:?} is given twice"));
            }
        }
        if named.len() > PRESETS_MAX {
            Err(format!("{} presets; at most {PRESETS_MAX}", named.len()))
        } else {
            Ok(named)
        }
    }

    /// The pairs of a preset.
    pub fn get(&self, name: &str) -> Option<&Pairs> {
        self.named.get(name)
    }

    /// Replaces a `preset=` among `pairs` by the pairs of that preset, before the others. Returns whether there was one.
    ///
    /// Errors: [`Error::Invalid`] if a preset is given twice, is not known, or sets what another pair sets.
    pub fn expand(&self, pairs: &mut Pairs) -> Result<bool, Error> {
        let Some(name) = query::once(pairs, PRESET)? else { return Ok(false) };
        let stands_for = self.get(&name).ok_or_else(|| self.refused(PRESET, &name))?;
        check_with_preset(&name, stands_for, pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())))?;
        pairs.splice(..0, stands_for.iter().cloned());
        Ok(true)
    }

    /// Replaces the presets.
    pub fn set(&mut self, named: BTreeMap<String, Pairs>) {
        self.named = named;
    }

    /// The error for an unknown preset; `parameter` is its name for the client.
    pub fn refused(&self, parameter: &str, name: &str) -> Error {
        if self.is_empty() {
            let error = invalid(parameter, name, self.names()).must_be("the name of a preset");
            return error.because("this server has none");
        }
        let near = nearest(name, self.named.keys().map(String::as_str)).map(|name| Help::Nearest(name.to_owned()));
        let names: Vec<&str> = self.named.keys().map(String::as_str).collect();
        one_of(parameter, name, &names).helped(near.unwrap_or_default())
    }

    /// The error for a parameter of the client's own, on a server that takes presets alone.
    pub fn alone(&self, parameter: &str, value: &str) -> Error {
        conflict(parameter, value, "presets_only").because(format!("this server takes presets only: {}", self.names()))
    }

    /// Whether there is no preset.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// All names, for messages.
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.named.keys().map(String::as_str).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}

impl fmt::Display for Presets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let preset = |(name, pairs): (&String, &Pairs)| {
            let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("{name}:{}", pairs.join("&"))
        };
        f.write_str(&self.named.iter().map(preset).collect::<Vec<_>>().join(" "))
    }
}

/// Refuses parameters that a preset sets already, or that exclude it.
///
/// Errors: [`Error::Invalid`], a conflict with the preset.
pub fn check_with_preset<'a>(
    preset: &str,
    stands_for: &Pairs,
    others: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<(), Error> {
    let sets = |key: &str| stands_for.iter().any(|(own, value)| canonical_of(own, value) == Some(key));
    let has_steps = stands_for.iter().any(|(key, _)| !is_of_encoder(key));
    let has_chain = stands_for.iter().any(|(key, _)| key == OPS);
    for (key, value) in others {
        let refused = |why: String| Err(conflict(key, value, PRESET).because(why));
        let canonical = canonical_of(key, value);
        if canonical.is_some_and(sets) {
            return refused(format!("preset {preset} already sets {key}"));
        }
        let is_step = key == OPS || canonical.is_some_and(|key| !is_of_encoder(key));
        if is_step && (has_chain || key == OPS && has_steps) {
            return refused(format!("preset {preset} and {key} exclude each other"));
        }
    }
    Ok(())
}

/// The pairs of a preset. At least one format must accept them.
fn preset(name: &str, query: &str) -> Result<Pairs, String> {
    let refused = |error: &dyn fmt::Display| format!("preset {name:?}: {error}");
    let pairs = query::pairs(Some(query)).map_err(|_| refused(&"it must be UTF-8, percent-encoded"))?;
    let written = CODECS.iter().filter(|codec| codec.encoder.is_some());
    let mut results = written.map(|codec| Pipeline::from_query(codec, &pairs));
    let first = results.next().expect("some format is written");
    match first {
        Err(error) if results.all(|result| result.is_err()) => Err(refused(&error)),
        _ => Ok(pairs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_stands_before_what_is_said_beside_it() {
        let presets = Presets { named: Presets::named("thumb:w=300").expect("good"), only: false };
        let check = |text: &str, expected: &str, was_there: bool| {
            let mut pairs = query::pairs(Some(text)).expect("good");
            assert_eq!(presets.expand(&mut pairs), Ok(was_there));
            assert_eq!(pairs, query::pairs(Some(expected)).expect("good"));
        };
        check("h=3&preset=thumb", "w=300&h=3", true);
        check("h=3", "h=3", false);
        for bad in ["preset=thumb&preset=thumb", "preset=big", "preset"] {
            let mut pairs = query::pairs(Some(bad)).expect("good");
            assert!(matches!(presets.expand(&mut pairs), Err(Error::Invalid { .. })), "{bad}");
        }
    }

    #[test]
    fn presets_are_read_and_printed_and_mistakes_are_told() {
        let text = "hero:w=1600&q=80 thumb:w=300&h=300&fit=cover";
        let presets = Presets { named: Presets::named(text).expect("good"), only: false };
        assert_eq!(presets.to_string(), text);
        assert_eq!(presets.names(), "hero, thumb");
        // Lossless is for some formats only, which is enough.
        assert!(Presets::named("exact:lossless=true").is_ok());
        for (bad, says) in [
            ("thumb", "name:query"),
            ("a/b:w=3", "letters"),
            ("thumb:w=0", "from 1 to 65535"),
            ("thumb:download=x", "download"),
            ("thumb:preset=x", "preset"),
            ("a:w=3 a:w=4", "twice"),
            ("a:w=%ff", "UTF-8"),
        ] {
            let mistake = Presets::named(bad).expect_err(bad);
            assert!(mistake.contains(says), "{mistake}");
        }
    }
}
